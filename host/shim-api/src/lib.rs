//! What the shim, the command line and the daemon say to each other over the unix socket. The protocol
//! is that of Multus' thick plugin, so each side may be Multus' own. Bytes in and bytes out, with a
//! bound on everything that comes from outside; only [`exchange`], for the blocking clients, touches a
//! socket. This crate knows no runtime and decides nothing.
//!
//! ```text
//! request ─▶ http::post ═══ unix socket ═══▶ request::parse ─▶ the daemon
//! response ◀─ http::Decoder ◀═══════════════ response::success | response::failure
//! ```

pub mod admin;
pub mod attributes;
pub mod deferred;
pub mod endpoint;
pub mod exchange;
pub mod http;
mod object;
pub mod peer;
pub mod request;
pub mod response;

pub use attributes::InterfaceAttributes;
pub use request::Request;
