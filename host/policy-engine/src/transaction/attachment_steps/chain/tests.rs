use std::sync::Arc;

use super::super::super::invariants::{self, Offered};
use super::super::super::{AttachmentChange, Budget, Working};
use super::super::tests::attachment;
use super::*;
use crate::model::grant::{ConfGrant, Grant};

const BUDGET: Budget = Budget::of(20, 1 << 16);
const SINGLE: &str =
    r#"{"cniVersion":"1.0.0","name":"storage","type":"macvlan","capabilities":{"mac":true}}"#;
const TUNING: &str = r#"{"type":"tuning","promisc":true}"#;

type Made = Result<AttachmentChange, EditError>;

fn grant() -> ConfGrant {
    ConfGrant {
        append_types: ["tuning".to_owned()].into(),
        ..ConfGrant::of(&[], &[Grant::AppendPlugin])
    }
}

fn append(draft: &AttachmentDraft) -> Made {
    draft.append_plugin(TUNING, &grant())
}

fn set(pointer: &str, json: &str) -> impl Fn(&AttachmentDraft) -> Made {
    let (pointer, json) = (pointer.to_owned(), json.to_owned());
    move |draft| draft.conf_set(&pointer, &json, &ConfGrant::default())
}

fn working() -> Working<AttachmentDraft> {
    Working::new(AttachmentDraft::new(attachment(SINGLE), Arc::default()))
}

/// Commits a policy's edits and returns its patch.
fn make(
    working: &mut Working<AttachmentDraft>,
    policy: &str,
    edits: &[&dyn Fn(&AttachmentDraft) -> Made],
) -> String {
    let owner: Arc<str> = policy.into();
    let mut transaction = working.begin(Arc::clone(&owner), BUDGET);
    for edit in edits {
        transaction.edit(1, edit).unwrap();
    }
    let staged = working.staged(transaction);
    working.commit(&owner, staged).unwrap().patch.to_string()
}

/// Whether an edit of a third policy conflicts.
fn conflicts(working: &Working<AttachmentDraft>, edit: impl Fn(&AttachmentDraft) -> Made) -> bool {
    let edited = working.begin("third".into(), BUDGET).edit(1, edit);
    match edited {
        Ok(()) => false,
        Err(EditError::Conflict { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn appending_makes_a_chain_of_one_plugin() {
    let mut working = working();
    let patch = make(&mut working, "a", &[&append]);
    let added =
        r#"[{"op":"add","path":"/conf/plugins/1","value":{"type":"tuning","promisc":true}}]"#;
    assert_eq!(patch, added);
    let other = |draft: &AttachmentDraft| draft.append_plugin(r#"{"type":"tuning"}"#, &grant());
    let second = make(&mut working, "b", &[&other]);
    assert!(second.contains("/conf/plugins/2"), "{second}");
    assert_eq!(
        working.finish().attachment.conf.to_string(),
        r#"{"cniVersion":"1.0.0","name":"storage","plugins":[{"type":"macvlan","capabilities":{"mac":true}},{"type":"tuning","promisc":true},{"type":"tuning"}]}"#
    );
}

#[test]
fn the_members_of_the_plugin_keep_their_owner() {
    let mut working = working();
    let before = working.current();
    make(
        &mut working,
        "a",
        &[&set("/mtu", "9000"), &set("/vlan", "5")],
    );
    make(
        &mut working,
        "b",
        &[&append, &set("/plugins/0/mode", r#""bridge""#)],
    );
    assert!(conflicts(&working, set("/plugins/0/mtu", "1500")));
    assert!(conflicts(&working, set("/plugins/0/VLAN", "6")));
    assert!(conflicts(&working, set("/plugins/0/mode", r#""private""#)));
    assert!(conflicts(&working, set("/plugins/1/promisc", "false")));
    assert!(conflicts(&working, |draft: &AttachmentDraft| draft.set_mtu(1500)));
    assert!(!conflicts(&working, set("/plugins/0/mtu", "9000")));
    assert!(!conflicts(&working, set("/plugins/0/bcqueuelen", "1")));
    make(&mut working, "a", &[&set("/plugins/0/mtu", "12")]);
    let offered = Offered {
        before: Some(before),
        claims: working.claims(),
        grant: ConfGrant::default().and(&grant()),
    };
    let fault = invariants::plan(&[offered], &[working.finish().into_attachment()]).unwrap_err();
    assert!(fault.reason.contains("/plugins/0/mtu"), "{}", fault.reason);
    assert_eq!(fault.owners.into_iter().collect::<Vec<_>>(), ["a".into()]);
}

#[test]
fn edits_before_and_after_the_append_are_one() {
    let mut working = working();
    let edits: [&dyn Fn(&AttachmentDraft) -> Made; 3] =
        [&set("/mtu", "9000"), &append, &set("/plugins/0/vlan", "5")];
    let patch = make(&mut working, "a", &edits);
    for part in [
        "/conf/plugins/0/mtu",
        "/conf/plugins/0/vlan",
        "/conf/plugins/1",
    ] {
        assert!(patch.contains(part), "{part}: {patch}");
    }
    assert!(!patch.contains("remove"), "{patch}");
    assert!(conflicts(&working, set("/plugins/0/mtu", "1500")));
    assert!(conflicts(&working, set("/plugins/0/vlan", "1")));
}

#[test]
fn only_a_listed_type_is_appended_to_one_plugin() {
    let draft = AttachmentDraft::new(attachment(SINGLE), Arc::default());
    let check = |json: &str, grant: &ConfGrant| draft.append_plugin(json, grant).unwrap_err();
    let refused = check(r#"{"type":"sbr"}"#, &grant());
    assert!(matches!(refused, EditError::NeedsGrant { .. }), "{refused}");
    let refused = check(TUNING, &ConfGrant::default());
    assert!(matches!(refused, EditError::NeedsGrant { .. }), "{refused}");
    let refused = check(r#"{"type":"tuning","dataDir":"/x"}"#, &grant());
    assert!(matches!(refused, EditError::NeedsGrant { .. }), "{refused}");
    let refused = check(r#"{"mtu":1}"#, &grant());
    assert!(matches!(refused, EditError::Invalid(_)), "{refused}");
    let odd = AttachmentDraft::new(attachment(r#"{"type":"x","plugins":{}}"#), Arc::default());
    let refused = odd.append_plugin(TUNING, &grant()).unwrap_err();
    assert!(matches!(refused, EditError::Invalid(_)), "{refused}");
}

#[test]
fn a_member_that_no_plugin_reads_is_invalid() {
    let of = |conf: &str| AttachmentDraft::new(attachment(conf), Arc::default());
    let free = ConfGrant::default();
    let chain = of(r#"{"name":"x","old":1,"plugins":[{"type":"macvlan"}]}"#);
    let refused = chain.conf_set_checked("/mtu", "1400", &free).unwrap_err();
    assert!(refused.to_string().contains("/plugins/0"), "{refused}");
    chain.conf_set_checked("/old", "2", &free).unwrap();
    let grant = ConfGrant::of(&[], &[Grant::RemovePlugin]);
    chain
        .conf_set_checked("/disableCheck", "true", &grant)
        .unwrap();
    chain
        .conf_set_checked("/plugins/0/mtu", "1400", &free)
        .unwrap();
    // Modules of earlier versions may go on.
    chain.conf_set("/mtu", "1400", &free).unwrap();
    of(SINGLE).conf_set_checked("/mtu", "1400", &free).unwrap();
}
