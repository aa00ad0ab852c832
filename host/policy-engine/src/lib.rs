//! Sandboxed WebAssembly policies over CNI requests: compile, cache, limit and call.
//!
//! The only crate that knows wasmtime. [`PolicyHost`] loads policies from a directory. A request
//! takes the current [`Generation`], begins a [`Session`] and calls its hooks in request order.
//! The host owns the transaction: guests stage edits; when the policy accepts, the session applies
//! them and returns the edited value with a [`Report`].

#[cfg(feature = "compile")]
pub mod compile;
mod config;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod load;
mod model;
mod pool;
pub mod record;
mod run;
mod state;
mod thread;
mod transaction;
#[cfg(feature = "compile")]
pub mod trial;
mod wasm;

pub use config::{Config, Recording, Redaction};
pub use model::description::Description;
pub use model::patch::{Change, Operation, Patch};
pub use model::policy::{LastFailure, LoadState, Mode, PolicyInfo};
pub use model::ports::{Cluster, Evaluation, Needs, NodeAttachment, Observer, Skipped, Verdict};
pub use model::report::{AddFailure, AppliedEdit, Cause, Denied, Finding, Hook, Report, Severity};
pub use model::request::{
    Bandwidth, Chosen, ChosenDefault, Command, Fixed, Networks, Origin, Owner, PodRef, PodSpec,
    PolicyAttachment, PortMapping, RequestFacts, Selection,
};
pub use model::witness::{Call, Level, Witness};
pub use run::generation::Generation;
pub use run::host::PolicyHost;
pub use run::session::{Finale, Outcome, Selected, Session};
