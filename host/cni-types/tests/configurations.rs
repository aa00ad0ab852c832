//! Network configurations.

#![cfg(test)]

use cni_types::conf::{ConfKind, Error, NetworkConfList, PluginConf};
use cni_types::json::RawObject;
use proptest::prelude::*;

fn conf(text: &str) -> NetworkConfList {
    NetworkConfList::parse_any(text).expect(text)
}

#[track_caller]
fn check_refused(text: &str, code: u32, message: &str) {
    let error = NetworkConfList::parse_any(text)
        .expect_err(text)
        .to_cni_error();
    assert_eq!((error.code, error.to_string().as_str()), (code, message));
}

#[test]
fn a_list_is_read() {
    let text = r#"{ "cniVersion":"1.0.0","name":"n", "disableCheck":true,"plugins":[
        {"type":"bridge","ipam":{"type":"host-local"},"capabilities":{"mac":true,"ips":false},"x":1e3},
        {"type":"tuning"} ]}"#;
    let list = conf(text);
    assert_eq!(list.kind(), ConfKind::List);
    assert_eq!(list.name().as_str(), "n");
    assert_eq!(list.cni_version().as_str(), "1.0.0");
    assert!(list.disable_check() && !list.disable_gc() && !list.load_only_inlined_plugins());
    let [bridge, tuning] = list.plugins() else {
        panic!("two plugins");
    };
    assert_eq!(bridge.plugin_type().as_str(), "bridge");
    assert_eq!(bridge.ipam_type().unwrap().as_str(), "host-local");
    assert!(bridge.has_capability("mac") && !bridge.has_capability("ips"));
    assert_eq!(bridge.raw().get("x").unwrap().get(), "1e3");
    assert_eq!(tuning.ipam_type(), None);
    assert_eq!(list.text(), text);
}

#[test]
fn single_plugin_conf_parses_as_list_of_one() {
    let text = r#"{"name":"n","type":"macvlan","ipam":{},"dns":{"domain":"d"}}"#;
    let list = conf(text);
    assert_eq!(list.kind(), ConfKind::Single);
    assert_eq!(list.cni_version().as_str(), "");
    assert_eq!(list.plugins().len(), 1);
    assert_eq!(list.plugins()[0].name().unwrap(), "n");
    assert_eq!(list.plugins()[0].dns().unwrap().get(), r#"{"domain":"d"}"#);
    assert_eq!(list.text(), text);
}

#[test]
fn plugin_keys_are_case_insensitive() {
    let text = r#"{"Name":"n","CNIVersion":"0.3.1","TYPE":"macvlan","IPAM":{"Type":"static"},"Capabilities":{"ips":true}}"#;
    let list = conf(text);
    assert_eq!(list.name().as_str(), "n");
    assert_eq!(list.cni_version().as_str(), "0.3.1");
    let plugin = &list.plugins()[0];
    assert_eq!(plugin.plugin_type().as_str(), "macvlan");
    assert_eq!(plugin.ipam_type().unwrap().as_str(), "static");
    assert!(plugin.has_capability("ips"));
    assert_eq!(list.text(), text);
    let both = conf(r#"{"name":"n","Type":"a","type":"b","tYPE":"c"}"#);
    assert_eq!(both.plugins()[0].plugin_type().as_str(), "b");
    // The reference library is case-sensitive for the list's own members.
    check_refused(
        r#"{"name":"n","Plugins":[{"type":"a"}]}"#,
        7,
        "network configuration with neither \"type\" nor \"plugins\"",
    );
}

#[test]
fn missing_or_invalid_value_names_its_key() {
    check_refused(
        "{}",
        7,
        "network configuration with neither \"type\" nor \"plugins\"",
    );
    check_refused(
        r#"{"type":"a"}"#,
        7,
        "network configuration without \"name\"",
    );
    check_refused(
        r#"{"type":"","name":"n"}"#,
        7,
        "network configuration without \"type\"",
    );
    check_refused(
        r#"{"name":"n","plugins":[]}"#,
        7,
        "network configuration without \"plugins\"",
    );
    check_refused(
        r#"{"name":"n","plugins":null}"#,
        7,
        "network configuration without \"plugins\"",
    );
    check_refused(
        r#"{"name":"n","plugins":[{"type":"a"},{"name":"x"}]}"#,
        7,
        "network configuration without \"plugins[1].type\"",
    );
    check_refused(
        r#"{"name":"n","plugins":[1]}"#,
        7,
        "invalid value for \"plugins[0]\" in the network configuration: expected a JSON object, found 1",
    );
    check_refused(
        r#"{"name":"../n","type":"a"}"#,
        7,
        "invalid value for \"name\" in the network configuration: network name \"../n\" is invalid: \
         it must start with a letter or digit and consist of letters, digits, '_', '.' and '-'",
    );
    check_refused(
        r#"{"name":"n","type":"../../bin/sh"}"#,
        7,
        "invalid value for \"type\" in the network configuration: plugin type \"../../bin/sh\" \
         is invalid: it must be the plain name of a file",
    );
    check_refused(
        r#"{"name":"n","plugins":[{"type":"a","ipam":{"type":"a/b"}}]}"#,
        7,
        "invalid value for \"plugins[0].ipam.type\" in the network configuration: plugin type \"a/b\" \
         is invalid: it must be the plain name of a file",
    );
    check_refused(
        r#"{"name":"n","plugins":[{"type":"a"}],"disableGC":"yes"}"#,
        7,
        "invalid value for \"disableGC\" in the network configuration: it must be true or false, found a string",
    );
}

#[test]
fn values_of_another_type_are_invalid() {
    for text in [
        r#"{"name":1,"type":"a"}"#,
        r#"{"name":"n","type":[]}"#,
        r#"{"name":"n","type":"a","capabilities":{"mac":"yes"}}"#,
        r#"{"name":"n","type":"a","ipam":"x"}"#,
        r#"{"name":"n","plugins":{}}"#,
        r#"{"name":"n","cniVersion":1,"type":"a"}"#,
        r#"{"name":"n","cniVersions":"1.0.0","plugins":[{"type":"a"}]}"#,
        r#"{"name":"n","disableCheck":1,"plugins":[{"type":"a"}]}"#,
    ] {
        let error = NetworkConfList::parse_any(text).expect_err(text);
        assert!(matches!(error, Error::Value { .. }), "{text}: {error}");
        assert_eq!(error.code(), 7);
    }
}

#[test]
fn a_conf_that_is_not_an_object_is_rejected() {
    for text in ["", "{", "[]", "null", "x"] {
        assert_eq!(NetworkConfList::parse_any(text).expect_err(text).code(), 6);
    }
}

#[test]
fn unknown_and_malformed_versions_differ() {
    check_refused(
        r#"{"name":"n","type":"a","cniVersion":"9.9.9"}"#,
        1,
        "cniVersion of the network configuration; unsupported CNI version \"9.9.9\", supported are \
         0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
    );
    check_refused(
        r#"{"name":"n","type":"a","cniVersion":"x"}"#,
        7,
        "cniVersion of the network configuration; malformed CNI version: expected major.minor.patch",
    );
}

#[test]
fn flags_may_be_strings_in_any_case() {
    let list = conf(
        r#"{"name":"n","plugins":[{"type":"a"}],"disableCheck":"True","disableGC":"FALSE","loadOnlyInlinedPlugins":"true"}"#,
    );
    assert!(list.disable_check() && !list.disable_gc() && list.load_only_inlined_plugins());
}

#[track_caller]
fn check_negotiated(versions: &str, expected: &str) {
    let text = format!(r#"{{"name":"n",{versions},"plugins":[{{"type":"a"}}]}}"#);
    assert_eq!(conf(&text).cni_version().as_str(), expected);
}

#[test]
fn the_newest_version_that_both_know_is_chosen() {
    check_negotiated(r#""cniVersions":["0.3.1","1.0.0","0.4.0"]"#, "1.0.0");
    check_negotiated(r#""cniVersion":"1.1.0","cniVersions":["1.0.0"]"#, "1.1.0");
    check_negotiated(
        r#""cniVersion":"0.4.0","cniVersions":["1.0.0","2.0.0"]"#,
        "1.0.0",
    );
    check_negotiated(r#""cniVersion":"2.0.0","cniVersions":["1.0.0"]"#, "1.0.0");
    check_negotiated(r#""cniVersion":"0.4.0","cniVersions":["2.0.0"]"#, "0.4.0");
    check_negotiated(r#""cniVersion":"0.4.0","cniVersions":[]"#, "0.4.0");
    check_negotiated(r#""cniVersions":[]"#, "");
    for versions in [
        r#""cniVersions":["2.0.0"]"#,
        r#""cniVersions":["x"]"#,
        r#""cniVersion":"2.0.0","cniVersions":["3.0.0"]"#,
    ] {
        let text = format!(r#"{{"name":"n",{versions},"plugins":[{{"type":"a"}}]}}"#);
        assert!(NetworkConfList::parse_any(&text).is_err(), "{text}");
    }
}

#[test]
fn only_parse_list_accepts_missing_plugins() {
    let text = r#"{"name":"n","cniVersion":"1.0.0"}"#;
    assert!(
        NetworkConfList::parse_list(text)
            .unwrap()
            .plugins()
            .is_empty()
    );
    assert!(NetworkConfList::parse_any(text).is_err());
    let only = r#"{"name":"n","loadOnlyInlinedPlugins":true}"#;
    assert!(NetworkConfList::parse_list(only).is_err());
}

#[test]
fn edited_plugins_are_in_the_text() {
    let list =
        conf(r#"{"name":"n","x":12345678901234567890,"plugins":[{"type":"a", "m":1e3}],"y":2}"#);
    let mut raw = list.plugins()[0].clone().into_raw();
    raw.set("deviceID", "0000:00:1f.6").unwrap();
    let edited = list
        .with_plugins(vec![PluginConf::from_raw(raw).unwrap()])
        .unwrap();
    let expected = r#"{"name":"n","x":12345678901234567890,"plugins":[{"type":"a","m":1e3,"deviceID":"0000:00:1f.6"}],"y":2}"#;
    assert_eq!(edited.text(), expected);
    assert_eq!(conf(edited.text()).plugins(), edited.plugins());
    assert!(list.with_plugins(Vec::new()).is_err());
}

#[test]
fn an_edited_single_plugin_keeps_its_network() {
    let list = conf(r#"{"name":"n","cniVersion":"1.0.0","type":"a"}"#);
    let plugin = |text: &str| PluginConf::parse(text).unwrap();
    let edited = list
        .with_plugins(vec![plugin(
            r#"{"name":"n","cniVersion":"1.0.0","type":"a","mtu":9}"#,
        )])
        .unwrap();
    assert_eq!(edited.kind(), ConfKind::Single);
    assert_eq!(
        edited.text(),
        r#"{"name":"n","cniVersion":"1.0.0","type":"a","mtu":9}"#
    );
    for text in [
        r#"{"name":"m","cniVersion":"1.0.0","type":"a"}"#,
        r#"{"name":"n","cniVersion":"0.4.0","type":"a"}"#,
        r#"{"cniVersion":"1.0.0","type":"a"}"#,
    ] {
        assert!(list.with_plugins(vec![plugin(text)]).is_err(), "{text}");
    }
    let one = list.plugins()[0].clone();
    assert!(list.with_plugins(vec![one.clone(), one]).is_err());
}

#[test]
fn a_long_name_is_cut_off_in_the_error() {
    let text = format!(r#"{{"name":"{}","type":"a"}}"#, "é".repeat(5000));
    let message = NetworkConfList::parse_any(&text).unwrap_err().to_string();
    assert!(message.len() < 1000, "{message}");
}

#[test]
fn a_wrong_value_is_named_by_its_type() {
    for member in [
        r#""ipam":"s3cret""#,
        r#""ipam":{"type":["s3cret"]}"#,
        r#""capabilities":"s3cret""#,
        r#""capabilities":{"ips":"s3cret"}"#,
        r#""cniVersion":"s3cret""#,
        r#""cniVersion":["s3cret"]"#,
    ] {
        for conf in [
            format!(r#"{{"name":"n","type":"a",{member}}}"#),
            format!(r#"{{"name":"n","plugins":[{{"type":"a",{member}}}]}}"#),
        ] {
            let Err(error) = NetworkConfList::parse_any(&conf) else {
                continue;
            };
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let shown = format!("{error}: {cause:?}");
            assert!(!shown.contains("s3cret"), "{conf}: {shown}");
        }
    }
    for member in [
        r#""disableCheck":"s3cret""#,
        r#""disableGC":["s3cret"]"#,
        r#""loadOnlyInlinedPlugins":{"a":"s3cret"}"#,
        r#""cniVersions":"s3cret""#,
        r#""cniVersions":["s3cret"]"#,
        r#""plugins":"s3cret""#,
        r#""plugins":["s3cret"]"#,
    ] {
        let conf = format!(r#"{{"name":"n","plugins":[{{"type":"a"}}],{member}}}"#);
        let error = NetworkConfList::parse_any(&conf).expect_err(&conf);
        assert!(!format!("{error:?}").contains("s3cret"), "{conf}: {error}");
    }
}

proptest! {
    #[test]
    fn a_configuration_is_printed_as_it_is_read(
        name in "[a-z0-9][a-z0-9_.-]{0,10}",
        types in prop::collection::vec("[a-z]{1,8}", 1..4),
        number in "[1-9][0-9]{0,30}",
        version in prop::sample::select(cni_types::version::Version::ALL.to_vec()),
    ) {
        let plugins: Vec<String> = types
            .iter()
            .map(|name| format!(r#"{{"n":{number},"type":"{name}","a":[ 1.0 ]}}"#))
            .collect();
        let text = format!(
            r#"{{"cniVersion":"{version}","plugins":[{}],"name":"{name}","n":{number}}}"#,
            plugins.join(",")
        );
        let list = conf(&text);
        prop_assert_eq!(list.text(), &text);
        prop_assert_eq!(list.raw().to_string(), text.clone());
        let again = list.with_plugins(list.plugins().to_vec()).unwrap();
        prop_assert_eq!(again.text(), &text);
        let printed: Vec<String> = list.plugins().iter().map(|p| p.raw().to_string()).collect();
        prop_assert_eq!(printed, plugins);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in r#"\{("(name|type|plugins|cniVersion|cniVersions|ipam|capabilities)":("[a-z0-9./]{0,4}"|[0-9]|\{\}|\[\]|null|true),?){0,5}\}"#) {
        let _ = NetworkConfList::parse_any(&text);
        let _ = NetworkConfList::parse_list(&text);
        if let Ok(raw) = RawObject::parse(&text) {
            let _ = PluginConf::from_raw(raw);
        }
    }
}
