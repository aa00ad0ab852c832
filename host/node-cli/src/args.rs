//! Arguments of the commands.

use std::path::PathBuf;

use clap::Args;
use config::daemon::DEFAULT_PATH;
use config::own::DaemonSetName;

/// Arguments of `cnidaria install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Only check the node, and write nothing
    #[arg(long)]
    pub pre: bool,
    /// The directory in which the runtime executes plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,
    /// The directory of policy modules; without it, no modules are installed
    #[arg(long, value_name = "DIR")]
    pub policies_dir: Option<PathBuf>,
    /// The shim [default: cnidaria-shim beside this command]
    #[arg(long, value_name = "FILE")]
    pub shim: Option<PathBuf>,
    /// The modules to install
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/usr/share/cnidaria/policies"
    )]
    pub modules: PathBuf,
}

/// Arguments of `cnidaria uninstall`.
#[derive(Debug, Args)]
pub struct UninstallArgs {
    /// The daemon's configuration; without the file, its defaults
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// The directory in which the runtime executes plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,
    /// The directory of policy modules
    #[arg(long, value_name = "DIR", default_value = "/etc/cnidaria/policies")]
    pub policies_dir: PathBuf,
    /// The daemon to finish recorded DELs with if none runs [default: cnidaria-daemon beside this
    /// command]
    #[arg(long, value_name = "FILE")]
    pub daemon: Option<PathBuf>,
    /// Delete this DaemonSet, and touch nothing on this node
    ///
    /// From a pod whose service account may do so, or with the kubeconfig of the configuration.
    /// Waits until its pods have ended: each daemon removes the runtime's conf from its own node.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = daemon_set, conflicts_with = "force")]
    pub daemon_set: Option<DaemonSetName>,
    /// How long to wait for recorded DELs or pods
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
    /// Remove the shim although attachments are left
    ///
    /// Their pods keep their interfaces. What the plugins of these attachments reserved, such as
    /// addresses, stays on the node. The ledger stays as well, for a later installation.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `cnidaria ready`.
#[derive(Debug, Args)]
pub struct ReadyArgs {
    /// Ask only whether the daemon serves, as the liveness probe does
    ///
    /// A daemon that finishes its last requests before it ends serves, but is not ready.
    #[arg(long)]
    pub live: bool,
}

fn daemon_set(text: &str) -> Result<DaemonSetName, String> {
    text.to_owned().try_into()
}

/// Arguments of `cnidaria doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Only what can be checked before the installation
    #[arg(long)]
    pub pre: bool,
    /// The daemon's configuration; without the file, its defaults
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// The directory in which the runtime executes plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,
}
