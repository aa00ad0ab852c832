//! What edits cost, and keys of many spellings.

use super::*;

#[test]
fn an_edit_of_a_chain_costs_as_much_as_the_first() {
    const PLUGINS: usize = 64;
    let plugin = r#"{"type":"macvlan","mtu":1,"args":{"cni":{"mac":"0a:00:00:00:00:01"}}}"#;
    let conf = format!(r#"{{"plugins":[{}]}}"#, vec![plugin; PLUGINS].join(","));
    let working = Working::new(AttachmentDraft::new(attachment(&conf), Arc::default()));
    let mut transaction = working.begin("a".into(), Budget::of(1_000, 1 << 16));
    let mut visits = Vec::new();
    for mtu in 1400..1464 {
        let edits: [Edit<'_>; 2] = [&|draft| draft.set_mtu(mtu), &|draft| {
            draft.set_mac(Some("0a:00:00:00:00:02"))
        }];
        for edit in edits {
            let draft = transaction.draft();
            let mut count = 0;
            let _ = draft.foresee(&edit(draft).unwrap(), &mut |_| {
                count += 1;
                ControlFlow::Continue(())
            });
            visits.push(count);
            transaction.edit(4, edit).unwrap();
        }
    }
    assert!(
        visits.iter().all(|count| *count <= PLUGINS + 1),
        "{visits:?}"
    );
    // The MTU of each plugin, the argument of each, and the MAC.
    assert_eq!(transaction.areas.len(), 2 * PLUGINS + 1);
}

#[test]
fn an_edit_pays_for_all_that_it_changes() {
    let conf = format!(
        r#"{{"plugins":[{}]}}"#,
        [r#"{"type":"macvlan"}"#; 64].join(",")
    );
    let working = Working::new(AttachmentDraft::new(attachment(&conf), Arc::default()));
    let budget = Budget {
        members: 130,
        ..BUDGET
    };
    let mut transaction = working.begin("a".into(), budget);
    for mtu in [1400, 1401] {
        transaction.edit(4, |draft| draft.set_mtu(mtu)).unwrap();
    }
    let refused = transaction.edit(4, |draft| draft.set_mtu(1402));
    assert!(matches!(refused, Err(EditError::TooLarge(_))));
}

#[test]
fn many_spellings_are_one_value() {
    for count in [SPELLINGS, SPELLINGS + 1] {
        let cased = |(at, letter): (usize, char), number: usize| match number >> at & 1 {
            1 => letter.to_ascii_uppercase(),
            _ => letter,
        };
        let spelt = |number| -> String {
            let letters = "burst".chars().enumerate();
            letters.map(|letter| cased(letter, number)).collect()
        };
        let members: String = (0..count)
            .map(|n| format!(r#","{}":1"#, spelt(n)))
            .collect();
        let conf = format!(r#"{{"type":"macvlan"{members}}}"#);
        let (last, new) = (format!("/{}", spelt(count - 1)), format!("/{}", spelt(31)));
        let check = |pointer: &str, json: &str, expected: bool| {
            let grant = ConfGrant::default();
            let guard: Edit<'_> = &|draft| draft.conf_set(&last, "2", &ConfGrant::default());
            let edit: Edit<'_> = &|draft| draft.conf_set(pointer, json, &grant);
            assert_eq!(
                conflict_in(&conf, guard, edit),
                expected,
                "{pointer} {json}"
            );
        };
        check(&last, "2", false);
        check(&last, "3", true);
        check(&new, "2", false);
        check(&new, "3", true);
    }
}
