//! A node for one test or demo: private namespaces, real CNI plugins, the real daemon and the real
//! shim, executed as a container runtime does. This crate observes only from outside: files,
//! processes, links and output.
//!
//! ```text
//! case::on_a_private_node ─▶ Node ─▶ start_daemon ─▶ sandbox ─▶ Call ─▶ Answer ─▶ inspect
//! ```

mod binaries;
pub mod build;
mod call;
pub mod case;
mod clock;
mod daemon;
mod error;
pub mod every_plugin;
mod hotplug;
pub mod inspect;
pub mod mistakes;
pub mod networks;
mod node;
mod pod;
mod program;
mod until;

pub use binaries::Binaries;
pub use call::{Answer, Call};
pub use clock::Clock;
pub use error::Error;
pub use node::Node;
pub use pod::{Pod, Sandbox};
pub use program::{run, runs};
pub use until::until;
