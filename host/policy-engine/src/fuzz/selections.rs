//! Checks ownership of selections against a model that tracks the owner of each member, changed or
//! kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{BUDGET, Call, POLICIES, edit_selections, selection};
use crate::model::request::Selection;
use crate::transaction::{SelectionsChange, SelectionsDraft, Working};

/// A member of the selection with an identity.
type Place = (usize, &'static str);
/// Lists are sets, to which others may add.
type Values = BTreeSet<String>;
/// The owner of each member and its values; `None` if the owner removed it.
type Model = BTreeMap<Place, (Arc<str>, Option<Values>)>;

/// Two policies alternately edit the selections of a pod.
///
/// # Panics
/// If a policy changed what the other one set.
pub fn selections(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut asked = selection("default", "blue");
    asked.mac = Some("02:00:00:00:00:01".to_owned());
    asked.ips = vec!["10.0.0.1".to_owned()];
    let first = vec![asked, selection("default", "blue"), selection("a", "b")];
    let mut working = Working::new(SelectionsDraft::of_pod(first));
    let mut model = Model::new();
    let turns = text.split("accept\n").take(8);
    for (turn, owner) in turns.zip(POLICIES.into_iter().cycle().map(Arc::<str>::from)) {
        let mut transaction = working.begin(Arc::clone(&owner), BUDGET);
        let mut kept: BTreeMap<Place, Values> = BTreeMap::new();
        for call in turn.lines().map(Call::parse) {
            let id_at =
                |draft: &SelectionsDraft, at: usize| draft.identified().nth(at).map(|(id, _)| id);
            let mut replaced = None;
            let edited = transaction.edit(call.bytes(), |draft| {
                let change = edit_selections(draft, &call)?;
                if let SelectionsChange::Replace(at, _) = change {
                    replaced = id_at(draft, at);
                }
                Ok(change)
            });
            if let (Ok(()), Some(id)) = (edited, replaced) {
                kept.retain(|(other, _), _| *other != id);
                let now = transaction.draft().identified().find(|(now, _)| *now == id);
                kept.extend(now.into_iter().flat_map(|(id, now)| members(id, now)));
            }
        }
        let (before, after) = (values(&working.current()), values(transaction.draft()));
        for (place, (other, set)) in &model {
            let now = after.get(place);
            let is_whole = match set {
                None => now.is_none(),
                Some(set) => now.is_some_and(|now| now.is_superset(set)),
            };
            let slot =
                |values: &BTreeMap<Place, Values>| values.contains_key(&(place.0, "network"));
            assert!(
                *other == owner || is_whole && slot(&after),
                "{owner} changed {place:?} of {other}: {text:?}"
            );
        }
        let staged = working.staged(transaction);
        assert!(before == after || staged.patch.is_some(), "{text:?}");
        working.commit(&owner, staged);
        model.retain(|(id, _), _| after.contains_key(&(*id, "network")));
        let changed = before.keys().chain(after.keys());
        let changed: BTreeSet<Place> = changed
            .filter(|place| before.get(place) != after.get(place))
            .filter(|(id, _)| after.contains_key(&(*id, "network")))
            .copied()
            .collect();
        for place in changed {
            let own = (Arc::clone(&owner), after.get(&place).cloned());
            let known = model.entry(place).or_insert_with(|| own.clone());
            if known.0 == owner {
                *known = own;
            }
        }
        for (place, set) in kept {
            if after.contains_key(&place) {
                let own = (Arc::clone(&owner), Some(set));
                model.entry(place).or_insert(own);
            }
        }
    }
}

fn values(draft: &SelectionsDraft) -> BTreeMap<Place, Values> {
    let each = draft.identified();
    each.flat_map(|(id, one)| members(id, one)).collect()
}

fn members(id: usize, selection: &Selection) -> Vec<(Place, Values)> {
    let Selection {
        namespace,
        name,
        if_name,
        ips,
        mac,
        default_route,
        ..
    } = selection;
    let network = format!("{namespace}/{name}");
    let members = [
        ("network", vec![network]),
        ("interface", if_name.iter().cloned().collect()),
        ("ips", ips.clone()),
        ("mac", mac.iter().cloned().collect()),
        ("default-route", default_route.clone()),
    ];
    let present = members.into_iter().filter(|(_, values)| !values.is_empty());
    let member = |(member, values): (_, Vec<String>)| ((id, member), values.into_iter().collect());
    present.map(member).collect()
}
