//! The environment of a call.

#![cfg(test)]

use std::collections::BTreeMap;

use cni_types::args::{
    CniArgs, Command, ContainerId, Error, IfName, NetworkName, Parameters, PluginType,
};
use proptest::prelude::*;

fn complete() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "cid-1"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=p"),
        ("CNI_PATH", "/opt/cni/bin"),
    ])
}

fn read(env: &BTreeMap<&str, &str>) -> Result<Parameters, String> {
    Parameters::from_env(|name| env.get(name).copied()).map_err(|error| {
        let error = error.to_cni_error();
        assert_eq!(error.code, 4);
        error.msg
    })
}

/// Checks the error for the complete environment with some variables replaced or removed.
#[track_caller]
fn check_refused(changes: &[(&'static str, Option<&'static str>)], expected: &str) {
    let mut env = complete();
    for (name, value) in changes {
        match value {
            Some(value) => env.insert(name, value),
            None => env.remove(name),
        };
    }
    assert_eq!(read(&env).unwrap_err(), expected);
}

#[test]
fn a_complete_environment_is_read() {
    let read = read(&complete()).unwrap();
    assert_eq!(read.command, Command::Add);
    assert_eq!(read.container_id.unwrap().as_str(), "cid-1");
    assert_eq!(read.netns.unwrap(), "/run/netns/x");
    assert_eq!(read.if_name.unwrap().as_str(), "eth0");
    assert_eq!(read.args.get("K8S_POD_NAME"), Some("p"));
    assert_eq!(read.path.unwrap(), "/opt/cni/bin");
}

#[test]
fn missing_variables_are_all_named() {
    check_refused(
        &[("CNI_IFNAME", None)],
        "required env variables [CNI_IFNAME] missing",
    );
    check_refused(
        &[
            ("CNI_PATH", None),
            ("CNI_CONTAINERID", Some("")),
            ("CNI_NETNS", None),
        ],
        "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_PATH] missing",
    );
    check_refused(
        &[("CNI_COMMAND", None), ("CNI_IFNAME", None)],
        "required env variables [CNI_COMMAND] missing",
    );
}

#[test]
fn one_error_lists_all_bad_variables() {
    check_refused(
        &[
            ("CNI_CONTAINERID", Some("../../etc/x")),
            ("CNI_IFNAME", Some("a/b")),
            ("CNI_ARGS", Some("novalue")),
            ("CNI_PATH", None),
        ],
        "required env variables [CNI_PATH] missing; \
         invalid CNI_CONTAINERID: container id \"../../etc/x\" is invalid: it must start with a letter or digit \
         and consist of letters, digits, '_', '.' and '-'; \
         invalid CNI_IFNAME: interface name \"a/b\" is invalid: it must not be '.' or '..' nor have '/', ':', \
         whitespace or control characters; \
         invalid CNI_ARGS: CNI_ARGS: \"novalue\" is not of the form KEY=VALUE",
    );
}

#[test]
fn an_unknown_command_is_named() {
    check_refused(
        &[("CNI_COMMAND", Some("FROB"))],
        "unknown CNI_COMMAND: FROB",
    );
    check_refused(&[("CNI_COMMAND", Some("add"))], "unknown CNI_COMMAND: add");
}

#[test]
fn each_command_needs_only_its_own_variables() {
    let with = |names: &[(&'static str, &'static str)]| {
        read(&names.iter().copied().collect()).expect("complete")
    };
    assert_eq!(with(&[("CNI_COMMAND", "VERSION")]).path, None);
    for command in ["GC", "STATUS"] {
        let read = with(&[
            ("CNI_COMMAND", command),
            ("CNI_PATH", "/p"),
            ("CNI_CONTAINERID", "../ignored"),
        ]);
        assert_eq!(read.container_id, None);
    }
    let del = with(&[
        ("CNI_COMMAND", "DEL"),
        ("CNI_PATH", "/p"),
        ("CNI_CONTAINERID", "c"),
        ("CNI_IFNAME", "eth0"),
    ]);
    assert_eq!(del.netns, None);
    assert!(del.args.is_empty());
}

#[test]
fn path_traversal_names_are_rejected() {
    let long = "a".repeat(300);
    for text in [
        "", ".", "..", "../x", "a/b", "-a", "_a", "a b", "a\0", "é", "a\n", &long,
    ] {
        assert!(ContainerId::new(text).is_err(), "{text:?}");
        assert!(NetworkName::new(text).is_err(), "{text:?}");
    }
    for text in ["", ".", "..", "../x", "/abs", "a/b", "a\0", "a\n", &long] {
        assert!(PluginType::new(text).is_err(), "{text:?}");
    }
    for text in ["a", "0", "a.b_c-D9", "x..y"] {
        assert!(ContainerId::new(text).is_ok(), "{text:?}");
        assert!(NetworkName::new(text).is_ok(), "{text:?}");
        assert!(PluginType::new(text).is_ok(), "{text:?}");
    }
}

#[test]
fn interface_names_are_what_the_kernel_takes() {
    for text in ["eth0", "a", "net1.100", "0123456789abcde", "-", "é"] {
        assert!(IfName::new(text).is_ok(), "{text:?}");
    }
    let refused = [
        "",
        ".",
        "..",
        "0123456789abcdef",
        "a/b",
        "a:b",
        "a b",
        "a\tb",
        "a\u{a0}b",
        "a\x7f",
    ];
    for text in refused {
        assert!(IfName::new(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_new_interface_has_no_deceiving_name() {
    for text in ["a\u{202e}b", "\u{200f}eth0", "x\u{2066}", "a\u{61c}"] {
        assert!(IfName::to_make(text).is_err(), "{text:?}");
        // Older records may have it.
        assert!(IfName::new(text).is_ok(), "{text:?}");
    }
    assert!(IfName::to_make("é").is_ok());
}

#[test]
fn names_are_checked_when_they_come_from_json() {
    assert!(serde_json::from_str::<ContainerId>("\"../x\"").is_err());
    assert_eq!(
        serde_json::from_str::<IfName>("\"eth0\"").unwrap().as_str(),
        "eth0"
    );
}

#[test]
fn args_keep_order_and_duplicates() {
    let text = "A=1;B=x=y;A=2;C=";
    let args = CniArgs::parse(text).unwrap();
    assert_eq!(args.to_string(), text);
    // Go plugins take the last one.
    assert_eq!(args.get("A"), Some("2"));
    assert_eq!(args.get("B"), Some("x=y"));
    assert_eq!(args.get("C"), Some(""));
    assert_eq!(args.get("D"), None);
}

#[test]
fn arguments_that_are_no_pairs_are_refused() {
    for text in [";", "A", "A=1;", "=1", "A=1;;B=2"] {
        assert!(
            matches!(CniArgs::parse(text), Err(Error::Pair { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn set_replaces_last_duplicate_argument() {
    let mut args = CniArgs::parse("A=1;B=2;A=3").unwrap();
    args.set("A", "4").unwrap();
    assert_eq!(args.to_string(), "A=1;B=2;A=4");
}

#[test]
fn an_argument_cannot_smuggle_in_another_one() {
    let mut args = CniArgs::parse("A=1;B=2").unwrap();
    args.set("B", "3").unwrap();
    args.set("C", "10.1.1.1/24,fd00::1/64").unwrap();
    assert_eq!(args.to_string(), "A=1;B=3;C=10.1.1.1/24,fd00::1/64");
    for (key, value) in [
        ("D", "1;K8S_POD_NAME=x"),
        ("D=1;E", "1"),
        ("", "1"),
        ("D", "a\0"),
    ] {
        assert!(args.set(key, value).is_err());
        assert!(args.push(key, value).is_err());
    }
    assert!(serde_json::from_str::<CniArgs>(r#"[["D","1;E=2"]]"#).is_err());
}

#[test]
fn in_json_arguments_are_a_list_of_pairs() {
    let args = CniArgs::parse("A=1;B=").unwrap();
    let json = serde_json::to_string(&args).unwrap();
    assert_eq!(json, r#"[["A","1"],["B",""]]"#);
    assert_eq!(serde_json::from_str::<CniArgs>(&json).unwrap(), args);
}

proptest! {
    #[test]
    fn arguments_are_printed_as_they_are_read(pairs in prop::collection::vec(("[^=;\0]{1,5}", "[^;\0]{0,5}"), 0..6)) {
        let mut args = CniArgs::new();
        for (key, value) in &pairs {
            args.push(key, value).unwrap();
        }
        prop_assert_eq!(CniArgs::parse(&args.to_string()).unwrap(), args);
    }

    #[test]
    fn accepted_names_are_single_path_components(text in ".{0,20}") {
        let accepted = [
            ContainerId::new(text.as_str()).is_ok(),
            NetworkName::new(text.as_str()).is_ok(),
            PluginType::new(text.as_str()).is_ok(),
            IfName::new(text.as_str()).is_ok(),
        ];
        if accepted.contains(&true) {
            let path = std::path::Path::new("/d").join(&text);
            prop_assert_eq!(path.parent(), Some(std::path::Path::new("/d")));
            prop_assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(text.as_str()));
        }
    }
}
