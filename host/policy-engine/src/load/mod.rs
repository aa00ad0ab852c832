//! From files to policies: read, verify, compile or fetch from the cache, link, configure.

pub(crate) mod artifact;
pub(crate) mod confinement;
pub(crate) mod description;
pub(crate) mod digest;
pub(crate) mod last_good;
pub(crate) mod loader;
pub(crate) mod policy;
mod private;
pub(crate) mod quarantine;
pub(crate) mod watch;
