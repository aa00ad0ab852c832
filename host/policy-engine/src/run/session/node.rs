//! The hooks about the node rather than a pod.

use std::sync::Arc;

use super::{Session, with_states};
use crate::load::policy::Loading;
use crate::model::policy::Mode;
use crate::model::report::{Cause, Denied, Hook, Report};
use crate::record::Value;
use crate::wasm::stage::Stage;

impl Session {
    pub(super) async fn status(&mut self) -> Result<(), Denied> {
        if self.skipped {
            return Ok(());
        }
        for policy in self.generation.chain() {
            if policy.is_required()
                && let Some(reason) = policy.broken_reason()
            {
                let message = match policy.is_loading() {
                    Some(_) => format!("the policy is required and not loaded yet: {reason}"),
                    None => format!("the policy is required and not loaded: {reason}"),
                };
                return Err(policy.deny(Hook::Status, Cause::Load, message));
            }
            // Not ready before the first policies load; a policy added later does not matter.
            if policy.is_loading() == Some(Loading::AtStart)
                && policy.mode() == Mode::Enforce
                && policy.is_closed(Cause::Load)
            {
                let message = "the policy is not loaded yet".to_owned();
                return Err(policy.deny(Hook::Status, Cause::Load, message));
            }
        }
        let mut report = Report::default();
        self.tape.offer(Hook::Status, || Value::Status);
        for turn in self.turns(Hook::Status, None) {
            self.turn(&turn, Hook::Status, Stage::Idle, &mut report)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn gc(&mut self, valid: &[(String, String)]) -> Report {
        let mut report = Report::default();
        let attachments: Arc<[(String, String)]> = valid.into();
        self.tape
            .offer(Hook::Gc, || Value::Gc(Arc::clone(&attachments)));
        for turn in self.turns(Hook::Gc, None) {
            // No error, as on DEL.
            let _ = self
                .turn(
                    &turn,
                    Hook::Gc,
                    Stage::Gc {
                        valid: Arc::clone(&attachments),
                    },
                    &mut report,
                )
                .await;
        }
        let containers: Vec<String> = valid.iter().map(|(id, _)| id.clone()).collect();
        let services = Arc::clone(self.generation.services());
        with_states(services, move |states| {
            let containers: Vec<&str> = containers.iter().map(String::as_str).collect();
            states.keep(&containers);
        })
        .await;
        report
    }
}
