//! Runs CNI plugins as a runtime does: loads network configurations ([`load`]), finds binaries
//! ([`find`]), builds each plugin's request ([`request`]), executes plugins in order ([`chain`])
//! within limits ([`exec`]), and caches results on disk in the Go library's format ([`cache`]) with
//! a checksum ([`seal`]). Plugins can be started by another thread ([`helper`]), below another root
//! directory ([`root`]) and in a control group ([`cgroup`]). [`runtime`] combines chain and cache.
//! [`host_local`] reads and releases what that plugin has reserved.
//!
//! The crate has no dependency on Kubernetes, and writes to the cache only through
//! [`runtime::Runtime`].

#![warn(missing_docs)]

pub mod cache;
pub mod cgroup;
pub mod chain;
pub mod exec;
pub mod find;
pub mod helper;
pub mod host_local;
pub mod load;
pub mod netns;
pub mod request;
pub mod root;
pub mod runtime;
pub mod seal;

pub use cache::Cache;
pub use cgroup::Cgroup;
pub use chain::Cni;
pub use helper::Helper;
pub use request::{RuntimeConf, ValidAttachment};
pub use root::Root;
pub use runtime::Runtime;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
