//! An API server that stands in for a real one in tests. It is strict where a lenient one would hide
//! a mistake of its client: it speaks TLS only, knows who asks, allows what the cluster roles of the
//! installation allow and nothing else, refuses parameters that it does not know, and records every
//! request so that tests can count. What goes wrong in a real cluster goes wrong here on demand.

#![allow(clippy::indexing_slicing, reason = "a test that fails here says where")]

mod certificates;
mod faults;
mod handler;
mod kinds;
mod object;
mod patch;
mod rbac;
mod record;
mod server;
mod signing;
mod status;
mod store;
mod users;
mod watch;

use std::path::PathBuf;

pub use faults::Fault;
pub use record::Recorded;
pub use server::{Builder, FakeApi};
pub use users::User;

/// Why the stand-in could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A manifest of roles cannot be used.
    #[error("{path}: {reason}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
