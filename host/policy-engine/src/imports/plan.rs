//! The whole plan of the finalize hook.

use wasmtime::component::Resource;

use super::handle::{Attachment, Outcome, Plan};
use crate::bindings::cnidaria::policy::types::HostPlan;
use crate::store::{GuestState, Stage, index};

impl GuestState {
    fn plan_length(&self) -> wasmtime::Result<usize> {
        match &self.stage {
            Stage::Finalize { plan, .. } => Ok(plan.len()),
            _ => Err(self.stale("plan")()),
        }
    }
}

impl HostPlan for GuestState {
    fn length(&mut self, _: Resource<Plan>) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.plan_length()?).unwrap_or(u32::MAX))
    }

    fn at(&mut self, _: Resource<Plan>, at: u32) -> wasmtime::Result<Option<Resource<Attachment>>> {
        let there = index(at) < self.plan_length()?;
        Ok(there.then(|| Resource::new_own(at)))
    }

    fn status(
        &mut self,
        _: Resource<Plan>,
        at: u32,
    ) -> wasmtime::Result<Option<Resource<Outcome>>> {
        let there = index(at) < self.plan_length()?;
        Ok(there.then(|| Resource::new_own(at.saturating_add(1))))
    }

    fn drop(&mut self, _: Resource<Plan>) -> wasmtime::Result<()> {
        Ok(())
    }
}
