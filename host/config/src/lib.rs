//! The daemon's configuration file: its own keys, those that overlay the CNI conf of each request,
//! and those about the conf provided for the runtime. The daemon and `cnidaria` read it.

pub mod conf_file;
pub mod daemon;
mod key_path;
mod keys;
pub mod mistakes;
pub mod own;
pub mod places;
pub mod policies;
pub mod reference;
mod shape;
pub mod trace;
