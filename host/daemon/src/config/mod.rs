//! Configuration: the daemon's own file, the CNI conf that comes with each request, and the conf
//! that the runtime gets.

pub mod api_server;
pub mod conf_file;
pub mod daemon;
mod keys;
pub mod logging;
pub mod net_conf;
pub mod overlay;
pub mod own;
pub mod policies;
pub mod reference;
pub mod value;
