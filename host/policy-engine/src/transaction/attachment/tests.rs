use super::super::areas::Areas;
use super::super::{Budget, Draft, MAX_SIBLINGS, Working};
use super::*;
use cni_types::json::{Document, Limits};

const BUDGET: Budget = Budget::of(10, 1 << 16);

fn attachment(conf: &str) -> PolicyAttachment {
    let conf = Document::parse(conf, Limits::default()).unwrap();
    PolicyAttachment {
        ips: vec!["10.1.2.3/24".to_owned()],
        mac: Some("0A-00-00-00-00-01".to_owned()),
        ..PolicyAttachment::new("default/storage", "net1", conf)
    }
}

fn at(draft: &AttachmentDraft, pointer: &str) -> Option<String> {
    conf::get(&draft.attachment.conf, pointer)
}

fn draft() -> AttachmentDraft {
    let reserved = [("eth0".to_owned(), "cluster".to_owned())].into();
    AttachmentDraft::new(attachment(r#"{"type":"macvlan"}"#), Arc::new(reserved))
}

fn free() -> ConfGrant {
    ConfGrant::default()
}

#[test]
fn a_guest_sees_canonical_addresses() {
    assert_eq!(
        draft().attachment().mac.as_deref(),
        Some("0a:00:00:00:00:01")
    );
}

#[test]
fn the_default_interface_and_taken_names_stay() {
    let mut draft = draft();
    draft.set_if_name("eth0").unwrap_err();
    draft.set_if_name("a/b").unwrap_err();
    let change = draft.set_if_name("storage0").unwrap();
    draft.apply(change).unwrap();
    draft.attachment.is_default = true;
    assert!(matches!(
        draft.set_if_name("x"),
        Err(EditError::Immutable(_))
    ));
    draft.set_if_name("storage0").unwrap();
}

#[test]
fn next_policy_sees_committed_edits() {
    let mut working = Working::new(draft());
    let owner: Arc<str> = "a".into();
    let mut transaction = working.begin(owner.clone(), BUDGET);
    transaction.edit(8, |draft| draft.set_mtu(1400)).unwrap();
    transaction
        .edit(8, |draft| draft.set_cni_arg("vlan", "7"))
        .unwrap();
    let staged = working.staged(transaction);
    let patch = working.commit(&owner, staged).unwrap().patch.to_string();
    assert_eq!(
        patch,
        r#"[{"op":"add","path":"/conf/mtu","value":1400},{"op":"add","path":"/cniArgs","value":{"vlan":7}}]"#
    );
    let next = working.begin("b".into(), BUDGET);
    assert_eq!(at(next.draft(), "/mtu").as_deref(), Some("1400"));
}

#[test]
fn a_dropped_transaction_leaves_nothing() {
    let working = Working::new(draft());
    let mut transaction = working.begin("a".into(), BUDGET);
    transaction.edit(8, |draft| draft.set_mtu(1400)).unwrap();
    drop(transaction);
    assert_eq!(at(&working.finish(), "/mtu"), None);
}

#[test]
fn a_refused_edit_leaves_the_draft_as_it_was() {
    let working = Working::new(draft());
    let mut transaction = working.begin("a".into(), BUDGET);
    transaction
        .edit(8, |draft| draft.conf_set("/type", r#""evil""#, &free()))
        .unwrap_err();
    assert_eq!(
        at(transaction.draft(), "/type").as_deref(),
        Some(r#""macvlan""#)
    );
    assert!(working.staged(transaction).patch.is_none());
}

#[test]
fn two_policies_cannot_set_one_path_differently() {
    let mut working = Working::new(draft());
    let first: Arc<str> = "a".into();
    let mut transaction = working.begin(first.clone(), BUDGET);
    transaction.edit(8, |draft| draft.set_mtu(1400)).unwrap();
    let staged = working.staged(transaction);
    working.commit(&first, staged);

    let mut second = working.begin("b".into(), BUDGET);
    second.edit(8, |draft| draft.set_mtu(1400)).unwrap();
    second
        .edit(8, |draft| draft.conf_set("/vlan", "5", &free()))
        .unwrap();
    let error = second.edit(8, |draft| draft.set_mtu(1500)).unwrap_err();
    assert_eq!(
        error,
        EditError::Conflict {
            owner: first,
            path: "/conf/mtu".to_owned(),
            values: Box::new([Some("1400".to_owned()), Some("1500".to_owned())]),
        }
    );
    assert_eq!(second.conflict(), Some(&error));
    assert_eq!(at(second.draft(), "/mtu").as_deref(), Some("1400"));
}

#[test]
fn two_policies_may_add_to_one_list() {
    let mut working = Working::new(draft());
    let first: Arc<str> = "a".into();
    let ips = |list: &[&str]| list.iter().map(|ip| (*ip).to_owned()).collect::<Vec<_>>();
    let mut transaction = working.begin(first.clone(), BUDGET);
    transaction
        .edit(8, |draft| {
            draft.set_ips(&ips(&["10.1.2.3/24", "10.1.2.4/24"]))
        })
        .unwrap();
    let staged = working.staged(transaction);
    working.commit(&first, staged);
    let mut second = working.begin("b".into(), BUDGET);
    second
        .edit(8, |draft| {
            draft.set_ips(&ips(&["10.9.9.9", "10.1.2.3/24", "10.1.2.4/24"]))
        })
        .unwrap();
    // The first policy set this one too, although the pod had asked for it already.
    second
        .edit(8, |draft| draft.set_ips(&ips(&["10.9.9.9", "10.1.2.4/24"])))
        .unwrap_err();
    second
        .edit(8, |draft| draft.set_ips(&ips(&["10.9.9.9"])))
        .unwrap_err();
}

#[test]
fn the_budget_ends_number_and_bytes_of_edits() {
    let working = Working::new(draft());
    let mut transaction = working.begin("a".into(), Budget::of(2, 10));
    transaction.edit(4, |draft| draft.set_mtu(1400)).unwrap();
    let error = transaction
        .edit(7, |draft| draft.set_mtu(1401))
        .unwrap_err();
    assert!(matches!(error, EditError::TooLarge(_)), "{error}");
    let error = transaction
        .edit(1, |draft| draft.set_mtu(1402))
        .unwrap_err();
    assert!(matches!(error, EditError::TooLarge(_)), "{error}");
}

/// The areas of edits as a list in which each is compared with all others.
fn listed(draft: &AttachmentDraft, edited: &[Area]) -> Vec<Area> {
    let mut areas: Vec<Area> = Vec::new();
    let replace = |areas: &mut Vec<Area>, area: Area| {
        areas.retain(|known| !AttachmentDraft::covers(&area, known));
        areas.push(area);
    };
    for area in edited {
        if areas
            .iter()
            .any(|known| AttachmentDraft::covers(known, area))
        {
            continue;
        }
        replace(&mut areas, area.clone());
        let Some(parent) = draft.parent(area) else {
            continue;
        };
        let within = areas
            .iter()
            .filter(|known| AttachmentDraft::covers(&parent, known));
        if within.count() > MAX_SIBLINGS {
            replace(&mut areas, parent);
        }
    }
    areas
}

#[test]
fn areas_are_those_of_a_comparison_with_all() {
    let conf = r#"{"plugins":[{"type":"x","ipam":{},"args":{"cni":{}}},{"sysctl":{}}]}"#;
    let draft = AttachmentDraft::new(attachment(conf), Arc::default());
    let mut edited = vec![Area::Args, Area::Member(Member::Mac), Area::Args];
    // Every order of a few places, and many members of one.
    for number in 0..400_usize {
        let place = match (number * 7919) % 11 {
            0 => "/plugins/0".to_owned(),
            1 => "/plugins/0/ipam".to_owned(),
            2 => "/plugins".to_owned(),
            3 | 4 => format!("/plugins/1/sysctl/a{}", number % 29),
            5 => format!("/plugins/0/args/cni/{}/x", number % 23),
            6 => format!("/{}", number % 19),
            _ => format!("/plugins/{}/y{}", number % 2, number % 17),
        };
        edited.push(Area::Conf(Pointer::parse(&place).unwrap()));
        for from in [0, number] {
            let edited = edited.get(from..).unwrap();
            let mut areas = Areas::default();
            edited
                .iter()
                .for_each(|area| areas.touch(&draft, area.clone()));
            assert_eq!(areas.into_list(), listed(&draft, edited), "{edited:?}");
        }
    }
}
