use super::*;

fn who(policy: &str, namespace: &str) -> Who {
    Who {
        policy: policy.into(),
        namespace: namespace.into(),
    }
}

fn begins(turn: &mut Turn) -> bool {
    // The second time after the pause of a turn that was given.
    poll(turn) || is_paused(turn) && poll(turn)
}

fn poll(turn: &mut Turn) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    turn.poll_begin(&mut cx).is_ready()
}

fn is_paused(turn: &Turn) -> bool {
    matches!(turn.stage, Stage::Waiting { pause: Some(_), .. })
}

/// Ends a turn by a tick.
fn interrupt(turn: &mut Turn) {
    turn.end(true, &Context::from_waker(Waker::noop()));
}

fn end(turn: &mut Turn) {
    turn.end(false, &Context::from_waker(Waker::noop()));
}

#[test]
fn short_calls_do_not_wait() {
    let turns = Arc::new(Turns::default());
    for _ in 0..3 {
        let mut turn = turns.of(who("p", "a"));
        assert!(begins(&mut turn));
        end(&mut turn);
        assert!(begins(&mut turn));
    }
}

#[test]
fn one_interrupted_guest_runs_at_a_time() {
    let turns = Arc::new(Turns::default());
    let mut many: Vec<Turn> = (0..5).map(|_| turns.of(who("p", "a"))).collect();
    assert!(begins(&mut many[0]));
    interrupt(&mut many[0]);
    // They are polled before the first one's next turn, and wait.
    for turn in &mut many[1..] {
        assert!(!begins(turn));
    }
    for round in 0..12 {
        let running: Vec<usize> = (0..5).filter(|at| begins(&mut many[*at])).collect();
        assert_eq!(running, [round % 5]);
        interrupt(&mut many[round % 5]);
    }
}

#[test]
fn a_quiet_namespace_has_the_next_turn() {
    let turns = Arc::new(Turns::default());
    let mut many: Vec<Turn> = (0..50).map(|_| turns.of(who("p", "many"))).collect();
    for turn in &mut many {
        if begins(turn) {
            interrupt(turn);
        }
    }
    let mut few = turns.of(who("p", "few"));
    assert!(!begins(&mut few));
    // The turn that was out for another one has not begun.
    assert!(many.iter_mut().all(|turn| !begins(turn)));
    assert!(begins(&mut few));
    end(&mut few);
    assert_eq!(
        many.iter_mut()
            .filter_map(|turn| begins(turn).then_some(()))
            .count(),
        1
    );
}

#[test]
fn a_quiet_policy_has_the_next_turn() {
    let turns = Arc::new(Turns::default());
    let mut spinning: Vec<Turn> = (0..50)
        .map(|n| turns.of(who("slow", &n.to_string())))
        .collect();
    for turn in &mut spinning {
        if begins(turn) {
            interrupt(turn);
        }
    }
    let mut guard = turns.of(who("guard", "0"));
    // Behind namespaces that did not run at all, but before the one that did.
    begins(&mut guard);
    let ran = spinning.iter_mut().position(begins).unwrap();
    interrupt(&mut spinning[ran]);
    assert!((0..50).all(|at| !begins(&mut spinning[at])));
    assert!(begins(&mut guard));
}

#[test]
fn who_gives_up_holds_up_no_other() {
    let turns = Arc::new(Turns::default());
    let mut first = turns.of(who("p", "a"));
    assert!(begins(&mut first));
    let mut second = turns.of(who("p", "a"));
    let mut third = turns.of(who("p", "a"));
    assert!(!begins(&mut second) && !begins(&mut third));
    // Running, then with a turn, then waiting.
    drop(first);
    drop(second);
    assert!(begins(&mut third));
    drop(third);
    assert!(turns.table().out.is_empty() && turns.table().waiting.is_empty());
}

#[test]
fn a_turn_that_does_not_begin_goes_on() {
    let turns = Arc::new(Turns::default());
    let mut stopped = turns.of(who("p", "a"));
    assert!(begins(&mut stopped));
    interrupt(&mut stopped);
    let mut other = turns.of(who("p", "a"));
    assert!(!begins(&mut other));
    for place in &mut turns.table().out {
        place.since = place.since.checked_sub(STALE).unwrap();
    }
    assert!(!begins(&mut other));
    assert!(begins(&mut other));
    end(&mut other);
    // Its task runs again.
    assert!(begins(&mut stopped));
}

#[test]
fn only_turns_of_the_own_policy_are_paid_for() {
    const RAN: Duration = Duration::from_millis(2);
    let turns = Arc::new(Turns::default());
    let mut running = turns.of(who("p", "b"));
    assert!(begins(&mut running));
    let (mut own, mut foreign) = (turns.of(who("p", "a")), turns.of(who("q", "a")));
    assert!(!begins(&mut own) && !begins(&mut foreign));
    std::thread::sleep(RAN);
    drop(running);
    // Also waits for a runtime that is busy with other tasks.
    let (own, foreign) = (own.waited(), foreign.waited());
    assert!(foreign >= RAN + own, "{own:?} {foreign:?}");
}

#[test]
fn shares_are_forgotten() {
    let (mut shares, now) = (Shares::default(), Instant::now());
    shares.add(&"a".into(), Duration::from_secs(4), now);
    assert!((shares.of("a", now + HALF) - 2.0).abs() < 0.001);
    for number in 0..3 * MAX_SHARES {
        let later = now + HALF * 20;
        shares.add(&number.to_string().into(), Duration::from_nanos(1), later);
    }
    assert!(shares.0.len() <= MAX_SHARES);
    assert!(shares.of("a", now + HALF * 20) < NOTHING);
}
