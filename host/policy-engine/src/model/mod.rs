//! The words of the engine: requests, reports, grants, and the ports to the daemon.

pub(crate) mod description;
pub(crate) mod grant;
pub(crate) mod outside;
pub(crate) mod patch;
pub(crate) mod policy;
pub(crate) mod ports;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod witness;
pub(crate) mod words;
