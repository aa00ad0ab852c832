//! Checks who could replace the socket: inspects each directory and link on the path to it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use shim_api::peer_credentials::OVERFLOW_UID;

use super::Error;

/// The kernel's limit on symbolic links in one path.
const MOST_LINKS: usize = 40;

const ANOTHERS: &str = "belongs to another user";
const OF_ALL: &str = "can be written by all users";
const OF_GROUP: &str = "can be written by its group";

/// Makes the socket's directory private, unless it is shared with something else. Fails if another
/// user could still write to it, or replace it or a directory above it.
pub(super) fn restrict(dir: &Path, socket: &Path) -> Result<(), Error> {
    let way = way_to(dir)?;
    for (path, metadata) in &way.above {
        above(path, metadata, is_user_namespace)?;
    }
    let exposed = |reason| exposed(dir, reason);
    if !is_own(&way.end) {
        return Err(exposed(ANOTHERS));
    }
    let mode = way.end.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let ours_alone = std::fs::read_dir(dir)
        .is_ok_and(|entries| entries.flatten().all(|entry| entry.path() == socket));
    if ours_alone && std::fs::set_permissions(dir, Permissions::from_mode(0o700)).is_ok() {
        return Ok(());
    }
    // Even if it is sticky: another user could bind the socket's name before the daemon starts.
    if let Some(reason) = writable(mode) {
        return Err(exposed(reason));
    }
    tracing::warn!(dir = %dir.display(), "the socket's directory is open to other users");
    Ok(())
}

/// Checks a directory or link above the socket's directory.
fn above(
    path: &Path,
    metadata: &Metadata,
    is_user_namespace: impl Fn() -> bool,
) -> Result<(), Error> {
    // In an unprivileged user namespace the owner of `/` is unknown.
    let is_unknown = metadata.uid() == OVERFLOW_UID && is_user_namespace();
    if !is_own(metadata) && !is_unknown {
        return Err(exposed(path, ANOTHERS));
    }
    // Links have all mode bits set. In a sticky directory only owners can replace their entries,
    // and those on the path belong to root or to the daemon's user.
    let is_protected = metadata.is_symlink() || metadata.mode() & 0o1000 != 0;
    match writable(metadata.mode()) {
        Some(reason) if !is_protected => Err(exposed(path, reason)),
        _ => Ok(()),
    }
}

/// Everything that the kernel passes when it resolves a path.
struct Way {
    /// Directories and links, starting with `/`.
    above: Vec<(PathBuf, Metadata)>,
    /// The directory that the path resolves to.
    end: Metadata,
}

fn way_to(dir: &Path) -> Result<Way, Error> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io {
            action: "look at",
            path,
            source,
        }
    };
    let dir = std::path::absolute(dir).map_err(io(dir))?;
    let mut at = PathBuf::from("/");
    let mut end = std::fs::symlink_metadata(&at).map_err(io(&at))?;
    let mut above = Vec::new();
    let mut links = 0;
    let mut rest: VecDeque<OsString> = names(&dir).collect();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            end = std::fs::symlink_metadata(&at).map_err(io(&at))?;
            continue;
        }
        above.push((at.clone(), end));
        let next = at.join(name);
        let metadata = std::fs::symlink_metadata(&next).map_err(io(&next))?;
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(io(&dir)(io::Error::from_raw_os_error(
                    rustix::io::Errno::LOOP.raw_os_error(),
                )));
            }
            let to = std::fs::read_link(&next).map_err(io(&next))?;
            for name in names(&to).rev() {
                rest.push_front(name);
            }
            if to.is_absolute() {
                at = PathBuf::from("/");
            }
            above.push((next, metadata));
            end = std::fs::symlink_metadata(&at).map_err(io(&at))?;
        } else {
            at = next;
            end = metadata;
        }
    }
    Ok(Way { above, end })
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw()
}

fn writable(mode: u32) -> Option<&'static str> {
    if mode & 0o002 != 0 {
        Some(OF_ALL)
    } else if mode & 0o020 != 0 {
        Some(OF_GROUP)
    } else {
        None
    }
}

/// Whether some users of the machine are not mapped here.
fn is_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().ne(["0", "0", "4294967295"]))
}

fn exposed(dir: &Path, reason: &'static str) -> Error {
    Error::Exposed {
        dir: dir.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, create_dir_all, set_permissions};
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;

    fn check(dir: &Path) -> Result<(), String> {
        restrict(dir, &dir.join("multus.sock")).map_err(|error| error.to_string())
    }

    fn open(dir: &Path, mode: u32) {
        set_permissions(dir, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn directories_above_are_looked_at() {
        let top = tempfile::tempdir().unwrap();
        let shared = top.path().join("shared");
        let dir = shared.join("a/run");
        create_dir_all(&dir).unwrap();
        for (mode, reason) in [(0o777, OF_ALL), (0o775, OF_GROUP), (0o757, OF_ALL)] {
            open(&shared, mode);
            let refused = check(&dir).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
            assert!(
                refused.contains(&format!("{} ", shared.display())),
                "{refused}"
            );
        }
        for mode in [0o1777, 0o755] {
            open(&shared, mode);
            check(&dir).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            chown(&shared, Some(1234), None).unwrap();
            assert!(check(&dir).unwrap_err().contains(ANOTHERS));
        }
    }

    #[test]
    fn links_on_the_way_are_looked_at() {
        let top = tempfile::tempdir().unwrap();
        let [safe, shared, run] = ["safe", "shared", "run"].map(|name| top.path().join(name));
        for dir in [&safe, &shared, &run] {
            create_dir(dir).unwrap();
            open(dir, 0o700);
        }
        // safe/link -> ../shared/link -> run: the modes of `shared` decide.
        symlink("../shared/link", safe.join("link")).unwrap();
        symlink(&run, shared.join("link")).unwrap();
        check(&safe.join("link")).unwrap();
        open(&shared, 0o777);
        let refused = check(&safe.join("link")).unwrap_err();
        assert!(refused.contains("shared can be written"), "{refused}");
        open(&shared, 0o1777);
        check(&safe.join("link")).unwrap();
        if rustix::process::geteuid().is_root() {
            lchown(shared.join("link"), Some(1234), None).unwrap();
            let refused = check(&safe.join("link")).unwrap_err();
            assert!(
                refused.contains("link belongs to another user"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_ring_of_links_is_an_error() {
        let top = tempfile::tempdir().unwrap();
        symlink("b", top.path().join("a")).unwrap();
        symlink("a", top.path().join("b")).unwrap();
        let refused = way_to(&top.path().join("a"));
        assert!(matches!(refused.err(), Some(Error::Io { .. })));
    }

    #[test]
    fn an_unknown_owner_needs_a_user_namespace() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can change owners.
        }
        let top = tempfile::tempdir().unwrap();
        chown(top.path(), Some(OVERFLOW_UID), None).unwrap();
        let metadata = std::fs::metadata(top.path()).unwrap();
        above(top.path(), &metadata, || true).unwrap();
        above(top.path(), &metadata, || false).unwrap_err();
    }
}
