//! Policies as operators write them: two directories of files, parsed into specifications.
//!
//! Nothing here opens a module or knows WebAssembly. A faulty file affects only its own policy.

mod directory;
mod engine;
mod error;
mod failure;
mod file;
mod limits;
mod matching;
mod members;
mod recording;
pub(crate) mod schema;

pub(crate) use directory::{FoundPolicy, Reading, off, restored, scan};
pub use engine::Config;
pub(crate) use error::Error;
#[cfg_attr(
    not(feature = "compile"),
    expect(unreachable_pub, reason = "only trials show it to other crates")
)]
pub use error::Position;
pub(crate) use failure::FailurePolicies;
pub(crate) use file::{OnConflict, Spec, settings_at};
pub(crate) use limits::{Limits, count};
pub(crate) use matching::Match;
pub use recording::{Recording, Redaction};
