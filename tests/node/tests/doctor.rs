//! `cnidaria doctor` on a node with a real daemon, real interfaces and real plugins.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::process::Command;

use node::case::on_a_private_node;
use node::{Node, networks, run};
use serde_json::{Value, json};

/// Exit code if there are errors.
const BROKEN: i32 = 5;

/// Codes of what the doctor finds, and its exit code.
fn doctor(node: &Node) -> (Vec<String>, Option<i32>) {
    let [config, bin] =
        ["daemon-config.json", "bin"].map(|name| node.path(name).display().to_string());
    let arguments = [
        "doctor",
        "--config",
        &config,
        "--bin-dir",
        &bin,
        "--output",
        "json",
    ];
    let program = node.binaries().command_line().unwrap();
    let output = Command::new(program).args(arguments).output().unwrap();
    eprintln!("{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let codes = findings.iter().map(|one| {
        eprintln!("{one}");
        one["code"].as_str().unwrap().to_owned()
    });
    (codes.collect(), output.status.code())
}

/// As [`doctor`], without what depends on the machine's kernel and build. A private node is in memory.
fn found(node: &Node) -> (Vec<String>, Option<i32>) {
    let (mut codes, exit) = doctor(node);
    let is_of_machine = |code: &str| code.starts_with('K') || ["L610", "S305"].contains(&code);
    codes.retain(|code| !is_of_machine(code));
    (codes, exit)
}

#[test]
fn the_doctor_finds_what_is_broken() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let dir = node.path("net.d");
        node.config["multusConfigFile"] = json!("auto");
        node.config["multusAutoconfigDir"] = json!(dir);
        node.config["cniConfigDir"] = json!(dir);
        node.config["daemonSocketDir"] = json!(node.path("multus"));
        let [bin, shim] = [node.path("bin"), node.binaries().shim().unwrap()]
            .map(|path| path.display().to_string());
        let program = node.binaries().command_line().unwrap();
        let install = ["install", "--bin-dir", &bin, "--shim", &shim];
        assert!(
            Command::new(program)
                .args(install)
                .status()
                .unwrap()
                .success()
        );
        node.start_daemon().unwrap();
        let conf = dir.join("00-multus.conf");
        node.until("the conf is provided", || conf.exists());
        assert_eq!(found(node), (vec![], Some(0)));
        assert!(doctor(node).0.contains(&"L610".to_owned()));
        run("mount", &["--bind", &bin, &bin]).unwrap();
        run("mount", &["-o", "remount,bind,noexec", &bin]).unwrap();
        assert_eq!(found(node).0, ["S306"]);
        run("umount", &[&bin]).unwrap();
        let ledger = node.path("ledger").display().to_string();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", &ledger],
        )
        .unwrap();
        assert_eq!(found(node).0, ["L609"]);
        run("umount", &[&ledger]).unwrap();
        fs::remove_file(node.path("bin/multus-shim")).unwrap();
        let (codes, exit) = found(node);
        assert_eq!(codes, ["S302", "F951"]);
        assert_eq!(exit, Some(BROKEN));
        node.kill_daemon().unwrap();
        let (codes, _) = found(node);
        assert_eq!(codes, ["R209", "S302", "D501", "F951"]);
    });
}
