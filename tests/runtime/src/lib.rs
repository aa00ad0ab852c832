//! Real container runtimes on a private node: Debian's containerd and runc, driven by the interface
//! that the kubelet uses, and Debian's podman, so that nothing about how a runtime calls CNI has to be
//! believed.

mod cgroups;
pub mod containerd;
pub mod cri;
mod error;
mod image;
mod messages;
pub mod podman;

pub use error::Error;
