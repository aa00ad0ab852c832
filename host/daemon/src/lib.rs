//! The Cnidaria CNI server: a daemon that answers the CNI requests of a node.
//!
//! Modules, in request order: the [`server`] reads bytes from the socket, the [`pipeline`] passes
//! them through the [`stages`], which reach the outside only through [`ports`], and [`response`]
//! turns the outcome into bytes. The [`adapters`] implement the ports, and [`app`] wires everything
//! together.

pub mod app;
pub mod log;

pub mod config;

pub mod multus_conf;

pub mod server;

pub mod response;

pub mod adapters;

mod admin;

mod quiet;

mod watch;
