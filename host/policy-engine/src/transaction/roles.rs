//! Aligns the elements of two chains: which were added, removed, replaced in place, or moved.

use std::collections::HashMap;

use cni_types::json::Node;

use super::difference::folded;

/// A plugin's role, determined by its place in the conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The conf itself, or the first of a chain: creates the interface.
    Main,
    /// A later plugin of a chain.
    Chained,
    /// Assigns addresses.
    Ipam,
    /// Executed by a plugin in its own way.
    Other,
}

/// Plugins that are known to have only this role.
const IPAM: [&str; 4] = ["dhcp", "host-local", "static", "whereabouts"];
const CHAINED: [&str; 6] = ["bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"];
const MAIN: [&str; 12] = [
    "bridge",
    "dummy",
    "host-device",
    "ib-sriov",
    "ipoib",
    "ipvlan",
    "loopback",
    "macvlan",
    "ovs",
    "ptp",
    "sriov",
    "vlan",
];

impl Role {
    /// Whether a plugin may have this role, as far as known.
    pub(super) fn fits(self, name: &str) -> bool {
        match self {
            Self::Main => !IPAM.contains(&name) && !CHAINED.contains(&name),
            Self::Chained | Self::Other => !IPAM.contains(&name),
            Self::Ipam => !MAIN.contains(&name) && !CHAINED.contains(&name),
        }
    }

    /// The role of what lies under a folded key of a plugin with this role.
    pub(super) fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Ipam, _) | (_, "ipam") => Self::Ipam,
            _ => Self::Other,
        }
    }

    /// The role of an array element.
    pub(super) fn element(self, index: usize) -> Self {
        match (self, index) {
            (Self::Ipam, _) => Self::Ipam,
            (_, 0) => Self::Main,
            _ => Self::Chained,
        }
    }
}

/// How the elements of a list correspond, as pairs of old and new indexes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Alignment {
    pub(super) pairs: Vec<(Option<usize>, Option<usize>)>,
    /// The new index of the first plugin whose relative order changed, or that became the first.
    pub(super) moved: Option<usize>,
}

/// Aligns lists whose first `head` and last `tail` elements are equal. Elements of one type match
/// in order; elements without a type match by index.
pub(super) fn align(old: &[Node], new: &[Node], head: usize, tail: usize) -> Alignment {
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let middle = |list: &[Node], end: usize| -> Vec<Option<String>> {
        let within = list.get(head..end).unwrap_or_default();
        within.iter().map(kind).collect()
    };
    let (before, after) = (middle(old, old_end), middle(new, new_end));
    let mut places: HashMap<&Option<String>, Vec<usize>> = HashMap::new();
    for (index, kind) in before.iter().enumerate().rev() {
        places.entry(kind).or_default().push(index);
    }
    let mut partner: Vec<Option<usize>> = after
        .iter()
        .map(|kind| places.get_mut(kind).and_then(Vec::pop))
        .collect();
    let mut taken = vec![false; before.len()];
    for index in partner.iter().flatten() {
        if let Some(taken) = taken.get_mut(*index) {
            *taken = true;
        }
    }
    // Unmatched elements at the same index: one replaces the other.
    for (index, partner) in partner.iter_mut().enumerate() {
        if let (None, Some(free @ false)) = (&partner, taken.get_mut(index)) {
            *free = true;
            *partner = Some(index);
        }
    }
    let mut alignment = Alignment {
        moved: first_moved(&before, &after, &partner, (head, tail)),
        ..Alignment::default()
    };
    for (index, partner) in partner.iter().enumerate() {
        let old = partner.map(|partner| partner + head);
        alignment.pairs.push((old, Some(index + head)));
    }
    let gone = taken.iter().enumerate().filter(|(_, taken)| !**taken);
    alignment
        .pairs
        .extend(gone.map(|(index, _)| (Some(index + head), None)));
    alignment
}

fn first_moved(
    before: &[Option<String>],
    after: &[Option<String>],
    partner: &[Option<usize>],
    (head, tail): (usize, usize),
) -> Option<usize> {
    let typed = |list: &[Option<String>]| list.iter().any(Option::is_some);
    if !typed(before) && !typed(after) {
        return None;
    }
    // The first of several elements must stay first.
    let has_others = |list: &[Option<String>]| list.len() + tail > 0;
    if head == 0 && has_others(before) && has_others(after) {
        let stays = match (before.is_empty(), after.is_empty()) {
            (false, false) => partner.first() == Some(&Some(0)),
            (true, true) => true,
            _ => false,
        };
        if !stays {
            return Some(0);
        }
    }
    let mut last = None;
    for (index, kind) in after.iter().enumerate() {
        let Some(partner) = partner
            .get(index)
            .copied()
            .flatten()
            .filter(|_| kind.is_some())
        else {
            continue;
        };
        if last.is_some_and(|last| partner < last) {
            return Some(head + index);
        }
        last = Some(partner);
    }
    None
}

/// The type of an element, however its key is written.
fn kind(element: &Node) -> Option<String> {
    let Node::Object(members) = element else {
        return None;
    };
    let exact = members.iter().rev().find(|(key, _)| key == "type");
    let found = exact.or_else(|| {
        members
            .iter()
            .rev()
            .find(|(key, _)| *folded(key) == *"type")
    });
    found.map(|(_, value)| name(value))
}

/// The name of an executed plugin, normalised however it is written.
pub(super) fn name(value: &Node) -> String {
    value
        .get_as::<String>()
        .map_or_else(|_| value.to_string(), |name| format!("{name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(types: &str) -> Vec<Node> {
        let object = |name: &str| {
            let json = format!(r#"{{"type":"{name}"}}"#);
            Node::parse(&json, cni_types::json::Limits::default()).unwrap()
        };
        types.split_whitespace().map(object).collect()
    }

    #[test]
    fn the_order_is_that_of_what_stays() {
        let check = |old: &str, new: &str, moved: Option<usize>| {
            let alignment = align(&list(old), &list(new), 0, 0);
            assert_eq!(alignment.moved, moved, "{old} -> {new}");
        };
        check("a b", "a b c", None);
        check("a b", "a c b", None);
        check("a b c", "a c", None);
        check("a b", "c b", None);
        check("a b c", "a c b", Some(2));
        check("a b", "b a", Some(0));
        check("a b", "b", Some(0));
        check("b", "a b", Some(0));
        check("a", "", None);
        check("", "a b", None);
    }
}
