//! Records what policies do in a rehearsal.

use parking_lot::{Mutex, MutexGuard};
use policy_engine::{AppliedEdit, Call, Denied, Finding, Hook, Mode, Witness};

use cnidaria_core::ports::{Action, Operation, PolicyAction, RehearsalRecord};

/// Records edits, denials and findings, in order.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    actions: Vec<PolicyAction>,
    /// The interface of the last call.
    if_name: Option<String>,
}

impl Recorder {
    fn push(&self, policy: &str, hook: Hook, mode: Mode, action: Action) {
        let mut recorded = self.lock();
        let if_name = recorded.if_name.clone();
        recorded.actions.push(PolicyAction {
            policy: policy.to_owned(),
            hook: hook.as_str(),
            if_name,
            is_enforced: mode != Mode::Audit,
            action,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock()
    }
}

impl RehearsalRecord for Recorder {
    fn take(&self) -> Vec<PolicyAction> {
        std::mem::take(&mut self.lock().actions)
    }
}

impl Witness for Recorder {
    fn called(&self, call: &Call<'_>) {
        self.lock().if_name = call.attachment.map(|(_, if_name)| if_name.to_owned());
    }

    fn edited(&self, edit: &AppliedEdit, mode: Mode) {
        let operations = edit.patch.0.iter().map(operation).collect();
        let action = Action::Edited(operations);
        self.push(&edit.policy, edit.hook, mode, action);
    }

    fn denied(&self, denied: &Denied, mode: Mode) {
        let action = Action::Denied {
            code: denied.code,
            message: denied.message.clone(),
        };
        self.push(&denied.policy, denied.hook, mode, action);
    }

    fn found(&self, finding: &Finding) {
        let action = Action::Found {
            code: finding.code.clone(),
            message: finding.message.clone(),
        };
        self.push(&finding.policy, finding.hook, Mode::Enforce, action);
    }
}

fn operation(edit: &policy_engine::Operation) -> Operation {
    Operation {
        op: edit.change.as_str().to_owned(),
        path: edit.path.clone(),
        value: edit.parsed(),
    }
}
