//! What modules do and have.

use crate::exits;

#[test]
fn a_denied_run_exits_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let pod = "kind: Pod\nmetadata: {name: a, annotations: {cnidaria.dev/mtu: eth0=1}}\n";
    std::fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    let guest = guest.to_string_lossy();
    let shown = exits(3, dir.path(), &["run", &guest, "--pod", "pod.yaml"]);
    assert!(shown.contains("before-add  eth0 default"), "{shown}");
    assert!(
        shown.contains("DENY 111 annotation cnidaria.dev/mtu asks for MTU 1"),
        "{shown}"
    );
    assert!(shown.contains(" of 16 MiB, 0 of 32 log lines"), "{shown}");
}

#[test]
fn modules_are_measured_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (
        test_artifacts::guest("annotation-mtu"),
        test_artifacts::guest("address-guard"),
    );
    let (old, new) = (old.to_string_lossy(), new.to_string_lossy());
    let text = exits(0, dir.path(), &["inspect", &new, "--diff", &old]);
    assert!(text.contains("  + validate-selections\n"), "{text}");
    let same = exits(0, dir.path(), &["inspect", &new, "--diff", &new]);
    assert_eq!(same, "no difference\n");
    let json = exits(
        0,
        dir.path(),
        &["inspect", &new, "--diff", &old, "--output", "json"],
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hooks"]["added"][0], "validate-selections", "{json:#}");

    let bench = ["bench", &old, "--rounds", "3"];
    let text = exits(0, dir.path(), &bench);
    assert!(text.contains("before-add           6 "), "{text}");
    let json = exits(0, dir.path(), &[&bench[..], &["--output", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hooks"]["before-add"]["calls"], 6, "{json:#}");
}

#[test]
fn bench_tells_a_failure_from_a_denial() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let pod = "kind: Pod\nmetadata: {name: a, annotations: {k8s.v1.cni.cncf.io/networks: none}}\n";
    std::fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    let guest = guest.to_string_lossy();
    let bench = ["bench", &guest, "--rounds", "1", "--pod", "pod.yaml"];
    let text = exits(1, dir.path(), &bench);
    assert!(text.contains("default/none not found"), "{text}");
}

#[test]
fn run_names_members_that_have_no_effect() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let pod = "kind: Pod\nmetadata: {name: a, annotations: {k8s.v1.cni.cncf.io/networks: \
        '[{\"name\": \"blue\", \"ipps\": []}]'}}\n";
    let nad = "kind: NetworkAttachmentDefinition\nmetadata: {name: blue}\n\
        spec: {config: '{\"cniVersion\":\"1.0.0\",\"type\":\"macvlan\"}'}\n";
    std::fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    std::fs::write(dir.path().join("nads.yaml"), nad).unwrap();
    let guest = guest.to_string_lossy();
    let run = ["run", &guest, "--pod", "pod.yaml", "--nads", "nads.yaml"];
    let text = exits(0, dir.path(), &run);
    let expected = "warning: annotation k8s.v1.cni.cncf.io/networks: ";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("ipps"), "{text}");
}

#[test]
fn only_the_call_that_denies_shows_the_denial() {
    let dir = tempfile::tempdir().unwrap();
    let guest = test_artifacts::guest("annotation-mtu");
    let pod = "kind: Pod\nmetadata: {name: a, annotations: {cnidaria.dev/mtu: net1=1, \
        k8s.v1.cni.cncf.io/networks: blue}}\n";
    let nad = "kind: NetworkAttachmentDefinition\nmetadata: {name: blue}\n\
        spec: {config: '{\"cniVersion\":\"1.0.0\",\"type\":\"macvlan\"}'}\n";
    std::fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    std::fs::write(dir.path().join("nads.yaml"), nad).unwrap();
    let guest = guest.to_string_lossy();
    let run = ["run", &guest, "--pod", "pod.yaml", "--nads", "nads.yaml"];
    let shown = exits(3, dir.path(), &run);
    let lines: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("before-add"))
        .collect();
    let [first, second] = lines.as_slice() else {
        panic!("{shown}");
    };
    assert!(
        first.contains("eth0 default") && first.ends_with("accept"),
        "{shown}"
    );
    assert!(
        second.contains("net1 default/blue") && second.contains("DENY 111"),
        "{shown}"
    );
}
