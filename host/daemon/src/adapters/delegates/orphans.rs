//! Delegates that outlive a daemon that was killed. While they run, undoing their attachment would
//! not undo what they are still going to do, so the next daemon waits for them, container by
//! container.
//!
//! The kernel tells which processes they are: whatever a daemon executes inherits one open file,
//! its witness, and a lock on it that ends with the last process that has it.

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

/// Locked as long as a daemon lives; nothing inherits it.
const LOCK: &str = ".daemon";
/// How the witnesses of all daemons begin; a number follows.
const WITNESS: &str = ".delegates-";
const POLL: Duration = Duration::from_millis(20);
/// How long the start of a process may take. Also what is waited for one that hides its environment.
const EXECUTED: Duration = Duration::from_secs(1);

/// Why a daemon cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot lock {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another daemon lives on.
    #[error("the daemon that has locked {0} does not end")]
    Alive(PathBuf),
}

/// The proof that this daemon is the only one, and what marks its delegates. Kept for its life.
#[derive(Debug)]
pub struct Tenure {
    _lock: File,
    _witness: OwnedFd,
    /// The witnesses of earlier daemons that are still held, open so that no other file gets their
    /// numbers.
    earlier: Vec<File>,
}

impl Tenure {
    /// Waits until the daemon before has ended, at most `patience`. Called when the socket in `dir`
    /// is bound, so that requests wait meanwhile.
    ///
    /// # Errors
    /// [`Error`].
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
            _lock: lock,
            _witness: witness,
            earlier,
        })
    }

    /// The containers for which delegates of earlier daemons are running. Waits for a moment if some
    /// are only just being executed: until then their environment is not there to be read.
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

    /// Waits until the orphans of the containers in `waiting` have ended by themselves: they may be in
    /// the middle of something that nobody else could undo. Delegates that have not ended within
    /// `patience` are killed; of what they have left in the background on purpose nobody waits any
    /// longer. `ended` is told of each container that has none any more.
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
                // This process has the witnesses open as well.
                let pid = Pid::from_raw(pid).filter(|pid| *pid != rustix::process::getpid())?;
                Orphan::holding(&witnesses, pid, &process.path())
            })
            .collect()
    }
}

/// A process that an earlier daemon has left.
#[derive(Debug)]
struct Orphan {
    pid: Pid,
    /// For which container it runs, as its environment says.
    container: Option<ContainerId>,
    /// Whether its environment is that of a delegate, and not yet what it was forked with.
    is_executed: bool,
    /// Whether a delegate, which leads a process group, or one of its helpers; otherwise it was left
    /// behind by one that has ended.
    is_delegate: bool,
}

impl Orphan {
    /// The process, if it has one of the witnesses open.
    fn holding(witnesses: &BTreeSet<(u64, u64)>, pid: Pid, process: &Path) -> Option<Self> {
        let files = fs::read_dir(process.join("fd")).ok()?;
        files
            .flatten()
            .filter_map(|file| fs::metadata(file.path()).ok())
            .find(|file| witnesses.contains(&(file.dev(), file.ino())))?;
        let (group, session) = group_and_session(&process.join("stat"))?;
        if session == group {
            // It has made itself independent, to live on.
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
            "killed: a delegate of an earlier daemon that does not end"
        );
        // Gone in the meantime, then.
        let _ = rustix::process::pidfd_open(self.pid, PidfdFlags::empty())
            .and_then(|process| rustix::process::pidfd_send_signal(process, Signal::KILL));
    }
}

/// Process group and session, of a process that has not ended.
fn group_and_session(stat: &Path) -> Option<(i32, i32)> {
    let stat = fs::read_to_string(stat).ok()?;
    // The name before it may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = fields.skip(1).map_while(|field| field.parse().ok());
    Some((number.next()?, number.next()?)).filter(|_| !matches!(state, "Z" | "X"))
}

/// The witnesses that are still held, and the first number that is free.
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

/// A new witness, locked, which what is executed from now on inherits.
fn witness(path: &Path) -> io::Result<OwnedFd> {
    // No CLOEXEC, which is the point of it.
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
