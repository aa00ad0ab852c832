//! Detects ledger files from an earlier boot. Multus does not record the identity of a namespace,
//! so only the age of its files can tell.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FsWord;

use cnidaria_core::domain::namespace::Namespace;

/// procfs' magic number, `PROC_SUPER_MAGIC` in `magic.h`.
const PROC: FsWord = 0x9fa0;
/// The kernel's boot time is in whole seconds, and NTP adjusts clocks in small steps.
const MARGIN: Duration = Duration::from_secs(2);

/// When the node booted, as far as its clock can be trusted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boot(Option<SystemTime>);

impl Boot {
    /// Determines the present boot. The kernel derives its boot time from the current clock, so
    /// that a clock set forward since makes files of this boot look older. The first mount has the
    /// time of the clock as it was then; the earlier of both counts. `chroot` is where the daemon
    /// sees the node's root directory.
    pub fn find(chroot: Option<&Path>) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let roots = [Some(Path::new("/")), chroot].into_iter().flatten();
        let oldest = roots.filter_map(|root| mounted(&root.join("proc")));
        Self(booted(&stat).map(|booted| oldest.fold(booted, SystemTime::min)))
    }

    /// A boot at this time.
    pub fn at(time: SystemTime) -> Self {
        Self(Some(time))
    }

    /// The namespace of an attachment known only from a file; `None` if the file may be of this
    /// boot.
    pub(super) fn namespace(self, file: &Path) -> Option<Namespace> {
        let booted = self.0?;
        let written = file.symlink_metadata().ok()?.modified().ok()?;
        let is_before = written.checked_add(MARGIN)? < booted;
        is_before.then(Namespace::of_earlier_boot)
    }
}

/// The boot time in `/proc/stat`.
fn booted(stat: &str) -> Option<SystemTime> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.trim().parse().ok()?))
}

/// When procfs was mounted at `dir`; `None` if it is not.
fn mounted(dir: &Path) -> Option<SystemTime> {
    let is_proc = rustix::fs::statfs(dir).is_ok_and(|found| found.f_type == PROC);
    let modified = || dir.metadata().ok()?.modified().ok();
    is_proc.then(modified).flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_time_of_the_boot_is_found() {
        assert_eq!(
            booted("cpu 1 2\nbtime 1795908326\nprocesses 3\n"),
            Some(UNIX_EPOCH + Duration::from_secs(1_795_908_326))
        );
        assert_eq!(booted("cpu 1 2\n"), None);
        assert!(Boot::find(None).0.is_some());
        assert_eq!(mounted(Path::new("/nonexistent")), None);
        assert_eq!(mounted(&std::env::temp_dir()), None, "not procfs");
    }

    #[test]
    fn only_clearly_older_files_predate_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let booted = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = File::create(&path).unwrap();
        let second = Duration::from_secs(1);
        for (written, is_earlier) in [
            (booted - 60 * second, true),
            (booted - second, false),
            (booted + 60 * second, false),
        ] {
            file.set_modified(written).unwrap();
            let found = Boot::at(booted).namespace(&path);
            assert_eq!(found.is_some(), is_earlier, "{written:?}");
        }
        file.set_modified(UNIX_EPOCH).unwrap();
        assert!(Boot::default().namespace(&path).is_none(), "not known");
        let gone = Boot::at(booted).namespace(Path::new("/nonexistent"));
        assert!(gone.is_none());
    }
}
