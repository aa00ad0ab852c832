//! Quarantine for modules that crash the process. While a module does something for the first time
//! in a process, a locked file marks it. If a later process of the same boot finds the file
//! unlocked, it does not load the module until an operator releases it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::{Links, Replace};
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::load::private;
use crate::model::report::Hook;
use crate::wasm::trials::{CrashMarks, First, Mark};

/// Maximum bytes read of a mark.
const MAX_BYTES: u64 = 16 << 10;
/// Identifies the current boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Marks and quarantined modules on disk; without a directory, disabled.
#[derive(Debug)]
pub(crate) struct Quarantine {
    dir: Option<PathBuf>,
    boot: String,
    /// Marks of this process, with their number of holders.
    marks: Mutex<BTreeMap<String, (File, usize)>>,
}

/// What a module was about to do, or did last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CrashRecord {
    /// The boot of the machine: no module is to blame for a power failure.
    boot_id: String,
    pub(crate) policy: String,
    /// What it was doing: a hook, or `instantiation`.
    pub(crate) hook: String,
    /// It crashed another process, not the daemon.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

impl Quarantine {
    /// Keeps marks in `marks` and quarantined modules in `modules` of a private directory.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        Self {
            dir,
            boot: boot.trim().to_owned(),
            marks: Mutex::default(),
        }
    }

    /// Quarantines modules whose marks an earlier process of this boot left. Call before any load.
    pub(crate) fn settle(&self) {
        let Some(dir) = &self.dir else { return };
        for (hex, path) in files(&dir.join("marks")) {
            match left_behind(&path) {
                Ok(Some(mark)) => self.found(dir, &hex, &mark),
                Ok(None) => continue,
                // Torn, for example by a power failure.
                Err(error) => tracing::warn!(
                    target: "cnidaria::policy",
                    mark = %path.display(), %error, "ignoring an unreadable crash mark of a module",
                ),
            }
            if let Err(error) = fs::remove_file(&path) {
                warn(&path, &error);
            }
        }
    }

    /// Quarantines a module whose dry run crashed. Returns the record, if it is on disk.
    pub(crate) fn hold(&self, digest: &str, policy: &str) -> Option<CrashRecord> {
        let dir = self.dir.as_ref()?;
        let mark = CrashRecord {
            boot_id: self.boot.clone(),
            policy: policy.to_owned(),
            hook: Hook::Configure.to_string(),
            dry_run: true,
        };
        let path = dir.join("modules").join(hex(digest));
        match write(&path, &mark) {
            Ok(_) => Some(mark),
            Err(error) => {
                warn(&path, &error);
                None
            }
        }
    }

    fn found(&self, dir: &Path, hex: &str, mark: &CrashRecord) {
        if mark.boot_id != self.boot {
            return;
        }
        tracing::error!(
            target: "cnidaria::policy",
            policy = mark.policy, hook = mark.hook, digest = hex,
            "QUARANTINED: the process before this one ended while it called the module",
        );
        let path = dir.join("modules").join(hex);
        if let Err(error) = write(&path, mark).map(drop) {
            warn(&path, &error);
        }
    }

    /// Why a module is quarantined; `None` if it is not.
    pub(crate) fn holds(&self, digest: &str) -> Option<CrashRecord> {
        let path = self.dir.as_ref()?.join("modules").join(hex(digest));
        match read(&path) {
            Ok(mark) => Some(mark),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // The mark is unreadable, but the module stays quarantined.
            Err(_) => Some(CrashRecord {
                boot_id: String::new(),
                policy: String::new(),
                hook: "a hook".to_owned(),
                dry_run: false,
            }),
        }
    }

    /// Releases a module from quarantine. Returns whether it was quarantined.
    ///
    /// # Errors
    /// File system errors.
    pub(crate) fn release(&self, digest: &str) -> io::Result<bool> {
        let Some(dir) = &self.dir else {
            return Ok(false);
        };
        match fs::remove_file(dir.join("modules").join(hex(digest))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    fn marks(&self) -> MutexGuard<'_, BTreeMap<String, (File, usize)>> {
        self.marks.lock()
    }
}

impl CrashMarks for Quarantine {
    fn mark(self: Arc<Self>, digest: &str, policy: &str, first: First) -> Mark {
        let hex = hex(digest).to_owned();
        let mut marks = self.marks();
        if let Some((_, holders)) = marks.get_mut(&hex) {
            *holders += 1;
        } else if let Some(dir) = &self.dir {
            let record = CrashRecord {
                boot_id: self.boot.clone(),
                policy: policy.to_owned(),
                hook: first.to_string(),
                dry_run: false,
            };
            let path = dir.join("marks").join(&hex);
            match write(&path, &record) {
                Ok(file) => drop(marks.insert(hex.clone(), (file, 1))),
                // If the disk is full, the policy still runs.
                Err(error) => warn(&path, &error),
            }
        }
        drop(marks);
        Box::new(Marked {
            quarantine: self,
            hex,
        })
    }
}

/// A mark that stays on disk until dropped.
struct Marked {
    quarantine: Arc<Quarantine>,
    hex: String,
}

impl Drop for Marked {
    fn drop(&mut self) {
        let mut marks = self.quarantine.marks();
        let Some((_, holders)) = marks.get_mut(&self.hex) else {
            return;
        };
        *holders -= 1;
        if *holders == 0
            && let Some(dir) = &self.quarantine.dir
        {
            let path = dir.join("marks").join(&self.hex);
            // Removed before the lock is released.
            if let Err(error) = fs::remove_file(&path) {
                warn(&path, &error);
            }
            marks.remove(&self.hex);
        }
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

/// The files in a directory that are named by digests; empty if it is missing or unsafe.
fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    if !dir.exists() || private::make_dir(dir).is_err() {
        return Vec::new();
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let is_hex = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| (name, entry.path()))
    });
    named.collect()
}

/// The mark in a file whose process has ended; `None` if that process still runs.
fn left_behind(path: &Path) -> io::Result<Option<CrashRecord>> {
    let file = files::open(path, Links::Refuse)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => read(path).map(Some),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> io::Result<CrashRecord> {
    let text = files::read(path, Links::Refuse, MAX_BYTES)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

/// Writes a file that is locked before it has its name.
fn write(path: &Path, mark: &CrashRecord) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        private::make_dir(dir).map_err(io::Error::other)?;
    }
    Replace::at(path).write_then(&serde_json::to_vec(mark)?, |file| {
        Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)
    })
}

fn warn(path: &Path, error: &io::Error) {
    tracing::warn!(
        target: "cnidaria::policy",
        path = %path.display(), %error,
        "cannot write or remove a module's crash mark; a crash of the module would go unnoticed",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::trials::Trials;

    fn quarantine(dir: &Path) -> Arc<Quarantine> {
        let quarantine = Quarantine::new(Some(dir.to_owned()));
        quarantine.settle();
        Arc::new(quarantine)
    }

    /// Leaves a mark as a crashing process does.
    fn crash(dir: &Path, boot: Option<&str>) {
        let mut mark = CrashRecord {
            boot_id: Quarantine::new(None).boot,
            policy: "10-a".to_owned(),
            hook: "before-add".to_owned(),
            dry_run: false,
        };
        if let Some(boot) = boot {
            boot.clone_into(&mut mark.boot_id);
        }
        drop(write(&dir.join("marks/00ff"), &mark).unwrap());
    }

    #[test]
    fn a_mark_that_is_left_quarantines() {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), None);
        let held = quarantine(dir.path()).holds("sha256:00ff").unwrap();
        assert_eq!((&*held.policy, &*held.hook), ("10-a", "before-add"));
        let again = quarantine(dir.path());
        assert!(again.holds("sha256:00ff").is_some(), "also the one after");
        assert!(again.release("sha256:00ff").unwrap());
        assert!(!again.release("sha256:00ff").unwrap());
        assert!(again.holds("sha256:00ff").is_none());
    }

    #[test]
    fn a_loss_of_power_quarantines_nothing() {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), Some("another boot"));
        assert!(quarantine(dir.path()).holds("sha256:00ff").is_none());
        assert!(files(&dir.path().join("marks")).is_empty());
    }

    #[test]
    fn each_kind_of_first_instance_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let running = quarantine(dir.path());
        let trials = Trials::new(running.clone(), "sha256:00ff", "10-a");
        trials.returned(Hook::Configure);
        for first in [First::Start, First::StartInSlot, First::StartAhead] {
            let mark = trials.begin(first).unwrap();
            let (_, path) = files(&dir.path().join("marks")).remove(0);
            assert_eq!(read(&path).unwrap().hook, "instantiation");
            trials.returned(first);
            drop(mark);
            assert!(trials.begin(first).is_none());
        }
    }

    #[test]
    fn a_crashed_dry_run_quarantines() {
        let dir = tempfile::tempdir().unwrap();
        let running = quarantine(dir.path());
        running.hold("sha256:00ff", "10-a").unwrap();
        let again = quarantine(dir.path());
        assert!(again.holds("sha256:00ff").unwrap().dry_run);
        assert!(again.release("sha256:00ff").unwrap());
    }

    #[test]
    fn a_mark_lives_as_long_as_its_holders() {
        let dir = tempfile::tempdir().unwrap();
        let running = quarantine(dir.path());
        let trials = Trials::new(running.clone(), "sha256:00ff", "10-a");
        let first = trials.begin(Hook::BeforeAdd);
        let second = trials.begin(Hook::AfterAdd);
        drop(first);
        // The next daemon starts while this one still runs.
        assert!(quarantine(dir.path()).holds("sha256:00ff").is_none());
        assert_eq!(files(&dir.path().join("marks")).len(), 1);
        trials.returned(Hook::AfterAdd);
        drop(second);
        assert!(files(&dir.path().join("marks")).is_empty());
        assert!(trials.begin(Hook::AfterAdd).is_none());
        assert!(trials.begin(Hook::BeforeAdd).is_some());
    }
}
