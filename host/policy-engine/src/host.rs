//! The policies of a node over time: loads them and holds the current generation.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::generation::Generation;

/// Where policies are and what may load them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Directory of modules, and of configurations beside them.
    pub module_dir: PathBuf,
    /// Second directory of configurations (a mounted ConfigMap).
    pub config_dir: Option<PathBuf>,
    /// Directory of compiled artefacts; made with mode 0700 where it is missing.
    pub cache_dir: PathBuf,
    /// The `cnidaria` binary, which compiles modules in a child process.
    pub compiler: PathBuf,
    /// Namespaces whose pods no policy sees.
    pub exempt_namespaces: Vec<String>,
    /// While this file exists no policy runs.
    pub bypass_file: Option<PathBuf>,
}

impl Config {
    /// A configuration with nothing exempt and no second directory.
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
        }
    }
}

/// Loads policies and holds the current generation of them.
#[derive(Debug)]
pub struct PolicyHost {
    config: Config,
    current: ArcSwap<Generation>,
}

impl PolicyHost {
    /// Loads all policies. Called once at start, on a tokio runtime.
    ///
    /// Never fails as a whole: a policy that does not load is kept as a broken one, with file and
    /// reason, and ADDs that it would have seen fail closed.
    pub async fn load(config: Config) -> Self {
        Self {
            config,
            current: ArcSwap::from_pointee(Generation::default()),
        }
    }

    /// A host without any policy, for a daemon that has none configured.
    pub fn empty() -> Self {
        Self {
            config: Config::new("", "", ""),
            current: ArcSwap::from_pointee(Generation::default()),
        }
    }

    /// What the host was loaded with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The current generation. A request takes it once and keeps it.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }
}
