//! Runs recorded hooks of a policy natively, with the SDK's structs in place of the host.

mod guest;
mod native;
mod shown;

pub use native::{Done, Found, Hooks, Native, component};
