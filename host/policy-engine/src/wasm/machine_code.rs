//! Machine code of modules, as an engine of the same configuration compiled it.

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps a copy of an artefact of the cache.
#[expect(
    unsafe_code,
    reason = "maps machine code that was compiled from a module"
)]
pub(crate) fn map(engine: &Engine, artefact: &Path) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime executes the file's contents, so they must be what this engine's compiler
    // wrote, and must not change while mapped. The contract that ensures this:
    // - `load::artifact` found the directory and file writable only by root or this user, and the
    //   directory searchable by no other user;
    // - the file is its copy, which has no name: what happens to the file in the cache afterwards
    //   does not change it;
    // - only its `Compiler::compile` writes in the directory: to a temporary name, synced, and
    //   renamed once the compiler succeeded; a file with its final name is never written;
    // - wasmtime rejects files of another version, configuration or processor.
    unsafe { Component::deserialize_file(engine, artefact) }
}

/// Loads the artefact of a dry run.
#[cfg(feature = "compile")]
#[expect(
    unsafe_code,
    reason = "runs machine code that was compiled from a module"
)]
pub(crate) fn read(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the daemon names a file of its cache, which it has loaded by the contract of `map`.
    unsafe { Component::deserialize(engine, artefact) }
}

/// Copies a component to another engine of the same configuration.
#[expect(
    unsafe_code,
    reason = "copies machine code that was compiled from a module"
)]
pub(crate) fn copy(component: &Component, engine: &Engine) -> wasmtime::Result<Component> {
    let bytes = component.serialize()?;
    // SAFETY: the bytes are those of a component that `map` has loaded or this process has compiled,
    // unchanged.
    unsafe { Component::deserialize(engine, bytes) }
}
