//! The domain in the terms of Kubernetes and CNI: pods, NADs, selections, attachments and plans.
//! Knows nothing of sockets, runtimes, clusters or WebAssembly.

pub mod announcement;
pub mod attachment;
pub mod container_names;
pub mod default_route;
pub mod device;
pub mod entry;
pub mod limits;
pub mod manifest;
pub mod members;
pub mod metadata;
pub mod nad;
pub mod namespace;
pub mod network_status;
pub mod networks;
pub mod pod;
pub mod resource_claim;
pub mod runtime_config;
pub mod sandbox;
pub mod selection;
pub mod shape;
pub mod shared_conf;
pub mod shim;
pub mod trace_parent;
pub mod trace_state;
