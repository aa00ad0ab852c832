//! The wasmtime engine: one configuration for compiling and for running, and the epoch ticker.

use std::sync::Arc;
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

/// An engine whose epoch advances every [`TICK`] for as long as it is used.
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
                std::thread::sleep(TICK);
            }
        })?;
    Ok(engine)
}
