//! Sandboxed WebAssembly policies over CNI requests: compile, cache, limit and call.
//!
//! The only crate that knows wasmtime. [`PolicyHost`] loads policies from a directory. A request
//! takes the current [`Generation`], begins a [`Session`] and calls its hooks in request order.
//! The host owns the transaction: guests stage edits; when the policy accepts, the session applies
//! them and returns the edited value with a [`Report`].

mod allowance;
mod artifact;
mod bindings;
mod call;
#[cfg(feature = "compile")]
pub mod compile;
mod config;
mod confinement;
mod digest;
mod engine;
mod footprint;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod generation;
mod hooks;
mod host;
mod imports;
mod journal;
mod kept;
mod leftovers;
mod load;
mod memory;
mod module;
mod policy;
mod ports;
mod quarantine;
mod ready;
mod regular;
mod report;
mod request;
mod services;
mod session;
mod state;
mod store;
mod ticker;
mod transaction;
#[cfg(feature = "compile")]
pub mod trial;
mod version;
#[cfg(feature = "wasi")]
mod wasi;
mod watch;
mod witness;

pub use generation::{Generation, Mode, PolicyInfo, State};
pub use host::{Config, PolicyHost};
pub use ports::{Cluster, Evaluation, Needs, Observer, Skipped, Verdict};
pub use report::{AppliedEdit, Cause, Denied, Finding, Hook, Report, Severity};
pub use request::{
    Attachment, Bandwidth, Chosen, Command, PodRef, PortMapping, RequestFacts, Selection,
};
pub use session::{Finale, Outcome, Selected, Session};
pub use witness::{Call, Level, Witness};
