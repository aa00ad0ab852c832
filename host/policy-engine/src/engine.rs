//! The wasmtime engines: one configuration for compiling and for running, and the slots that
//! instances are made in.

use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, WasmFeatures};

use crate::config::{Limits, count};
use crate::ticker;

/// Bytes of stack for host functions, on top of those of the guest.
const HOST_STACK: usize = 512 << 10;

/// Instances that can be alive in slots. A slot that was used once keeps some 60 KiB, so this bounds
/// what a burst leaves behind. Those beyond are made without a slot, which takes several times as long.
const SLOTS: u32 = 128;

/// Address space of a memory: all that a guest's pointers can reach, so that nothing is checked in front
/// of an access.
const SLOT_SPACE: u64 = 4 << 30;

/// The most that a memory in a slot can grow to.
const SLOT_MEMORY: usize = 16 << 20;

/// Bytes of a slot's memory that are cleared and kept for the next instance, where the kernel tells
/// which pages were written; the pages of small guests. Others are given back.
const KEPT_MEMORY: usize = 128 << 10;

/// The same of a table. Tables are small and cleared without asking the kernel.
const KEPT_TABLE: usize = 16 << 10;

/// Names everything that decides whether a compiled artefact fits: part of its name in the cache.
///
/// To be raised with every change of [`config`]. wasmtime refuses artefacts of another
/// configuration all the same.
pub(crate) const COMPATIBILITY: &str = concat!(
    "5-",
    env!("CARGO_PKG_VERSION_MAJOR"),
    env!("CARGO_PKG_VERSION_MINOR")
);

/// The proposals that a policy may use; every other one is refused, also those of future versions of
/// wasmtime. Each is code of the runtime that a guest can reach, so it has a reason to be here.
///
/// - WebAssembly 2.0 is what compilers emit by default. The types of garbage collection are not part
///   of it here: this build of wasmtime has no collector.
/// - Constant expressions (`extended-const`) position the data of libraries that are linked when the
///   component is made, as componentize-py does.
/// - Several memories in one module: wasmtime itself writes such a module to pass values between the
///   components that a policy was composed of, and validates it like the policy's own.
/// - Tail calls: the interpreter inside of policies in JavaScript is compiled to them.
///
/// Refused are therefore garbage collection and function references (a type test of functions aborts
/// the process in a build without a collector, RUSTSEC-2026-0570), exceptions, threads, stack
/// switching, 64-bit memories, relaxed SIMD, wide arithmetic, custom page sizes; and of the
/// component model everything but the model: async, threading, error contexts, maps, fixed-length
/// lists, 64-bit and garbage-collected canonical ABIs.
const PROPOSALS: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::COMPONENT_MODEL);

/// The configuration that artefacts are compiled with and run with. The size of the stack is a
/// matter of running alone, but the engine's, since a store has none of its own.
fn config(stack: usize) -> Config {
    let mut config = Config::new();
    config
        .wasm_features(PROPOSALS.complement(), false)
        .wasm_features(PROPOSALS, true)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK)
        // Bounds are checked by the kernel's page protection: with checks in the machine code it is half
        // as large again, and a request finds none of it in the processor's caches.
        .memory_reservation(SLOT_SPACE)
        // A guest's frames tell nobody anything; without the map artefacts are a third smaller, and a
        // twentieth without what debuggers walk the stack by.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

/// Slots for instances that stay within the default limits.
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
        // What is used once is used again before anything else is.
        .max_unused_warm_slots(0)
        .table_keep_resident(KEPT_TABLE);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        slots
            .linear_memory_keep_resident(KEPT_MEMORY)
            .pagemap_scan(Enabled::Auto);
    } else {
        // Linux before 6.7: all is given back, several at a time.
        slots.decommit_batch_size(8);
    }
    slots
}

/// An engine for compiling, with the stack of policies that ask for no other; without a ticker.
#[cfg(any(test, feature = "compile"))]
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    Engine::new(&config(count(Limits::default().stack_bytes)))
}

/// Engines for guests with one size of stack. Their epochs advance while guests run.
#[derive(Clone, Debug)]
pub(crate) struct Engines {
    /// Makes instances in slots. None where a policy may use more than fits into a slot, or where the
    /// machine has no address space for them.
    pub(crate) slots: Option<Engine>,
    /// Makes every instance anew.
    pub(crate) plain: Engine,
}

impl Engines {
    /// Engines for policies with such limits.
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
                        "no slots for instances of policies, which makes them slower",
                    );
                })
                .ok()
        } else {
            None
        };
        ticker::add(slots.iter().chain([&plain]))?;
        Ok(Self { slots, plain })
    }
}

/// What decides on which engines a policy runs: two policies with the same can share them.
pub(crate) fn kind(limits: &Limits) -> (u64, bool) {
    (limits.stack_bytes, fits(limits))
}

/// Whether all that a policy may allocate has room in a slot.
fn fits(limits: &Limits) -> bool {
    let most = Limits::default();
    limits.stack_bytes <= most.stack_bytes
        && limits.memory_bytes <= most.memory_bytes
        && limits.table_elements <= most.table_elements
}
