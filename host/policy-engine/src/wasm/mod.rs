//! Running modules: engines, linking, instances, and the interfaces that guests import.

pub(crate) mod allowance;
pub(crate) mod bindings;
pub(crate) mod engine;
pub(crate) mod footprint;
pub(crate) mod hooks;
pub(crate) mod imports;
pub(crate) mod instance;
pub(crate) mod machine_code;
pub(crate) mod memory;
pub(crate) mod module;
pub(crate) mod running;
pub(crate) mod services;
pub(crate) mod stage;
pub(crate) mod store;
pub(crate) mod ticker;
pub(crate) mod trials;
pub(crate) mod turns;
pub(crate) mod usage;
pub(crate) mod version;
#[cfg(feature = "wasi")]
pub(crate) mod wasi;
