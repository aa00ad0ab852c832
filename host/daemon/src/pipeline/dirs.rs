//! Where the state of a request is kept and where its delegates are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::net_conf::NetConf;

/// The directories of one request. Cheap to clone: work that outlives its request has its own.
#[derive(Debug, Clone)]
pub(super) struct Dirs {
    /// The ledger.
    pub(super) cni: Arc<Path>,
    /// Where delegates are looked for.
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
