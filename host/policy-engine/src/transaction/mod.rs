//! What guests stage and the host applies: pure data, without any knowledge of WebAssembly.
//!
//! A hook starts from one thing (selections, an attachment, a result). Each policy edits a copy of
//! what the policies before it left; every edit is checked when it is made. When the policy
//! accepts, its copy becomes what the next one starts from, and the difference becomes its patch
//! and its claims; otherwise the copy is dropped.

mod attachment;
mod claims;
mod conf;
mod finale;
pub(crate) mod invariants;
mod outcome;
mod selections;
mod tree;
mod validate;

use std::sync::Arc;

use cni_types::json::{Node, Patch};

pub(crate) use attachment::{AttachmentDraft, Reserved};
pub(crate) use claims::Claims;
pub(crate) use conf::{TypeGrant, get as conf_get, plugin_types};
pub(crate) use finale::FinaleDraft;
pub(crate) use outcome::{OutcomeDraft, RawIp, route};
pub(crate) use selections::SelectionsDraft;
pub(crate) use validate::json_object;

/// Why an edit was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// The edit needs a grant.
    #[error("not granted: {0}")]
    NotGranted(&'static str),
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

/// How much one policy may edit in one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Number of edits.
    pub(crate) edits: u32,
    /// Bytes of all edits together.
    pub(crate) bytes: usize,
}

/// A thing that policies edit.
pub(crate) trait Draft: Clone {
    /// The thing as people know it, for the patch in the log.
    fn tree(&self) -> Node;

    /// The thing with every element that can be owned under a key of its own, so that two
    /// policies can add to one list without being in each other's way.
    fn claim_tree(&self) -> Node;
}

/// The copy that one policy edits in one hook.
#[derive(Debug)]
pub(crate) struct Transaction<D> {
    /// What the next policy starts from as well, until the first edit.
    draft: Arc<D>,
    owner: Arc<str>,
    claims: Arc<Claims>,
    budget: Budget,
    edited: bool,
    conflict: Option<EditError>,
}

/// What a transaction leaves when its policy accepts.
#[derive(Debug)]
pub(crate) struct Staged<D> {
    /// The edited thing.
    pub(crate) draft: Arc<D>,
    /// The difference; `None` when there is none.
    pub(crate) patch: Option<Patch>,
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
        Self {
            current: Arc::new(current),
            claims: Arc::default(),
        }
    }

    /// The same with what policies own since an earlier hook: each of `earlier` is about the part of
    /// the thing at its place.
    pub(crate) fn carrying<'a>(
        mut self,
        earlier: impl IntoIterator<Item = (String, &'a Claims)>,
    ) -> Self {
        let mut earlier = earlier
            .into_iter()
            .filter(|(_, claims)| !claims.is_empty())
            .peekable();
        if earlier.peek().is_none() {
            return self;
        }
        let tree = self.current.claim_tree();
        let claims = Arc::make_mut(&mut self.claims);
        for (place, earlier) in earlier {
            claims.carry(earlier, &place, &tree);
        }
        self
    }

    /// Begins the turn of one policy.
    pub(crate) fn begin(&self, owner: Arc<str>, budget: Budget) -> Transaction<D> {
        Transaction {
            draft: Arc::clone(&self.current),
            owner,
            claims: Arc::clone(&self.claims),
            budget,
            edited: false,
            conflict: None,
        }
    }

    /// What the transaction changed, without applying it.
    pub(crate) fn staged(&self, transaction: Transaction<D>) -> Staged<D> {
        let Transaction { draft, edited, .. } = transaction;
        let patch = edited
            .then(|| Patch::between(&self.current.tree(), &draft.tree()))
            .filter(|patch| !patch.is_empty());
        Staged { draft, patch }
    }

    /// Applies what `owner` staged and gives the patch, where something changed.
    pub(crate) fn commit(&mut self, owner: &Arc<str>, staged: Staged<D>) -> Option<Patch> {
        let patch = staged.patch?;
        let claims = Arc::make_mut(&mut self.claims);
        claims.record(
            owner,
            &self.current.claim_tree(),
            &staged.draft.claim_tree(),
        );
        self.current = staged.draft;
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
    /// What the guest sees.
    pub(crate) fn draft(&self) -> &D {
        &self.draft
    }

    /// Makes one edit of `bytes`, or leaves the draft as it was.
    pub(crate) fn edit<T>(
        &mut self,
        bytes: usize,
        change: impl FnOnce(&mut D) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        self.budget.spend(bytes)?;
        let mut next = D::clone(&self.draft);
        let answer = change(&mut next)?;
        if !self.claims.is_empty()
            && let Some(error) = self.claims.violated_by(&self.owner, &next.claim_tree())
        {
            self.conflict.get_or_insert_with(|| error.clone());
            return Err(error);
        }
        self.draft = Arc::new(next);
        self.edited = true;
        Ok(answer)
    }

    /// The first edit that was refused because another policy had set the path.
    pub(crate) fn conflict(&self) -> Option<&EditError> {
        self.conflict.as_ref()
    }
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), EditError> {
        self.edits = self
            .edits
            .checked_sub(1)
            .ok_or_else(|| EditError::TooLarge("the number of edits in one hook".to_owned()))?;
        self.bytes = self
            .bytes
            .checked_sub(bytes)
            .ok_or_else(|| EditError::TooLarge("the bytes of all edits in one hook".to_owned()))?;
        Ok(())
    }
}
