//! Caches files that are loaded repeatedly, such as the default network's for every pod.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cni_types::conf::NetworkConfList;
use parking_lot::{Mutex, MutexGuard};

use super::{Error, parsed, read};

/// Maximum number of cached files; a node has a few.
const REMEMBERED: usize = 32;

/// How long a file must stay unchanged before its content is cached. File systems record timestamps
/// with a granularity of about 10 ms, at worst two seconds; two changes within one tick may look
/// the same.
const SETTLED: Duration = Duration::from_secs(3);

/// Loads files and caches unchanged ones.
#[derive(Debug, Default)]
pub struct Files {
    remembered: Mutex<Vec<Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    path: PathBuf,
    stamp: Stamp,
    /// When this state of the file was first seen.
    since: Instant,
    /// The parsed file, once settled.
    list: Option<NetworkConfList>,
}

/// Identifies a version of a file: detects replacement and modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Files {
    /// As [`file`](super::file); always reflects the current file.
    ///
    /// # Errors
    /// Those of [`file`](super::file).
    pub fn file(&self, path: &Path) -> Result<NetworkConfList, Error> {
        self.file_at(path, Instant::now())
    }

    fn file_at(&self, path: &Path, now: Instant) -> Result<NetworkConfList, Error> {
        if let Some(list) = self.settled(path) {
            return Ok(list);
        }
        let (bytes, metadata) = read(path)?;
        let list = parsed(path, &bytes)?;
        // Other lists depend on further files.
        if list.load_only_inlined_plugins() {
            self.remember(path, Stamp::of(&metadata), &list, now);
        }
        Ok(list)
    }

    fn settled(&self, path: &Path) -> Option<NetworkConfList> {
        let remembered = self.lock();
        let one = remembered.iter().find(|one| one.path == path)?;
        let list = one.list.as_ref()?;
        let metadata = fs::metadata(path).ok()?;
        (Stamp::of(&metadata) == one.stamp).then(|| list.clone())
    }

    fn remember(&self, path: &Path, stamp: Stamp, list: &NetworkConfList, now: Instant) {
        let mut remembered = self.lock();
        if let Some(one) = remembered.iter_mut().find(|one| one.path == path) {
            if one.stamp != stamp {
                (one.stamp, one.since, one.list) = (stamp, now, None);
            } else if now.saturating_duration_since(one.since) >= SETTLED {
                one.list = Some(list.clone());
            }
            return;
        }
        if remembered.len() >= REMEMBERED {
            remembered.remove(0);
        }
        remembered.push(Remembered {
            path: path.to_owned(),
            stamp,
            since: now,
            list: None,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Remembered>> {
        self.remembered.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::thread::sleep;

    use super::*;

    struct Confs {
        dir: tempfile::TempDir,
        files: Files,
        start: Instant,
    }

    impl Confs {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                files: Files::default(),
                start: Instant::now(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, network: &str) -> PathBuf {
            let path = self.path(name);
            fs::write(&path, format!(r#"{{"name":"{network}","type":"t"}}"#)).unwrap();
            path
        }

        /// Loads the file at `seconds` after the start; returns the network's name.
        fn name(&self, path: &Path, seconds: u64) -> String {
            let now = self.start + Duration::from_secs(seconds);
            self.files.file_at(path, now).unwrap().name().to_string()
        }

        fn is_settled(&self, path: &Path) -> bool {
            self.files.settled(path).is_some()
        }
    }

    #[test]
    fn settled_file_is_served_from_cache() {
        let confs = Confs::new();
        let path = confs.write("a.conf", "one");
        for seconds in [0, 1, 2] {
            assert_eq!(confs.name(&path, seconds), "one");
            assert!(!confs.is_settled(&path), "{seconds}");
        }
        assert_eq!(confs.name(&path, 3), "one");
        assert!(confs.is_settled(&path));
        assert_eq!(confs.name(&path, 4), "one");
    }

    #[test]
    fn changed_file_is_reloaded() {
        let confs = Confs::new();
        let path = confs.write("a.conf", "one");
        assert_eq!(confs.name(&path, 0), confs.name(&path, 10));
        let before = fs::metadata(&path).unwrap();
        let changed = |now: &Metadata| (now.ctime(), now.ctime_nsec());
        // Same size, inode and modification time as before.
        while changed(&before) == changed(&fs::metadata(&path).unwrap()) {
            confs.write("a.conf", "two");
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
            sleep(Duration::from_millis(1));
        }
        assert!(!confs.is_settled(&path));
        assert_eq!(confs.name(&path, 20), "two");
        // A single observation does not settle it, however late.
        assert!(!confs.is_settled(&path));
        assert_eq!(confs.name(&path, 30), "two");
        fs::rename(confs.write("b.conf", "six"), &path).unwrap();
        assert_eq!(confs.name(&path, 40), "six");
        assert_eq!(confs.name(&path, 50), "six");
        assert!(confs.is_settled(&path));
        fs::remove_file(&path).unwrap();
        assert!(matches!(confs.files.file(&path), Err(Error::Read { .. })));
    }

    #[test]
    fn a_link_that_leads_elsewhere_now_is_followed() {
        let confs = Confs::new();
        let (one, two) = (confs.write("1", "one"), confs.write("2", "two"));
        let link = confs.path("link.conf");
        symlink(one, &link).unwrap();
        assert_eq!(confs.name(&link, 0), confs.name(&link, 10));
        assert!(confs.is_settled(&link));
        fs::remove_file(&link).unwrap();
        symlink(two, &link).unwrap();
        assert_eq!(confs.name(&link, 20), "two");
    }

    #[test]
    fn list_with_external_plugins_is_not_cached() {
        let confs = Confs::new();
        let path = confs.path("a.conflist");
        let plugins = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"t"}]"#;
        for (rest, settles) in [("}", false), (r#","loadOnlyInlinedPlugins":true}"#, true)] {
            fs::write(&path, format!("{plugins}{rest}")).unwrap();
            assert_eq!(confs.name(&path, 0), confs.name(&path, 10));
            assert_eq!(confs.is_settled(&path), settles, "{rest}");
        }
    }

    #[test]
    fn so_many_files_are_remembered_and_no_more() {
        let confs = Confs::new();
        for number in 0..2 * REMEMBERED {
            let path = confs.write(&number.to_string(), &format!("n{number}"));
            assert_eq!(confs.name(&path, 0), format!("n{number}"));
        }
        assert_eq!(confs.files.lock().len(), REMEMBERED);
    }
}
