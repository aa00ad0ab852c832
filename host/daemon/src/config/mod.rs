//! Configuration: the daemon's own file, the CNI conf of each request, and the conf provided for
//! the runtime.

pub mod conf_file;
pub mod daemon;
mod keys;
pub mod own;
pub mod policies;
pub mod reference;
