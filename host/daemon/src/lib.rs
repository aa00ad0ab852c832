//! The Cnidaria CNI server: a daemon that answers the CNI requests of a node.
//!
//! In request order: the [`server`] reads bytes from the socket, the pipeline of
//! [`cnidaria_core`] handles them and reaches the outside only through its ports, and
//! [`response`] turns the outcome into bytes. The [`adapters`] implement the ports, and [`app`]
//! wires everything together.

pub mod app;
pub mod log;

pub use config;

pub mod multus_conf;

pub mod server;

pub mod response;

pub mod adapters;

mod admin;
mod explain;

mod idle;

pub mod trace;

mod watch;
