//! Requests: the current generation of policies, and the session that calls them.

pub(crate) mod generation;
pub(crate) mod host;
pub(crate) mod journal;
pub(crate) mod session;
