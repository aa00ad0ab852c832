//! What guests stage and the host applies, as pure data without WebAssembly.
//!
//! A hook edits one value: selections, an attachment or a result. Each policy edits a copy of its
//! predecessor's outcome; every edit is checked before it is made, at a cost proportional to what
//! it changes. When the policy accepts, its copy becomes the next policy's input, and the
//! differences in the edited areas become its patch and claims; otherwise the copy is dropped.

mod areas;
mod attachment;
mod attachment_steps;
mod budget;
mod capability_args;
mod claims;
mod conf;
mod difference;
mod finale;
mod given;
mod guarded;
pub(crate) mod invariants;
mod outcome;
mod outcome_steps;
mod patch;
mod plugins;
mod protected;
mod protected_changes;
mod roles;
mod rules;
mod selection_claims;
mod selections;
mod settings;
mod spelling;
mod sysctl;
mod tree;
mod twins;
mod validate;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::model::grant::Grant;
use areas::Areas;
use budget::Extent;
use difference::{Kind, Path, Step, Visit};
use settings::{Setting, Settings};
use twins::Twin;

pub(crate) use attachment::{AttachmentChange, AttachmentDraft, Reserved};
pub(crate) use budget::{Budget, RequestBudget};
pub(crate) use claims::Claims;
pub(crate) use conf::{capabilities, get as conf_get};
pub(crate) use finale::{FinaleDraft, Owned};
pub(crate) use given::{cni_args, runtime_config};
pub(crate) use outcome::{OutcomeChange, OutcomeDraft, RawIp, route};
pub(crate) use patch::EditPatch;
pub(crate) use plugins::plugin_types;
pub(crate) use selection_claims::SelectionClaims;
pub(crate) use selections::{SelectionsChange, SelectionsDraft, View};
pub(crate) use validate::json_object;

#[cfg(feature = "fuzz")]
pub(crate) use protected::check as conf_difference;
#[cfg(feature = "fuzz")]
pub(crate) use sysctl::setting as sysctl_setting;

/// Areas within one object that are compared separately; few where fuzz tests shall meet more.
const MAX_SIBLINGS: usize = match cfg!(feature = "fuzz") {
    true => 2,
    false => 16,
};

/// Whether Go reads the same values from both confs.
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

/// Why an edit was rejected, without changing anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// The edit needs a grant that the policy lacks.
    #[error("the policy lacks the grant {0:?}")]
    NotGranted(&'static str),
    /// Editing this path needs a grant that the policy lacks.
    #[error("{path} needs the grant {grant}")]
    NeedsGrant {
        /// Pointer into the edited value.
        path: String,
        grant: Grant,
    },
    /// No policy may change this, or not in this hook.
    #[error("{0} cannot be changed")]
    Immutable(String),
    /// The value is invalid.
    #[error("{0}")]
    Invalid(String),
    /// Another policy set a path that this edit changes.
    #[error("{} belongs to policy {owner:?}{}", shown(path), both(values))]
    Conflict {
        owner: Arc<str>,
        /// Pointer into the edited value.
        path: String,
        /// The owner's value and the refused one as JSON, shortened.
        values: Box<[Option<String>; 2]>,
    },
    /// The edit exceeds a limit.
    #[error("too large: {0}")]
    TooLarge(String),
}

/// A place in the edited value.
fn shown(path: &str) -> &str {
    match path {
        "" => "part of what the edit takes away",
        path => path,
    }
}

/// What the owner of a value set, and what another policy would have.
fn both([theirs, ours]: &[Option<String>; 2]) -> String {
    let shown = |value: &Option<String>| match value {
        Some(value) => value.clone(),
        None => "nothing".to_owned(),
    };
    match (theirs, ours) {
        (None, None) => String::new(),
        _ => format!(", which set it to {}, not {}", shown(theirs), shown(ours)),
    }
}

/// A value that policies edit.
pub(crate) trait Draft: Clone {
    /// One edit, checked but not applied yet.
    type Change;
    /// A part of the value in which edits were made.
    /// Areas within an area follow it directly.
    type Area: Clone + Ord;

    /// The extent of an edit's JSON.
    fn extent(change: &Self::Change) -> Extent;

    /// The parts that an edit changes.
    fn areas(&self, change: &Self::Change) -> Vec<Self::Area>;

    /// Whether all of `other` lies in `area`.
    fn covers(area: &Self::Area, other: &Self::Area) -> bool;

    /// The smallest area that contains this one, if areas can contain others.
    fn above(area: &Self::Area) -> Option<Self::Area> {
        let _ = area;
        None
    }

    /// An area that contains this one and can stand for many like it, if any.
    fn parent(&self, area: &Self::Area) -> Option<Self::Area> {
        let _ = area;
        None
    }

    /// Visits the differences that an edit would make. List elements that can be owned separately
    /// have keys of their own, so that two policies can add to one list without conflict.
    fn foresee(&self, change: &Self::Change, visit: &mut Visit<'_>) -> ControlFlow<()>;

    /// Applies an edit completely or not at all.
    fn apply(&mut self, change: Self::Change) -> Result<(), EditError>;

    /// Visits the differences between `self` and `later` in an area, in the form of
    /// [`foresee`](Self::foresee).
    fn compare(&self, later: &Self, area: &Self::Area, visit: &mut Visit<'_>) -> ControlFlow<()>;

    /// The values that an edit sets one by one, whether or not it changes them.
    fn settings(&self, change: &Self::Change) -> Vec<Setting> {
        let _ = change;
        Vec::new()
    }

    /// Visits the differences between `self` and `later` in areas, in readable form for the log.
    fn show(&self, later: &Self, areas: &[Self::Area], visit: &mut Visit<'_>);

    /// The field of a path from [`show`](Self::show), for metrics: bounded cardinality.
    fn field(path: &Path<'_>) -> String;

    /// The values that a difference touches and that are also reached in other ways.
    fn twins(&self, step: &Step<'_, '_>) -> Vec<Twin> {
        let _ = step;
        Vec::new()
    }

    /// The value in readable form.
    #[cfg(feature = "fuzz")]
    fn tree(&self) -> cni_types::json::Node;
}

/// The copy that one policy edits in one hook.
#[derive(Debug)]
pub(crate) struct Transaction<D: Draft> {
    /// Shared with the working copy until the first edit.
    draft: Arc<D>,
    owner: Arc<str>,
    claims: Arc<Claims>,
    /// What the policy added in this turn inside values that other policies set.
    grown: Claims,
    budget: Budget,
    /// The policy's remaining edit budget for the whole request, if limited.
    request: Option<Arc<RequestBudget>>,
    /// The edited areas.
    areas: Areas<D::Area>,
    settings: Settings,
    conflict: Option<EditError>,
}

/// The outcome of a transaction whose policy accepts.
#[derive(Debug)]
pub(crate) struct Staged<D: Draft> {
    draft: Arc<D>,
    areas: Vec<D::Area>,
    settings: Settings,
    /// The difference; `None` if nothing changed.
    pub(crate) patch: Option<EditPatch>,
}

/// One hook over all its policies: the next policy's input, and who owns what.
#[derive(Debug)]
pub(crate) struct Working<D> {
    current: Arc<D>,
    claims: Arc<Claims>,
}

impl<D: Draft> Working<D> {
    /// Starts a hook without claims.
    pub(crate) fn new(current: D) -> Self {
        Self::owned(current, Claims::default())
    }

    /// Starts a hook with the claims of an earlier one.
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
            areas: Areas::default(),
            settings: Settings::default(),
            conflict: None,
        }
    }

    /// What the transaction changed, without applying it. Compares only the edited areas.
    pub(crate) fn staged(&self, transaction: Transaction<D>) -> Staged<D> {
        let Transaction {
            draft,
            areas,
            settings,
            ..
        } = transaction;
        let areas = areas.into_list();
        let mut patch = EditPatch::default();
        if !areas.is_empty() {
            self.current.show(&draft, &areas, &mut |step| {
                patch.push(step, || D::field(step.path));
                ControlFlow::Continue(())
            });
        }
        // Reordered members with equal values can still make Go read another value.
        let differs = !patch.is_empty()
            || areas.iter().any(|area| {
                let mut found = |_: &Step<'_, '_>| ControlFlow::Break(());
                self.current.compare(&draft, area, &mut found).is_break()
            });
        Staged {
            draft,
            areas,
            settings,
            patch: differs.then_some(patch),
        }
    }

    /// Applies what `owner` staged, and returns the patch if anything changed. A value that `owner`
    /// set is its own even if it was the same before.
    pub(crate) fn commit(&mut self, owner: &Arc<str>, staged: Staged<D>) -> Option<EditPatch> {
        let Staged {
            draft,
            areas,
            settings,
            patch,
        } = staged;
        let claims = Arc::make_mut(&mut self.claims);
        if patch.is_some() {
            for area in &areas {
                let _ = self.current.compare(&draft, area, &mut |step| {
                    claims.record(owner, step, &draft.twins(step));
                    ControlFlow::Continue(())
                });
            }
        }
        for (path, value) in settings.iter() {
            let step = Step {
                path,
                kind: match value {
                    Some(_) => Kind::Changed,
                    None => Kind::Removed,
                },
                old: value,
                new: value,
            };
            claims.keep(owner, &step, || draft.twins(&step));
        }
        if patch.is_some() {
            self.current = draft;
        }
        patch
    }

    /// The claims of all policies so far.
    pub(crate) fn claims(&self) -> Arc<Claims> {
        Arc::clone(&self.claims)
    }

    /// The next policy's input.
    pub(crate) fn current(&self) -> Arc<D> {
        Arc::clone(&self.current)
    }

    /// The final value, after all policies.
    pub(crate) fn finish(self) -> D {
        Arc::unwrap_or_clone(self.current)
    }
}

impl<D: Draft> Transaction<D> {
    /// Limits the transaction to the policy's edit budget for the whole request.
    pub(crate) fn within(mut self, request: Arc<RequestBudget>) -> Self {
        self.request = Some(request);
        self
    }

    /// The copy, shared until its next edit.
    pub(crate) fn shared(&self) -> Arc<D> {
        Arc::clone(&self.draft)
    }

    /// The copy as the guest sees it.
    pub(crate) fn draft(&self) -> &D {
        &self.draft
    }

    /// Makes one edit of `bytes`, or leaves the draft unchanged. The cost is proportional to the
    /// change; the first edit also copies the draft.
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
        let (areas, settings) = (self.draft.areas(&change), self.draft.settings(&change));
        Arc::make_mut(&mut self.draft).apply(change)?;
        for area in areas {
            self.areas.touch(&*self.draft, area);
        }
        for setting in settings {
            self.settings.add(setting);
        }
        Ok(())
    }

    /// The first edit that was rejected because another policy had set the path.
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
        let _ = draft.foresee(change, &mut |step| match claims.check(
            owner,
            grown,
            step,
            &draft.twins(step),
        ) {
            Ok(()) => {
                grown.record(owner, step, &[]);
                ControlFlow::Continue(())
            }
            Err(error) => {
                found = Some(error);
                ControlFlow::Break(())
            }
        });
        found
    }
}
