//! The whole plan, in the finalize hook.

use wasmtime::component::Resource;

use super::handle::{AttachmentHandle, OutcomeHandle, PlanHandle};
use crate::wasm::bindings::cnidaria::policy::types::HostPlan;
use crate::wasm::store::{GuestState, Stage, index};

/// Maximum number of attachments of a plan with handles: far more than a pod has.
const MAX_PARTS: u16 = u16::MAX - 1;

impl GuestState {
    fn plan_length(&self) -> wasmtime::Result<usize> {
        match &self.stage {
            Stage::Finalize { plan, .. } => Ok(plan.len()),
            _ => Err(self.stale("plan")()),
        }
    }

    /// The handle part of an attachment of the plan, if it exists.
    fn plan_part(&self, at: u32) -> wasmtime::Result<Option<u16>> {
        let there = index(at) < self.plan_length()?;
        let part = u16::try_from(at).ok();
        Ok(part.filter(|part| there && *part < MAX_PARTS))
    }
}

impl HostPlan for GuestState {
    fn length(&mut self, _: Resource<PlanHandle>) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.plan_length()?).unwrap_or(u32::MAX))
    }

    fn at(
        &mut self,
        _: Resource<PlanHandle>,
        at: u32,
    ) -> wasmtime::Result<Option<Resource<AttachmentHandle>>> {
        let part = self.plan_part(at)?;
        Ok(part.map(|part| Resource::new_own(self.number(part))))
    }

    fn status(
        &mut self,
        _: Resource<PlanHandle>,
        at: u32,
    ) -> wasmtime::Result<Option<Resource<OutcomeHandle>>> {
        let part = self.plan_part(at)?;
        Ok(part.map(|part| Resource::new_own(self.number(part.saturating_add(1)))))
    }

    fn drop(&mut self, _: Resource<PlanHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
