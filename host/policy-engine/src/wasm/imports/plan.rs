//! The whole plan, in the hooks that see it.

use wasmtime::component::Resource;

use super::handle::{AttachmentHandle, OutcomeHandle, PlanHandle};
use crate::wasm::bindings::{v0_2, v0_3};
use crate::wasm::stage::{Planned, Stage};
use crate::wasm::store::{GuestState, index};

/// Maximum number of attachments of a plan with handles: far more than a pod has.
const MAX_PARTS: u16 = u16::MAX - 1;

impl GuestState {
    fn plan_length(&self) -> wasmtime::Result<usize> {
        match &self.stage {
            Stage::BeforeAdd { plan, .. } => Ok(plan.all.len()),
            stage => {
                let plan = stage.plan();
                plan.map(|plan| plan.len()).ok_or_else(self.stale("plan"))
            }
        }
    }

    /// The handle part of an attachment of the plan, if it exists.
    fn attachment_part(&self, at: u32) -> wasmtime::Result<Option<u16>> {
        let part = self.plan_part(at)?;
        Ok(match &self.stage {
            // The hook's own has the first part.
            Stage::BeforeAdd {
                plan: Planned { position, .. },
                ..
            } => part.map(|part| match usize::from(part) == *position {
                true => 0,
                false => part.saturating_add(1),
            }),
            _ => part,
        })
    }

    fn plan_part(&self, at: u32) -> wasmtime::Result<Option<u16>> {
        let there = index(at) < self.plan_length()?;
        let part = u16::try_from(at).ok();
        Ok(part.filter(|part| there && *part < MAX_PARTS))
    }

    /// The handle part of an attachment's network-status, if it exists.
    fn status_part(&self, at: u32) -> wasmtime::Result<Option<u16>> {
        let part = self.plan_part(at)?;
        Ok(part
            .filter(|_| self.stage.finale().is_some())
            .map(|part| part.saturating_add(1)))
    }
}

/// Implements the plan of one version.
macro_rules! plan {
    ($types:path) => {
        use $types as types;

        use super::*;

        impl types::HostPlan for GuestState {
            fn length(&mut self, _: Resource<PlanHandle>) -> wasmtime::Result<u32> {
                Ok(u32::try_from(self.plan_length()?).unwrap_or(u32::MAX))
            }

            fn at(
                &mut self,
                _: Resource<PlanHandle>,
                at: u32,
            ) -> wasmtime::Result<Option<Resource<AttachmentHandle>>> {
                let part = self.attachment_part(at)?;
                Ok(part.map(|part| Resource::new_own(self.number(part))))
            }

            fn status(
                &mut self,
                _: Resource<PlanHandle>,
                at: u32,
            ) -> wasmtime::Result<Option<Resource<OutcomeHandle>>> {
                let part = self.status_part(at)?;
                Ok(part.map(|part| Resource::new_own(self.number(part))))
            }

            fn drop(&mut self, _: Resource<PlanHandle>) -> wasmtime::Result<()> {
                Ok(())
            }
        }
    };
}

mod of_v0_2 {
    plan!(v0_2::cnidaria::policy::types);
}

mod of_v0_3 {
    plan!(v0_3::cnidaria::policy::types);
}
