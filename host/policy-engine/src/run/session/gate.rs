//! Policies that are not loaded: they deny the requests that they would have seen.

use super::Session;
use crate::model::report::{Cause, Denied, Hook, Report};
use crate::wasm::instance::Failure;

impl Session {
    /// Denies a request that a policy which does not load would have seen. Runs once per ADD.
    pub(super) fn gate(&mut self, hook: Hook, report: &mut Report) -> Result<(), Denied> {
        if std::mem::replace(&mut self.gated, true) {
            return Ok(());
        }
        self.gate_those(hook, None, report)
    }

    /// Like [`gate`](Self::gate), for policies that match on networks.
    pub(super) fn gate_network(&self, network: &str, report: &mut Report) -> Result<(), Denied> {
        self.gate_those(Hook::BeforeAdd, Some(network), report)
    }

    fn gate_those(
        &self,
        hook: Hook,
        network: Option<&str>,
        report: &mut Report,
    ) -> Result<(), Denied> {
        if self.skipped {
            return Ok(());
        }
        for policy in self.generation.chain() {
            let Some(reason) = policy.broken_reason() else {
                continue;
            };
            if policy.names_networks() == network.is_some() && policy.sees(&self.facts, network) {
                let failure = Failure {
                    cause: Cause::Load,
                    reason: match policy.is_loading() {
                        Some(_) => format!("not loaded yet, try again later: {reason}"),
                        None => format!("not loaded: {reason}"),
                    },
                };
                self.fail(policy, (hook, network), &failure, report)?;
            }
        }
        Ok(())
    }
}
