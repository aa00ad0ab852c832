//! The wasmtime engine: one configuration for compiling and for running, and the epoch ticker.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::{Config, Engine};

/// How often guests are interrupted to look at the clock and to let others run.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Bytes of stack for one guest; the engine's, since a store has none of its own.
const MAX_STACK: usize = 512 << 10;

/// Names everything that decides whether a compiled artefact fits: part of its name in the cache.
///
/// To be raised with every change of [`config`]. wasmtime refuses artefacts of another
/// configuration all the same.
pub(crate) const COMPATIBILITY: &str = concat!(
    "1-",
    env!("CARGO_PKG_VERSION_MAJOR"),
    env!("CARGO_PKG_VERSION_MINOR")
);

/// The configuration that artefacts are compiled with and run with.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(MAX_STACK)
        .async_stack_size(2 * MAX_STACK)
        // A guest's frames tell nobody anything; without the map artefacts are a third smaller.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}

/// An engine for compiling or running; without a ticker.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&config())
}

/// The guests that run at the moment, on whatever engine.
pub(crate) static GUESTS: Guests = Guests {
    running: Mutex::new(0),
    first: Condvar::new(),
};

/// Counts guests, so that nothing ticks while none runs: an idle node has no business to wake up.
pub(crate) struct Guests {
    running: Mutex<usize>,
    first: Condvar,
}

/// A guest that runs until this is dropped.
pub(crate) struct Running<'a>(&'a Guests);

impl Guests {
    /// Counts a guest that is about to run.
    pub(crate) fn enter(&self) -> Running<'_> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        if *running == 1 {
            self.first.notify_all();
        }
        Running(self)
    }

    /// Waits as long as no guest runs.
    fn wait(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.first.wait_while(running, |running| *running == 0));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *running -= 1;
    }
}

/// An engine whose epoch advances every [`TICK`] while guests run.
pub(crate) fn ticking() -> wasmtime::Result<Arc<Engine>> {
    let engine = Arc::new(engine()?);
    let weak = engine.weak();
    // A thread, not a task: guests must be interrupted also when they occupy all of the runtime.
    std::thread::Builder::new()
        .name("policy-epoch".to_owned())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                GUESTS.wait();
                std::thread::sleep(TICK);
            }
        })?;
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_ticker_waits_for_the_first_guest_and_not_for_the_last() {
        let guests = Guests {
            running: Mutex::new(0),
            first: Condvar::new(),
        };
        let (ticked, ticks) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                guests.wait();
                ticked.send(()).unwrap();
            });
            assert!(ticks.recv_timeout(Duration::from_millis(50)).is_err());
            let first = guests.enter();
            ticks.recv().unwrap();
            let second = guests.enter();
            drop(first);
            guests.wait();
            drop(second);
        });
        assert_eq!(*guests.running.lock().unwrap(), 0);
    }
}
