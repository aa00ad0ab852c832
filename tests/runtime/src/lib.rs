//! Real container runtimes on a private node: Debian's containerd and runc, driven through the
//! kubelet's interface, and Debian's podman. They show how a runtime really calls CNI.

mod cgroups;
pub mod containerd;
pub mod cri;
mod error;
mod image;
mod messages;
pub mod podman;

pub use error::Error;
