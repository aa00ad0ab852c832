//! Checks ownership of edits against a model that tracks the owner of each single value, and of
//! each way to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::naive::{SEVERAL, effective, flat};
use super::ways::{Owners, Ways, ways};
use super::{BUDGET, Call, POLICIES, attachment, edit_attachment};
use crate::model::grant::ConfGrant;
use crate::transaction::{AttachmentDraft, EditError, Working, conf_get};
use cni_types::json::{Document, Limits};

/// One plugin, so that each of the cni-args has only one place.
const CONF: &str = r#"{"cniVersion":"1.0.0","name":"storage","type":"macvlan","mtu":1500,
    "vlan":5,"VLAN":6,"ipam":{"type":"host-local","a":{"b":1,"c":2}},"args":{"cni":{"x":{"y":1}}},
    "sysctl":{"a":"1"}}"#;
/// The calls that edit an attachment.
const METHODS: [&str; 8] = [
    "conf-set",
    "conf-remove",
    "set-cni-arg",
    "set-mac",
    "set-guid",
    "set-ips",
    "set-bandwidth",
    "set-port-mapping",
];
/// Those whose values the model tracks exactly.
const EXACT: [&str; 4] = ["conf-set", "conf-remove", "set-mac", "set-guid"];

/// The owner of each path and its value; `None` if the owner removed it.
type Model = BTreeMap<Vec<String>, (Arc<str>, Option<String>)>;

/// Two policies alternately edit one conf.
///
/// # Panics
/// If a policy changed what the other one set, or an edit was rejected without a conflict.
pub fn claims(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut first = attachment(false);
    first.conf = Document::parse(CONF, Limits::default()).expect("it is valid");
    let mut working = Working::new(AttachmentDraft::new(first, Arc::default()));
    let (mut model, mut owners) = (Model::new(), Owners::default());
    // Not exact for array elements, which move, for lists, which are sets, nor for cni-args, which
    // are not tracked by value.
    let mut exact = true;
    let merged = |values: &BTreeMap<Vec<String>, String>| {
        values
            .keys()
            .flatten()
            .any(|token| token.starts_with(SEVERAL))
    };
    let turns = text.split("accept\n").take(8);
    for (turn, owner) in turns.zip(POLICIES.into_iter().cycle().map(Arc::<str>::from)) {
        let mut transaction = working.begin(Arc::clone(&owner), BUDGET);
        let mut set = Vec::new();
        for call in turn.lines().map(Call::parse) {
            if !METHODS.contains(&call.method) {
                continue;
            }
            exact &= EXACT.contains(&call.method) && !call.text(1).contains('[');
            // Plugins of a list are not the one of the model.
            exact &= !super::naive::fold(call.text(0)).contains("plugins");
            let grant = ConfGrant::default();
            let change = |draft: &AttachmentDraft| edit_attachment(draft, &call, &grant);
            let alone = Working::new(transaction.draft().clone());
            let known = reached(transaction.draft());
            let outcome = transaction.edit(call.bytes(), change);
            exact &= !merged(&values(transaction.draft()));
            if outcome.is_ok() && call.method != "conf-remove" {
                exact &= !call.text(1).contains('{');
                set.push((call.method, call.text(0)));
            }
            if let (true, Err(EditError::Conflict { .. })) = (exact, outcome) {
                let mut alone = alone.begin(Arc::clone(&owner), BUDGET);
                alone
                    .edit(call.bytes(), change)
                    .expect("it has no other fault");
                assert!(
                    violated(&model, &owner, alone.draft())
                        || owners.violated(&owner, &known, &reached(alone.draft())),
                    "{:?} is not a conflict: {text:?}",
                    call.arguments
                );
            }
        }
        // A policy owns what it sets, changed or not; the model knows changes.
        exact &= set.iter().all(|(method, pointer)| {
            let at = |draft: &AttachmentDraft| match *method {
                "conf-set" => conf_get(&draft.attachment().conf, pointer),
                "set-mac" => draft.attachment().mac.clone(),
                _ => draft.attachment().infiniband_guid.clone(),
            };
            at(&working.current()) != at(transaction.draft())
        });
        let before = values(&working.current());
        let after = values(transaction.draft());
        assert!(!violated(&model, &owner, transaction.draft()), "{text:?}");
        let (known, now) = (reached(&working.current()), reached(transaction.draft()));
        assert!(
            merged(&before) || merged(&after) || !owners.violated(&owner, &known, &now),
            "a value has one owner: {text:?}"
        );
        let staged = working.staged(transaction);
        assert!(
            before == after || staged.patch.is_some(),
            "what changed is seen: {text:?}"
        );
        working.commit(&owner, staged);
        owners.record(&owner, &known, &now);
        for path in before.keys().chain(after.keys()) {
            if before.get(path) != after.get(path) {
                let value = after.get(path).cloned();
                model.insert(path.clone(), (Arc::clone(&owner), value));
            }
        }
    }
}

fn values(draft: &AttachmentDraft) -> BTreeMap<Vec<String>, String> {
    let attachment = draft.attachment();
    let mut values = flat(&effective(&attachment.conf, attachment.cni_args.as_ref()));
    for (key, value) in [
        ("mac", &attachment.mac),
        ("guid", &attachment.infiniband_guid),
    ] {
        if let Some(value) = value {
            values.insert(vec!["typed".to_owned(), key.to_owned()], value.clone());
        }
    }
    values
}

fn reached(draft: &AttachmentDraft) -> Ways {
    ways(draft.attachment())
}

fn violated(model: &Model, owner: &str, draft: &AttachmentDraft) -> bool {
    let now = values(draft);
    model
        .iter()
        .any(|(path, (other, value))| **other != *owner && now.get(path) != value.as_ref())
}
