//! The fake delegate follows its instructions when executed as the daemon would.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_cnidaria-fake-delegate");

fn call(binary: &str, command: &str, conf: &Value) -> Output {
    let mut child = Command::new(binary)
        .env_clear()
        .env("CNI_COMMAND", command)
        .env("CNI_IFNAME", "net1")
        .env("CNI_NETNS", "/run/netns/a")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Dropping the pipe closes standard input.
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin
        .write_all(conf.to_string().as_bytes())
        .expect("the binary reads its input");
    drop(stdin);
    child.wait_with_output().expect("the binary ends")
}

fn told(command: &str, fake: &Value) -> Output {
    call(
        BINARY,
        command,
        &json!({"cniVersion": "1.0.0", "fake": fake}),
    )
}

fn stdout(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("the answer is JSON")
}

#[test]
fn add_without_instructions_returns_interface() {
    let output = call(BINARY, "ADD", &json!({"cniVersion": "0.4.0"}));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        json!({"cniVersion": "0.4.0", "interfaces": [{"name": "net1", "sandbox": "/run/netns/a"}]})
    );
}

#[test]
fn result_placeholders_are_expanded() {
    let result = json!({"cniVersion": "$cniVersion", "interfaces": [{"name": "$CNI_IFNAME", "sandbox": "$CNI_NETNS"}]});
    assert_eq!(
        stdout(&told("ADD", &json!({"ADD": {"result": result}}))),
        json!({"cniVersion": "1.0.0", "interfaces": [{"name": "net1", "sandbox": "/run/netns/a"}]})
    );
}

#[test]
fn add_in_a_chain_hands_the_previous_result_on() {
    let previous = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]});
    let conf = json!({"cniVersion": "1.0.0", "prevResult": previous});
    assert_eq!(stdout(&call(BINARY, "ADD", &conf)), previous);
}

#[test]
fn the_other_verbs_succeed_in_silence() {
    for verb in ["DEL", "CHECK", "GC", "STATUS"] {
        let output = call(BINARY, verb, &json!({"cniVersion": "1.1.0"}));
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(output.stdout.is_empty(), "{verb}");
    }
}

#[test]
fn version_names_the_supported_versions() {
    let output = call(BINARY, "VERSION", &json!({"cniVersion": "1.0.0"}));
    let versions = stdout(&output);
    let versions = versions["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("1.1.0")));
}

#[test]
fn an_error_is_printed_with_exit_code_1() {
    let error = json!({"cniVersion": "1.0.0", "code": 100, "msg": "no", "details": "why"});
    let output = told("ADD", &json!({"ADD": {"error": error}}));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), error);
}

#[test]
fn verb_instructions_override_the_wildcard() {
    let fake = json!({"*": {"exit": 3}, "DEL": {"text": "gone", "exit": 4}});
    assert_eq!(told("ADD", &fake).status.code(), Some(3));
    let del = told("DEL", &fake);
    assert_eq!(
        (del.status.code(), &del.stdout[..]),
        (Some(4), &b"gone"[..])
    );
}

#[test]
fn it_dies_by_the_signal() {
    let output = told("ADD", &json!({"ADD": {"signal": 9}}));
    assert_eq!(output.status.signal(), Some(9));
}

#[test]
fn it_spews_before_it_answers() {
    let fake = json!({"ADD": {"spew": 10_000, "stderr": "mind", "text": "end"}});
    let output = told("ADD", &fake);
    assert_eq!(output.stdout.len(), 10_003);
    assert_eq!(output.stderr, b"mind\n");
}

#[test]
fn it_sleeps_as_long_as_configured() {
    let start = Instant::now();
    told("ADD", &json!({"ADD": {"sleepMs": 50}}));
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_call_is_recorded_as_it_came() {
    let directory = tempfile::tempdir().unwrap();
    let conf = json!({"cniVersion": "1.0.0", "fake": {"record": directory.path()}});
    call(BINARY, "CHECK", &conf);
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(files.len(), 1);
    let path = files[0].as_ref().unwrap().path();
    assert!(path.to_str().unwrap().ends_with("-CHECK.json"), "{path:?}");
    let record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(record["argv0"], BINARY);
    assert_eq!(record["stdin"], conf.to_string());
    assert_eq!(
        record["cwd"],
        std::env::current_dir().unwrap().to_str().unwrap()
    );
    assert_eq!(
        record["env"],
        json!({
            "CNI_COMMAND": "CHECK", "CNI_IFNAME": "net1", "CNI_NETNS": "/run/netns/a",
            "PATH": "/usr/bin:/bin",
        })
    );
}

#[test]
fn instructions_may_be_beside_the_binary() {
    let directory = tempfile::tempdir().unwrap();
    let named = directory.path().join("bridge");
    symlink(BINARY, &named).unwrap();
    fs::write(
        directory.path().join("bridge.fake.json"),
        r#"{"*": {"exit": 7}}"#,
    )
    .unwrap();
    let output = call(
        named.to_str().unwrap(),
        "ADD",
        &json!({"cniVersion": "1.0.0"}),
    );
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn misspelt_instruction_is_named() {
    let output = told("ADD", &json!({"ADD": {"slepMs": 1}}));
    assert_eq!(output.status.code(), Some(1));
    let error = stdout(&output);
    assert_eq!(error["code"], 199);
    assert!(error["msg"].as_str().unwrap().contains("slepMs"), "{error}");
}

#[test]
fn unwritable_record_directory_is_an_error() {
    let output = told("ADD", &json!({"record": Path::new("/does/not/exist")}));
    assert_eq!(stdout(&output)["code"], 199);
}
