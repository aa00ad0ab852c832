//! Finds delegates that outlive a killed daemon. While they run, undoing their attachment would
//! miss what they still do, so the next daemon waits for them, container by container.
//!
//! Every process that a daemon executes inherits an open file, the daemon's witness. Its lock lasts
//! until the last of these processes exits.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_types::args::ContainerId;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::time::Instant;

/// Locked for the daemon's lifetime; not inherited by child processes.
const LOCK: &str = ".daemon";
/// Prefix of all daemons' witness files, followed by a number.
const WITNESS: &str = ".delegates-";
const POLL: Duration = Duration::from_millis(20);
/// How long a process may take to start. Also the wait for processes that hide their environment.
const EXECUTED: Duration = Duration::from_secs(1);

/// Why a daemon cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened, locked or created.
    #[error("cannot lock {path}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Another daemon is still running.
    #[error("the previous daemon, which holds the lock {0}, does not exit")]
    Alive(PathBuf),
}

/// Proves that this daemon is the only one, and marks its delegates. Held for the daemon's
/// lifetime.
#[derive(Debug)]
pub struct Tenure {
    lock: File,
    _witness: OwnedFd,
    /// Earlier daemons' witnesses that are still locked. Kept open so that their inode numbers are
    /// not reused.
    earlier: Vec<File>,
}

impl Tenure {
    /// Waits up to `patience` for the previous daemon to exit. Called once the socket in `dir` is
    /// bound, so that requests queue meanwhile.
    ///
    /// # Errors
    /// [`Error`] if the previous daemon still runs, or a file cannot be opened or locked.
    pub async fn begin(dir: &Path, patience: Duration) -> Result<Self, Error> {
        let path = dir.join(LOCK);
        let lock = open(&path).map_err(failed(&path))?;
        let deadline = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err(Error::Alive(path));
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
            }
        }
        let (earlier, number) = earlier(dir).map_err(failed(dir))?;
        let path = dir.join(format!("{WITNESS}{number}"));
        let witness = witness(&path).map_err(failed(&path))?;
        Ok(Self {
            lock,
            _witness: witness,
            earlier,
        })
    }

    /// Whether the lock is still where the next daemon looks for it.
    pub(crate) fn is_in_place(&self, dir: &Path) -> bool {
        let there = fs::symlink_metadata(dir.join(LOCK));
        let (Ok(own), Ok(there)) = (self.lock.metadata(), there) else {
            return false;
        };
        (own.dev(), own.ino()) == (there.dev(), there.ino())
    }

    /// The containers for which delegates of earlier daemons are running. Waits briefly for
    /// processes between fork and exec, whose environment cannot be read yet.
    pub async fn orphaned(&self) -> BTreeSet<ContainerId> {
        let deadline = Instant::now() + EXECUTED;
        let mut orphans = self.orphans();
        while orphans.iter().any(|one| !one.is_executed) && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            orphans = self.orphans();
        }
        orphans
            .into_iter()
            .filter_map(|one| one.container)
            .collect()
    }

    /// Waits until the orphans of the containers in `waiting` exit by themselves, since only they
    /// can undo half-finished work. Kills delegates that are still running after `patience`, and
    /// stops waiting for processes that they deliberately left in the background. Calls `ended`
    /// with each container that has no orphans left.
    pub async fn settle(
        &self,
        mut waiting: BTreeSet<ContainerId>,
        patience: Duration,
        mut ended: impl FnMut(&ContainerId),
    ) {
        let deadline = Instant::now() + patience;
        loop {
            let orphans = self.orphans();
            let overdue = Instant::now() > deadline;
            waiting.retain(|container| {
                let lives = orphans
                    .iter()
                    .filter(|one| one.is_delegate || !overdue)
                    .any(|one| one.container.as_ref() == Some(container));
                if !lives {
                    ended(container);
                }
                lives
            });
            if waiting.is_empty() {
                break;
            }
            let awaited = |one: &&Orphan| {
                let container = one.container.as_ref();
                container.is_some_and(|container| waiting.contains(container))
            };
            if overdue {
                orphans.iter().filter(awaited).for_each(Orphan::kill);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn orphans(&self) -> Vec<Orphan> {
        if self.earlier.is_empty() {
            return Vec::new();
        }
        let witnesses: BTreeSet<_> = self
            .earlier
            .iter()
            .filter_map(|witness| witness.metadata().ok())
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .collect();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|process| {
                let pid = process.file_name().to_str()?.parse().ok()?;
                // This process has the witnesses open too.
                let pid = Pid::from_raw(pid).filter(|pid| *pid != rustix::process::getpid())?;
                Orphan::holding(&witnesses, pid, &process.path())
            })
            .collect()
    }
}

/// A process that an earlier daemon left running.
#[derive(Debug)]
struct Orphan {
    pid: Pid,
    /// From `CNI_CONTAINERID` in its environment.
    container: Option<ContainerId>,
    /// False between fork and exec: the environment is not a delegate's yet.
    is_executed: bool,
    /// True for a delegate, which leads a process group, and for its children; false if that leader
    /// has exited.
    is_delegate: bool,
}

impl Orphan {
    /// Inspects the process if it has one of the witnesses open.
    fn holding(witnesses: &BTreeSet<(u64, u64)>, pid: Pid, process: &Path) -> Option<Self> {
        let files = fs::read_dir(process.join("fd")).ok()?;
        files
            .flatten()
            .filter_map(|file| fs::metadata(file.path()).ok())
            .find(|file| witnesses.contains(&(file.dev(), file.ino())))?;
        let (group, session) = group_and_session(&process.join("stat"))?;
        if session == group {
            // A daemonised process is meant to outlive its delegate.
            return None;
        }
        let leader = process.with_file_name(group.to_string());
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let variable = |prefix: &[u8]| {
            environment
                .split(|byte| *byte == 0)
                .find_map(|variable| variable.strip_prefix(prefix))
        };
        let container = variable(b"CNI_CONTAINERID=")
            .and_then(|id| ContainerId::new(String::from_utf8_lossy(id)).ok());
        Some(Self {
            pid,
            container,
            is_executed: variable(b"CNI_COMMAND=").is_some(),
            is_delegate: group_and_session(&leader.join("stat")).is_some(),
        })
    }

    fn kill(&self) {
        if !self.is_delegate {
            return;
        }
        tracing::warn!(
            pid = self.pid.as_raw_pid(),
            container = self.container.as_ref().map(ContainerId::as_str),
            "killed a delegate of an earlier daemon that outlived its grace period"
        );
        // Fails if it has exited in the meantime.
        let _ = rustix::process::pidfd_open(self.pid, PidfdFlags::empty())
            .and_then(|process| rustix::process::pidfd_send_signal(process, Signal::KILL));
    }
}

/// Process group and session of a process that has not exited.
fn group_and_session(stat: &Path) -> Option<(i32, i32)> {
    let stat = fs::read_to_string(stat).ok()?;
    // The command name before it may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = fields.skip(1).map_while(|field| field.parse().ok());
    Some((number.next()?, number.next()?)).filter(|_| !matches!(state, "Z" | "X"))
}

/// The witnesses that are still locked, and the first free number.
fn earlier(dir: &Path) -> io::Result<(Vec<File>, u64)> {
    let mut held = Vec::new();
    let mut free = 0;
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(WITNESS));
        let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else {
            continue;
        };
        free = free.max(number.saturating_add(1));
        let path = file.path();
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) => fs::remove_file(&path)?,
            Err(TryLockError::WouldBlock) => held.push(file),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok((held, free))
}

/// Creates and locks a new witness, which later child processes inherit.
fn witness(path: &Path) -> io::Result<OwnedFd> {
    // Without CLOEXEC, so that child processes inherit it.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let witness = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&witness, FlockOperation::NonBlockingLockExclusive)?;
    Ok(witness)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
