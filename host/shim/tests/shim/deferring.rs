//! A DEL that finds no daemon: recorded if a daemon asked for it, otherwise an error.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use shim_api::deferred::{MAX_RECORDS, Record};

use crate::rig::{Daemon, NO_WAIT, Node, go};

/// A call on a node whose daemon asked for records and is down.
fn call(command: &str) -> Node {
    let node = Node::call(command);
    let ledger = node.dir.path().join("ledger");
    fs::create_dir(&ledger).unwrap();
    let node = node.with_conf("cniDir", json!(ledger));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(records(&node))
        .unwrap();
    node
}

fn records(node: &Node) -> PathBuf {
    node.dir.path().join("ledger/.deferred")
}

fn names(node: &Node) -> Vec<String> {
    let files = fs::read_dir(records(node)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn refused(node: &Node, why: &str) {
    let failure = node.run().failure();
    assert_eq!(failure.code, 11, "{failure:?}");
    assert!(failure.msg.contains(why), "{failure:?}");
}

#[test]
fn each_interface_has_its_own_record() {
    let node = call("DEL");
    assert_eq!(node.run().success(), "");
    let node = node.with("CNI_IFNAME", "eth1");
    assert_eq!(node.run().success(), "");
    let mut found = names(&node);
    found.sort();
    assert_eq!(found, ["cid-plain", "cid-plain:eth1"]);
}

#[test]
fn del_is_recorded_whole_with_mode_0600() {
    let node = call("DEL").with("CNI_NETNS", "/proc/self/ns/net");
    assert_eq!(node.run().success(), "");
    assert_eq!(names(&node), ["cid-plain"]);
    let path = records(&node).join("cid-plain");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let record = Record::parse(&fs::read(path).unwrap()).unwrap();
    assert_eq!(record.request.env["CNI_COMMAND"], "DEL");
    assert_eq!(record.request.config, node.conf.to_string().into_bytes());
    assert!(record.netns.is_some());
    // Again: the runtime may not have seen the success.
    assert_eq!(node.run().success(), "");
    assert_eq!(names(&node), ["cid-plain"]);
}

#[test]
fn unread_request_defers_the_del() {
    let node = call("DEL");
    let listener = UnixListener::bind(node.socket_dir().join("multus.sock")).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
    });
    assert_eq!(node.run().success(), "");
    daemon.join().unwrap();
    assert_eq!(names(&node), ["cid-plain"]);
}

#[test]
fn no_other_verb_is_recorded() {
    for command in ["ADD", "CHECK", "GC", "STATUS"] {
        let node = call(command);
        node.run().failure();
        assert!(names(&node).is_empty(), "{command}");
    }
}

#[test]
fn without_permission_a_del_is_not_recorded() {
    let node = call("DEL");
    fs::remove_dir(records(&node)).unwrap();
    refused(&node, "no daemon asks for it here");
    let node = call("DEL").with_conf("cnidaria", json!({"shim": {"deferDel": false}}));
    assert_eq!(node.run().failure().code, 11);
    assert!(names(&node).is_empty());
}

#[test]
fn unsafe_record_directory_is_rejected() {
    let node = call("DEL");
    fs::set_permissions(records(&node), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&node, "not the daemon's alone");
    fs::rename(records(&node), node.dir.path().join("elsewhere")).unwrap();
    symlink(node.dir.path().join("elsewhere"), records(&node)).unwrap();
    refused(&node, "cannot be left to a later one");
    assert!(names(&node).is_empty());
}

#[test]
fn only_deferrable_plans_are_recorded() {
    let node = call("DEL");
    let ledger = node.dir.path().join("ledger/cid-plain");
    let ours = |rest: &str| format!(r#"[{{"cnidaria":{{"checksum":"{:064}"{rest}"#, 0);
    let later = r#","ifName":"eth0","deferrable":true}}]"#;
    // Written by Multus, by this project without the flag, and damaged.
    for text in [r#"[{"Conf":{"type":"bridge"}}]"#, &ours(later), "", "\0\0"] {
        fs::write(&ledger, text).unwrap();
        refused(&node, "before its namespace goes");
    }
    fs::write(&ledger, ours(r#","deferrable":true,"ifName":"eth0"}}]"#)).unwrap();
    node.run().success();
}

#[test]
fn results_tell_if_the_plan_is_lost() {
    let node = call("DEL");
    let results = node.dir.path().join("ledger/results");
    fs::create_dir(&results).unwrap();
    let write = |name: &str, container: &str, own: &str| {
        let text = format!(r#"{{"kind":"cniCacheV1","containerId":"{container}"{own}}}"#);
        fs::write(results.join(name), text).unwrap();
    };
    let may = r#","cnidaria":{"deferrable":true}"#;
    write("net-cid-plain-eth0", "cid-plain", may);
    write("net-x-cid-plain-y-eth0", "x-cid-plain-y", "");
    node.run().success();
    fs::remove_file(records(&node).join("cid-plain")).unwrap();
    // By Multus, of a network that needs the namespace, and damaged.
    for own in ["", r#","cnidaria":{"isDefault":false}"#, "{"] {
        write("other-cid-plain-net1", "cid-plain", own);
        refused(&node, "before its namespace goes");
    }
    assert!(names(&node).is_empty());
}

#[test]
fn an_unrecorded_interface_keeps_its_namespace() {
    let (send, made) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let there = thread::spawn(move || {
        let flags = rustix::thread::UnshareFlags::NEWNET;
        // Unshares this thread only, which then ends.
        #[expect(unsafe_code, reason = "the call has no safe form")]
        // SAFETY: a network namespace does not affect memory shared with other threads.
        let made = unsafe { rustix::thread::unshare_unsafe(flags) };
        let task = rustix::thread::gettid().as_raw_nonzero();
        send.send(made.map(|()| task)).unwrap();
        let _ = ended.recv();
    });
    // Creating namespaces needs a privilege.
    if let Ok(task) = made.recv().unwrap() {
        let netns = format!("/proc/{}/task/{task}/ns/net", std::process::id());
        let node = call("DEL").with("CNI_NETNS", &netns);
        node.run().success();
        let node = node.with("CNI_IFNAME", "lo");
        refused(&node, "before its namespace goes");
        assert_eq!(names(&node), ["cid-plain"]);
    }
    drop(end);
    there.join().unwrap();
}

#[test]
fn records_are_bounded_in_number_and_size() {
    let node = call("DEL");
    for number in 0..MAX_RECORDS {
        fs::write(records(&node).join(number.to_string()), "").unwrap();
    }
    refused(&node, "too many");
    let node = call("DEL").with_conf("large", json!("x".repeat(1 << 20)));
    refused(&node, "too large");
    assert!(names(&node).is_empty());
}

#[test]
fn late_daemon_is_called_at_most_once() {
    let node = call("DEL");
    let (dir, records) = (node.socket_dir(), records(&node));
    // Starts once the record exists, having read the records before that.
    let coming = thread::spawn(move || {
        let start = Instant::now();
        while fs::read_dir(&records).unwrap().count() == 0 {
            assert!(start.elapsed() < NO_WAIT);
        }
        Daemon::start(&dir, vec![go(200, "application/json", "{}")])
    });
    // If the shim is faster, it contacts no daemon, and the record stays.
    let output = node.run();
    let daemon = coming.join().unwrap();
    thread::sleep(Duration::from_millis(20));
    output.success();
    assert!(daemon.received().len() <= 1);
    assert_eq!(names(&node), ["cid-plain"]);
}
