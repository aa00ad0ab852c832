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
        // A line of a hook of one pod names it.
        let facts = self.facts();
        let pod = facts.pod.as_ref().map(tracing::field::display);
        let container_id = Some(&*facts.container_id).filter(|id| !id.is_empty());
        macro_rules! write {
            ($level:ident) => {
                tracing::$level!(
                    target: "cnidaria::policy",
                    policy, %hook, pod, container_id, "{line}",
                )
            };
        }
        match severity {
            Severity::ERROR => write!(error),
            Severity::WARN => write!(warn),
            Severity::INFO => write!(info),
            _ => write!(debug),
        }
    }
}
