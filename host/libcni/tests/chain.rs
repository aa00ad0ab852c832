//! The plugins of a network in order, using plugins that record their input.

#![cfg(test)]

use cni_types::args::{Command, ContainerId, IfName, PluginType};
use cni_types::result::CniResult;
use cni_types::version::{ConfVersion, Version};
use libcni::ValidAttachment;
use libcni::chain::Cause;
use support::{Plugins, list, runtime};

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mtu":1450}],"ips":[{"address":"10.0.0.2/24","interface":0}]}"#;

/// A network of two recording plugins, `one` and `two`.
fn two(version: &str) -> String {
    format!(
        r#"{{"cniVersion":"{version}","name":"n","plugins":[{{"type":"one"}},{{"type":"two"}}]}}"#
    )
}

fn plugins() -> Plugins {
    let plugins = Plugins::recording(&["one", "two"]);
    plugins.answer("one", "ADD", RESULT);
    plugins.answer("two", "ADD", RESULT);
    plugins
}

fn result() -> CniResult {
    CniResult::parse(RESULT.as_bytes(), ConfVersion::MISSING).unwrap()
}

#[tokio::test]
async fn every_variable_is_set_and_nothing_else() {
    let plugins = plugins();
    plugins
        .cni()
        .add(&list(&two("1.0.0")), &runtime("{}"))
        .await
        .unwrap();
    let mut env = plugins.calls().remove(0).env;
    // The shell sets these itself.
    for own in ["PWD", "OLDPWD", "SHLVL", "_"] {
        env.remove(own);
    }
    let path = plugins.path().to_str().unwrap();
    let expected = [
        ("CNI_ARGS", "argA=foo"),
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "cid-1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/blue"),
        ("CNI_PATH", path),
        ("PATH", libcni::exec::PATH),
    ];
    let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, expected);
}

#[tokio::test]
async fn add_passes_each_result_to_the_next_plugin() {
    let plugins = plugins();
    let last = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"last"}]}"#;
    plugins.answer("two", "ADD", last);
    let result = plugins
        .cni()
        .add(&list(&two("1.0.0")), &runtime("{}"))
        .await
        .unwrap();
    assert_eq!(result.interfaces[0].name, "last");
    let calls = plugins.calls();
    assert_eq!(plugins.order(), ["one ADD", "two ADD"]);
    assert_eq!(
        calls[0].stdin,
        r#"{"type":"one","name":"n","cniVersion":"1.0.0"}"#
    );
    assert_eq!(
        calls[1].json()["prevResult"]["ips"][0]["address"],
        "10.0.0.2/24"
    );
}

#[tokio::test]
async fn prev_result_is_converted_to_conf_version() {
    let plugins = plugins();
    plugins
        .cni()
        .add(&list(&two("0.4.0")), &runtime("{}"))
        .await
        .unwrap();
    let prev = &plugins.calls()[1].json()["prevResult"];
    assert_eq!(prev["cniVersion"], "0.4.0");
    assert_eq!(prev["ips"][0]["version"], "4");
}

#[tokio::test]
async fn missing_version_means_0_1_0() {
    let plugins = plugins();
    plugins.answer("one", "ADD", r#"{"ip4":{"ip":"10.0.0.2/24"}}"#);
    let nover = list(r#"{"name":"n","type":"one"}"#);
    let result = plugins.cni().add(&nover, &runtime("{}")).await.unwrap();
    assert_eq!(result.cni_version, Version::V0_1_0);
    assert_eq!(plugins.calls()[0].json()["cniVersion"], "");
}

#[tokio::test]
async fn add_stops_at_first_failure_with_its_code() {
    let plugins = plugins();
    plugins.fail("one", "ADD", r#"{"code":11,"msg":"later","details":"d"}"#);
    let error = plugins
        .cni()
        .add(&list(&two("1.0.0")), &runtime("{}"))
        .await
        .unwrap_err();
    assert_eq!(plugins.order(), ["one ADD"]);
    assert_eq!(error.answer().unwrap().code, 11);
    assert_eq!(
        error.to_string(),
        "ADD of network \"n\" failed in plugin \"one\""
    );
    assert!(error.executed);
}

#[tokio::test]
async fn missing_binary_prevents_any_execution() {
    let plugins = Plugins::recording(&["two"]);
    plugins.answer("two", "ADD", RESULT);
    let error = plugins
        .cni()
        .add(&list(&two("1.0.0")), &runtime("{}"))
        .await
        .unwrap_err();
    assert!(!error.executed);
    let text = error.source.to_string();
    let directory = plugins.path().display();
    assert_eq!(text, format!("plugin \"one\" not found in {directory}"));

    let swapped = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"two"},{"type":"one"}]}"#;
    let error = plugins
        .cni()
        .add(&list(swapped), &runtime("{}"))
        .await
        .unwrap_err();
    assert!(!error.executed);
    assert_eq!(plugins.calls().len(), 0);
    assert_eq!(error.plugin, Some(PluginType::new("one").unwrap()));
    assert!(matches!(*error.source, Cause::NotFound(_)));
}

#[tokio::test]
async fn success_without_a_result_is_a_failure_of_add() {
    for (printed, shown) in [
        ("", ""),
        ("garbage", r#", stdout: "garbage""#),
        (r#"{"ips":[{"address":"10.0.0.1"}]}"#, ""),
    ] {
        let plugins = plugins();
        plugins.answer("one", "ADD", printed);
        let error = plugins
            .cni()
            .add(&list(&two("1.0.0")), &runtime("{}"))
            .await
            .unwrap_err();
        assert_eq!(
            error.source.to_string(),
            format!("the plugin printed no valid result{shown}")
        );
        assert!(error.executed);
    }
}

#[tokio::test]
async fn del_is_reversed_with_prev_result_from_0_4_0() {
    for (version, has_result) in [("0.3.1", false), ("0.4.0", true), ("1.1.0", true)] {
        let plugins = plugins();
        let result = result();
        plugins
            .cni()
            .del(&list(&two(version)), &runtime("{}"), Some(&result))
            .await
            .unwrap();
        assert_eq!(plugins.order(), ["two DEL", "one DEL"]);
        for call in plugins.calls() {
            let prev = &call.json()["prevResult"];
            assert_eq!(prev.is_object(), has_result, "{version}");
            if has_result {
                assert_eq!(prev["cniVersion"], version);
            }
        }
    }
}

#[tokio::test]
async fn del_without_result_stops_on_failure() {
    let plugins = plugins();
    plugins.fail("two", "DEL", r#"{"code":100,"msg":"no"}"#);
    let error = plugins
        .cni()
        .del(&list(&two("1.0.0")), &runtime("{}"), None)
        .await
        .unwrap_err();
    assert_eq!(error.command, Command::Del);
    assert_eq!(plugins.order(), ["two DEL"]);
    assert!(plugins.calls()[0].json().get("prevResult").is_none());
}

#[tokio::test]
async fn failed_add_is_undone_with_its_partial_result() {
    for (version, has_result) in [("0.3.1", false), ("0.4.0", true), ("1.0.0", true)] {
        let plugins = plugins();
        for command in ["ADD", "DEL"] {
            plugins.fail("two", command, r#"{"code":7,"msg":"bad conf"}"#);
        }
        let (cni, list) = (plugins.cni(), list(&two(version)));
        let error = cni.add(&list, &runtime("{}")).await.unwrap_err();
        let so_far = error.so_far.as_deref();
        assert_eq!(so_far.unwrap().ips, result().ips);
        let errors = cni.del_each(&list, &runtime("{}"), so_far).await;
        let positions: Vec<_> = errors.unwrap_err().iter().map(|e| e.position).collect();
        assert_eq!(positions, [Some(1)]);
        assert_eq!(
            plugins.order(),
            ["one ADD", "two ADD", "two DEL", "one DEL"]
        );
        for call in plugins.calls().iter().skip(2) {
            assert_eq!(call.json()["prevResult"].is_object(), has_result);
        }
    }
}

#[tokio::test]
async fn a_plugin_is_undone_also_without_its_ipam() {
    let plugins = Plugins::recording(&["one", "two"]);
    plugins.fail("one", "DEL", r#"{"code":7,"msg":"bad ipam"}"#);
    let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"one","x":1,"IPAM":{"type":"two"}}"#;
    let errors = plugins
        .cni()
        .del_each(&list(conf), &runtime("{}"), None)
        .await;
    assert_eq!(errors.unwrap_err().len(), 1);
    assert_eq!(plugins.order(), ["one DEL", "two DEL", "one DEL"]);
    let calls = plugins.calls();
    assert!(calls[0].json().get("IPAM").is_some());
    let last = calls[2].json();
    assert_eq!((last.get("IPAM"), &last["x"]), (None, &1.into()));
}

#[tokio::test]
async fn check_needs_0_4_0_and_can_be_disabled() {
    let plugins = plugins();
    let cni = plugins.cni();
    let result = result();
    let error = cni
        .check(&list(&two("0.3.1")), &runtime("{}"), Some(&result))
        .await
        .unwrap_err();
    assert!(matches!(*error.source, Cause::Unsupported { .. }) && !error.executed);
    let disabled = two("1.0.0").replace("\"name\"", "\"disableCheck\":true,\"name\"");
    cni.check(&list(&disabled), &runtime("{}"), Some(&result))
        .await
        .unwrap();
    assert!(plugins.calls().is_empty());

    cni.check(&list(&two("1.0.0")), &runtime("{}"), Some(&result))
        .await
        .unwrap();
    assert_eq!(plugins.order(), ["one CHECK", "two CHECK"]);
    assert!(
        plugins
            .calls()
            .iter()
            .all(|call| call.json()["prevResult"].is_object())
    );
}

#[tokio::test]
async fn gc_passes_attachments_despite_failures() {
    let plugins = plugins();
    plugins.fail("one", "GC", r#"{"code":100,"msg":"no"}"#);
    let valid = [ValidAttachment {
        container_id: ContainerId::new("c").unwrap(),
        if_name: IfName::new("eth0").unwrap(),
    }];
    let errors = plugins
        .cni()
        .gc(&list(&two("1.1.0")), &valid)
        .await
        .unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(plugins.order(), ["one GC", "two GC"]);
    for call in plugins.calls() {
        let expected = serde_json::json!([{"containerID":"c","ifname":"eth0"}]);
        assert_eq!(call.json()["cni.dev/valid-attachments"], expected);
        assert_eq!(call.json()["cni.dev/attachments"], expected);
        assert_eq!(call.env["CNI_CONTAINERID"], "");
    }
}

#[tokio::test]
async fn gc_and_status_need_1_1_0_and_enabled_gc() {
    let plugins = plugins();
    let cni = plugins.cni();
    cni.gc(&list(&two("1.0.0")), &[]).await.unwrap();
    cni.status(&list(&two("1.0.0"))).await.unwrap();
    let disabled = two("1.1.0").replace("\"name\"", "\"disableGC\":true,\"name\"");
    cni.gc(&list(&disabled), &[]).await.unwrap();
    assert!(plugins.calls().is_empty());
}

#[tokio::test]
async fn status_answers_with_the_first_failure() {
    let plugins = plugins();
    let cni = plugins.cni();
    cni.status(&list(&two("1.1.0"))).await.unwrap();
    assert_eq!(plugins.order(), ["one STATUS", "two STATUS"]);
    plugins.fail("one", "STATUS", r#"{"code":50,"msg":"no"}"#);
    let error = cni.status(&list(&two("1.1.0"))).await.unwrap_err();
    assert_eq!(error.answer().unwrap().code, 50);
    assert_eq!(plugins.order().len(), 3);
}

#[tokio::test]
async fn status_requires_binaries_in_any_version() {
    let plugins = plugins();
    let bridge = Plugins::recording(&["bridge", "antrea"]);
    for version in ["0.3.1", "1.0.0", "1.1.0"] {
        let absent = two(version).replace("\"two\"", "\"absent\"");
        let error = plugins.cni().status(&list(&absent)).await.unwrap_err();
        assert_eq!(error.plugin.unwrap().as_str(), "absent", "{version}");
        assert!(matches!(*error.source, Cause::NotFound(_)), "{version}");

        let of = |plugin: &str| {
            let ipam = r#""ipam":{"type":"ipam-of-antrea"}"#;
            list(&format!(
                r#"{{"cniVersion":"{version}","name":"n","type":"{plugin}",{ipam}}}"#
            ))
        };
        let error = bridge.cni().status(&of("bridge")).await.unwrap_err();
        assert_eq!(error.plugin.unwrap().as_str(), "ipam-of-antrea");
        bridge.cni().status(&of("antrea")).await.unwrap();
    }
    assert!(plugins.calls().is_empty());
}

#[tokio::test]
async fn a_plugin_says_its_versions_or_is_one_of_0_1_0() {
    let plugins = plugins();
    let one = PluginType::new("one").unwrap();
    let versions = r#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#;
    plugins.answer("one", "VERSION", versions);
    let info = plugins.cni().version(&one).await.unwrap();
    assert!(info.supports(Version::V1_0_0) && !info.supports(Version::V1_1_0));
    plugins.fail(
        "one",
        "VERSION",
        r#"{"code":100,"msg":"unknown CNI_COMMAND: VERSION"}"#,
    );
    let info = plugins.cni().version(&one).await.unwrap();
    assert_eq!(info.supported_versions, ["0.1.0"]);
    plugins.answer("one", "VERSION", "x");
    assert!(plugins.cni().version(&one).await.is_err());
}

#[tokio::test]
async fn validate_rejects_unsupported_versions() {
    let plugins = plugins();
    let versions = r#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#;
    plugins.answer("one", "VERSION", versions);
    plugins.answer("two", "VERSION", versions);
    plugins.cni().validate(&list(&two("1.0.0"))).await.unwrap();
    let errors = plugins
        .cni()
        .validate(&list(&two("1.1.0")))
        .await
        .unwrap_err();
    assert_eq!(errors.len(), 2);
    assert_eq!(
        errors[0].source.to_string(),
        "the plugin supports CNI 0.4.0, 1.0.0, not 1.1.0"
    );
}

#[tokio::test]
async fn an_add_without_a_result_is_undone_apart() {
    let plugins = plugins();
    let refusal = r#"{"cniVersion":"1.0.0","code":7,"msg":"no such device"}"#;
    plugins.fail("two", "DEL", refusal);
    plugins.fail("one", "DEL", refusal);
    let errors = plugins
        .cni()
        .del_each(&list(&two("1.0.0")), &runtime("{}"), None)
        .await
        .unwrap_err();
    assert_eq!(plugins.order(), ["two DEL", "one DEL"]);
    let positions: Vec<_> = errors.iter().map(|error| error.position).collect();
    assert_eq!(positions, [Some(1), Some(0)]);
    for call in plugins.calls() {
        assert!(call.json().get("prevResult").is_none(), "{}", call.stdin);
    }
}

#[tokio::test]
async fn a_killed_ipam_plugin_is_an_interruption() {
    let plugins = plugins();
    plugins.script("ipam", "#!/bin/sh\nkill -KILL $$\n");
    // What the reference plugins print then.
    plugins.fail("one", "DEL", r#"{"code":0,"msg":"signal: killed"}"#);
    let conf = r#"{"cniVersion":"1.0.0","name":"n","type":"one","ipam":{"type":"ipam"}}"#;
    let cni = plugins.cni();
    let errors = cni.del_each(&list(conf), &runtime("{}"), None).await;
    let errors = errors.unwrap_err();
    assert!(errors[0].is_interruption(), "{:?}", errors[0]);
    assert_eq!(errors[0].position, Some(0));
}
