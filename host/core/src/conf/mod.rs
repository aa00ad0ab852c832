//! Settings that requests use: the CNI conf that comes with each, and the daemon's timeouts.

pub mod logging;
pub mod net_conf;
pub mod overlay;
pub mod timeouts;
pub mod value;
