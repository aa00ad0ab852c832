//! The versions of the project, installed one after the other as a DaemonSet does: the daemon ends,
//! the init container installs the shim, the next daemon starts.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use node::{Binaries, Node, run};

use crate::error::Error;
use crate::pods::Progress;

/// The names of the installed shim.
const SHIMS: [&str; 2] = ["multus-shim", "cnidaria-shim"];

/// The binaries of one version.
#[derive(Debug, Clone)]
pub struct Version {
    daemon: PathBuf,
    command_line: PathBuf,
    shim: PathBuf,
}

impl Version {
    /// The version of this build.
    ///
    /// # Errors
    /// [`Error::Node`] if a binary is not built.
    pub fn of_this_build() -> Result<Self, Error> {
        let binaries = Binaries::of_this_build()?;
        Ok(Self {
            daemon: binaries.daemon()?,
            command_line: binaries.command_line()?,
            shim: binaries.shim()?,
        })
    }

    /// The version in a directory that has `cnidaria-daemon`, `cnidaria` and `cnidaria-shim`.
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            daemon: dir.join("cnidaria-daemon"),
            command_line: dir.join("cnidaria"),
            shim: dir.join("cnidaria-shim"),
        }
    }
}

/// How a daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// With SIGTERM, as in an update.
    Stop,
    /// With SIGKILL, as by the kernel when memory runs out.
    Kill,
}

impl Swap {
    /// Every third daemon is killed.
    pub(crate) fn of(number: usize) -> Self {
        match number % 3 {
            0 => Self::Kill,
            _ => Self::Stop,
        }
    }
}

/// Where the versions are installed.
#[derive(Debug)]
pub(crate) struct Installation {
    bin_dir: PathBuf,
    versions: Vec<Version>,
}

impl Installation {
    pub(crate) fn prepare(node: &Node, versions: &[Version]) -> Result<Self, Error> {
        match versions {
            [] => Err(Error::NoVersion),
            versions => Ok(Self {
                bin_dir: node.path("opt"),
                versions: versions.to_vec(),
            }),
        }
    }

    /// The path that the runtime executes.
    pub(crate) fn shim(&self) -> PathBuf {
        self.bin_dir.join("multus-shim")
    }

    /// Both names of the shim.
    pub(crate) fn shims(&self) -> Vec<PathBuf> {
        let names = SHIMS.iter();
        names.map(|name| self.bin_dir.join(name)).collect()
    }

    /// Installs and starts the first version.
    pub(crate) fn begin(&self, node: &mut Node) -> Result<(), Error> {
        self.put(node, 0)?;
        Ok(node.start_daemon()?)
    }

    /// Replaces the installation by the version whose turn it is; returns how long no daemon served.
    pub(crate) fn swap(
        &self,
        node: &mut Node,
        number: usize,
        swap: Swap,
        progress: &Progress,
    ) -> Result<Duration, Error> {
        let begun = Instant::now();
        match swap {
            Swap::Stop => node.stop_daemon()?,
            Swap::Kill => {
                progress.kills.fetch_add(1, Ordering::SeqCst);
                let killed = node.kill_daemon();
                progress.kills.fetch_add(1, Ordering::SeqCst);
                killed?;
            }
        }
        self.put(node, number)?;
        node.start_daemon()?;
        Ok(begun.elapsed())
    }

    fn put(&self, node: &mut Node, number: usize) -> Result<(), Error> {
        let version = self.versions.get(number % self.versions.len());
        let version = version.ok_or(Error::NoVersion)?;
        let [command_line, bin_dir, shim] = [&version.command_line, &self.bin_dir, &version.shim]
            .map(|path| path.display().to_string());
        let arguments = ["install", "--bin-dir", &bin_dir, "--shim", &shim];
        run(&command_line, &arguments)?;
        node.use_daemon(version.daemon.clone());
        Ok(())
    }
}
