//! The signals that end the daemon.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP.
pub(super) struct Signals([Signal; 3]);

impl Signals {
    /// From now on the signals do not end the process.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            // By default it would end the process without a shutdown.
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for one of them.
    pub(super) async fn recv(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
