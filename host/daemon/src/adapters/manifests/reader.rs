//! Reads the directory's files, each when it changes, within bounds.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cnidaria_core::domain::manifest::is_manifest;

use super::changed::Changed;
use super::object::{self, Objects};

/// More files are not read.
const MAX_FILES: usize = 4096;
/// Larger manifests are not read, in bytes.
const MAX_BYTES: u64 = 8 << 20;
/// Beyond this, in bytes of all files together, no further file is read.
const MAX_ALL_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Reader {
    dir: PathBuf,
    files: BTreeMap<PathBuf, File>,
    /// Whether the last listing had too many files.
    is_crowded: bool,
}

/// A file as it was last looked at.
#[derive(Debug)]
struct File {
    stamp: Stamp,
    /// Its size when it was last readable.
    bytes: u64,
    /// Its objects from then.
    objects: Arc<Objects>,
    /// Whether there was no room for it.
    is_left_out: bool,
}

/// What differs if a file was replaced or written, unless within one tick of the kernel's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    times: [i64; 4],
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            times: [
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ],
        }
    }
}

impl Reader {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            files: BTreeMap::new(),
            is_crowded: false,
        }
    }

    /// Reads the files that changed. Returns the objects of all, or `None` if none changed.
    pub(super) fn read(&mut self, changed: &Changed) -> Option<Arc<Objects>> {
        let paths = match self.list() {
            Ok(paths) => paths,
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "cannot read the directory of manifests; keeping its previous state");
                return None;
            }
        };
        let before = self.files.len();
        self.files
            .retain(|path, _| paths.binary_search(path).is_ok());
        let mut is_same = before == self.files.len();
        for path in paths {
            is_same &= !self.look_at(path, changed);
        }
        if is_same {
            return None;
        }
        let mut all = Objects::default();
        self.files
            .values()
            .for_each(|file| all.merge(&file.objects));
        Some(Arc::new(all))
    }

    /// The manifests, in order.
    fn list(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(&self.dir)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_manifest(path))
            .collect();
        paths.sort();
        let is_crowded = paths.len() > MAX_FILES;
        if is_crowded && !self.is_crowded {
            tracing::error!(dir = %self.dir.display(), files = paths.len(), "too many manifests: only the first {MAX_FILES} are read");
        }
        self.is_crowded = is_crowded;
        paths.truncate(MAX_FILES);
        Ok(paths)
    }

    /// Reads a file if it changed. Returns whether its objects may differ.
    fn look_at(&mut self, path: PathBuf, changed: &Changed) -> bool {
        let Ok(metadata) = std::fs::metadata(&path) else {
            // Deleted since it was listed, or a link to nothing: the last content stays.
            return false;
        };
        let stamp = Stamp::of(&metadata);
        let known = self.files.get(&path);
        let is_known = known.is_some_and(|file| file.stamp == stamp)
            && path.file_name().is_some_and(|name| !changed.has(name));
        let was_left_out = known.is_some_and(|file| file.is_left_out);
        if is_known && !was_left_out {
            return false;
        }
        let (bytes, objects) = known.map_or_else(Default::default, |file| {
            (file.bytes, Arc::clone(&file.objects))
        });
        let others: u64 = self.files.values().map(|file| file.bytes).sum();
        let mut file = File {
            stamp,
            bytes,
            objects,
            is_left_out: others - bytes + stamp.bytes > MAX_ALL_BYTES,
        };
        let mut differs = false;
        if file.is_left_out {
            if !(is_known && was_left_out) {
                tracing::error!(file = %path.display(), bytes = stamp.bytes, "no room for the manifest: the daemon reads at most {MAX_ALL_BYTES} bytes of manifests together");
            }
        } else {
            match object::read(&path, MAX_BYTES) {
                Ok(objects) => {
                    file.bytes = stamp.bytes;
                    file.objects = Arc::new(objects);
                    differs = true;
                }
                // Keep the file's last good content: a half-finished edit must not remove networks.
                Err(reason) => {
                    tracing::error!(file = %path.display(), reason, "malformed manifest");
                }
            }
        }
        self.files.insert(path, file);
        differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, annotation: &str) -> String {
        format!("kind: Pod\nmetadata: {{name: {name}, annotations: {{x: {annotation}}}}}\n")
    }

    fn annotation(objects: &Objects, name: &str) -> Option<String> {
        let pod = objects.pod("default", name)?;
        pod.annotations.get("x").cloned()
    }

    #[test]
    fn only_what_changed_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(format!("{name}.yaml"));
        for name in ["a", "b"] {
            std::fs::write(path(name), pod(name, "1")).unwrap();
        }
        let mut reader = Reader::new(dir.path());
        let objects = reader.read(&Changed::default()).unwrap();
        assert_eq!(annotation(&objects, "a").as_deref(), Some("1"));
        assert!(reader.read(&Changed::default()).is_none());
        let read = Arc::clone(&reader.files[&path("b")].objects);
        std::fs::write(path("a"), pod("a", "longer")).unwrap();
        let objects = reader.read(&Changed::default()).unwrap();
        assert_eq!(annotation(&objects, "a").as_deref(), Some("longer"));
        assert!(Arc::ptr_eq(&read, &reader.files[&path("b")].objects));
        std::fs::remove_file(path("a")).unwrap();
        let objects = reader.read(&Changed::default()).unwrap();
        assert_eq!(annotation(&objects, "a"), None);
        assert_eq!(annotation(&objects, "b").as_deref(), Some("1"));
    }

    #[test]
    fn a_file_that_inotify_names_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), pod("a", "1")).unwrap();
        let mut reader = Reader::new(dir.path());
        reader.read(&Changed::default()).unwrap();
        let mut changed = Changed::default();
        changed.all();
        assert!(reader.read(&changed).is_some());
    }

    #[test]
    fn a_changed_link_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["1", "2"] {
            std::fs::create_dir(dir.path().join(version)).unwrap();
            let file = dir.path().join(version).join("a.yaml");
            std::fs::write(file, pod("a", version)).unwrap();
        }
        let (data, new) = (dir.path().join("..data"), dir.path().join("..new"));
        std::os::unix::fs::symlink("1", &data).unwrap();
        std::os::unix::fs::symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
        let mut reader = Reader::new(dir.path());
        reader.read(&Changed::default()).unwrap();
        std::os::unix::fs::symlink("2", &new).unwrap();
        std::fs::rename(new, data).unwrap();
        let objects = reader.read(&Changed::default()).unwrap();
        assert_eq!(annotation(&objects, "a").as_deref(), Some("2"));
    }

    #[test]
    fn manifests_are_bounded_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = |number: usize| dir.path().join(format!("{number}.yaml"));
        let size = usize::try_from(MAX_BYTES).unwrap();
        let mut text = pod("big", "1");
        text.push_str(&" ".repeat(size - text.len()));
        std::fs::write(path(0), pod("small", "1")).unwrap();
        for number in 1..=9 {
            std::fs::write(path(number), text.replace("big", &format!("p{number:02}"))).unwrap();
        }
        // One byte more than a file may have.
        let grown = text + " ";
        std::fs::write(path(1), grown).unwrap();
        let mut reader = Reader::new(dir.path());
        let objects = reader.read(&Changed::default()).unwrap();
        let found = |objects: &Objects, number: usize| {
            annotation(objects, &format!("p{number:02}")).is_some()
        };
        assert!(annotation(&objects, "small").is_some());
        let read: Vec<bool> = (1..=9).map(|number| found(&objects, number)).collect();
        assert_eq!(read.iter().filter(|read| **read).count(), 7);
        assert!(!read[0] && !read[8]);
        // What did not fit is read once there is room.
        std::fs::remove_file(path(5)).unwrap();
        let objects = reader.read(&Changed::default()).unwrap();
        assert!(found(&objects, 9));
    }
}
