//! Records what a policy does.

use std::time::Duration;

use parking_lot::Mutex;
use policy_engine::{
    AppliedEdit, Call, Cause, Denied, Finding, Hook, Level, Mode, Verdict, Witness,
};
use serde_json::Value;

/// What a policy did, in order. A hook's log lines come before its call, and everything else after.
#[derive(Debug, Clone)]
pub(crate) enum PolicyEvent {
    /// A hook call ended.
    Called {
        hook: Hook,
        /// Network and interface.
        attachment: Option<(String, String)>,
        /// How it ended.
        verdict: Verdict,
        /// Its wall clock.
        duration: Duration,
        /// Bytes of memory, and the limit.
        memory: (u64, u64),
        /// Lines of log, and the limit.
        log_lines: (u64, u64),
    },
    /// A line of log.
    Logged {
        level: Level,
        line: String,
    },
    /// Edits of the last call.
    Edited {
        hook: Hook,
        /// Its attachment's interface, as it was called before the hook.
        if_name: Option<String>,
        edits: Vec<Edit>,
    },
    /// A denial, by the policy or because it failed.
    Denied(Denial),
    Finding(Finding),
    /// A function that needs a grant was called.
    Used(&'static str),
}

/// One operation of a patch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edit {
    /// JSON pointer.
    pub(crate) path: String,
    /// The new value; `None` if it was removed.
    pub(crate) value: Option<Value>,
}

#[derive(Debug, Clone)]
pub(crate) struct Denial {
    pub(crate) hook: Hook,
    pub(crate) code: u32,
    pub(crate) message: String,
    pub(crate) cause: Cause,
    /// Whether it counts: in audit mode it is only logged.
    pub(crate) is_enforced: bool,
}

/// Buffers events until they are taken.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    events: Vec<PolicyEvent>,
    /// The interface of the last call.
    if_name: Option<String>,
}

impl Recorder {
    /// Everything since the last time.
    pub(super) fn take(&self) -> Vec<PolicyEvent> {
        std::mem::take(&mut self.0.lock().events)
    }

    fn push(&self, event: PolicyEvent) {
        self.0.lock().events.push(event);
    }
}

impl Witness for Recorder {
    fn called(&self, call: &Call<'_>) {
        let mut recorded = self.0.lock();
        recorded.if_name = call.attachment.map(|(_, if_name)| if_name.to_owned());
        recorded.events.push(PolicyEvent::Called {
            hook: call.hook,
            attachment: call
                .attachment
                .map(|(network, if_name)| (network.to_owned(), if_name.to_owned())),
            verdict: call.verdict,
            duration: call.duration,
            memory: call.memory,
            log_lines: call.log_lines,
        });
    }

    fn logged(&self, _: Hook, level: Level, line: &str) {
        self.push(PolicyEvent::Logged {
            level,
            line: line.to_owned(),
        });
    }

    fn edited(&self, edit: &AppliedEdit, _: Mode) {
        let edits = edit.patch.0.iter().map(|operation| Edit {
            path: operation.path.clone(),
            value: operation.parsed(),
        });
        let edits = edits.collect();
        let mut recorded = self.0.lock();
        let if_name = recorded.if_name.clone();
        recorded.events.push(PolicyEvent::Edited {
            hook: edit.hook,
            if_name,
            edits,
        });
    }

    fn denied(&self, denied: &Denied, mode: Mode) {
        self.push(PolicyEvent::Denied(Denial {
            hook: denied.hook,
            code: denied.code,
            message: denied.message.clone(),
            cause: denied.cause,
            is_enforced: mode != Mode::Audit,
        }));
    }

    fn found(&self, finding: &Finding) {
        self.push(PolicyEvent::Finding(finding.clone()));
    }

    fn used(&self, grant: &'static str) {
        self.push(PolicyEvent::Used(grant));
    }
}
