//! The protocol between shim, command line and daemon over the unix socket: that of Multus' thick
//! plugin, so either side may be Multus' own. Sans-IO, with a limit on all external input; only
//! [`exchange`], for the blocking clients, uses a socket. Contains no async runtime and no policy.
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
pub mod explain;
pub mod http;
pub mod log;
mod mismatch;
mod object;
pub mod peer_credentials;
pub mod request;
pub mod response;
pub mod trace;

pub use attributes::InterfaceAttributes;
pub use request::Request;
