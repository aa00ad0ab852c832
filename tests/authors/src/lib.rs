//! Runs recorded hooks of a policy natively, with the SDK's structs in place of the host.

mod native;

pub use native::{Done, Hooks, component, native};
