//! What guests stage and the host applies: pure data, without any knowledge of WebAssembly.
//!
//! A hook starts from one thing (selections, an attachment, a result). Each policy edits a copy of
//! what the policies before it left; every edit is checked before it is made, which costs what the
//! edit changes. When the policy accepts, its copy becomes what the next one starts from, and what
//! differs where it edited becomes its patch and its claims; otherwise the copy is dropped.

mod attachment;
mod attachment_steps;
mod budget;
mod claims;
mod conf;
mod difference;
mod finale;
mod found;
mod guarded;
pub(crate) mod invariants;
mod outcome;
mod outcome_steps;
mod patch;
mod protected;
mod roles;
mod selections;
mod tree;
mod twins;
mod validate;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::config::Grant;
use budget::Extent;
use difference::{Path, Step, Visit};
use twins::Twin;

pub(crate) use attachment::{AttachmentDraft, Change as AttachmentChange, Reserved};
pub(crate) use budget::{Budget, RequestBudget};
pub(crate) use claims::Claims;
pub(crate) use conf::get as conf_get;
pub(crate) use finale::{FinaleDraft, Owned};
pub(crate) use guarded::ConfGrant;
pub(crate) use outcome::{Change as OutcomeChange, OutcomeDraft, RawIp, route};
pub(crate) use patch::EditPatch;
pub(crate) use protected::plugin_types;
pub(crate) use selections::{Change as SelectionsChange, SelectionsDraft};
pub(crate) use validate::json_object;

#[cfg(feature = "fuzz")]
pub(crate) use protected::check as conf_difference;

/// Whether Go reads the same from two confs.
#[cfg(feature = "fuzz")]
pub(crate) fn conf_same(old: &cni_types::json::Node, new: &cni_types::json::Node) -> bool {
    let (keys, same) = (
        difference::Keys::Folded,
        difference::same(old, new, difference::Keys::Folded),
    );
    let mut found = |_: &Step<'_, '_>| ControlFlow::Break(());
    let walk = difference::compare_nodes(keys, Vec::new(), Some(old), Some(new), &mut found);
    assert_eq!(same, walk.is_continue(), "one comparison, done twice");
    same
}

/// Why an edit was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// The edit needs a grant.
    #[error("not granted: {0}")]
    NotGranted(&'static str),
    /// The edit of this path needs a grant.
    #[error("{path} needs the grant {grant}")]
    NeedsGrant {
        /// Where.
        path: String,
        /// The grant.
        grant: Grant,
    },
    /// Nobody may change this, or not in this hook.
    #[error("{0} cannot be changed")]
    Immutable(String),
    /// The value is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Another policy set a path that this edit changes.
    #[error("{path} belongs to policy {owner:?}")]
    Conflict {
        /// The policy that set it.
        owner: Arc<str>,
        /// Pointer into the edited thing.
        path: String,
    },
    /// The edit exceeds a limit.
    #[error("too large: {0}")]
    TooLarge(String),
}

/// A thing that policies edit.
pub(crate) trait Draft: Clone {
    /// One edit, checked but not made yet.
    type Change;
    /// A part in which edits were made.
    type Area: Clone;

    /// What the JSON of an edit amounts to.
    fn extent(change: &Self::Change) -> Extent;

    /// The parts in which an edit changes something.
    fn areas(&self, change: &Self::Change) -> Vec<Self::Area>;

    /// Whether all of `other` lies in `area`.
    fn covers(area: &Self::Area, other: &Self::Area) -> bool;

    /// Visits what an edit would make different, with every element that can be owned under a key of
    /// its own, so that two policies can add to one list without being in each other's way.
    fn foresee(&self, change: &Self::Change, visit: &mut Visit<'_>) -> ControlFlow<()>;

    /// Makes an edit, or leaves everything as it was.
    fn apply(&mut self, change: Self::Change) -> Result<(), EditError>;

    /// Visits what is different in `later` within an area, as [`foresee`](Self::foresee).
    fn compare(&self, later: &Self, area: &Self::Area, visit: &mut Visit<'_>) -> ControlFlow<()>;

    /// Visits what is different in `later` within areas, as people know it, for the log.
    fn show(&self, later: &Self, areas: &[Self::Area], visit: &mut Visit<'_>);

    /// The field that a path of [`show`](Self::show) is in, for metrics: few, whatever the path.
    fn field(path: &Path<'_>) -> String;

    /// The places of values to which several ways lead, for a path.
    fn twins<'a>(path: &Path<'a>) -> Vec<Twin<'a>> {
        let _ = path;
        Vec::new()
    }

    /// Whether there is a value at the place of a twin.
    fn holds(&self, twin: &Path<'_>) -> bool {
        let _ = twin;
        false
    }

    /// The thing as people know it.
    #[cfg(feature = "fuzz")]
    fn tree(&self) -> cni_types::json::Node;
}

/// The copy that one policy edits in one hook.
#[derive(Debug)]
pub(crate) struct Transaction<D: Draft> {
    /// What the next policy starts from as well, until the first edit.
    draft: Arc<D>,
    owner: Arc<str>,
    claims: Arc<Claims>,
    /// What the policy set in this turn, where others had set something before.
    grown: Claims,
    budget: Budget,
    /// What the policy may still edit in the whole request, where there is one.
    request: Option<Arc<RequestBudget>>,
    /// Where edits were made.
    areas: Vec<D::Area>,
    conflict: Option<EditError>,
}

/// What a transaction leaves when its policy accepts.
#[derive(Debug)]
pub(crate) struct Staged<D: Draft> {
    /// The edited thing.
    draft: Arc<D>,
    areas: Vec<D::Area>,
    /// The difference; `None` when there is none.
    pub(crate) patch: Option<EditPatch>,
}

/// One hook over all its policies: what the next policy starts from, and who owns what.
#[derive(Debug)]
pub(crate) struct Working<D> {
    current: Arc<D>,
    claims: Arc<Claims>,
}

impl<D: Draft> Working<D> {
    /// Begins a hook with nothing edited.
    pub(crate) fn new(current: D) -> Self {
        Self::owned(current, Claims::default())
    }

    /// The same with what policies own since an earlier hook.
    pub(crate) fn owned(current: D, claims: Claims) -> Self {
        Self {
            current: Arc::new(current),
            claims: Arc::new(claims),
        }
    }

    /// Begins the turn of one policy.
    pub(crate) fn begin(&self, owner: Arc<str>, budget: Budget) -> Transaction<D> {
        Transaction {
            draft: Arc::clone(&self.current),
            owner,
            claims: Arc::clone(&self.claims),
            grown: Claims::default(),
            budget,
            request: None,
            areas: Vec::new(),
            conflict: None,
        }
    }

    /// What the transaction changed, without applying it. Looks only at what was edited.
    pub(crate) fn staged(&self, transaction: Transaction<D>) -> Staged<D> {
        let Transaction { draft, areas, .. } = transaction;
        let mut patch = EditPatch::default();
        if !areas.is_empty() {
            self.current.show(&draft, &areas, &mut |step| {
                patch.push(step, || D::field(step.path));
                ControlFlow::Continue(())
            });
        }
        // Go may read another value where the members are the same in another order.
        let differs = !patch.is_empty()
            || areas.iter().any(|area| {
                let mut found = |_: &Step<'_, '_>| ControlFlow::Break(());
                self.current.compare(&draft, area, &mut found).is_break()
            });
        Staged {
            draft,
            areas,
            patch: differs.then_some(patch),
        }
    }

    /// Applies what `owner` staged and gives the patch, where something changed.
    pub(crate) fn commit(&mut self, owner: &Arc<str>, staged: Staged<D>) -> Option<EditPatch> {
        let Staged {
            draft,
            areas,
            patch,
        } = staged;
        let patch = patch?;
        let claims = Arc::make_mut(&mut self.claims);
        for area in &areas {
            let _ = self.current.compare(&draft, area, &mut |step| {
                claims.record(owner, step, &D::twins(step.path));
                ControlFlow::Continue(())
            });
        }
        self.current = draft;
        Some(patch)
    }

    /// Who owns what.
    pub(crate) fn claims(&self) -> Arc<Claims> {
        Arc::clone(&self.claims)
    }

    /// What the next policy starts from.
    pub(crate) fn current(&self) -> Arc<D> {
        Arc::clone(&self.current)
    }

    /// What all policies together left.
    pub(crate) fn finish(self) -> D {
        Arc::unwrap_or_clone(self.current)
    }
}

impl<D: Draft> Transaction<D> {
    /// The same, within what the policy may edit in the whole request.
    pub(crate) fn within(mut self, request: Arc<RequestBudget>) -> Self {
        self.request = Some(request);
        self
    }

    /// What the guest sees.
    pub(crate) fn draft(&self) -> &D {
        &self.draft
    }

    /// Makes one edit of `bytes`, or leaves the draft as it was. Costs what the edit changes; the
    /// first one copies the draft.
    pub(crate) fn edit(
        &mut self,
        bytes: usize,
        change: impl FnOnce(&D) -> Result<D::Change, EditError>,
    ) -> Result<(), EditError> {
        self.budget.spend(bytes)?;
        if let Some(request) = &self.request {
            request.spend(bytes)?;
        }
        let change = change(&self.draft)?;
        let extent = D::extent(&change);
        self.budget.spend_json(extent)?;
        if let Some(request) = &self.request {
            request.spend_json(extent)?;
        }
        if self.claims.concern(&self.owner)
            && let Some(error) = self.violated_by(&change)
        {
            self.conflict.get_or_insert_with(|| error.clone());
            return Err(error);
        }
        let areas = self.draft.areas(&change);
        Arc::make_mut(&mut self.draft).apply(change)?;
        for area in areas {
            self.touch(area);
        }
        Ok(())
    }

    /// The first edit that was refused because another policy had set the path.
    pub(crate) fn conflict(&self) -> Option<&EditError> {
        self.conflict.as_ref()
    }

    fn violated_by(&mut self, change: &D::Change) -> Option<EditError> {
        let Self {
            draft,
            owner,
            claims,
            grown,
            ..
        } = self;
        let mut found = None;
        let _ = draft.foresee(change, &mut |step| {
            let twins = D::twins(step.path);
            let holds = |place: &Path<'_>| draft.holds(place);
            match claims.check(owner, grown, step, &twins, holds) {
                Ok(()) => {
                    grown.record(owner, step, &[]);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    found = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        found
    }

    fn touch(&mut self, area: D::Area) {
        if self.areas.iter().any(|known| D::covers(known, &area)) {
            return;
        }
        self.areas.retain(|known| !D::covers(&area, known));
        self.areas.push(area);
    }
}
