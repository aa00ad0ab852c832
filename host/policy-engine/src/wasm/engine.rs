//! The wasmtime engines: one configuration for compiling and running, and the instance slots.

use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, WasmFeatures};

use crate::config::{Limits, count};
use crate::wasm::ticker;

/// Bytes of stack for host functions, on top of the guest's.
const HOST_STACK: usize = 512 << 10;

/// Number of instance slots. A slot keeps about 60 KiB once used, so this bounds what a burst
/// leaves behind. Further instances are made without a slot, which takes several times as long.
const SLOTS: u32 = 128;

/// Address space of a memory: all that a guest can address, so that accesses need no bounds checks.
const SLOT_SPACE: u64 = 4 << 30;

/// Maximum size of a memory in a slot.
const SLOT_MEMORY: usize = 16 << 20;

/// Bytes of a slot's memory that are cleared and kept for the next instance, if the kernel reports
/// which pages were written; enough for small guests. The rest is returned to the kernel.
const KEPT_MEMORY: usize = 128 << 10;

/// The same for a table. Tables are small and cleared without asking the kernel.
const KEPT_TABLE: usize = 16 << 10;

/// Identifies everything that determines whether a compiled artefact fits: part of its cache name.
///
/// Raise the number with every change to [`config`]. As a safeguard, wasmtime also rejects
/// artefacts of another configuration.
pub(crate) const COMPATIBILITY: &str = concat!(
    "5-",
    env!("CARGO_PKG_VERSION_MAJOR"),
    env!("CARGO_PKG_VERSION_MINOR")
);

/// The WebAssembly proposals that a policy may use; all others are rejected, including those of
/// future wasmtime versions. Each is runtime code that a guest can reach, so each needs a reason:
///
/// - WebAssembly 2.0 is what compilers emit by default, here without its garbage collection types:
///   this build of wasmtime has no collector.
/// - Constant expressions (`extended-const`) place the data of libraries that are linked when the
///   component is made, as componentize-py does.
/// - Several memories in one module: wasmtime itself writes such a module to pass values between
///   the components that a policy is composed of, and validates it like the policy's own.
/// - Tail calls: the interpreter inside JavaScript policies is compiled to them.
///
/// Rejected are therefore garbage collection and function references (a type test of functions
/// aborts the process in a build without a collector, RUSTSEC-2026-0570), exceptions, threads,
/// stack switching, 64-bit memories, relaxed SIMD, wide arithmetic, custom page sizes; and all
/// extensions of the component model: async, threading, error contexts, maps, fixed-length lists,
/// 64-bit and garbage-collected canonical ABIs.
const PROPOSALS: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::COMPONENT_MODEL);

/// The configuration for compiling and running artefacts. The stack size matters only for running,
/// but wasmtime sets it per engine, not per store.
fn config(stack: usize) -> Config {
    let mut config = Config::new();
    config
        .wasm_features(PROPOSALS.complement(), false)
        .wasm_features(PROPOSALS, true)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK)
        // The kernel's page protection checks bounds: checks in the machine code make it half as
        // large again, and requests find none of it in the processor's caches.
        .memory_reservation(SLOT_SPACE)
        // No backtraces: guest frames do not help operators. Without the address map artefacts are a third
        // smaller, and without unwind information another twentieth.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

/// Slots for instances within the default limits.
fn slots() -> PoolingAllocationConfig {
    let limits = Limits::default();
    let tables = u32::try_from(limits.tables).unwrap_or(u32::MAX);
    let mut slots = PoolingAllocationConfig::new();
    slots
        .total_component_instances(SLOTS)
        .total_core_instances(SLOTS * 8)
        .total_memories(SLOTS)
        .total_tables(SLOTS * 2)
        .total_stacks(SLOTS)
        .max_memory_size(SLOT_MEMORY)
        .max_memories_per_module(u32::try_from(limits.memories).unwrap_or(u32::MAX))
        .max_tables_per_module(tables)
        .table_elements(count(limits.table_elements))
        // Reuse a used slot before an unused one.
        .max_unused_warm_slots(0)
        .table_keep_resident(KEPT_TABLE);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        slots
            .linear_memory_keep_resident(KEPT_MEMORY)
            .pagemap_scan(Enabled::Auto);
    } else {
        // Before Linux 6.7 all memory is returned to the kernel, several slots at a time.
        slots.decommit_batch_size(8);
    }
    slots
}

/// An engine for compiling, with the default stack size and no ticker.
#[cfg(any(test, feature = "compile"))]
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&config(count(Limits::default().stack_bytes)))
}

/// Engines for guests with one stack size. Their epochs advance while guests run.
#[derive(Clone, Debug)]
pub(crate) struct Engines {
    /// Makes instances in slots. `None` if a policy needs more, or the address space is too small.
    pub(crate) slots: Option<Engine>,
    /// Makes instances without slots.
    pub(crate) plain: Engine,
}

impl Engines {
    /// Engines for policies with these limits.
    pub(crate) fn ticking(limits: &Limits) -> wasmtime::Result<Self> {
        let mut config = config(count(limits.stack_bytes));
        let plain = Engine::new(&config)?;
        let slots = if fits(limits) {
            config.allocation_strategy(slots());
            Engine::new(&config)
                .inspect_err(|error| {
                    tracing::warn!(
                        target: "cnidaria::policy",
                        error = %format!("{error:#}"),
                        "cannot reserve slots for policy instances; policies are slower without them",
                    );
                })
                .ok()
        } else {
            None
        };
        ticker::add(slots.iter().chain([&plain]))?;
        Ok(Self { slots, plain })
    }

    /// The engine of a dry run.
    #[cfg(feature = "compile")]
    pub(crate) fn without_slots(limits: &Limits) -> wasmtime::Result<Self> {
        let plain = Engine::new(&config(count(limits.stack_bytes)))?;
        ticker::add([&plain].into_iter())?;
        Ok(Self { slots: None, plain })
    }
}

/// What determines a policy's engines: policies of equal kind can share them.
pub(crate) fn kind(limits: &Limits) -> (u64, bool) {
    (limits.stack_bytes, fits(limits))
}

/// Whether everything that a policy may allocate fits into a slot.
fn fits(limits: &Limits) -> bool {
    let most = Limits::default();
    // Other stacks need an engine of their own, and its slots would take address space once more.
    limits.stack_bytes == most.stack_bytes
        && limits.memory_bytes <= most.memory_bytes
        && limits.table_elements <= most.table_elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_default_stack_has_slots() {
        let most = Limits::default();
        let with = |stack_bytes| Limits {
            stack_bytes,
            ..most
        };
        assert!(fits(&most));
        for stack in [most.stack_bytes / 2, most.stack_bytes + 1] {
            assert!(Engines::ticking(&with(stack)).unwrap().slots.is_none());
        }
    }
}
