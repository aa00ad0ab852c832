use std::pin::pin;

use futures_util::FutureExt;

use super::*;

fn memory(limit: u64) -> Arc<Memory> {
    Arc::new(Memory::new(limit))
}

/// Reserves for a request of its own, which must not wait.
fn held(memory: &Arc<Memory>, namespace: &str, policy: &str, bytes: u64) -> Reservation {
    let account = memory.account(namespace);
    let reserved = account.reserve(&policy.into(), bytes).now_or_never();
    reserved.unwrap()
}

/// Waits for a reservation of a request of its own.
async fn reserve(memory: &Arc<Memory>, namespace: &str, policy: &str, bytes: u64) -> Reservation {
    let account = memory.account(namespace);
    account.reserve(&policy.into(), bytes).await
}

#[test]
fn a_request_waits_until_memory_is_given_back() {
    let memory = memory(10);
    let first = held(&memory, "a", "p", 6);
    let mut second = pin!(reserve(&memory, "a", "p", 6));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    assert!(second.now_or_never().is_some());
    assert_eq!(memory.queue().bytes(), 0);
    assert_eq!(memory.peak(), 6);
}

#[test]
fn equals_are_served_in_order_of_arrival() {
    let memory = memory(16);
    let mut first = held(&memory, "a", "p", 13);
    let mut large = pin!(reserve(&memory, "a", "p", 14));
    assert!(large.as_mut().now_or_never().is_none());
    first.lower(12);
    // It would fit, but the other request would then wait for ever.
    let mut small = pin!(reserve(&memory, "a", "p", 2));
    assert!(small.as_mut().now_or_never().is_none());
    drop(first);
    let large = large.now_or_never().unwrap();
    assert!(small.as_mut().now_or_never().is_none());
    drop(large);
    assert!(small.now_or_never().is_some());
}

#[test]
fn a_request_that_gives_up_holds_up_no_other() {
    let memory = memory(16);
    let first = held(&memory, "a", "p", 8);
    let mut gone = Box::pin(reserve(&memory, "a", "p", 9));
    assert!(gone.as_mut().now_or_never().is_none());
    let mut small = pin!(reserve(&memory, "a", "p", 2));
    assert!(small.as_mut().now_or_never().is_none());
    drop(gone);
    assert!(small.now_or_never().is_some());
    // Served, but never polled again.
    let mut served = Box::pin(reserve(&memory, "a", "p", 9));
    assert!(served.as_mut().now_or_never().is_none());
    drop(first);
    drop(served);
    assert_eq!(memory.queue().bytes(), 0);
}

#[test]
fn of_those_that_hold_memory_one_goes_beyond() {
    let memory = memory(10);
    let (one, other) = (memory.account("a"), memory.account("b"));
    let (p, q) = ("p".into(), "q".into());
    let first = one.reserve(&p, 5).now_or_never().unwrap();
    let second = other.reserve(&q, 5).now_or_never().unwrap();
    let third = one.reserve(&q, 5).now_or_never().unwrap();
    let mut fourth = pin!(other.reserve(&p, 5));
    assert!(fourth.as_mut().now_or_never().is_none());
    drop((first, third));
    let fourth = fourth.now_or_never().unwrap();
    drop((second, fourth));
    assert_eq!(memory.queue().bytes(), 0);
    assert_eq!(memory.peak(), 15);
}

#[test]
fn one_that_holds_memory_passes_the_queue() {
    let memory = memory(10);
    let holder = memory.account("a");
    let p = "p".into();
    let first = holder.reserve(&p, 4).now_or_never().unwrap();
    let mut waiting = pin!(reserve(&memory, "b", "p", 10));
    assert!(waiting.as_mut().now_or_never().is_none());
    let more = holder.reserve(&p, 4).now_or_never().unwrap();
    assert!(memory.account("c").try_reserve(&p, 1).is_none());
    drop((first, more));
    assert!(waiting.now_or_never().is_some());
}

#[test]
fn a_policy_that_holds_little_goes_first() {
    let memory = memory(64);
    let mut slow: Vec<_> = (0..14).map(|_| held(&memory, "a", "slow", 4)).collect();
    let mut queue: Vec<_> = (0..50)
        .map(|_| Box::pin(reserve(&memory, "a", "slow", 4)))
        .collect();
    for waiting in &mut queue {
        assert!(waiting.now_or_never().is_none());
    }
    // The first takes the reserve, the second goes before all that wait for the slow policy.
    let _first = held(&memory, "b", "guard", 4);
    let mut second = pin!(reserve(&memory, "b", "guard", 4));
    assert!(second.as_mut().now_or_never().is_none());
    drop(slow.drain(..2));
    assert!(second.now_or_never().is_some());
}

#[test]
fn a_namespace_with_many_pods_delays_itself() {
    let memory = memory(64);
    let mut many: Vec<_> = (0..14).map(|_| held(&memory, "many", "p", 4)).collect();
    let mut queue: Vec<_> = (0..50)
        .map(|_| Box::pin(reserve(&memory, "many", "p", 4)))
        .collect();
    for waiting in &mut queue {
        assert!(waiting.now_or_never().is_none());
    }
    let _reserve = [held(&memory, "few", "p", 8)];
    let mut next = pin!(reserve(&memory, "few", "p", 4));
    assert!(next.as_mut().now_or_never().is_none());
    drop(many.drain(..3));
    assert!(next.now_or_never().is_some());
}

#[test]
fn a_holder_of_a_quiet_namespace_goes_first() {
    let memory = memory(64);
    let (fast, slow): (Arc<str>, Arc<str>) = ("fast".into(), "slow".into());
    let many: Vec<_> = (0..20).map(|_| memory.account("many")).collect();
    let held = many.iter().map(|account| account.reserve(&fast, 1));
    let _held: Vec<_> = held.map(|held| held.now_or_never().unwrap()).collect();
    let mut calls: Vec<_> = many
        .iter()
        .map(|account| Box::pin(account.reserve(&slow, 8)))
        .collect();
    let mut running: Vec<_> = calls
        .iter_mut()
        .filter_map(|call| call.now_or_never())
        .collect();
    let few = memory.account("few");
    let _mine = few.reserve(&fast, 1).now_or_never().unwrap();
    let mut mine = pin!(few.reserve(&slow, 8));
    assert!(mine.as_mut().now_or_never().is_none());
    drop(running.drain(..2));
    assert!(mine.now_or_never().is_some());
}
