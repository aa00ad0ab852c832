//! The socket file: created where no other user can reach it, and replaced only when stale.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixListener;

use super::exposure;

/// A request that every daemon on the socket answers, if only with an error.
const QUESTION: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Timeout for that answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file or directory it failed on.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// Another daemon is serving on this socket.
    #[error("another daemon is serving on {0}")]
    InUse(PathBuf),
    /// Another user could replace the socket, and answer shims.
    #[error("{dir} {reason}, who could answer in the daemon's place")]
    Exposed {
        /// The directory or link on the path to the socket.
        dir: PathBuf,
        /// Who could replace the socket, and how.
        reason: &'static str,
    },
    /// The socket's path is occupied by something that is not a socket.
    #[error("{0} is in the way and not a socket")]
    NotASocket(PathBuf),
}

/// What is at a bound socket's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtPath {
    /// Its own file.
    Own,
    /// Another file, most likely the socket of another daemon.
    Other,
    /// Nothing, or not visible: its own file was removed.
    Nothing,
}

/// A bound socket. Its file is removed on drop.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// An `O_PATH` descriptor of the bound file, so that its inode number is not reused.
    file: OwnedFd,
}

impl Socket {
    /// Binds the socket in `dir`, which is created with mode 0700 if missing. Replaces a stale
    /// socket; touches nothing else in the directory.
    ///
    /// # Errors
    /// [`Error`], which names the path.
    pub fn bind(dir: &Path) -> Result<(Self, UnixListener), Error> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io {
                action,
                path,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io("make directory", dir))?;
        let path = shim_api::endpoint::socket_path(dir);
        exposure::restrict(dir, &path)?;
        match std::fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => return Err(Error::NotASocket(path)),
            Ok(_) if is_served(&path) => return Err(Error::InUse(path)),
            Ok(_) => std::fs::remove_file(&path).map_err(io("remove stale socket", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io("look at", &path)(error)),
        }
        let listener = UnixListener::bind(&path).map_err(io("bind", &path))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(io("restrict", &path))?;
        let file = open(&path).map_err(io("look at", &path))?;
        Ok((Self { path, file }, listener))
    }

    /// The path of its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is at its path now.
    pub fn at_path(&self) -> AtPath {
        let Ok(there) = rustix::fs::lstat(&self.path) else {
            return AtPath::Nothing;
        };
        let is_own = rustix::fs::fstat(&self.file)
            .is_ok_and(|own| (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino));
        match is_own {
            true => AtPath::Own,
            false => AtPath::Other,
        }
    }
}

/// Whether a daemon is serving. After a daemon was killed, its forked children keep the socket open
/// and accepting until they execute their delegates.
fn is_served(path: &Path) -> bool {
    while let Ok(mut stream) = UnixStream::connect(path) {
        let asked = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.write_all(QUESTION))
            .and_then(|()| stream.read(&mut [0]));
        match asked.map_err(|error| error.kind()) {
            Err(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {}
            // Includes a missing answer: a hanging daemon is still a daemon.
            _ => return true,
        }
    }
    false
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The file may already be a successor's socket, which must stay.
        if self.at_path() == AtPath::Own {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path)
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    }

    #[tokio::test]
    async fn socket_and_directory_are_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("run/multus");
        let (socket, _listener) = Socket::bind(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&socket.path), 0o600);
    }

    #[tokio::test]
    async fn only_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, listener) = Socket::bind(dir.path()).unwrap();
        assert!(matches!(Socket::bind(dir.path()), Err(Error::InUse(_))));
        std::mem::forget(socket);
        drop(listener);
        Socket::bind(dir.path()).unwrap();
    }

    #[tokio::test]
    async fn socket_closed_without_response_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, listener) = Socket::bind(dir.path()).unwrap();
        std::mem::forget(socket);
        let listener = listener.into_std().unwrap();
        let child = std::thread::spawn(move || {
            let mut waiting = [PollFd::new(&listener, PollFlags::IN)];
            poll(&mut waiting, None).unwrap();
        });
        Socket::bind(dir.path()).unwrap();
        child.join().unwrap();
    }

    #[tokio::test]
    async fn other_files_of_the_directory_stay() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        std::fs::write(&other, "x").unwrap();
        drop(Socket::bind(dir.path()).unwrap());
        assert!(other.exists());
        std::fs::write(dir.path().join(shim_api::endpoint::SOCKET_FILE), "x").unwrap();
        assert!(matches!(
            Socket::bind(dir.path()),
            Err(Error::NotASocket(_))
        ));
    }

    #[tokio::test]
    async fn symlink_at_socket_path_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, _listener) = Socket::bind(&dir.path().join("elsewhere")).unwrap();
        let socket = dir.path().join(shim_api::endpoint::SOCKET_FILE);
        std::os::unix::fs::symlink(&elsewhere.path, &socket).unwrap();
        let refused = Socket::bind(dir.path());
        assert!(matches!(refused, Err(Error::NotASocket(_))), "{refused:?}");
        assert!(socket.is_symlink() && elsewhere.path.exists());
    }

    #[tokio::test]
    async fn the_successors_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (first, listener) = Socket::bind(dir.path()).unwrap();
        drop(listener);
        let (second, _listener) = Socket::bind(dir.path()).unwrap();
        drop(first);
        assert!(second.path.exists());
        let path = second.path.clone();
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn directory_writable_by_others_is_rejected() {
        for (mode_of, reason) in [
            (0o777, "can be written by all users"),
            (0o775, "can be written by its group"),
            (0o1777, "can be written by all users"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let open = || {
                std::fs::set_permissions(dir.path(), Permissions::from_mode(mode_of)).unwrap();
            };
            open();
            drop(Socket::bind(dir.path()).unwrap());
            assert_eq!(mode(dir.path()), 0o700, "nothing else is in it");
            std::fs::write(dir.path().join("other"), "x").unwrap();
            open();
            let refused = Socket::bind(dir.path()).unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
            assert_eq!(mode(dir.path()), mode_of & 0o777);
        }
        if rustix::process::geteuid().is_root() {
            let dir = tempfile::tempdir().unwrap();
            std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
            let refused = Socket::bind(dir.path()).unwrap_err().to_string();
            assert!(refused.contains("belongs to another user"), "{refused}");
        }
    }
}
