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
            Some(outcome) => outcome.foresee_at(place_of(*part, change.area()), change, visit),
            None => ControlFlow::Continue(()),
        }
    }

    fn settings(&self, (part, change): &Self::Change) -> Vec<Setting> {
        change.settings_at(place_of(*part, change.area()))
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
            (Some(old), Some(new)) => old.compare_at(place_of(*part, *area), new, *area, visit),
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

/// The place of an area for claims. The result's tags are those of the first attachment.
fn place_of(part: Part, area: Area) -> Vec<Cow<'static, str>> {
    match (part, area) {
        (None, Area::Tags) => place(Some(0)),
        (part, _) => place(part),
    }
}

fn place(part: Part) -> Vec<Cow<'static, str>> {
    match part {
        None => vec!["final".into()],
        Some(index) => vec!["status".into(), index.to_string().into()],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Working};
    use super::*;
    use cni_types::result::CniResult;
    use cni_types::version::ConfVersion;

    const BUDGET: Budget = Budget::of(10, 1 << 16);

    fn result() -> CniResult {
        let version = ConfVersion::parse("1.0.0").unwrap();
        CniResult::parse(br#"{"cniVersion":"1.0.0"}"#, version).unwrap()
    }

    /// What is left of an after-add hook in which a policy set a tag, and its claims.
    fn tagged() -> Owned {
        let mut working = Working::new(OutcomeDraft::new(result()));
        let owner: Arc<str> = "first".into();
        let mut transaction = working.begin(owner.clone(), BUDGET);
        transaction.edit(1, |draft| draft.tag("k", "1")).unwrap();
        let staged = working.staged(transaction);
        working.commit(&owner, staged);
        let claims = working.claims();
        let left = Some(Arc::new(working.finish()));
        Owned { claims, left }
    }

    #[test]
    fn a_tag_has_one_owner_through_all_hooks() {
        let owned = tagged();
        let tags = owned.left.as_ref().unwrap().tags().clone();
        let draft = FinaleDraft {
            result: Arc::new(OutcomeDraft::new(result())),
            statuses: vec![Arc::new(OutcomeDraft::with_tags(result(), tags))],
        };
        let claims = draft.owned(&[owned]);
        let working = Working::owned(draft, claims);
        let mut second = working.begin("second".into(), BUDGET);
        let result =
            |value| move |draft: &FinaleDraft| draft.edit_result(|one| one.tag("k", value));
        second.edit(1, result("2")).unwrap_err();
        second
            .edit(1, |draft| draft.edit_status(0, |one| one.tag("k", "2")))
            .unwrap_err();
        second
            .edit(1, |draft| draft.edit_status(0, |one| one.tag("l", "2")))
            .unwrap();
        let mut first = working.begin("first".into(), BUDGET);
        first.edit(1, result("2")).unwrap();
    }

    #[test]
    fn a_tag_of_the_result_is_one_of_its_attachment() {
        let draft = FinaleDraft {
            result: Arc::new(OutcomeDraft::new(result())),
            statuses: [result(), result()]
                .map(|result| Arc::new(OutcomeDraft::new(result)))
                .into(),
        };
        let mut working = Working::new(draft);
        let owner: Arc<str> = "first".into();
        let mut transaction = working.begin(owner.clone(), BUDGET);
        transaction
            .edit(1, |draft| draft.edit_result(|one| one.tag("k", "1")))
            .unwrap();
        let staged = working.staged(transaction);
        working.commit(&owner, staged);
        let mut second = working.begin("second".into(), BUDGET);
        second
            .edit(1, |draft| draft.edit_status(0, |one| one.tag("k", "2")))
            .unwrap_err();
        second
            .edit(1, |draft| draft.edit_status(1, |one| one.tag("k", "2")))
            .unwrap();
    }
}
