//! Plugins' standard input, compared with what the Go library passed for the same configurations.

#![cfg(test)]

use cni_types::json::RawObject;
use libcni::{RuntimeConf, ValidAttachment, request};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use support::{list, runtime};

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

/// A recorded call. The recorded delegates left `version` of their addresses empty, but this
/// library always writes 4 or 6; the recording is adjusted accordingly.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    command: String,
    network: String,
    conf: String,
    plugin: usize,
    capability_args: RawObject,
    prev_result: Option<Box<RawValue>>,
    valid: Vec<ValidAttachment>,
    expected: Value,
}

/// The Go library converts all numbers to floating point.
fn as_go_does(value: &mut Value) {
    match value {
        Value::Number(number) => {
            *value = number.as_f64().expect("a number").into();
        }
        Value::Array(elements) => elements.iter_mut().for_each(as_go_does),
        Value::Object(members) => members.values_mut().for_each(as_go_does),
        _ => {}
    }
}

#[test]
fn every_recorded_request_is_derived() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/requests.json")).unwrap();
    assert_eq!(cases.len(), 20);
    for mut case in cases {
        let list = list(&case.conf);
        let plugin = &list.plugins()[case.plugin];
        let runtime = RuntimeConf {
            capability_args: case.capability_args,
            ..runtime("{}")
        };
        let request = match case.command.as_str() {
            "GC" => request::gc(&list, plugin, &case.valid),
            "STATUS" => request::network(&list, plugin),
            _ => request::attachment(&list, plugin, &runtime, case.prev_result),
        };
        let mut request: Value = serde_json::from_str(&request.unwrap().to_string()).unwrap();
        as_go_does(&mut request);
        as_go_does(&mut case.expected);
        assert_eq!(request, case.expected, "{} {}", case.command, case.network);
    }
}

#[test]
fn only_what_a_runtime_inserts_changes() {
    let list = list(
        r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"z":[ 1e3, 12345678901234567890 ],"cniVersion":"0.1.0","type":"t","capabilities":{"mac":true,"ips":false,"bandwidth":true},"prevResult":{"stale":1},"a":{"b" : "\u0063"}}]}"#,
    );
    let plugin = &list.plugins()[0];
    let runtime =
        runtime(r#"{"ips":["10.0.0.1/8"],"mac":"02:00:00:00:00:01","portMappings":[ 1 ]}"#);
    let first = request::attachment(&list, plugin, &runtime, None).unwrap();
    assert_eq!(
        first.to_string(),
        r#"{"z":[ 1e3, 12345678901234567890 ],"cniVersion":"1.0.0","type":"t","capabilities":{"mac":true,"ips":false,"bandwidth":true},"a":{"b" : "\u0063"},"name":"n","runtimeConfig":{"mac":"02:00:00:00:00:01"}}"#
    );
    let result = RawValue::from_string(r#"{"cniVersion":"1.0.0"}"#.to_owned()).unwrap();
    let later = request::attachment(&list, plugin, &runtime, Some(result)).unwrap();
    assert_eq!(
        later.get("prevResult").unwrap().get(),
        r#"{"cniVersion":"1.0.0"}"#
    );
}

#[test]
fn runtime_config_stays_without_capability_args() {
    let list =
        list(r#"{"name":"n","type":"t","runtimeConfig":{"a":1},"capabilities":{"mac":true}}"#);
    let plugin = &list.plugins()[0];
    let given = |args: &str| {
        let request = request::attachment(&list, plugin, &runtime(args), None).unwrap();
        request.get("runtimeConfig").unwrap().get().to_owned()
    };
    assert_eq!(given(r#"{"ips":[]}"#), r#"{"a":1}"#);
    assert_eq!(given(r#"{"mac":"x"}"#), r#"{"mac":"x"}"#);
}
