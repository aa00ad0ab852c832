use super::super::{AttachmentDraft, Budget, Draft as _, Working};
use super::*;
use crate::model::grant::ConfGrant;
use crate::model::request::PolicyAttachment;

const BUDGET: Budget = Budget::of(10, 1 << 16);

fn edit(draft: &mut SelectionsDraft, change: Result<SelectionsChange, EditError>) {
    draft.apply(change.unwrap()).unwrap();
}

fn selection(name: &str) -> Selection {
    Selection {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        ..Selection::default()
    }
}

fn draft() -> SelectionsDraft {
    SelectionsDraft::of_pod(["a", "b", "c"].map(selection).into())
}

fn names(draft: SelectionsDraft) -> Vec<(Option<usize>, String)> {
    draft
        .into_chosen(&Claims::default())
        .1
        .into_iter()
        .map(|chosen| {
            let origin = match chosen.origin {
                Origin::Pod(index) => Some(index),
                _ => None,
            };
            (origin, chosen.selection.name)
        })
        .collect()
}

#[test]
fn moved_and_edited_selections_keep_their_origin() {
    let mut draft = draft();
    let change = draft.shift(2, 0);
    edit(&mut draft, change);
    let change = draft.replace(0, &selection("z"));
    edit(&mut draft, change);
    let change = draft.insert(1, &selection("new"));
    edit(&mut draft, change);
    let change = draft.remove(2);
    edit(&mut draft, change);
    let expected = [(Some(2), "z"), (None, "new"), (Some(1), "b")];
    assert_eq!(
        names(draft),
        expected.map(|(origin, name)| (origin, name.to_owned()))
    );
}

#[test]
fn indices_past_the_end_are_refused() {
    let draft = draft();
    draft.insert(4, &selection("x")).unwrap_err();
    draft.replace(3, &selection("x")).unwrap_err();
    draft.remove(3).unwrap_err();
    draft.shift(0, 3).unwrap_err();
    draft.shift(3, 0).unwrap_err();
    assert_eq!(draft.iter(View::All).count(), 3);
}

#[test]
fn there_is_a_most_of_selections() {
    let mut draft = draft();
    for _ in 3..MAX_SELECTIONS {
        let change = draft.insert(0, &selection("x"));
        edit(&mut draft, change);
    }
    assert!(matches!(
        draft.insert(0, &selection("x")),
        Err(EditError::TooLarge(_))
    ));
}

#[test]
fn policies_may_edit_different_members() {
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

/// Whether the second policy's edit conflicts with the first one's.
fn conflict(
    first: impl Fn(&SelectionsDraft) -> Result<SelectionsChange, EditError>,
    second: impl Fn(&SelectionsDraft) -> Result<SelectionsChange, EditError>,
) -> bool {
    let working = edited(first);
    let mut transaction = working.begin("second".into(), BUDGET);
    match transaction.edit(1, second) {
        Ok(()) => false,
        Err(EditError::Conflict { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

fn edited(
    edit: impl Fn(&SelectionsDraft) -> Result<SelectionsChange, EditError>,
) -> Working<SelectionsDraft> {
    let mut working = Working::new(draft());
    let owner: Arc<str> = "first".into();
    let mut transaction = working.begin(owner.clone(), BUDGET);
    transaction.edit(1, edit).unwrap();
    let staged = working.staged(transaction);
    working.commit(&owner, staged).unwrap();
    working
}

#[test]
fn a_removed_network_is_not_inserted_again() {
    let insert = |name| move |draft: &SelectionsDraft| draft.insert(0, &selection(name));
    let replace = |name| move |draft: &SelectionsDraft| draft.replace(0, &selection(name));
    assert!(conflict(|draft| draft.remove(1), insert("b")));
    assert!(conflict(|draft| draft.remove(1), replace("b")));
    assert!(!conflict(|draft| draft.remove(1), insert("a")));
    assert!(!conflict(|draft| draft.remove(1), insert("z")));
    assert!(conflict(replace("z"), insert("a")));
    assert!(!conflict(insert("a"), insert("a")));
}

#[test]
fn a_moved_selection_keeps_its_place() {
    let shift = |from, to| move |draft: &SelectionsDraft| draft.shift(from, to);
    assert!(conflict(shift(2, 0), shift(0, 2)));
    assert!(conflict(shift(2, 0), shift(1, 0)));
    assert!(!conflict(shift(2, 0), shift(1, 2)));
    assert!(!conflict(shift(2, 0), shift(0, 0)));
    assert!(conflict(shift(2, 0), |draft| draft.remove(0)));
    assert!(!conflict(shift(2, 0), |draft| draft.remove(1)));
}

#[test]
fn what_select_set_is_owned_in_before_add() {
    let edit = |edit: &dyn Fn(&mut Selection)| {
        let mut wanted = selection("a");
        edit(&mut wanted);
        let working = edited(move |draft| draft.replace(0, &wanted));
        let claims = working.claims();
        let draft = working.finish();
        let attachment = PolicyAttachment {
            mac: draft.get(0).unwrap().mac.clone(),
            ..attachment()
        };
        (draft.claims_for_attachments(&claims), attachment)
    };
    type Made = (SelectionClaims, PolicyAttachment);
    let conflict = |(carried, attachment): Made, change: &dyn Fn(&AttachmentDraft) -> Edited| {
        let draft = AttachmentDraft::new(attachment, Arc::default());
        let claims = carried.claims(draft.attachment());
        let working = Working::owned(draft, claims);
        let own = |owner: &str| working.begin(owner.into(), BUDGET).edit(1, change);
        own("first").unwrap();
        own("second").is_err()
    };
    let mac = || edit(&|wanted| wanted.mac = Some("02:00:00:00:00:01".to_owned()));
    assert!(conflict(mac(), &|draft| draft.set_mac(Some("02:00:00:00:00:02"))));
    assert!(conflict(mac(), &|draft| draft.set_cni_arg("mac", "1")));
    assert!(conflict(mac(), &|draft| draft.skip()));
    assert!(!conflict(mac(), &|draft| draft.set_mtu(1400)));
    let name = || edit(&|wanted| wanted.if_name = Some("x9".to_owned()));
    assert!(conflict(name(), &|draft| draft.set_if_name("y9")));
    let args = || edit(&|wanted| wanted.cni_args = Some(json(r#"{"x":1}"#)));
    assert!(conflict(args(), &|draft| draft.set_cni_arg("X", "2")));
    assert!(conflict(args(), &|draft| draft.conf_set(
        "/x",
        "2",
        &ConfGrant::default()
    )));
    assert!(!conflict(args(), &|draft| draft.set_cni_arg("y", "2")));
}

#[test]
fn an_inserted_selection_belongs_to_its_policy() {
    let wanted = Selection {
        ips: vec!["10.0.0.1".to_owned()],
        ..selection("z")
    };
    let working = edited(move |draft| draft.insert(0, &wanted));
    let claims = working.claims();
    let carried = working.finish().claims_for_attachments(&claims);
    let attachment = PolicyAttachment {
        network: "default/z".to_owned(),
        ips: vec!["10.0.0.1".to_owned()],
        ..attachment()
    };
    let draft = AttachmentDraft::new(attachment, Arc::default());
    let claims = carried.claims(draft.attachment());
    let working = Working::owned(draft, claims);
    let mut second = working.begin("second".into(), BUDGET);
    second.edit(1, |draft| draft.set_ips(&[])).unwrap_err();
    second
        .edit(1, |draft| draft.set_mac(Some("02:00:00:00:00:02")))
        .unwrap();
}

#[test]
fn claims_follow_their_selection() {
    let with = |edit: &dyn Fn(&mut Selection)| {
        let mut wanted = selection("a");
        edit(&mut wanted);
        wanted
    };
    let edits: [&dyn Fn(&mut Selection); 3] = [
        &|wanted| wanted.mac = Some("02:00:00:00:00:01".to_owned()),
        &|wanted| wanted.if_name = Some("x0".to_owned()),
        &|wanted| wanted.cni_args = Some(json(r#"{"x":1}"#)),
    ];
    for (place, edit) in (0..2).flat_map(|place| edits.map(|edit| (place, edit))) {
        let mut working = Working::new(SelectionsDraft::of_pod(vec![selection("a"); 2]));
        let owner: Arc<str> = "first".into();
        let mut transaction = working.begin(owner.clone(), BUDGET);
        let wanted = with(edit);
        transaction
            .edit(1, |draft| draft.replace(place, &wanted))
            .unwrap();
        transaction.edit(1, |draft| draft.shift(0, 1)).unwrap();
        let staged = working.staged(transaction);
        working.commit(&owner, staged);
        let claims = working.claims();
        let carried = working.finish().claims_for_attachments(&claims);
        // A network of every pod comes first, and may look the same.
        let owned = [None, Some(0), Some(1), Some(2)].map(|selection| {
            let attachment = PolicyAttachment {
                selection,
                ..attachment()
            };
            !carried.claims(&attachment).is_empty()
        });
        assert_eq!(owned, [false, place == 1, place == 0, false]);
    }
}

#[test]
fn a_replacement_owns_what_it_leaves_as_it_was() {
    let asked = Selection {
        mac: Some("02:00:00:00:00:01".to_owned()),
        ips: vec!["10.0.0.1".to_owned()],
        cni_args: Some(json(r#"{"x":1}"#)),
        ..selection("a")
    };
    let mut working = Working::new(SelectionsDraft::of_pod(vec![asked.clone(), selection("a")]));
    let owner: Arc<str> = "first".into();
    let mut transaction = working.begin(owner.clone(), BUDGET);
    transaction
        .edit(1, |draft| draft.replace(0, &asked))
        .unwrap();
    let staged = working.staged(transaction);
    assert!(working.commit(&owner, staged).is_none());
    let conflict = |change: &dyn Fn(&SelectionsDraft) -> Result<SelectionsChange, EditError>| {
        let mut transaction = working.begin("second".into(), BUDGET);
        transaction.edit(1, change).is_err()
    };
    let with = |edit: &dyn Fn(&mut Selection)| {
        let mut wanted = asked.clone();
        edit(&mut wanted);
        conflict(&|draft| draft.replace(0, &wanted))
    };
    assert!(with(&|wanted| wanted.mac = None));
    assert!(with(&|wanted| wanted.ips.clear()));
    assert!(with(&|wanted| wanted.name = "b".to_owned()));
    assert!(with(&|wanted| wanted.cni_args = Some(json(r#"{"x":2}"#))));
    assert!(conflict(&|draft| draft.remove(0)));
    assert!(!with(&|_| ()));
    assert!(!with(&|wanted| wanted.ips.push("10.0.0.2".to_owned())));
    assert!(!with(&|wanted| wanted.if_name = Some("x0".to_owned())));
    assert!(!conflict(&|draft| draft.shift(0, 1)));
    assert!(!conflict(&|draft| draft.remove(1)));

    let claims = working.claims();
    let carried = working.finish().claims_for_attachments(&claims);
    let made = PolicyAttachment {
        mac: asked.mac,
        ..attachment()
    };
    let draft = AttachmentDraft::new(made, Arc::default());
    let claims = carried.claims(draft.attachment());
    let mut second = Working::owned(draft, claims).begin("second".into(), BUDGET);
    second.edit(1, |draft| draft.set_mac(None)).unwrap_err();
}

#[test]
fn a_selection_kept_in_place_has_an_owner() {
    let mut working = Working::new(draft());
    let owner: Arc<str> = "first".into();
    let mut transaction = working.begin(owner.clone(), BUDGET);
    transaction.edit(1, |draft| draft.shift(1, 1)).unwrap();
    let staged = working.staged(transaction);
    working.commit(&owner, staged);
    let mut second = working.begin("second".into(), BUDGET);
    second.edit(1, |draft| draft.shift(0, 2)).unwrap_err();
    second
        .edit(1, |draft| draft.replace(1, &selection("b")))
        .unwrap();
}

type Edited = Result<super::super::AttachmentChange, EditError>;

fn json(text: &str) -> Document {
    Document::parse(text, cni_types::json::Limits::default()).unwrap()
}

fn attachment() -> PolicyAttachment {
    PolicyAttachment {
        selection: Some(0),
        ..PolicyAttachment::new("default/a", "x9", json(r#"{"type":"macvlan"}"#))
    }
}

fn with_node(names: &[&str]) -> SelectionsDraft {
    SelectionsDraft::new(Networks {
        default: None,
        of_node: names.iter().map(|name| (*name).to_owned()).collect(),
        of_pod: vec![selection("a"), selection("b")],
    })
}

#[test]
fn older_modules_do_not_see_networks_of_the_node() {
    let mut draft = with_node(&["storage", "backup"]);
    let change = draft.shift(1, 3);
    edit(&mut draft, change);
    let seen = |view| {
        let names = draft.iter(view).map(|one| one.name.as_str());
        names.collect::<Vec<_>>()
    };
    assert_eq!(seen(View::All), ["storage", "a", "b", "backup"]);
    assert_eq!(seen(View::NotOfNode), ["a", "b"]);
    let indexes = (0..4).map(|index| draft.index(View::NotOfNode, index));
    assert_eq!(indexes.collect::<Vec<_>>(), [1, 2, 4, 5]);
}

#[test]
fn a_network_of_the_node_is_removed_not_replaced() {
    let mut draft = with_node(&["storage"]);
    let error = draft.replace(0, &selection("x")).unwrap_err();
    assert!(matches!(error, EditError::Immutable(_)), "{error}");
    let change = draft.remove(0);
    edit(&mut draft, change);
    let (_, chosen) = draft.into_chosen(&Claims::default());
    let origins: Vec<_> = chosen.into_iter().map(|one| one.origin).collect();
    assert_eq!(origins, [Origin::Pod(0), Origin::Pod(1)]);
}

#[test]
fn the_default_network_has_one_owner() {
    let mut working = Working::new(with_node(&[]));
    let first: Arc<str> = "a".into();
    let mut transaction = working.begin(first.clone(), BUDGET);
    let set = |name: &'static str| {
        move |draft: &SelectionsDraft| draft.set_default(Some(&selection(name)))
    };
    transaction.edit(1, set("fast")).unwrap();
    let staged = working.staged(transaction);
    let patch = working.commit(&first, staged).unwrap().patch.to_string();
    assert_eq!(
        patch,
        r#"[{"op":"add","path":"/default","value":{"name":"fast","namespace":"default"}}]"#
    );
    let mut second = working.begin("b".into(), BUDGET);
    second.edit(1, set("fast")).unwrap();
    let error = second.edit(1, set("slow")).unwrap_err();
    assert!(
        matches!(&error, EditError::Conflict { owner, .. } if **owner == *"a"),
        "{error}"
    );
    second.edit(1, |draft| draft.set_default(None)).unwrap_err();
    let claims = working.claims();
    let (default, _) = working.finish().into_chosen(&claims);
    assert_eq!(
        default,
        ChosenDefault::Set(Box::new(selection("fast")), Some("a".to_owned()))
    );
}

#[test]
fn the_default_network_keeps_its_claims() {
    let mut working = Working::new(with_node(&["storage"]));
    let owner: Arc<str> = "first".into();
    let mut transaction = working.begin(owner.clone(), BUDGET);
    let fast = Selection {
        mac: Some("02:00:00:00:00:01".to_owned()),
        ..selection("fast")
    };
    transaction
        .edit(1, |draft| draft.set_default(Some(&fast)))
        .unwrap();
    let staged = working.staged(transaction);
    working.commit(&owner, staged);
    let claims = working.claims();
    let carried = working.finish().claims_for_attachments(&claims);
    let made = |is_default, selection| PolicyAttachment {
        is_default,
        selection,
        mac: fast.mac.clone(),
        ..attachment()
    };
    assert!(carried.claims(&made(false, Some(0))).is_empty());
    assert!(carried.claims(&made(false, None)).is_empty());
    let draft = AttachmentDraft::new(made(true, None), Arc::default());
    let claims = carried.claims(draft.attachment());
    let mut second = Working::owned(draft, claims).begin("second".into(), BUDGET);
    second.edit(1, |draft| draft.set_mac(None)).unwrap_err();
}

#[test]
fn what_a_policy_selects_is_not_skipped() {
    let working = edited(|draft| draft.insert(3, &selection("z")));
    let claims = working.claims();
    let carried = working.finish().claims_for_attachments(&claims);
    let attachment = PolicyAttachment {
        network: "default/z".to_owned(),
        selection: Some(3),
        ..attachment()
    };
    let draft = AttachmentDraft::new(attachment, Arc::default());
    let claims = carried.claims(draft.attachment());
    let working = Working::owned(draft, claims);
    let skip = |owner: &str| {
        working
            .begin(owner.into(), BUDGET)
            .edit(1, |draft| draft.skip())
    };
    skip("first").unwrap();
    let Err(EditError::Conflict { owner, path, .. }) = skip("second") else {
        panic!("it belongs to the first");
    };
    assert_eq!((&*owner, &*path), ("first", ""));
}

#[test]
fn the_default_interface_is_not_selected() {
    let named = |if_name: Option<&str>| Selection {
        if_name: if_name.map(str::to_owned),
        ..selection("d")
    };
    let mut draft = draft();
    let set = |draft: &SelectionsDraft, if_name| draft.set_default(Some(&named(if_name)));
    assert!(matches!(
        set(&draft, Some("foo")),
        Err(EditError::Invalid(_))
    ));
    set(&draft, None).unwrap();
    // The pod's own is as it was.
    draft.default = Some(Arc::new(named(Some("foo"))));
    set(&draft, Some("foo")).unwrap();
    set(&draft, Some("bar")).unwrap_err();
}
