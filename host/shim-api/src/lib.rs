//! What the shim, the command line and the daemon say to each other over the unix socket, as bytes
//! in and bytes out. The protocol is that of Multus' thick plugin, so each side may be Multus' own.
//! This crate opens no socket, knows no runtime and decides nothing: it only encodes and decodes,
//! with a bound on everything that comes from outside.
//!
//! ```text
//! request ─▶ http::post ═══ unix socket ═══▶ request::parse ─▶ the daemon
//! response ◀─ http::Decoder ◀═══════════════ response::success | response::failure
//! ```

pub mod admin;
pub mod endpoint;
pub mod exchange;
pub mod http;
mod object;
pub mod request;
pub mod response;

pub use request::{InterfaceAttributes, Request};
