//! Keeps the socket in place: binds it again if its file or its directory is removed or moved while
//! the daemon runs. Leaves the socket of another daemon alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cnidaria_core::report;
use parking_lot::{Mutex, MutexGuard};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::WATCH_AGAIN;
use crate::adapters::delegates::orphans::Tenure;
use crate::server::{AtPath, Socket};
use crate::watch::Watch;

/// Retry interval while the socket cannot be bound.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Minimum interval between logs of that.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// Why the removed socket could not be bound again, while it is not.
#[derive(Debug, Default)]
pub(super) struct Unbound(Mutex<Option<String>>);

impl Unbound {
    /// The last reason; `None` while the socket is in place.
    pub(super) fn reason(&self) -> Option<String> {
        self.lock().clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.lock() = reason;
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock()
    }
}

/// The daemon's tenure, and those it began after the directory was removed with its lock.
pub(super) struct Tenures(Mutex<Vec<Arc<Tenure>>>);

impl Tenures {
    pub(super) fn of(tenure: Arc<Tenure>) -> Self {
        Self(Mutex::new(vec![tenure]))
    }

    fn are_in_place(&self, dir: &Path) -> bool {
        let tenures = self.0.lock();
        tenures.iter().any(|one| one.is_in_place(dir))
    }

    fn add(&self, tenure: Tenure) {
        let mut tenures = self.0.lock();
        tenures.push(Arc::new(tenure));
    }
}

/// The socket while the daemon serves.
pub(super) struct Listening {
    /// `socketDir`.
    pub(super) dir: PathBuf,
    /// The bound socket.
    pub(super) socket: Socket,
    /// Lets the next daemon wait for this one.
    pub(super) tenures: Arc<Tenures>,
    /// Where the server takes new listeners from.
    pub(super) replace: mpsc::Sender<UnixListener>,
    /// Why the socket is not bound.
    pub(super) unbound: Arc<Unbound>,
}

impl Listening {
    /// Binds the socket again whenever it is gone, forever.
    pub(super) async fn keep(&mut self) {
        loop {
            self.await_removal().await;
            self.bind_again().await;
            self.unbound.set(None);
        }
    }

    /// Waits until nothing is at the socket's path. If another daemon's socket is, waits until that
    /// daemon has removed it.
    async fn await_removal(&self) {
        let mut is_logged = false;
        loop {
            let mut watch = match Watch::on([self.dir.as_path()]) {
                Ok(watch) => Some(watch),
                Err(error) => {
                    tracing::debug!(dir = %self.dir.display(), %error, "cannot watch the socket's directory");
                    None
                }
            };
            match self.socket.at_path() {
                AtPath::Nothing => return,
                AtPath::Other if !is_logged => {
                    tracing::warn!(
                        socket = %self.socket.path().display(),
                        "another socket is in the place of the daemon's own, most likely that of another daemon; leaving it alone"
                    );
                    is_logged = true;
                }
                AtPath::Own | AtPath::Other => {}
            }
            let changed = match &mut watch {
                Some(watch) => watch.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                sleep(WATCH_AGAIN).await;
            }
        }
    }

    /// Tries until the socket is bound or another one is in its place.
    async fn bind_again(&mut self) {
        let path = self.socket.path().to_owned();
        let mut logged: Option<Instant> = None;
        while self.socket.at_path() == AtPath::Nothing {
            match self.bind().await {
                Ok(()) => {
                    tracing::warn!(socket = %path.display(), "the daemon's socket was removed; bound it again");
                    return;
                }
                Err(error) => {
                    if logged.is_none_or(|at| at.elapsed() >= LOG_AGAIN) {
                        tracing::error!(
                            socket = %path.display(),
                            error = error.as_str(),
                            "the daemon's socket was removed and cannot be bound again, so no request arrives; trying again. Restart the daemon if its directory is a mount that was removed"
                        );
                        logged = Some(Instant::now());
                    }
                    self.unbound.set(Some(error));
                    sleep(BIND_AGAIN).await;
                }
            }
        }
    }

    async fn bind(&mut self) -> Result<(), String> {
        let bound = Socket::bind(&self.dir);
        let (socket, listener) = bound.map_err(|error| report::chain(&error))?;
        if !self.tenures.are_in_place(&self.dir) {
            // The lock was removed as well; without one, the next daemon would not wait.
            let begun = Tenure::begin(&self.dir, Duration::ZERO).await;
            self.tenures
                .add(begun.map_err(|error| report::chain(&error))?);
        }
        self.socket = socket;
        // The server ends only after this task.
        let _ = self.replace.send(listener).await;
        Ok(())
    }
}
