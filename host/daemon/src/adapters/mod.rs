//! Adapters to the outside world. Each implements one port and imports no other adapter.

pub mod cri;
pub mod delegates;
pub mod device_info;
mod file_name;
mod grpc;
pub mod host_local;
pub mod kubelet;
pub mod ledger;
pub mod manifests;
pub mod metrics;
pub mod node_files;
pub mod pod_counters;
pub mod pod_network;
