use super::*;

fn id(name: &str) -> ContainerId {
    ContainerId::new(name).unwrap()
}

fn interface(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

impl Turns {
    fn add(&self, id: &ContainerId) -> Ticket {
        self.ticket(id, Work::Add, &interface("eth0"))
    }
}

#[tokio::test]
async fn a_container_is_one_writers_at_a_time() {
    let turns = Turns::default();
    let first = turns.take(&id("a"), Work::Undo).await;
    let _other = turns.take(&id("b"), Work::Undo).await;
    let a = id("a");
    let mut second = Box::pin(turns.take(&a, Work::Undo));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    drop(second.await);
}

#[tokio::test]
async fn no_entry_stays_without_waiters() {
    let turns = Turns::default();
    let a = id("a");
    let first = turns.take(&a, Work::Undo).await;
    let mut gave_up = Box::pin(turns.take(&a, Work::Undo));
    assert!(futures_util::poll!(&mut gave_up).is_pending());
    drop(gave_up);
    drop(first);
    assert!(turns.containers.lock().is_empty());
}

#[tokio::test]
async fn a_turn_that_is_taken_is_not_waited_for() {
    let turns = Turns::default();
    let a = id("a");
    let first = turns.take(&a, Work::Undo).await;
    assert!(turns.try_take(&a, Work::Undo).is_none());
    drop(first);
    assert!(turns.containers.lock().is_empty());
    let second = turns.try_take(&a, Work::Undo);
    assert!(turns.try_take(&a, Work::Undo).is_none());
    drop(second);
    assert!(turns.containers.lock().is_empty());
}

#[tokio::test]
async fn del_cancels_waiting_and_running_adds() {
    let turns = Turns::default();
    let a = id("a");
    let running = turns.add(&a);
    let mut cancellation = running.cancellation();
    let turn = running.wait().await.unwrap();
    let mut waiting = Box::pin(turns.add(&a).wait());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let mut del = Box::pin(turns.take_over(&a, Work::Del, Reach::Whole));
    assert!(futures_util::poll!(&mut del).is_pending());
    assert!(waiting.await.is_err());
    let work = std::future::pending::<()>();
    assert!(cancellation.unless_superseded(work).await.is_err());
    drop(turn);
    drop(del.await);
}

#[tokio::test]
async fn arrivals_include_only_requests() {
    let turns = Turns::default();
    let _before = turns.add(&id("before"));
    let _kept = turns.take(&id("kept"), Work::Undo).await;
    let arrivals = turns.arrivals();
    let _since = turns.add(&id("since"));
    let _own = turns.take(&id("gc"), Work::Undo).await;
    assert!(arrivals.has(&id("before")) && arrivals.has(&id("since")));
    assert!(
        !arrivals.has(&id("kept")),
        "the daemon's own work is not a request"
    );
    assert!(!arrivals.has(&id("gc")), "its own turns do not count");
    drop(arrivals);
    turns.announce(&id("x"));
    assert!(turns.watchers.lock().is_empty());
}

#[tokio::test]
async fn del_does_not_cancel_later_add() {
    let turns = Turns::default();
    let a = id("a");
    let del = turns.take_over(&a, Work::Del, Reach::Whole).await;
    let later = turns.add(&a);
    drop(del);
    assert!(later.wait().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_turn_has_a_known_holder() {
    let turns = Turns::default();
    let a = id("a");
    assert!(turns.holder(&a).is_none());
    let turn = turns.take(&a, Work::Del).await;
    let waiting = turns.add(&a);
    tokio::time::advance(std::time::Duration::from_secs(24)).await;
    let holder = turns.holder(&a).unwrap().to_string();
    assert_eq!(holder, "a DEL has been running for 24 s");
    drop(turn);
    assert!(turns.holder(&a).is_none());
    let _turn = waiting.wait().await.unwrap();
    let holder = turns.holder(&a).unwrap().to_string();
    assert_eq!(holder, "an ADD has been running for 0 s");
}

#[tokio::test]
async fn a_del_cancels_only_what_it_reaches() {
    let turns = Turns::default();
    let a = id("a");
    let (eth0, eth1) = (interface("eth0"), interface("eth1"));
    let add = turns.add(&a);
    let mut cancellation = add.cancellation();
    let _turn = add.wait().await.unwrap();
    let mut other = Box::pin(turns.take_over(&a, Work::Del, Reach::Interface(&eth1)));
    assert!(futures_util::poll!(&mut other).is_pending());
    let still = cancellation.unless_superseded(std::future::ready(()));
    assert!(still.await.is_ok());
    let mut own = Box::pin(turns.take_over(&a, Work::Del, Reach::Interface(&eth0)));
    assert!(futures_util::poll!(&mut own).is_pending());
    let work = std::future::pending::<()>();
    assert!(cancellation.unless_superseded(work).await.is_err());
}
