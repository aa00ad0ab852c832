//! The wasmtime engine: one configuration for compiling and for running, and the epoch ticker.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::{Config, Engine};

/// How often guests are interrupted to look at the clock and to let others run.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Bytes of stack for host functions, on top of those of the guest.
const HOST_STACK: usize = 512 << 10;

/// Names everything that decides whether a compiled artefact fits: part of its name in the cache.
///
/// To be raised with every change of [`config`]. wasmtime refuses artefacts of another
/// configuration all the same.
pub(crate) const COMPATIBILITY: &str = concat!(
    "1-",
    env!("CARGO_PKG_VERSION_MAJOR"),
    env!("CARGO_PKG_VERSION_MINOR")
);

/// The configuration that artefacts are compiled with and run with. The size of the stack is a
/// matter of running alone, but the engine's, since a store has none of its own.
fn config(stack: usize) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK)
        // A guest's frames tell nobody anything; without the map artefacts are a third smaller.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}

/// An engine for compiling, with the stack of policies that ask for no other; without a ticker.
#[cfg(any(test, feature = "compile"))]
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&config(crate::config::count(
        crate::config::Limits::default().stack_bytes,
    )))
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

/// An engine for guests with so many bytes of stack, whose epoch advances every [`TICK`] while
/// guests run.
pub(crate) fn ticking(stack: usize) -> wasmtime::Result<Engine> {
    let engine = Engine::new(&config(stack))?;
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
