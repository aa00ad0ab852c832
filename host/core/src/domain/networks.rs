//! The networks of a pod besides the cluster's default network, before they are looked up.

use super::selection::Selection;

/// What a pod is to be attached to. Policies may change it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Networks {
    /// Replaces the cluster's default network.
    pub default: Option<Selection>,
    /// The others, in order.
    pub others: Vec<Wanted>,
}

/// One network.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Given to every pod by the node's conf, by a name of `defaultNetworks`.
    OfNode(String),
    /// Selected by the pod or by a policy.
    Selected(Box<Selection>),
}

impl Networks {
    /// The selections of the pod and of policies, without the default network.
    pub fn selections(&self) -> impl Iterator<Item = &Selection> {
        self.others.iter().filter_map(|wanted| match wanted {
            Wanted::OfNode(_) => None,
            Wanted::Selected(selection) => Some(&**selection),
        })
    }
}
