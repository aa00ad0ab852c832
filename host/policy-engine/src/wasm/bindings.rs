//! The generated bindings of every served package version, alone in one file. The compiler
//! generates them from `wit/`.
//!
//! Interfaces of an older version that a newer one has or extends are mapped to it using `with` and
//! linked under both names. `types` of 0.3 differs from that of the versions before, so both are
//! implemented, from one description: see the files in `imports`.
#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    private_interfaces,
    private_bounds,
    dead_code,
    clippy::all,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "generated code"
)]

pub(crate) use v0_3::cnidaria;

pub(crate) mod v0_3 {
    wasmtime::component::bindgen!({
        path: "../../wit/policy-0.3.0",
        world: "policy",
        imports: {
            // Waits for a file.
            "cnidaria:policy/state.swap": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "cnidaria:policy/types.request": crate::wasm::imports::handle::RequestHandle,
            "cnidaria:policy/types.selections": crate::wasm::imports::handle::SelectionsHandle,
            "cnidaria:policy/types.attachment": crate::wasm::imports::handle::AttachmentHandle,
            "cnidaria:policy/types.outcome": crate::wasm::imports::handle::OutcomeHandle,
            "cnidaria:policy/types.plan": crate::wasm::imports::handle::PlanHandle,
        },
    });
}

pub(crate) mod v0_2 {
    wasmtime::component::bindgen!({
        path: "../../wit/policy-0.2.0",
        world: "policy",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "cnidaria:policy/types.request": crate::wasm::imports::handle::RequestHandle,
            "cnidaria:policy/types.selections": crate::wasm::imports::handle::SelectionsHandle,
            "cnidaria:policy/types.attachment": crate::wasm::imports::handle::AttachmentHandle,
            "cnidaria:policy/types.outcome": crate::wasm::imports::handle::OutcomeHandle,
            "cnidaria:policy/types.plan": crate::wasm::imports::handle::PlanHandle,
            "cnidaria:policy/settings": crate::wasm::bindings::v0_3::cnidaria::policy::settings,
            "cnidaria:policy/log": crate::wasm::bindings::v0_3::cnidaria::policy::log,
            "cnidaria:policy/namespaces": crate::wasm::bindings::v0_3::cnidaria::policy::namespaces,
            "cnidaria:policy/nads": crate::wasm::bindings::v0_3::cnidaria::policy::nads,
            "cnidaria:policy/node": crate::wasm::bindings::v0_3::cnidaria::policy::node,
            "cnidaria:policy/metrics": crate::wasm::bindings::v0_3::cnidaria::policy::metrics,
            "cnidaria:policy/clock": crate::wasm::bindings::v0_3::cnidaria::policy::clock,
            "cnidaria:policy/random": crate::wasm::bindings::v0_3::cnidaria::policy::random,
            "cnidaria:policy/state": crate::wasm::bindings::v0_3::cnidaria::policy::state,
        },
    });
}

pub(crate) mod v0_1 {
    wasmtime::component::bindgen!({
        path: "../../wit/policy-0.1.0",
        world: "policy",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "cnidaria:policy/types": crate::wasm::bindings::v0_2::cnidaria::policy::types,
            "cnidaria:policy/settings": crate::wasm::bindings::v0_3::cnidaria::policy::settings,
            "cnidaria:policy/log": crate::wasm::bindings::v0_3::cnidaria::policy::log,
            "cnidaria:policy/namespaces": crate::wasm::bindings::v0_3::cnidaria::policy::namespaces,
            "cnidaria:policy/nads": crate::wasm::bindings::v0_3::cnidaria::policy::nads,
            "cnidaria:policy/node": crate::wasm::bindings::v0_3::cnidaria::policy::node,
            "cnidaria:policy/metrics": crate::wasm::bindings::v0_3::cnidaria::policy::metrics,
            "cnidaria:policy/clock": crate::wasm::bindings::v0_3::cnidaria::policy::clock,
            "cnidaria:policy/random": crate::wasm::bindings::v0_3::cnidaria::policy::random,
            "cnidaria:policy/state": crate::wasm::bindings::v0_3::cnidaria::policy::state,
        },
    });
}
