//! The selections of a pod.

use cni_types::json::Node;

use super::attachment::{bandwidth, port_mapping, port_mappings_as_set};
use super::tree::{object, set, string, strings, strings_as_set, unless_empty};
use super::{Draft, EditError, validate};
use crate::request::{Chosen, PortMapping, Selection};

/// Networks of one pod.
const MAX_SELECTIONS: usize = 64;

/// Selections that are edited. Each has an identity that survives moves and edits.
#[derive(Debug, Clone)]
pub(crate) struct SelectionsDraft {
    slots: Vec<Slot>,
    next: usize,
}

#[derive(Debug, Clone)]
struct Slot {
    id: usize,
    origin: Option<usize>,
    selection: Selection,
}

impl SelectionsDraft {
    /// Begins with what the pod asks for.
    pub(crate) fn new(selections: Vec<Selection>) -> Self {
        let slots: Vec<Slot> = selections
            .into_iter()
            .enumerate()
            .map(|(index, selection)| Slot {
                id: index,
                origin: Some(index),
                selection: canonical(selection),
            })
            .collect();
        Self {
            next: slots.len(),
            slots,
        }
    }

    /// The selections at the end.
    pub(crate) fn into_chosen(self) -> Vec<Chosen> {
        self.slots
            .into_iter()
            .map(
                |Slot {
                     origin, selection, ..
                 }| Chosen { origin, selection },
            )
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Selection> {
        self.slots.get(index).map(|slot| &slot.selection)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Selection> {
        self.slots.iter().map(|slot| &slot.selection)
    }

    /// Each with what its claims are under.
    pub(crate) fn identified(&self) -> impl Iterator<Item = (usize, &Selection)> {
        self.slots.iter().map(|slot| (slot.id, &slot.selection))
    }

    pub(crate) fn insert(&mut self, index: usize, selection: &Selection) -> Result<(), EditError> {
        if self.slots.len() >= MAX_SELECTIONS {
            return Err(EditError::TooLarge(format!(
                "more than {MAX_SELECTIONS} selections"
            )));
        }
        if index > self.slots.len() {
            return Err(self.no_place(index));
        }
        let selection = validate::selection(selection)?;
        self.slots.insert(
            index,
            Slot {
                id: self.next,
                origin: None,
                selection,
            },
        );
        self.next += 1;
        Ok(())
    }

    pub(crate) fn replace(&mut self, index: usize, selection: &Selection) -> Result<(), EditError> {
        let error = self.no_place(index);
        let slot = self.slots.get_mut(index).ok_or(error)?;
        slot.selection = validate::selection(selection)?;
        Ok(())
    }

    pub(crate) fn remove(&mut self, index: usize) -> Result<(), EditError> {
        if index >= self.slots.len() {
            return Err(self.no_place(index));
        }
        self.slots.remove(index);
        Ok(())
    }

    pub(crate) fn shift(&mut self, source: usize, target: usize) -> Result<(), EditError> {
        for index in [source, target] {
            if index >= self.slots.len() {
                return Err(self.no_place(index));
            }
        }
        let slot = self.slots.remove(source);
        self.slots.insert(target, slot);
        Ok(())
    }

    fn no_place(&self, index: usize) -> EditError {
        validate::invalid(format!("no selection at {index} of {}", self.slots.len()))
    }
}

impl Draft for SelectionsDraft {
    /// As the annotation has it.
    fn tree(&self) -> Node {
        Node::Array(
            self.iter()
                .map(|selection| {
                    members(selection, strings, |mappings| {
                        Node::Array(mappings.iter().map(port_mapping).collect())
                    })
                })
                .collect(),
        )
    }

    fn claim_tree(&self) -> Node {
        set(self.slots.iter().map(|slot| {
            (
                slot.id.to_string(),
                members(&slot.selection, strings_as_set, port_mappings_as_set),
            )
        }))
    }
}

fn members(
    selection: &Selection,
    list: impl Fn(&[String]) -> Node,
    mappings: impl FnOnce(&[PortMapping]) -> Node,
) -> Node {
    object([
        ("name", Some(string(&selection.name))),
        ("namespace", Some(string(&selection.namespace))),
        ("interface", selection.if_name.as_deref().map(string)),
        ("ips", unless_empty(&selection.ips, &list)),
        ("mac", selection.mac.as_deref().map(string)),
        (
            "infiniband-guid",
            selection.infiniband_guid.as_deref().map(string),
        ),
        ("bandwidth", selection.bandwidth.as_ref().map(bandwidth)),
        (
            "portMappings",
            unless_empty(&selection.port_mappings, mappings),
        ),
        (
            "default-route",
            unless_empty(&selection.default_route, &list),
        ),
        (
            "cni-args",
            selection.cni_args.as_ref().map(|args| args.root().clone()),
        ),
    ])
}

/// Brings into canonical form what is well-formed; the rest stays as the daemon gave it.
fn canonical(mut selection: Selection) -> Selection {
    for ip in selection.ips.iter_mut().chain(&mut selection.default_route) {
        if let Some(canonical) = validate::canonical_ip(ip) {
            *ip = canonical;
        }
    }
    for text in [&mut selection.mac, &mut selection.infiniband_guid]
        .into_iter()
        .flatten()
    {
        if let Some(canonical) = cni_types::address::canonical_mac(text) {
            *text = canonical;
        }
    }
    selection
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Working};
    use super::*;
    use std::sync::Arc;

    const BUDGET: Budget = Budget {
        edits: 10,
        bytes: 1 << 16,
    };

    fn selection(name: &str) -> Selection {
        Selection {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            ..Selection::default()
        }
    }

    fn draft() -> SelectionsDraft {
        SelectionsDraft::new(["a", "b", "c"].map(selection).into())
    }

    fn names(draft: SelectionsDraft) -> Vec<(Option<usize>, String)> {
        draft
            .into_chosen()
            .into_iter()
            .map(|chosen| (chosen.origin, chosen.selection.name))
            .collect()
    }

    #[test]
    fn moved_and_edited_selections_keep_their_origin() {
        let mut draft = draft();
        draft.shift(2, 0).unwrap();
        draft.replace(0, &selection("z")).unwrap();
        draft.insert(1, &selection("new")).unwrap();
        draft.remove(2).unwrap();
        let expected = [(Some(2), "z"), (None, "new"), (Some(1), "b")];
        assert_eq!(
            names(draft),
            expected.map(|(origin, name)| (origin, name.to_owned()))
        );
    }

    #[test]
    fn indices_past_the_end_are_refused() {
        let mut draft = draft();
        draft.insert(4, &selection("x")).unwrap_err();
        draft.replace(3, &selection("x")).unwrap_err();
        draft.remove(3).unwrap_err();
        draft.shift(0, 3).unwrap_err();
        draft.shift(3, 0).unwrap_err();
        assert_eq!(draft.len(), 3);
    }

    #[test]
    fn there_is_a_most_of_selections() {
        let mut draft = draft();
        for _ in 3..MAX_SELECTIONS {
            draft.insert(0, &selection("x")).unwrap();
        }
        assert!(matches!(
            draft.insert(0, &selection("x")),
            Err(EditError::TooLarge(_))
        ));
    }

    #[test]
    fn two_policies_may_edit_different_members_of_one_selection() {
        let mut working = Working::new(draft());
        let first: Arc<str> = "first".into();
        let mut transaction = working.begin(first.clone(), BUDGET);
        let with_ip = Selection {
            ips: vec!["10.0.0.1".to_owned()],
            ..selection("a")
        };
        transaction
            .edit(1, |draft| draft.replace(0, &with_ip))
            .unwrap();
        transaction.edit(1, |draft| draft.remove(2)).unwrap();
        let staged = working.staged(transaction);
        working.commit(&first, staged);

        let mut second = working.begin("second".into(), BUDGET);
        second.edit(1, |draft| draft.shift(0, 1)).unwrap();
        let with_mac = Selection {
            mac: Some("0a:00:00:00:00:01".to_owned()),
            ..with_ip
        };
        second.edit(1, |draft| draft.replace(1, &with_mac)).unwrap();
        second
            .edit(1, |draft| draft.replace(1, &selection("a")))
            .unwrap_err();
        second.edit(1, |draft| draft.remove(1)).unwrap_err();
    }
}
