//! Advances the epochs of all engines while guests run, and sleeps while none do.
//!
//! This must not cost calls time. Waking a thread interrupts another processor, which takes longer
//! than most calls. So a guest about to run only sets a kernel timer, unless it is already set, and
//! the thread wakes when the first tick is due: by then most guests have returned.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::io;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use wasmtime::{Engine, EngineWeak};

use crate::thread;

/// How often guests are interrupted to check the clock and yield to other tasks.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The process's ticker, or the error if the kernel has no timer for it.
static TICKER: LazyLock<io::Result<Ticker>> = LazyLock::new(Ticker::new);

/// The engines whose epochs advance. The first one starts the thread.
static ENGINES: Mutex<Engines> = Mutex::new(Engines {
    thread: false,
    engines: Vec::new(),
});

struct Engines {
    /// Whether the thread was started.
    thread: bool,
    engines: Vec<EngineWeak>,
}

/// Advances the epochs of these engines for as long as they exist.
///
/// # Errors
/// The kernel has no timer or thread left.
pub(crate) fn add<'a>(engines: impl Iterator<Item = &'a Engine>) -> wasmtime::Result<()> {
    let ticker = TICKER.as_ref().map_err(|error| *error)?;
    let mut known = ENGINES.lock();
    known.engines.extend(engines.map(Engine::weak));
    if !known.thread {
        // A thread, not a task: guests must be interrupted even when they occupy the whole runtime.
        thread::keep_running("policy-epoch", || {
            loop {
                ticker.wait();
                advance();
            }
        })?;
        known.thread = true;
    }
    Ok(())
}

/// Counts a guest that is about to run until the returned guard is dropped.
pub(crate) fn enter() -> Option<Running<'static>> {
    // Creating an engine fails without a ticker.
    TICKER.as_ref().ok().map(Ticker::enter)
}

/// Advances the epochs of all engines.
fn advance() {
    let mut engines = ENGINES.lock();
    engines.engines.retain(|engine| {
        let engine = engine.upgrade();
        engine.inspect(Engine::increment_epoch).is_some()
    });
}

/// Ticks while guests run, and at most once more afterwards.
struct Ticker {
    /// Expires once, a [`TICK`] after it is set.
    timer: OwnedFd,
    /// Whether the timer is set; the thread that changes this to `true` sets it right afterwards.
    set: AtomicBool,
    /// Number of running guests.
    running: AtomicUsize,
}

/// Marks a guest as running until dropped.
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
        // `wait` uses the opposite order, so at least one side sees the other's change.
        self.running.fetch_add(1, Ordering::SeqCst);
        self.set_once();
        Running(self)
    }

    /// Waits for the next tick; the timer rests while no guest runs.
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
        // Fails only for invalid times and flags, which these are not.
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
    fn ticker_runs_only_while_guests_run() {
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
            // The tick that was due when the last guest returned.
            go.send(()).unwrap();
            ticks.recv().unwrap();
            go.send(()).unwrap();
            assert!(ticks.recv_timeout(10 * TICK).is_err());
            // A guest that starts after a pause gets ticks.
            let _third = ticker.enter();
            ticks.recv().unwrap();
            drop(go);
        });
    }
}
