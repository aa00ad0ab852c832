//! The Cnidaria CNI server: a daemon that answers the CNI requests of a node.
//!
//! Modules stand in the order of a request's way: the [`server`] takes bytes from the socket, the
//! [`pipeline`] puts them through the [`stages`], which know the world through [`ports`] alone,
//! and [`response`] makes bytes of the outcome; [`adapters`] implement the ports, and [`app`] ties
//! everything together.

pub mod app;
pub mod log;

pub mod config;

pub mod multus_conf;

pub mod server;

pub mod pipeline;

pub mod stages;

pub mod response;

pub mod ports;

pub mod domain;

pub mod adapters;

pub mod report;

mod admin;

mod quiet;

mod yaml;

pub mod watch;
