//! Runs CNI plugins as a runtime does: loads network configurations ([`load`]), finds binaries
//! ([`find`]), derives what each plugin of a chain is given ([`request`]), executes it within
//! limits ([`exec`]), if need be started by another thread ([`helper`]), below another root directory
//! ([`root`]) and in a control group ([`cgroup`]), and in order ([`chain`]),
//! and keeps results on disk in the format of the Go library ([`cache`]), under a checksum
//! ([`seal`]). [`runtime`] joins chain and cache.
//!
//! The crate knows nothing of Kubernetes. It never writes to the cache by itself except through
//! [`runtime::Runtime`].

pub mod cache;
pub mod cgroup;
pub mod chain;
pub mod exec;
pub mod find;
pub mod helper;
pub mod load;
pub mod netns;
mod regular;
pub mod request;
pub mod root;
pub mod runtime;
pub mod seal;

pub use cache::Cache;
pub use cgroup::Cgroup;
pub use chain::Cni;
pub use helper::Helper;
pub use request::{Attachment, RuntimeConf};
pub use root::Root;
pub use runtime::Runtime;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
