//! A real container runtime on a private node: Debian's containerd and runc, driven by the interface
//! that the kubelet uses, so that nothing about how a runtime calls CNI has to be believed.

pub mod containerd;
pub mod cri;
mod error;
mod image;
mod messages;

pub use error::Error;
