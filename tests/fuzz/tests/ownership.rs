//! Random edits of two policies, and random confs, over few keys so that they collide.

use fuzz_entries::{claims, confs};
use proptest::prelude::*;

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "A",
        "b",
        "o",
        "O",
        "vlan",
        "VLAN",
        "ipam",
        "args",
        "cni",
        "x",
        "X",
        "y",
        "type",
        "name",
        "plugins",
        "Plugins",
        "\u{17f}",
        "s",
        "list",
        "mac",
        "MAC",
        "guid",
        "infinibandGUID",
        "addresses",
        "ips",
        "sysctl",
        "dns",
        "mtu",
        "ingressRate",
    ])
    .prop_map(str::to_owned)
}

fn json(arrays: bool) -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec!["1", "2", "null", "\"t\"", "\"\\u0074\"", "{}"]);
    let scalar = scalar.prop_map(str::to_owned);
    scalar.prop_recursive(3, 12, 3, move |inner| {
        let members = prop::collection::vec((key(), inner.clone()), 0..3);
        let object = members.prop_map(|members| {
            let members: Vec<_> = members.iter().map(|(k, v)| format!("{k:?}:{v}")).collect();
            format!("{{{}}}", members.join(","))
        });
        let elements = prop::collection::vec(inner, 0..4);
        let array = elements.prop_map(|elements| format!("[{}]", elements.join(",")));
        match arrays {
            true => prop_oneof![object, array].boxed(),
            false => object.boxed(),
        }
    })
}

fn edit(arrays: bool) -> impl Strategy<Value = String> {
    let token = prop_oneof![
        6 => key(),
        1 => prop::sample::select(vec!["0", "1", "2", "-"]).prop_map(str::to_owned),
    ];
    let pointer =
        prop::collection::vec(token, 1..4).prop_map(|tokens| format!("/{}", tokens.join("/")));
    prop_oneof![
        6 => (pointer.clone(), json(arrays)).prop_map(|(at, json)| format!("conf-set\t{at}\t{json}\n")),
        2 => pointer.prop_map(|at| format!("conf-remove\t{at}\n")),
        1 => (key(), json(arrays)).prop_map(|(key, json)| format!("set-cni-arg\t{key}\t{json}\n")),
        2 => typed(),
        3 => Just("accept\n".to_owned()),
    ]
}

/// A typed edit of a value that is reached in other ways as well.
fn typed() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "set-mac\t02:00:00:00:00:01\n",
        "set-mac\t02:00:00:00:00:02\n",
        "set-mac\n",
        "set-guid\t02:00:00:00:00:00:00:01\n",
        "set-ips\t10.0.0.1/24\n",
        "set-ips\n",
        "set-bandwidth\t1\t1\t1\t1\n",
        "set-port-mapping\t80\t80\ttcp\n",
        "set-port-mapping\t80\t81\ttcp\t10.0.0.1\n",
        "set-port-mapping\t80\t82\ttcp\t0.0.0.0\n",
    ])
    .prop_map(str::to_owned)
}

/// An edit of the pod's selections.
fn selections() -> impl Strategy<Value = String> {
    let member = |values: &[&'static str]| prop::sample::select(values.to_vec());
    let index = member(&["0", "1", "2"]);
    let method = member(&["replace", "replace", "insert"]);
    let network = member(&["default\tblue", "a\tb"]);
    // A member that is missing ends the line.
    let more = member(&[
        "",
        "\tx0",
        "\tx0\t10.0.0.1",
        "\tx0\t10.0.0.2",
        "\tx0\t10.0.0.1\t02:00:00:00:00:01",
        "\tx0\t10.0.0.1\t02:00:00:00:00:02",
        "\tx1\t10.0.0.1\t02:00:00:00:00:01\t10.0.0.9",
    ]);
    let whole = (method, index.clone(), network, more);
    prop_oneof![
        6 => whole.prop_map(|(method, at, network, more)| format!("{method}\t{at}\t{network}{more}\n")),
        1 => index.clone().prop_map(|at| format!("remove\t{at}\n")),
        1 => (index.clone(), index).prop_map(|(from, to)| format!("move\t{from}\t{to}\n")),
        3 => Just("accept\n".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_changes_what_another_policy_set(edits in prop::collection::vec(edit(false), 2..16)) {
        claims(edits.concat().as_bytes());
    }

    #[test]
    fn elements_of_another_policy_stay(edits in prop::collection::vec(edit(true), 2..16)) {
        claims(edits.concat().as_bytes());
    }

    #[test]
    fn selections_of_another_policy_stay(edits in prop::collection::vec(selections(), 2..16)) {
        claims(edits.concat().as_bytes());
    }

    #[test]
    fn confs_are_compared_as_they_are_read(old in json(true), new in json(true)) {
        confs(format!("{old}\n{new}").as_bytes());
    }

    #[test]
    fn objects_are_compared_as_they_are_read(old in json(false), new in json(false)) {
        confs(format!("{old}\n{new}").as_bytes());
    }
}
