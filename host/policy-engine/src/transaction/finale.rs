//! The final result of a request, and what network-status will say of each attachment.

use cni_types::json::Node;

use super::tree::object;
use super::{Draft, EditError, OutcomeDraft};

/// Result and network-status, edited together so that they are applied together.
#[derive(Debug, Clone)]
pub(crate) struct FinaleDraft {
    /// For the runtime.
    pub(crate) result: OutcomeDraft,
    /// One for each attachment.
    pub(crate) statuses: Vec<OutcomeDraft>,
}

impl FinaleDraft {
    /// One of the entries of network-status.
    pub(crate) fn status_mut(&mut self, index: usize) -> Result<&mut OutcomeDraft, EditError> {
        self.statuses
            .get_mut(index)
            .ok_or_else(|| EditError::Invalid(format!("no attachment {index}")))
    }
}

impl Draft for FinaleDraft {
    fn tree(&self) -> Node {
        self.members(Draft::tree)
    }

    fn claim_tree(&self) -> Node {
        self.members(Draft::claim_tree)
    }
}

impl FinaleDraft {
    fn members(&self, tree: impl Fn(&OutcomeDraft) -> Node) -> Node {
        object([
            ("final", Some(tree(&self.result))),
            (
                "status",
                Some(Node::Array(self.statuses.iter().map(&tree).collect())),
            ),
        ])
    }
}
