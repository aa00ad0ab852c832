//! The differences that an edit of selections makes, for claims and for the log.

use std::ops::ControlFlow;
use std::sync::Arc;

use cni_types::json::Node;

use super::super::budget::Extent;
use super::super::difference::{Keys, Kind, Path, Step, Visit, compare_nodes, folded};
use super::super::settings::{Place, Setting};
use super::super::tree::yes;
use super::super::twins::{self, Twin};
use super::super::{Draft, EditError};
use super::{DEFAULT, DEFAULT_ID, SelectionsChange, SelectionsDraft, Slot, claimed, shown, token};
use crate::model::request::{Origin, Selection};

/// Key of a selection's place among the others in claims.
const POSITION: &str = "position";
/// Keys of a selection's other members in claims.
const MEMBERS: [&str; 9] = [
    "network",
    "interface",
    "ips",
    "mac",
    "infiniband-guid",
    "bandwidth",
    "portmappings",
    "default-route",
    "cni-args",
];

impl Draft for SelectionsDraft {
    type Change = SelectionsChange;
    /// The identity of a selection.
    type Area = usize;

    fn extent(change: &SelectionsChange) -> Extent {
        match change {
            SelectionsChange::Insert(_, selection) | SelectionsChange::Replace(_, selection) => {
                let args = selection.cni_args.as_ref();
                Extent::of(&[], args.map(|args| args.root()))
            }
            SelectionsChange::Default(selection) => {
                let args = selection.as_ref().and_then(|one| one.cni_args.as_ref());
                Extent::of(&[], args.map(|args| args.root()))
            }
            SelectionsChange::Remove(_) | SelectionsChange::Shift(..) => Extent::default(),
        }
    }

    fn areas(&self, change: &SelectionsChange) -> Vec<usize> {
        let id = |index: &usize| self.slots.get(*index).map(|slot| slot.id);
        match change {
            SelectionsChange::Insert(..) => vec![self.next],
            SelectionsChange::Default(_) => vec![DEFAULT_ID],
            SelectionsChange::Replace(index, _)
            | SelectionsChange::Remove(index)
            | SelectionsChange::Shift(index, _) => id(index).into_iter().collect(),
        }
    }

    fn covers(area: &usize, other: &usize) -> bool {
        area == other
    }

    fn foresee(&self, change: &SelectionsChange, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let at = |index: &usize| self.slots.get(*index);
        let (id, old, new) = match change {
            SelectionsChange::Insert(_, selection) => (self.next, None, Some(claimed(selection))),
            SelectionsChange::Default(selection) => (
                DEFAULT_ID,
                self.node(DEFAULT_ID),
                selection.as_deref().map(claimed),
            ),
            SelectionsChange::Replace(index, selection) => match at(index) {
                Some(slot) => (
                    slot.id,
                    Some(claimed(&slot.selection)),
                    Some(claimed(selection)),
                ),
                None => return ControlFlow::Continue(()),
            },
            SelectionsChange::Remove(index) => match at(index) {
                Some(slot) => (slot.id, Some(claimed(&slot.selection)), None),
                None => return ControlFlow::Continue(()),
            },
            SelectionsChange::Shift(source, target) => {
                // The ones that it passes move as well.
                let slots = self.slots.iter().enumerate();
                let passed = (*source).min(*target)..=(*source).max(*target);
                return match source == target {
                    true => ControlFlow::Continue(()),
                    false => slots
                        .filter(|(index, _)| passed.contains(index))
                        .try_for_each(|(_, slot)| moved(slot.id, visit)),
                };
            }
        };
        let path = vec![token(id)];
        compare_nodes(Keys::Folded, path, old.as_ref(), new.as_ref(), visit)
    }

    fn apply(&mut self, change: SelectionsChange) -> Result<(), EditError> {
        match change {
            SelectionsChange::Insert(index, selection) => {
                let slot = Slot {
                    id: self.next,
                    origin: Origin::Policy,
                    selection: Arc::new(*selection),
                };
                self.slots.insert(index, slot);
                self.next += 1;
            }
            SelectionsChange::Replace(index, selection) => {
                if let Some(slot) = self.slots.get_mut(index) {
                    slot.selection = Arc::new(*selection);
                }
            }
            SelectionsChange::Remove(index) => {
                self.slots.remove(index);
            }
            SelectionsChange::Shift(source, target) => {
                let slot = self.slots.remove(source);
                self.slots.insert(target, slot);
            }
            SelectionsChange::Default(selection) => {
                self.default = selection.map(|selection| Arc::new(*selection));
                self.sets_default = true;
            }
        }
        Ok(())
    }

    fn compare(&self, later: &Self, id: &usize, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let (old, new) = (self.node(*id), later.node(*id));
        let path = vec![token(*id)];
        compare_nodes(Keys::Folded, path, old.as_ref(), new.as_ref(), visit)?;
        let both = old.is_some() && new.is_some();
        match both && self.before(*id, later) != later.before(*id, self) {
            true => moved(*id, visit),
            false => ControlFlow::Continue(()),
        }
    }

    /// A replacement sets every member that it has, and a move the selection's place. The default
    /// network is its policy's even if it is what it was: the cluster's.
    fn settings(&self, change: &SelectionsChange) -> Vec<Setting> {
        let id = |index: &usize| self.slots.get(*index).map(|slot| slot.id.to_string());
        match change {
            // Its identity is new, so it always differs.
            SelectionsChange::Insert(..) => Vec::new(),
            SelectionsChange::Replace(index, selection) => {
                id(index).map_or_else(Vec::new, |id| replaced(&id, selection))
            }
            SelectionsChange::Remove(index) => {
                let gone = id(index).map(|id| Setting::Gone(vec![id.into()]));
                gone.into_iter().collect()
            }
            SelectionsChange::Shift(index, _) => {
                let kept = id(index).map(|id| {
                    let place = vec![id.into(), POSITION.into()];
                    Setting::Set(place, Some(yes()))
                });
                kept.into_iter().collect()
            }
            SelectionsChange::Default(selection) => {
                let value = selection.as_deref().map(claimed);
                vec![Setting::Set(vec![token(DEFAULT_ID)], value)]
            }
        }
    }

    fn show(&self, later: &Self, areas: &[usize], visit: &mut Visit<'_>) {
        if areas.contains(&DEFAULT_ID) {
            let node = |draft: &Self| draft.default().map(shown);
            let (old, new) = (node(self), node(later));
            let path = vec![token(DEFAULT_ID)];
            let _ = compare_nodes(Keys::Exact, path, old.as_ref(), new.as_ref(), visit);
        }
        let ids = |draft: &Self| draft.slots.iter().map(|slot| slot.id).collect::<Vec<_>>();
        let order = ids(self);
        if order != ids(later) {
            let (old, new) = (self.whole(), later.whole());
            let _ = compare_nodes(Keys::Exact, Vec::new(), Some(&old), Some(&new), visit);
            return;
        }
        for (index, id) in order
            .iter()
            .enumerate()
            .filter(|(_, id)| areas.contains(id))
        {
            let shown = |draft: &Self| draft.slot(*id).map(|slot| shown(&slot.selection));
            let (old, new) = (shown(self), shown(later));
            let path = vec![index.to_string().into()];
            let _ = compare_nodes(Keys::Exact, path, old.as_ref(), new.as_ref(), visit);
        }
    }

    fn field(_: &Path<'_>) -> String {
        "selections".to_owned()
    }

    fn twins(&self, step: &Step<'_, '_>) -> Vec<Twin> {
        let id = step.path.first().and_then(|id| match &**id {
            DEFAULT => Some(DEFAULT_ID),
            id => id.parse().ok(),
        });
        let selection = id.and_then(|id| self.with_id(id));
        let if_name = selection.and_then(|selection| selection.if_name.as_deref());
        twins::of_selection(step, if_name.unwrap_or_default())
    }

    /// Equal selections stay distinct: exchanging two of them is an edit.
    #[cfg(feature = "fuzz")]
    fn tree(&self) -> Node {
        let slots = self.slots.iter().map(|slot| {
            let id = Node::Scalar(slot.id.to_string().into());
            Node::Array([id, shown(&slot.selection)].into())
        });
        let default = Node::Array(self.default().map(shown).into_iter().collect());
        Node::Array(std::iter::once(default).chain(slots).collect())
    }
}

/// What a replacement sets, instead of what an earlier one did.
fn replaced(id: &str, selection: &Selection) -> Vec<Setting> {
    let members = match claimed(selection) {
        Node::Object(members) => members,
        _ => Vec::new(),
    };
    let own = |key: &str| -> Place { vec![id.to_owned().into(), folded(key).into_owned().into()] };
    let gone = MEMBERS.iter().map(|key| Setting::Gone(own(key)));
    let set = members
        .into_iter()
        .map(|(key, value)| Setting::Set(own(&key), Some(value)));
    gone.chain(set).collect()
}

/// Visits the difference that a selection has another place among the others.
fn moved(id: usize, visit: &mut Visit<'_>) -> ControlFlow<()> {
    let path = [id.to_string().into(), POSITION.into()];
    visit(&Step {
        path: &path,
        kind: Kind::Changed,
        old: None,
        new: None,
    })
}
