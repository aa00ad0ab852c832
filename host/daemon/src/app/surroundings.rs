//! Where delegates run: their control group, the thread that starts them, and their directories.

use std::path::PathBuf;

use libcni::{Cgroup, Helper};

use super::Error;
use cnidaria_core::conf::net_conf::NetConf;
use cnidaria_core::ports::Directory;
use config::daemon::DaemonConfig;

/// A thread that starts delegates during bursts. Without one, the daemon starts them itself.
pub(super) fn helper() -> Option<Helper> {
    let started = Helper::start().inspect_err(|error| {
        tracing::warn!(%error, "cannot start the thread that starts delegates; bursts are slower without it");
    });
    started.ok()
}

/// Opens the cgroup for delegates, if one is configured.
pub(super) fn cgroup(config: &DaemonConfig) -> Result<Option<Cgroup>, Error> {
    let Some(dir) = cgroup_dir(config) else {
        return Ok(None);
    };
    match Cgroup::open(&dir) {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(source) => Err(Error::Cgroup { dir, source }),
    }
}

/// Path of the cgroup for delegates.
pub(super) fn cgroup_dir(config: &DaemonConfig) -> Option<PathBuf> {
    let dir = config.own.delegate_cgroup.as_ref()?;
    Some(match &config.chroot_dir {
        Some(root) => root.join(dir.strip_prefix("/").unwrap_or(dir)),
        None => dir.clone(),
    })
}

/// `CNI_PATH`: directories to search for delegates beside `binDir`.
pub(super) fn plugin_path() -> Vec<PathBuf> {
    std::env::var_os("CNI_PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .collect()
}

/// The daemon's own directories of records and of delegates.
pub(super) fn directory(config: &DaemonConfig) -> Directory {
    let conf = NetConf::of_daemon(&config.overrides);
    let mut bin_dirs = conf.map_or_else(|_| Vec::new(), |conf| conf.bin_dirs);
    bin_dirs.extend(plugin_path());
    Directory {
        cni_dir: config.cni_dir.clone(),
        bin_dirs,
    }
}
