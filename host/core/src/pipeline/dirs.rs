//! A request's directories: of its state and of its delegates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::conf::net_conf::NetConf;

/// The directories of one request. Cheap to clone, so that background work owns a copy.
#[derive(Debug, Clone)]
pub(super) struct Dirs {
    /// The ledger (`cniDir`).
    pub(super) cni: Arc<Path>,
    /// The search path for delegates.
    pub(super) bin: Arc<[PathBuf]>,
}

impl Dirs {
    pub(super) fn new(cni_dir: &Path, bin_dirs: &[PathBuf]) -> Self {
        Self {
            cni: cni_dir.into(),
            bin: bin_dirs.into(),
        }
    }

    pub(super) fn of(conf: &NetConf) -> Self {
        Self::new(&conf.cni_dir, &conf.bin_dirs)
    }
}
