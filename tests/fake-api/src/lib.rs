//! A fake API server for tests. It is strict where a lenient one would hide its client's mistakes:
//! it speaks only TLS, authenticates every request, allows only what the installation's cluster
//! roles allow, rejects unknown parameters, and records every request so that tests can count.
//! Tests can inject the failures of a real cluster.

#![allow(clippy::indexing_slicing, reason = "a test that fails here says where")]

mod certificates;
mod faults;
mod handler;
mod kinds;
mod object;
mod patch;
mod rbac;
mod record;
mod schema;
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

/// Why the server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A manifest of roles is unusable.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        reason: String,
    },
    /// A certificate cannot be created.
    #[error("certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// A system call failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
