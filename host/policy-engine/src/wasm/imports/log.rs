//! The guest's lines in the daemon's log, bounded in number and bytes per request.

use tracing::Level as Severity;

use crate::model::report::clean;
use crate::model::witness;
use crate::wasm::bindings::cnidaria::policy::log::{Host, Level};
use crate::wasm::store::{GuestState, LogRoom};

/// Maximum bytes of one line.
const MAX_LINE: usize = 2048;

impl Host for GuestState {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        // A panic's message goes with the error, even if the log budget is used up.
        if level == Level::Error {
            self.last_words = Some(clean(&message, MAX_LINE));
        }
        let severity = match level {
            Level::Debug => Severity::DEBUG,
            Level::Info => Severity::INFO,
            Level::Warn => Severity::WARN,
            Level::Error => Severity::ERROR,
        };
        self.write_log(severity, &message);
        Ok(())
    }
}

/// The level that a witness sees.
fn level(severity: Severity) -> witness::Level {
    match severity {
        Severity::ERROR => witness::Level::Error,
        Severity::WARN => witness::Level::Warn,
        Severity::INFO => witness::Level::Info,
        _ => witness::Level::Debug,
    }
}

impl GuestState {
    /// Logs one line of the guest, if the log budget allows it.
    pub(crate) fn write_log(&mut self, severity: Severity, message: &str) {
        let line = clean(message, MAX_LINE);
        let (spec, hook) = (self.shared_spec(), self.hook());
        let policy = &*spec.name;
        match self.log_budget.take(line.len()) {
            LogRoom::Left => {}
            LogRoom::JustEnded => {
                tracing::warn!(
                    target: "cnidaria::policy",
                    policy, %hook, "the rest of this policy's log for this request is dropped",
                );
                return;
            }
            LogRoom::None => return,
        }
        if let Ok(services) = self.services()
            && let Some(witness) = &services.witness
        {
            witness.logged(hook, level(severity), &line);
        }
        match severity {
            Severity::ERROR => tracing::error!(target: "cnidaria::policy", policy, %hook, "{line}"),
            Severity::WARN => tracing::warn!(target: "cnidaria::policy", policy, %hook, "{line}"),
            Severity::INFO => tracing::info!(target: "cnidaria::policy", policy, %hook, "{line}"),
            _ => tracing::debug!(target: "cnidaria::policy", policy, %hook, "{line}"),
        }
    }
}
