//! The ticker: advances the epochs of all engines while guests run, and sleeps while none does.
//!
//! A call must not pay for it. To wake a thread interrupts another processor, which takes longer than
//! most calls do, so a guest that is about to run sets a timer of the kernel, unless it is set already,
//! and the thread wakes when the first tick is due: most guests are gone by then.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use wasmtime::{Engine, EngineWeak};

/// How often guests are interrupted to look at the clock and to let others run.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The one of this process; why there is none, where the kernel has no timer for it.
static TICKER: LazyLock<io::Result<Ticker>> = LazyLock::new(Ticker::new);

/// The engines whose epochs advance. There is a thread once there is one.
static ENGINES: Mutex<Engines> = Mutex::new(Engines {
    thread: false,
    engines: Vec::new(),
});

struct Engines {
    /// Whether there is a thread.
    thread: bool,
    engines: Vec<EngineWeak>,
}

/// Lets the epochs of engines advance as long as there are such engines.
///
/// # Errors
/// The kernel has no timer or no thread left.
pub(crate) fn add<'a>(engines: impl Iterator<Item = &'a Engine>) -> wasmtime::Result<()> {
    let ticker = TICKER.as_ref().map_err(|error| *error)?;
    let mut known = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    known.engines.extend(engines.map(Engine::weak));
    if !known.thread {
        // A thread, not a task: guests must be interrupted also when they occupy all of the runtime.
        std::thread::Builder::new()
            .name("policy-epoch".to_owned())
            .spawn(|| {
                loop {
                    ticker.wait();
                    advance();
                }
            })?;
        known.thread = true;
    }
    Ok(())
}

/// Counts a guest that is about to run, until what is given is dropped.
pub(crate) fn enter() -> Option<Running<'static>> {
    // An engine without a ticker cannot be made.
    TICKER.as_ref().ok().map(Ticker::enter)
}

/// Advances the epochs of all engines.
fn advance() {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.engines.retain(|engine| {
        let engine = engine.upgrade();
        engine.inspect(Engine::increment_epoch).is_some()
    });
}

/// Ticks while guests run, and at most once after that.
struct Ticker {
    /// Expires once, a [`TICK`] after it was set.
    timer: OwnedFd,
    /// Whether the timer is set, or whoever has changed this is about to set it.
    set: AtomicBool,
    /// How many guests run.
    running: AtomicUsize,
}

/// A guest that runs until this is dropped.
pub(crate) struct Running<'a>(&'a Ticker);

impl Ticker {
    fn new() -> io::Result<Self> {
        Ok(Self {
            timer: timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?,
            set: AtomicBool::new(false),
            running: AtomicUsize::new(0),
        })
    }

    fn enter(&self) -> Running<'_> {
        // In this order, as `wait` looks in the other: one of the two sees what the other did.
        self.running.fetch_add(1, Ordering::SeqCst);
        self.set_once();
        Running(self)
    }

    /// Waits for the next tick; as long as no guest runs there is none.
    fn wait(&self) {
        let mut expirations = [0; size_of::<u64>()];
        if io::retry_on_intr(|| io::read(&self.timer, &mut expirations)).is_err() {
            std::thread::sleep(TICK);
        }
        self.set.store(false, Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) > 0 {
            self.set_once();
        }
    }

    fn set_once(&self) {
        if self.set.load(Ordering::SeqCst) || self.set.swap(true, Ordering::SeqCst) {
            return;
        }
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timer = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_nsec: TICK.subsec_nanos().into(),
                ..zero
            },
        };
        // Fails for times and flags that are none, which these are not.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_ticks_while_guests_run_and_at_most_once_after_the_last() {
        let ticker = Ticker::new().unwrap();
        let (ticked, ticks) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let ticker = &ticker;
            scope.spawn(move || {
                while gone.recv().is_ok() {
                    ticker.wait();
                    ticked.send(()).unwrap();
                }
            });
            go.send(()).unwrap();
            assert!(ticks.recv_timeout(10 * TICK).is_err());
            let first = ticker.enter();
            let second = ticker.enter();
            ticks.recv().unwrap();
            drop(first);
            for _ in 0..3 {
                go.send(()).unwrap();
                ticks.recv().unwrap();
            }
            drop(second);
            // The one that was due when the last guest went.
            go.send(()).unwrap();
            ticks.recv().unwrap();
            go.send(()).unwrap();
            assert!(ticks.recv_timeout(10 * TICK).is_err());
            // A guest that comes after a pause is seen.
            let _third = ticker.enter();
            ticks.recv().unwrap();
            drop(go);
        });
    }
}
