//! The CNI specification as types: versions, the parameters of one call, configurations, results
//! in all their forms, and errors. Nothing here reads a file, starts a process or knows the time:
//! bytes go in, checked values come out.
//!
//! A configuration belongs to whoever wrote it. It is therefore kept as ordered JSON text of which
//! only the members that the specification tells a runtime to insert are ever touched; see
//! [`json::RawObject`].

pub mod address;
pub mod args;
mod clip;
pub mod conf;
pub mod error;
pub mod json;
pub mod result;
pub mod version;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
