//! DEL when the network namespace is gone, with plugins that fail on it in different ways.

#![cfg(test)]

use std::fs;
use std::time::Duration;

use libcni::chain::Tried;
use libcni::exec::Limits;
use libcni::netns;
use support::{Plugins, list, runtime};

#[allow(dead_code, reason = "not every test binary needs all of it")]
mod support;

const NETWORK: &str = r#"{"cniVersion":"1.0.0","name":"n","plugins":[
    {"type":"main","ipam":{"type":"ipam"}},{"type":"chained"}]}"#;

/// Plugins that log their name, command and namespace, then run their `rule`.
fn plugins(rules: &[(&str, &str)]) -> Plugins {
    let plugins = Plugins::new();
    for (name, rule) in rules {
        let text = format!(
            "#!/bin/sh\ncat >/dev/null\ncase $CNI_NETNS in /proc/*) at=empty;; *) at=$CNI_NETNS;; esac\n\
             echo \"{name} $CNI_COMMAND $at\" >> ${{0%/*}}/log\n{rule}\n"
        );
        plugins.script(name, &text);
    }
    plugins
}

const FAIL: &str = r#"echo '{"code":999,"msg":"no such file or directory"}'; exit 1"#;

async fn check(rules: &[(&str, &str)], failures: usize, expected: &[&str]) {
    let plugins = plugins(rules);
    let deleted = plugins
        .cni()
        .del_without_netns(&list(NETWORK), &runtime("{}"), None, Tried::Nothing)
        .await;
    assert_eq!(deleted.err().map_or(0, |errors| errors.len()), failures);
    let log = fs::read_to_string(plugins.path().join("log")).unwrap();
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn plugins_that_do_not_mind_are_executed_once() {
    check(
        &[("main", ""), ("chained", ""), ("ipam", FAIL)],
        0,
        &["chained DEL /run/netns/blue", "main DEL /run/netns/blue"],
    )
    .await;
}

#[tokio::test]
async fn failing_plugin_is_retried_after_ipam_del() {
    let told = format!("[ -z \"$CNI_NETNS\" ] && exit 0; {FAIL}");
    check(
        &[("main", &told), ("chained", ""), ("ipam", "")],
        0,
        &[
            "chained DEL /run/netns/blue",
            "main DEL /run/netns/blue",
            "ipam DEL /run/netns/blue",
            "main DEL ",
        ],
    )
    .await;
}

#[tokio::test]
async fn failed_ipam_del_is_an_error() {
    let told = format!("[ -z \"$CNI_NETNS\" ] && exit 0; {FAIL}");
    check(
        &[("main", &told), ("chained", ""), ("ipam", FAIL)],
        1,
        &[
            "chained DEL /run/netns/blue",
            "main DEL /run/netns/blue",
            "ipam DEL /run/netns/blue",
        ],
    )
    .await;
}

#[tokio::test]
async fn one_that_wants_a_namespace_gets_an_empty_one() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs CAP_SYS_ADMIN");
        return;
    }
    let wants = format!("[ -e \"$CNI_NETNS\" ] && exit 0; {FAIL}");
    check(
        &[("main", ""), ("chained", &wants)],
        0,
        &[
            "chained DEL /run/netns/blue",
            "chained DEL ",
            "chained DEL empty",
            "main DEL /run/netns/blue",
        ],
    )
    .await;
}

#[tokio::test]
async fn failing_plugin_does_not_stop_the_others() {
    let plugins = plugins(&[("main", ""), ("chained", FAIL)]);
    let errors = plugins
        .cni()
        .del_without_netns(&list(NETWORK), &runtime("{}"), None, Tried::Nothing)
        .await
        .unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].plugin.as_ref().unwrap().as_str(), "chained");
    let log = fs::read_to_string(plugins.path().join("log")).unwrap();
    assert_eq!(log.lines().last(), Some("main DEL /run/netns/blue"));
}

/// What the plugins did in a DEL, and in a following DEL without the namespace.
async fn in_both(rules: &[(&str, &str)], has_result: bool) -> (usize, Vec<String>) {
    let plugins = plugins(rules);
    let (list, runtime) = (list(NETWORK), runtime("{}"));
    let limits = Limits {
        deadline: Duration::from_millis(500),
        ..Limits::default()
    };
    let cni = plugins.cni().with_limits(limits);
    let tried = match has_result {
        true => Tried::Until(cni.del(&list, &runtime, None).await.unwrap_err()),
        false => Tried::Each(cni.del_each(&list, &runtime, None).await.unwrap_err()),
    };
    let deleted = cni.del_without_netns(&list, &runtime, None, tried).await;
    let log = fs::read_to_string(plugins.path().join("log")).unwrap();
    let names = log.lines().map(|line| line.split(' ').next().unwrap());
    let executed = names.map(ToOwned::to_owned).collect();
    (deleted.err().map_or(0, |errors| errors.len()), executed)
}

#[tokio::test]
async fn an_interrupted_plugin_is_executed_once() {
    for interrupted in ["exec sleep 600", "kill -9 $$"] {
        for has_result in [true, false] {
            let late = [("main", ""), ("chained", interrupted), ("ipam", "")];
            let done = in_both(&late, has_result).await;
            let expected = ["chained", "main"].map(str::to_owned).to_vec();
            assert_eq!(done, (1, expected), "{interrupted}");
            let early = [("main", interrupted), ("chained", ""), ("ipam", "")];
            let done = in_both(&early, has_result).await;
            let expected = ["chained", "main"].map(str::to_owned).to_vec();
            assert_eq!(done, (1, expected), "{interrupted}");
        }
    }
}

#[tokio::test]
async fn a_hang_with_an_empty_netns_ends_the_call() {
    let hangs = format!("[ -z \"$CNI_NETNS\" ] && exec sleep 600; {FAIL}");
    let rules = [("main", hangs.as_str()), ("chained", ""), ("ipam", "")];
    let (failures, executed) = in_both(&rules, true).await;
    assert_eq!(failures, 1);
    assert_eq!(executed, ["chained", "main", "ipam", "main"]);
}

#[tokio::test]
async fn missing_binary_does_not_stop_the_others() {
    check(&[("main", "")], 1, &["main DEL /run/netns/blue"]).await;
}

#[tokio::test]
async fn netns_is_looked_up_below_its_root() {
    let dir = tempfile::tempdir().unwrap();
    let Ok(root) = libcni::Root::enter(dir.path()) else {
        eprintln!("skipped: needs CAP_SYS_CHROOT");
        return;
    };
    assert!(!netns::is_gone("/proc/self/ns/net", None).await);
    assert!(netns::is_gone("/proc/self/ns/net", Some(&root)).await);
}
