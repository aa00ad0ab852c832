//! How the daemon answers CNI requests, without the daemon: no socket, no cluster, no files of its
//! own.
//!
//! The [`pipeline`] passes a request through the [`stages`], which reach the outside only through
//! [`ports`]; the [`domain`] is what they speak about, and [`conf`] the settings that they use.

pub mod conf;
pub mod domain;
pub mod pipeline;
pub mod ports;
pub mod report;
pub mod spans;
pub mod stages;
pub mod supervision;
