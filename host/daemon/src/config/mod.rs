//! Configuration: the daemon's own file, and the CNI conf that comes with each request.

pub mod daemon;
pub mod net_conf;
pub mod value;
