//! What is measured: one file per section of the report.

pub(crate) mod api;
pub(crate) mod authoring;
pub(crate) mod bare;
pub(crate) mod burst;
pub(crate) mod edits;
pub(crate) mod growth;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod modules;
pub(crate) mod operating;
pub(crate) mod policies;
pub(crate) mod real;
pub(crate) mod shim;
