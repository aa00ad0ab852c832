//! The engine's configuration: where policies are, and the limits that they share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Recording;
use crate::model::ports::{Cluster, Observer};

/// Default wall-clock budget of all policies together in one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Default memory limit of all guests together, in bytes.
const GUEST_MEMORY: u64 = 256 << 20;

/// Default wall-clock limit of one compilation.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);

/// Default memory limit of one compilation, in bytes.
const COMPILE_MEMORY: u64 = 1 << 30;

/// Where policies are, how they are loaded, and their shared limits.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Directory of modules and their configurations.
    pub module_dir: PathBuf,
    /// Second directory of configurations (a mounted ConfigMap).
    pub config_dir: Option<PathBuf>,
    /// Cache directory of compiled artefacts; created with mode 0700.
    pub cache_dir: PathBuf,
    /// The `cnidaria` binary, run as a child process to compile modules.
    pub compiler: PathBuf,
    /// Namespaces whose pods no policy sees.
    pub exempt_namespaces: Vec<String>,
    /// While this file exists no policy runs.
    pub bypass_file: Option<PathBuf>,
    /// Wall-clock budget of all policies together in one request.
    pub request_timeout: Duration,
    /// Bytes of all policies' edits in one request; `None` for twice the default of one policy, or
    /// the largest limit of one.
    pub request_edit_bytes: Option<u64>,
    /// JSON members and elements of all policies' edits in one request; `None` likewise.
    pub request_edit_members: Option<u64>,
    /// Memory limit of all guests together, in bytes; requests wait for memory within it.
    pub guest_memory_bytes: u64,
    /// Wall-clock limit of one compilation. A module that exceeds it is not retried.
    pub compile_timeout: Duration,
    /// Memory limit of one compilation, in bytes. Lower if it runs in the daemon's own control
    /// group and that has a limit.
    pub compile_memory_bytes: u64,
    /// A cgroup v2 directory, in which each compilation gets its own control group.
    pub compile_cgroup: Option<PathBuf>,
    /// Policies required even if their files vanish: without them, STATUS and ADDs fail.
    pub required: Vec<String>,
    /// Directory for the state of policies with the grant `state`; `None` keeps it in memory only.
    pub state_dir: Option<PathBuf>,
    /// Directory of each policy's last good configuration, created with mode 0700. With `None`, a
    /// policy whose file is damaged when the host starts has no fallback.
    pub kept_dir: Option<PathBuf>,
    /// Directory of quarantine records, created with mode 0700. With `None`, the next daemon loads
    /// a module again that ended this one.
    pub quarantine_dir: Option<PathBuf>,
    /// Answers lookups of policies with the grants `namespaces`, `nads` and `node`; with `None`,
    /// nothing is known.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Records requests; `None` if no operator can ask for it.
    pub recording: Option<Recording>,
    /// Receives metrics of what policies do.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Config {
    /// A configuration with defaults: no exempt namespace, no second directory.
    pub fn new(
        module_dir: impl Into<PathBuf>,
        cache_dir: impl Into<PathBuf>,
        compiler: impl Into<PathBuf>,
    ) -> Self {
        Self {
            module_dir: module_dir.into(),
            config_dir: None,
            cache_dir: cache_dir.into(),
            compiler: compiler.into(),
            exempt_namespaces: Vec::new(),
            bypass_file: None,
            request_timeout: REQUEST_TIMEOUT,
            request_edit_bytes: None,
            request_edit_members: None,
            guest_memory_bytes: GUEST_MEMORY,
            compile_timeout: COMPILE_TIMEOUT,
            compile_memory_bytes: COMPILE_MEMORY,
            compile_cgroup: None,
            required: Vec::new(),
            state_dir: None,
            kept_dir: None,
            quarantine_dir: None,
            cluster: None,
            recording: None,
            observer: None,
        }
    }
}

impl Config {
    /// The bypass file, if it exists.
    pub(crate) fn bypassed(&self) -> Option<&Path> {
        self.bypass_file.as_deref().filter(|file| file.exists())
    }
}
