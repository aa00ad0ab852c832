//! Lines of the daemon's log, bounded in number and bytes for each request.

use crate::bindings::cnidaria::policy::log::{Host, Level};
use crate::report::clean;
use crate::store::{GuestState, Room};

/// Bytes of one line.
const MAX_LINE: usize = 2048;

impl Host for GuestState {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let line = clean(&message, MAX_LINE);
        // The last words of a panic go with the error, whether or not there is room in the log.
        if level == Level::Error {
            self.last_words = Some(line.clone());
        }
        let (spec, hook) = (self.shared_spec(), self.hook());
        let policy = &*spec.name;
        match self.log_budget.take(line.len()) {
            Room::Left => {}
            Room::JustEnded => {
                tracing::warn!(target: "cnidaria::policy", policy, %hook, "the rest of this policy's log for this request is dropped");
                return Ok(());
            }
            Room::None => return Ok(()),
        }
        match level {
            Level::Debug => tracing::debug!(target: "cnidaria::policy", policy, %hook, "{line}"),
            Level::Info => tracing::info!(target: "cnidaria::policy", policy, %hook, "{line}"),
            Level::Warn => tracing::warn!(target: "cnidaria::policy", policy, %hook, "{line}"),
            Level::Error => tracing::error!(target: "cnidaria::policy", policy, %hook, "{line}"),
        }
        Ok(())
    }
}
