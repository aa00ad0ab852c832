//! How much one policy may edit: in one edit, one hook, and the whole request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cni_types::json::Node;

use super::EditError;

/// How much one policy may edit in one hook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Number of edits.
    pub(crate) edits: usize,
    /// Bytes of all edits together.
    pub(crate) bytes: usize,
    /// JSON members and elements of all edits together.
    pub(crate) members: usize,
    /// JSON levels of one edit, including its pointer.
    pub(crate) depth: usize,
    /// Bytes of one key.
    pub(crate) key_bytes: usize,
}

/// How much one policy may still edit in all hooks of one request.
#[derive(Debug)]
pub(crate) struct RequestBudget {
    bytes: AtomicUsize,
    members: AtomicUsize,
    /// That of all policies together.
    all: Option<Arc<RequestBudget>>,
}

/// The size of an edit's JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    members: usize,
    depth: usize,
    longest_key: usize,
}

impl Extent {
    /// The extent of a value set at the tokens of a pointer.
    pub(super) fn of(tokens: &[String], value: Option<&Node>) -> Self {
        let mut extent = Self {
            depth: tokens.len(),
            ..Self::default()
        };
        for token in tokens {
            extent.longest_key = extent.longest_key.max(token.len());
        }
        if let Some(value) = value {
            extent.depth += value.depth();
            extent.add(value);
        }
        extent
    }

    /// The extent of an edit that changes this many values beside those that its JSON has.
    pub(super) fn of_values(values: usize) -> Self {
        Self {
            members: values,
            ..Self::default()
        }
    }

    fn add(&mut self, value: &Node) {
        match value {
            Node::Scalar(_) => {}
            Node::Array(elements) => {
                self.members += elements.len();
                elements.iter().for_each(|element| self.add(element));
            }
            Node::Object(members) => {
                self.members += members.len();
                for (key, value) in members {
                    self.longest_key = self.longest_key.max(key.len());
                    self.add(value);
                }
            }
        }
    }

    /// The combined extent of two values.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            members: self.members + other.members,
            depth: self.depth.max(other.depth),
            longest_key: self.longest_key.max(other.longest_key),
        }
    }
}

impl Budget {
    /// A budget that limits only the number of edits and their bytes.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) const fn of(edits: usize, bytes: usize) -> Self {
        Self {
            edits,
            bytes,
            members: usize::MAX,
            depth: usize::MAX,
            key_bytes: usize::MAX,
        }
    }

    /// Spends one edit of `bytes`.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), EditError> {
        self.edits = take(self.edits, 1, || {
            "the number of edits in one hook (limits.edits)".to_owned()
        })?;
        self.bytes = take(self.bytes, bytes, || {
            "the bytes of all edits in one hook (limits.editBytes)".to_owned()
        })?;
        Ok(())
    }

    /// Spends the JSON extent of one edit.
    pub(super) fn spend_json(&mut self, extent: Extent) -> Result<(), EditError> {
        let Extent {
            members,
            depth,
            longest_key,
        } = extent;
        take(self.depth, depth, || {
            format!("{depth} levels, limits.editDepth allows {}", self.depth)
        })?;
        take(self.key_bytes, longest_key, || {
            format!(
                "a key of {longest_key} bytes, limits.editKeyBytes allows {}",
                self.key_bytes
            )
        })?;
        self.members = take(self.members, members, || {
            "the members of all edits in one hook (limits.editMembers)".to_owned()
        })?;
        Ok(())
    }
}

impl RequestBudget {
    /// A budget of bytes and members.
    pub(crate) fn new(bytes: usize, members: usize) -> Self {
        Self {
            bytes: bytes.into(),
            members: members.into(),
            all: None,
        }
    }

    /// Limits it to what `all` policies together may still edit.
    pub(crate) fn within(self, all: &Arc<Self>) -> Self {
        Self {
            all: Some(Arc::clone(all)),
            ..self
        }
    }

    pub(super) fn spend(&self, bytes: usize) -> Result<(), EditError> {
        spend(&self.bytes, bytes, || {
            "the bytes of all edits in one request (limits.requestEditBytes)".to_owned()
        })?;
        self.all.as_ref().map_or(Ok(()), |all| {
            spend(&all.bytes, bytes, || {
                "the bytes of all policies' edits in one request (policies.requestEditBytes)"
                    .to_owned()
            })
        })
    }

    pub(super) fn spend_json(&self, extent: Extent) -> Result<(), EditError> {
        spend(&self.members, extent.members, || {
            "the members of all edits in one request (limits.requestEditMembers)".to_owned()
        })?;
        self.all.as_ref().map_or(Ok(()), |all| {
            spend(&all.members, extent.members, || {
                "the members of all policies' edits in one request (policies.requestEditMembers)"
                    .to_owned()
            })
        })
    }
}

fn spend(
    left: &AtomicUsize,
    wanted: usize,
    what: impl FnOnce() -> String,
) -> Result<(), EditError> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(wanted)
    })
    .map(|_| ())
    .map_err(|_| EditError::TooLarge(what()))
}

fn take(left: usize, wanted: usize, what: impl FnOnce() -> String) -> Result<usize, EditError> {
    left.checked_sub(wanted)
        .ok_or_else(|| EditError::TooLarge(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_share_a_budget_of_the_request() {
        let all = Arc::new(RequestBudget::new(10, 10));
        let own = || RequestBudget::new(8, 8).within(&all);
        let (first, second) = (own(), own());
        first.spend(8).unwrap();
        assert!(matches!(first.spend(1), Err(EditError::TooLarge(_))));
        second.spend(2).unwrap();
        assert!(matches!(second.spend(1), Err(EditError::TooLarge(_))));
        let members = |members| Extent {
            members,
            ..Extent::default()
        };
        first.spend_json(members(8)).unwrap();
        assert!(second.spend_json(members(3)).is_err());
    }
}
