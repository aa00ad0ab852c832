//! The CNI specification as types: versions, call parameters, configurations, results in all
//! forms, and errors. Sans-IO: no files, processes or clocks; bytes in, validated values out.
//!
//! A configuration belongs to its author. It is kept as ordered JSON text; only the members that
//! the specification tells a runtime to insert are modified. See [`json::RawObject`].

#![warn(missing_docs)]

pub mod address;
pub mod args;
pub mod capability;
mod clip;
pub mod conf;
pub mod error;
pub mod json;
pub mod pod;
pub mod result;
pub mod text;
pub mod version;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
