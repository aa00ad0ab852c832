//! Running a guest: turn by turn, until its deadline.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::{Store, UpdateDeadline};

use crate::wasm::allowance::Allowance;
use crate::wasm::store::GuestState;
use crate::wasm::ticker::{self, TICK};
use crate::wasm::turns::{STALE, Turn};

/// The guest ran past its deadline.
#[derive(Debug, thiserror::Error)]
#[error("{allowance}")]
pub(crate) struct DeadlinePassed {
    allowance: Allowance,
}

/// A call that may run, and what its ticks say.
pub(crate) struct Armed {
    allowance: Allowance,
    turn: Turn,
    shared: Arc<Shared>,
}

/// What a guest's ticks share with the future that runs it.
#[derive(Debug, Default)]
struct Shared {
    /// Nanoseconds waited that the guest need not pay for, by which the deadline is later.
    waited: AtomicU64,
    /// Whether a tick has interrupted the guest.
    is_interrupted: AtomicBool,
}

impl Shared {
    fn add(&self, waited: Duration) {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(nanos, Ordering::Relaxed);
    }

    fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }
}

/// Lets the guest run until the deadline, interrupted at every tick.
pub(crate) fn arm(store: &mut Store<GuestState>, allowance: Allowance) -> Armed {
    let deadline = std::time::Instant::now() + allowance.time;
    let shared = Arc::new(Shared::default());
    let ticks = Arc::clone(&shared);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if std::time::Instant::now() >= deadline + ticks.waited() {
            return Err(DeadlinePassed { allowance }.into());
        }
        ticks.is_interrupted.store(true, Ordering::Relaxed);
        Ok(UpdateDeadline::Yield(1))
    });
    Armed {
        allowance,
        turn: store.data().turn(),
        shared,
    }
}

impl Armed {
    /// Runs a call turn by turn. Also ends one that hangs in a host function, where epochs do not
    /// interrupt it. Also returns the time that it waited and need not pay for.
    pub(crate) async fn run<T>(
        self,
        call: impl Future<Output = wasmtime::Result<T>>,
    ) -> (wasmtime::Result<T>, Duration) {
        let Self {
            allowance,
            mut turn,
            shared,
        } = self;
        let _running = ticker::enter();
        let mut call = pin!(call);
        // The epoch gives a better reason, so it fires first; this covers host functions.
        let last = Instant::now() + allowance.time + 4 * TICK;
        let mut sleep = pin!(tokio::time::sleep_until(last));
        let passed = || DeadlinePassed { allowance }.into();
        let run = poll_fn(|cx| {
            let Poll::Ready(waited) = turn.poll_begin(cx) else {
                let (now, last) = (Instant::now(), last + shared.waited() + turn.waited());
                if now >= last {
                    return Poll::Ready(Err(passed()));
                }
                // Looks whether a turn went stale.
                sleep.as_mut().reset(last.min(now + STALE));
                let _ = sleep.as_mut().poll(cx);
                return Poll::Pending;
            };
            shared.add(waited);
            let polled = call.as_mut().poll(cx);
            let is_interrupted = shared.is_interrupted.swap(false, Ordering::Relaxed);
            turn.end(is_interrupted && polled.is_pending(), cx);
            if polled.is_ready() {
                return polled;
            }
            let last = last + shared.waited();
            if sleep.deadline() != last {
                sleep.as_mut().reset(last);
            }
            sleep.as_mut().poll(cx).map(|()| Err(passed()))
        });
        let answer = run.await;
        (answer, shared.waited())
    }
}
