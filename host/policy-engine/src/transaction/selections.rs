//! The draft of a pod's selections.

mod steps;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cni_types::json::{Document, Node};

use super::capability_args::{bandwidth, port_mapping, port_mappings_as_set};
use super::tree::{object, string, strings, strings_as_set, unless_empty};
use super::{Claims, EditError, SelectionClaims, protected, validate};
use crate::model::request::{Chosen, ChosenDefault, Networks, Origin, PortMapping, Selection};

/// Maximum networks of one pod.
const MAX_SELECTIONS: usize = 64;

/// The token of the default network in paths, and its identity.
const DEFAULT: &str = "default";
const DEFAULT_ID: usize = usize::MAX;

/// Selections being edited. Each has an identity that survives moves and edits.
#[derive(Debug, Clone)]
pub(crate) struct SelectionsDraft {
    default: Option<Arc<Selection>>,
    /// A policy set the default network.
    sets_default: bool,
    slots: Vec<Slot>,
    next: usize,
}

#[derive(Debug, Clone)]
struct Slot {
    id: usize,
    origin: Origin,
    selection: Arc<Selection>,
}

/// Which selections a guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// All.
    All,
    /// Those that the node does not give to every pod: modules for 0.1 and 0.2.
    NotOfNode,
}

/// One edit of the selections.
#[derive(Debug)]
pub(crate) enum SelectionsChange {
    /// Inserts a selection before an index.
    Insert(usize, Box<Selection>),
    /// Replaces the selection at an index.
    Replace(usize, Box<Selection>),
    /// Removes the selection at an index.
    Remove(usize),
    /// Moves a selection from one index to another.
    Shift(usize, usize),
    /// Sets the default network.
    Default(Option<Box<Selection>>),
}

impl SelectionsDraft {
    /// Starts from what node and pod ask for.
    pub(crate) fn new(networks: Networks) -> Self {
        let Networks {
            default,
            of_node,
            of_pod,
        } = networks;
        let of_node = of_node.into_iter().enumerate().map(|(index, name)| {
            let selection = Selection {
                name,
                ..Selection::default()
            };
            (Origin::Node(index), selection)
        });
        let of_pod = of_pod.into_iter().enumerate();
        let of_pod = of_pod.map(|(index, selection)| (Origin::Pod(index), canonical(selection)));
        let slots: Vec<Slot> = of_node
            .chain(of_pod)
            .enumerate()
            .map(|(id, (origin, selection))| Slot {
                id,
                origin,
                selection: Arc::new(selection),
            })
            .collect();
        Self {
            default: default.map(canonical).map(Arc::new),
            sets_default: false,
            next: slots.len(),
            slots,
        }
    }

    /// Continues with a default network and selections that have identities and origins.
    #[cfg(feature = "compile")]
    pub(crate) fn identified_as(
        default: Option<Selection>,
        sets_default: bool,
        selections: impl IntoIterator<Item = (usize, Origin, Selection)>,
    ) -> Self {
        let slots = selections.into_iter().map(|(id, origin, selection)| Slot {
            id,
            origin,
            selection: Arc::new(canonical(selection)),
        });
        let slots: Vec<Slot> = slots.collect();
        let next = slots.iter().map(|slot| slot.id.saturating_add(1)).max();
        Self {
            default: default.map(canonical).map(Arc::new),
            sets_default,
            next: next.unwrap_or_default(),
            slots,
        }
    }

    /// The selections with their identities and origins.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (usize, Origin, &Selection)> {
        let slots = self.slots.iter();
        slots.map(|slot| (slot.id, slot.origin, &*slot.selection))
    }

    /// Whether a policy set the default network.
    pub(crate) fn sets_default(&self) -> bool {
        self.sets_default
    }

    /// The edited selections, and the default network.
    pub(crate) fn into_chosen(self, claims: &Claims) -> (ChosenDefault, Vec<Chosen>) {
        // Of several owners of one network, the last one named it.
        let named_by = |place: &str| {
            let owners = claims.owners(place);
            owners.last().map(|owner| owner.to_string())
        };
        let default = match (self.sets_default, self.default) {
            (false, _) => ChosenDefault::Offered,
            (true, None) => ChosenDefault::Cluster,
            (true, Some(selection)) => ChosenDefault::Set(
                Box::new(Arc::unwrap_or_clone(selection)),
                named_by("/default"),
            ),
        };
        let chosen = self.slots.into_iter().map(|slot| {
            let Slot {
                id,
                origin,
                selection,
            } = slot;
            Chosen {
                origin,
                named_by: named_by(&format!("/{id}/network")),
                selection: Arc::unwrap_or_clone(selection),
            }
        });
        (default, chosen.collect())
    }

    /// Starts from what a pod asks for.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn of_pod(of_pod: Vec<Selection>) -> Self {
        Self::new(Networks {
            of_pod,
            ..Networks::default()
        })
    }

    /// What replaces the cluster's default network.
    pub(crate) fn default(&self) -> Option<&Selection> {
        self.default.as_deref()
    }

    /// Who asks for the selection at an index.
    pub(crate) fn origin(&self, index: usize) -> Option<Origin> {
        self.slots.get(index).map(|slot| slot.origin)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Selection> {
        self.slots.get(index).map(|slot| &*slot.selection)
    }

    pub(crate) fn iter(&self, view: View) -> impl Iterator<Item = &Selection> {
        let slots = self.slots.iter().filter(move |slot| view.shows(slot));
        slots.map(|slot| &*slot.selection)
    }

    /// The index among all selections of the one that a view shows at `index`; that of the end for
    /// the end of the view.
    pub(crate) fn index(&self, view: View, index: usize) -> usize {
        if view == View::All {
            return index;
        }
        let mut shown = self.slots.iter().enumerate();
        let mut left = index;
        let found = shown.find(|(_, slot)| {
            view.shows(slot) && {
                let is_it = left == 0;
                left = left.saturating_sub(1);
                is_it
            }
        });
        // Past the end stays past the end.
        found.map_or(self.slots.len().saturating_add(left), |(index, _)| index)
    }

    /// The selections with the identities under which they are claimed.
    pub(crate) fn identified(&self) -> impl Iterator<Item = (usize, &Selection)> {
        self.slots.iter().map(|slot| (slot.id, &*slot.selection))
    }

    pub(crate) fn insert(
        &self,
        index: usize,
        selection: &Selection,
    ) -> Result<SelectionsChange, EditError> {
        if self.slots.len() >= MAX_SELECTIONS {
            return Err(EditError::TooLarge(format!(
                "more than {MAX_SELECTIONS} selections"
            )));
        }
        if index > self.slots.len() {
            return Err(self.no_place(index));
        }
        let selection = validate::selection(selection)?;
        check_args(None, &selection)?;
        Ok(SelectionsChange::Insert(index, Box::new(selection)))
    }

    pub(crate) fn replace(
        &self,
        index: usize,
        selection: &Selection,
    ) -> Result<SelectionsChange, EditError> {
        let slot = self.slots.get(index).ok_or_else(|| self.no_place(index))?;
        if let Origin::Node(_) = slot.origin {
            let name = &slot.selection.name;
            return Err(EditError::Immutable(format!(
                "network {name:?}, which the node gives to every pod,"
            )));
        }
        let selection = validate::selection(selection)?;
        check_args(Some(&slot.selection), &selection)?;
        Ok(SelectionsChange::Replace(index, Box::new(selection)))
    }

    pub(crate) fn remove(&self, index: usize) -> Result<SelectionsChange, EditError> {
        if index >= self.slots.len() {
            return Err(self.no_place(index));
        }
        Ok(SelectionsChange::Remove(index))
    }

    pub(crate) fn shift(
        &self,
        source: usize,
        target: usize,
    ) -> Result<SelectionsChange, EditError> {
        for index in [source, target] {
            if index >= self.slots.len() {
                return Err(self.no_place(index));
            }
        }
        Ok(SelectionsChange::Shift(source, target))
    }

    /// Sets what replaces the cluster's default network.
    pub(crate) fn set_default(
        &self,
        selection: Option<&Selection>,
    ) -> Result<SelectionsChange, EditError> {
        let selection = selection.map(validate::selection).transpose()?;
        if let Some(selection) = &selection {
            check_args(self.default(), selection)?;
            let known = self.default().and_then(|known| known.if_name.as_ref());
            if selection.if_name.is_some() && selection.if_name.as_ref() != known {
                return Err(validate::invalid(
                    "the runtime names the interface of the default network",
                ));
            }
        }
        Ok(SelectionsChange::Default(selection.map(Box::new)))
    }

    fn slot(&self, id: usize) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.id == id)
    }

    fn with_id(&self, id: usize) -> Option<&Selection> {
        match id {
            DEFAULT_ID => self.default(),
            id => self.slot(id).map(|slot| &*slot.selection),
        }
    }

    fn node(&self, id: usize) -> Option<Node> {
        self.with_id(id).map(claimed)
    }

    /// The selections before this one that `other` has too, in no particular order.
    fn before(&self, id: usize, other: &Self) -> BTreeSet<usize> {
        let ids = self.slots.iter().map(|slot| slot.id);
        ids.take_while(|before| *before != id)
            .filter(|before| other.slot(*before).is_some())
            .collect()
    }

    /// What policies own of each selection, for the next hook; empty if they own nothing.
    pub(crate) fn claims_for_attachments(&self, claims: &Arc<Claims>) -> SelectionClaims {
        if claims.is_empty() {
            return SelectionClaims::default();
        }
        let default = self.default.as_ref().map(|one| (DEFAULT_ID, one));
        let slots = self.slots.iter().map(|slot| (slot.id, &slot.selection));
        SelectionClaims::new(default, slots, claims)
    }

    fn no_place(&self, index: usize) -> EditError {
        validate::invalid(format!("no selection at {index} of {}", self.slots.len()))
    }
}

impl View {
    fn shows(self, slot: &Slot) -> bool {
        self == Self::All || !matches!(slot.origin, Origin::Node(_))
    }
}

/// The token of a selection's path.
pub(super) fn token(id: usize) -> Cow<'static, str> {
    match id {
        DEFAULT_ID => DEFAULT.into(),
        id => id.to_string().into(),
    }
}

impl SelectionsDraft {
    /// The selections as in the annotation.
    fn whole(&self) -> Node {
        Node::Array(self.iter(View::All).map(shown).collect())
    }
}

/// Rejects a new `type` in cni-args, because plugins may execute it.
fn check_args(old: Option<&Selection>, new: &Selection) -> Result<(), EditError> {
    let old = old.and_then(|selection| selection.cni_args.as_ref());
    let new = new.cni_args.as_ref();
    protected::check_args(old.map(Document::root), new.map(Document::root), "cni-args")
}

fn shown(selection: &Selection) -> Node {
    let network = [
        ("name", Some(string(&selection.name))),
        ("namespace", Some(string(&selection.namespace))),
    ];
    members(network, selection, strings, |mappings| {
        Node::Array(mappings.iter().map(port_mapping).collect())
    })
}

/// The selection for claims: its network is one value.
pub(super) fn claimed(selection: &Selection) -> Node {
    let network = format!("{}/{}", selection.namespace, selection.name);
    let network = [("network", Some(string(&network)))];
    members(network, selection, strings_as_set, port_mappings_as_set)
}

fn members<'a>(
    network: impl IntoIterator<Item = (&'a str, Option<Node>)>,
    selection: &Selection,
    list: impl Fn(&[String]) -> Node,
    mappings: impl FnOnce(&[PortMapping]) -> Node,
) -> Node {
    let others = [
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
    ];
    object(network.into_iter().chain(others))
}

/// Canonicalises well-formed values; leaves the rest as the daemon passed it.
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
mod tests;
