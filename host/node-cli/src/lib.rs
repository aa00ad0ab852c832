//! The commands for operators of a node: `cnidaria install`, `uninstall`, `ready` and `doctor`.
//! They work with a running daemon, over its socket, and without one.

mod args;
pub mod daemon;
mod doctor;
mod install;
mod installation;
mod ready;
mod runtime_conf;
mod socket;
mod uninstall;

pub use args::{DoctorArgs, InstallArgs, ReadyArgs, UninstallArgs};
pub use doctor::doctor;
pub use install::install;
pub use ready::ready;
pub use socket::find as find_socket_dir;
pub use uninstall::uninstall;

/// What a command prints, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// For standard output.
    pub text: String,
    /// 0 is success.
    pub code: u8,
}
