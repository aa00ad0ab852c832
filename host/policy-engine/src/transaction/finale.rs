//! The draft of a request's final result and of the network-status of each attachment.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::budget::Extent;
use super::difference::{Path, Visit};
use super::outcome::OutcomeChange;
use super::outcome_steps::Area;
use super::settings::Setting;
use super::{Claims, Draft, EditError, OutcomeDraft};

/// Result and network-status, edited and applied together.
#[derive(Debug, Clone)]
pub(crate) struct FinaleDraft {
    /// The result for the runtime.
    pub(crate) result: Arc<OutcomeDraft>,
    /// One status for each attachment.
    pub(crate) statuses: Vec<Arc<OutcomeDraft>>,
}

/// What policies own of a result since an earlier hook, and how they left it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owned {
    pub(crate) claims: Arc<Claims>,
    /// What they left; `None` if they own nothing.
    pub(crate) left: Option<Arc<OutcomeDraft>>,
}

/// An outcome of the finale: an attachment's status by index, or `None` for the runtime's result.
type Part = Option<usize>;

impl FinaleDraft {
    /// An edit of the runtime's result.
    pub(crate) fn edit_result(
        &self,
        change: impl FnOnce(&OutcomeDraft) -> Result<OutcomeChange, EditError>,
    ) -> Result<(Part, OutcomeChange), EditError> {
        Ok((None, change(&self.result)?))
    }

    /// An edit of one network-status entry.
    pub(crate) fn edit_status(
        &self,
        index: usize,
        change: impl FnOnce(&OutcomeDraft) -> Result<OutcomeChange, EditError>,
    ) -> Result<(Part, OutcomeChange), EditError> {
        let status = self
            .statuses
            .get(index)
            .ok_or_else(|| EditError::Invalid(format!("no attachment {index}")))?;
        Ok((Some(index), change(status)?))
    }

    /// The claims from after-add, in the order of the attachments. The first attachment's claims
    /// also apply to the runtime's result.
    pub(crate) fn owned(&self, owned: &[Owned]) -> Claims {
        let mut claims = Claims::default();
        let first = owned.first().map(|owned| (None, owned));
        let each = owned.iter().enumerate();
        let each = each.map(|(index, owned)| (Some(index), owned));
        for (
            part,
            Owned {
                claims: earlier,
                left,
            },
        ) in first.into_iter().chain(each)
        {
            if let (Some(left), Some(now)) = (left, self.part(part))
                && !earlier.is_empty()
            {
                claims.carry(earlier, &place(part), &left.claimed(), &now.claimed());
            }
        }
        claims
    }

    fn part(&self, part: Part) -> Option<&OutcomeDraft> {
        match part {
            None => Some(&self.result),
            Some(index) => self.statuses.get(index).map(|status| &**status),
        }
    }
}

impl Draft for FinaleDraft {
    type Change = (Part, OutcomeChange);
    type Area = (Part, Area);

    fn extent((_, change): &Self::Change) -> Extent {
        OutcomeDraft::extent(change)
    }

    fn areas(&self, (part, change): &Self::Change) -> Vec<Self::Area> {
        vec![(*part, change.area())]
    }

    fn covers(area: &Self::Area, other: &Self::Area) -> bool {
        area == other
    }

    fn foresee(&self, (part, change): &Self::Change, visit: &mut Visit<'_>) -> ControlFlow<()> {
        match self.part(*part) {
            Some(outcome) => outcome.foresee_at(place(*part), change, visit),
            None => ControlFlow::Continue(()),
        }
    }

    fn settings(&self, (part, change): &Self::Change) -> Vec<Setting> {
        change.settings_at(place(*part))
    }

    fn apply(&mut self, (part, change): Self::Change) -> Result<(), EditError> {
        let outcome = match part {
            None => Some(&mut self.result),
            Some(index) => self.statuses.get_mut(index),
        };
        outcome.map_or(Ok(()), |outcome| Arc::make_mut(outcome).apply(change))
    }

    fn compare(
        &self,
        later: &Self,
        (part, area): &Self::Area,
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        match (self.part(*part), later.part(*part)) {
            (Some(old), Some(new)) => old.compare_at(place(*part), new, *area, visit),
            _ => ControlFlow::Continue(()),
        }
    }

    fn show(&self, later: &Self, areas: &[Self::Area], visit: &mut Visit<'_>) {
        let mut parts: Vec<Part> = areas.iter().map(|(part, _)| *part).collect();
        parts.sort_unstable();
        parts.dedup();
        for part in parts {
            if let (Some(old), Some(new)) = (self.part(part), later.part(part)) {
                old.show_at(place(part), new, visit);
            }
        }
    }

    fn field(path: &Path<'_>) -> String {
        path.first().map(ToString::to_string).unwrap_or_default()
    }

    #[cfg(feature = "fuzz")]
    fn tree(&self) -> cni_types::json::Node {
        use super::tree::object;
        let statuses = self.statuses.iter().map(|status| status.tree()).collect();
        object([
            ("final", Some(self.result.tree())),
            ("status", Some(cni_types::json::Node::Array(statuses))),
        ])
    }
}

fn place(part: Part) -> Vec<Cow<'static, str>> {
    match part {
        None => vec!["final".into()],
        Some(index) => vec!["status".into(), index.to_string().into()],
    }
}
