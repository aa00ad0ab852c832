//! What authors of policies do with the `cnidaria` command line: create a project, build it, check its
//! configuration, run it on one pod, and test it with cases. Needs no root, no daemon and no cluster.
//!
//! Everything that a policy does goes through the daemon's own engine, so that the two cannot differ.

mod bench;
mod build;
mod case;
mod check;
mod explain;
mod files;
mod inspect;
mod language;
mod manifests;
mod new;
mod node;
mod policy;
mod replay;
mod run;
mod suggest;
mod template;
mod test;
mod text;
mod tree;

pub use bench::{BenchArgs, Error as BenchError, bench};
pub use build::{BuildArgs, Error as BuildError, build};
pub use check::{CheckArgs, Error as CheckError, check};
pub use explain::{ExplainArgs, explain};
pub use inspect::{Error as InspectError, InspectArgs, inspect};
pub use language::Language;
pub use new::{Error as NewError, NewArgs, new};
pub use policy::Error as PolicyError;
pub use replay::{Error as ReplayError, ReplayArgs, replay};
pub use run::{Error as RunError, RunArgs, run};
pub use test::{Error as TestError, RecordedCase, TestArgs, recorded, test};

/// Exit code if a policy denied a request, cases failed, or recorded requests would change.
pub const FAILED: u8 = 3;

/// What a command prints, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Text for standard output.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Output {
    fn success(text: String) -> Self {
        Self { text, code: 0 }
    }
}

/// Reads a module of at most the daemon's size.
///
/// # Errors
/// If the file cannot be read or is too large.
pub fn module(path: &std::path::Path) -> Result<Vec<u8>, PolicyError> {
    policy::read(path, policy::MAX_MODULE)
}

/// A runtime for one command: everything that waits does so on this thread.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing that could be missing")
}

/// Escapes characters that deceive readers, or that a terminal would obey: policies choose some texts.
fn plain(text: &str) -> String {
    cni_types::text::plain(text).into_owned()
}
