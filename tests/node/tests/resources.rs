//! Temporary resource shortages: a clear error, nothing lost, and automatic recovery.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Answer, Node, Pod, Sandbox, networks, run};
use serde_json::{Value, json};

/// CNI's error code for an I/O failure.
const IO_FAILURE: u32 = 5;

/// A node whose ledger is on its own small file system.
fn node_and_pod(node: &mut Node) -> Sandbox {
    let ledger = node.path("ledger").display().to_string();
    let mut prepare = || {
        networks::prepare(node)?;
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", &ledger],
        )?;
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "a").networks("blue"))
    };
    prepare().expect("the node can be prepared")
}

fn refused(answer: &Answer, reason: &str) {
    let error = answer.json().expect("an error object");
    assert_eq!(error["code"], json!(IO_FAILURE), "{error:#}");
    assert!(
        error["msg"].as_str().unwrap_or_default().contains(reason),
        "{error:#}"
    );
}

/// Fills up the file system.
fn fill(directory: &Path) -> impl Fn() {
    let filler = directory.join(".filler");
    let mut size = 256 << 10;
    let mut text = Vec::new();
    // To the last byte: a file of one page might still fit.
    while size > 0 {
        text.resize(text.len() + size, 0);
        if fs::write(&filler, &text).is_err() {
            text.truncate(text.len() - size);
            size /= 2;
        }
    }
    // A failed write has still used up what was free.
    let _ = fs::write(&filler, vec![0; 256 << 10]);
    move || fs::remove_file(&filler).expect("the filler is there")
}

#[test]
fn full_disk_fails_add_but_not_del() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let clean = Traces::of(node, &pod.netns_name).unwrap();
        let ledger = node.path("ledger");
        let make_room = fill(&ledger);
        refused(&node.make("ADD", &pod), "No space left on device");
        make_room();
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), clean);

        assert!(
            node.make("ADD", &pod).succeeded(),
            "by itself, when there is room"
        );
        let ledger = node.path("ledger");
        let make_room = fill(&ledger);
        let del = node.make("DEL", &pod);
        assert!(del.succeeded(), "{del:#?}");
        make_room();
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), clean);
    });
}

#[test]
fn a_ledger_that_cannot_be_written_loses_nothing() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let clean = Traces::of(node, &pod.netns_name).unwrap();
        let ledger = node.path("ledger").display().to_string();
        let remount = |mode: &str| {
            let options = format!("remount,{mode}");
            run("mount", &["-o", &options, &ledger]).expect("it can be remounted");
        };
        remount("ro");
        refused(&node.make("ADD", &pod), "Read-only file system");
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), clean);
        remount("rw");
        assert!(node.make("ADD", &pod).succeeded());
        remount("ro");
        // What is attached is undone; the file goes when it can.
        assert!(node.make("DEL", &pod).succeeded());
        let links = inspect::links(Some(&pod.netns_name)).unwrap();
        assert!(links.is_empty(), "what can be undone is: {links:?}");
        assert!(inspect::reserved_addresses(node).unwrap().is_empty());
        remount("rw");
        assert!(node.make("DEL", &pod).succeeded());
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), clean);
    });
}

/// The daemon's pid; a private node has only one daemon.
fn daemon() -> String {
    let found = run("pgrep", &["-x", "cnidaria-daemon"]).expect("the daemon runs");
    found.trim().to_owned()
}

/// Leaves the daemon this many free file descriptors.
fn leave_descriptors(pid: &str, free: usize) {
    let used: Vec<usize> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the daemon runs")
        .flatten()
        .filter_map(|file| file.file_name().to_string_lossy().parse().ok())
        .collect();
    // The limit applies to the descriptor's number, and the kernel takes the lowest free one.
    let limit = (0..)
        .filter(|number| !used.contains(number))
        .nth(free)
        .expect("endless");
    limit_descriptors(pid, limit);
}

fn limit_descriptors(pid: &str, limit: usize) {
    let limit = format!("--nofile={limit}:1024");
    run("prlimit", &["--pid", pid, &limit]).expect("the limit can be set");
}

#[test]
fn fd_exhaustion_is_a_temporary_error() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let clean = Traces::of(node, &pod.netns_name).unwrap();
        let pid = daemon();
        // One for the connection, then from none to enough for everything an ADD opens.
        for free in 1..12 {
            leave_descriptors(&pid, free);
            let answer = node.make("ADD", &pod);
            limit_descriptors(&pid, 1024);
            if !answer.succeeded() {
                let error: Value = answer.json().expect("an error object");
                assert!(error["msg"].as_str().is_some_and(|text| !text.is_empty()));
            }
            let del = node.make("DEL", &pod);
            assert!(del.succeeded(), "{free}: {del:#?}");
            let left = Traces::of(node, &pod.netns_name).unwrap();
            assert_eq!(left, clean, "{free} descriptors: {answer:#?}");
        }
        assert!(node.make("ADD", &pod).succeeded());
        leave_descriptors(&pid, 1);
        let del = node.make("DEL", &pod);
        assert!(!del.succeeded(), "nothing can be undone: {del:#?}");
        limit_descriptors(&pid, 1024);
        assert!(node.make("DEL", &pod).succeeded());
        assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), clean);
    });
}

#[test]
fn accept_resumes_after_fd_exhaustion() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let pid = daemon();
        leave_descriptors(&pid, 0);
        let call = node.call("ADD", &pod).unwrap();
        let waiting = thread::spawn(move || call.make().unwrap());
        let refused = "cannot accept a connection";
        node.until(refused, || node.log().contains(refused));
        assert!(!waiting.is_finished());
        limit_descriptors(&pid, 1024);
        let answer = waiting.join().unwrap();
        assert!(answer.succeeded(), "{answer:#?}");
    });
}

#[test]
fn damaged_ledger_is_recovered() {
    on_a_private_node(|node| {
        let pod = node_and_pod(node);
        let clean = Traces::of(node, &pod.netns_name).unwrap();
        let damage = |node: &Node| {
            let file = node.path("ledger").join(&pod.container_id);
            let text = fs::read(&file).unwrap();
            fs::write(&file, &text[..text.len() / 2]).unwrap();
        };
        let del = |node: &Node| {
            let answer = node.make("DEL", &pod);
            // Quarantined files are for people, who remove them.
            fs::remove_dir_all(node.path("ledger/.damaged")).unwrap();
            assert!(answer.succeeded(), "{answer:#?} {}", node.log());
            assert_eq!(Traces::of(node, &pod.netns_name).unwrap(), clean);
        };
        assert!(node.make("ADD", &pod).succeeded());
        damage(node);
        del(node);

        assert!(node.make("ADD", &pod).succeeded());
        damage(node);
        fs::remove_dir_all(node.path("ledger/results")).unwrap();
        del(node);

        assert!(node.make("ADD", &pod).succeeded());
        damage(node);
        fs::remove_dir_all(node.path("ledger/results")).unwrap();
        let manifest = node.path("manifests/pod-default-a.json");
        let text = fs::read(&manifest).unwrap();
        fs::remove_file(&manifest).unwrap();
        thread::sleep(Duration::from_millis(300));
        let unknown = node.make("DEL", &pod);
        assert!(
            !unknown.succeeded(),
            "the daemon cannot know what to undo: {unknown:#?}"
        );
        assert!(unknown.stdout.contains("is damaged"), "{unknown:#?}");
        fs::write(&manifest, text).unwrap();
        thread::sleep(Duration::from_millis(300));
        del(node);
    });
}

/// The daemon's peak memory in KiB.
fn most_memory(node: &Node) -> u64 {
    let pid = node.daemon_pid().expect("it runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn delegate_output_takes_no_daemon_memory() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        let printed = json!({ "ADD": { "spew": 100_u64 << 20 } });
        node.add_network("default", "bad", &networks::fake("bad", &printed))
            .unwrap();
        node.start_daemon().unwrap();
        let pods: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| {
                node.add_pod(Pod::new("default", name).networks("bad"))
                    .unwrap()
            })
            .into();
        let before = most_memory(node);
        thread::scope(|scope| {
            let node = &*node;
            for pod in &pods {
                scope.spawn(move || {
                    let answer = node.make("ADD", pod);
                    assert!(answer.stdout.contains("printed more than"), "{answer:#?}");
                });
            }
        });
        let more = most_memory(node) - before;
        assert!(more < 24 << 10, "{more} KiB for 400 MB of four delegates");
    });
}

#[test]
fn delegates_run_in_the_configured_cgroup() {
    on_a_private_node(|node| {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let is_v2 = |root: &&Path| root.join("cgroup.procs").exists();
        let root = roots.into_iter().find(is_v2);
        let name = format!("cnidaria-test-{}", std::process::id());
        let group = root.map(|root| root.join(name));
        let made = group.filter(|group| fs::create_dir(group).is_ok());
        let Some(group) = made else {
            eprintln!("left out: needs control groups of version 2 that can be written to");
            return;
        };
        networks::prepare(node).unwrap();
        let go_on = node.path("go-on");
        let slow = networks::fake("slow", &json!({ "ADD": { "until": go_on } }));
        node.add_network("default", "slow", &slow).unwrap();
        node.config["cnidaria"]["delegateCgroup"] = json!(group);
        node.start_daemon().unwrap();
        let pod = node
            .add_pod(Pod::new("default", "a").networks("slow"))
            .unwrap();
        let populated = || {
            let children = fs::read_dir(&group).unwrap().flatten();
            children
                .filter_map(|child| fs::read_to_string(child.path().join("cgroup.procs")).ok())
                .any(|processes| !processes.trim().is_empty())
        };
        thread::scope(|scope| {
            let node = &*node;
            let adding = scope.spawn(|| node.make("ADD", &pod));
            node.until("the delegate is in its group", populated);
            fs::write(&go_on, "").unwrap();
            assert!(adding.join().unwrap().succeeded());
        });
        assert!(node.make("DEL", &pod).succeeded());
        node.stop_daemon().unwrap();
        fs::remove_dir(&group).expect("nothing is left in it");
    });
}
