//! containerd loses sandboxes whose processes were killed, and the node is rebooted: the daemon asks
//! containerd and collects what they have left.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;

use node::case::on_a_private_node;
use node::{Node, Pod, inspect, networks, run};
use runtime::containerd::{self, Containerd, Places};
use serde_json::json;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Starts containerd on the state that it left.
fn start_again(node: &Node) -> Containerd {
    // The image is made and loaded anew.
    fs::remove_dir_all(node.path("containerd/image")).unwrap();
    let places = Places {
        bin: node.path("containerd/bin"),
        conf: node.path("containerd/net.d"),
    };
    Containerd::start_with(node, &places).unwrap()
}

fn start(node: &Node, containerd: &Containerd, name: &str) -> String {
    let pod = Pod::new("default", name).networks("blue");
    let manifest = format!("manifests/pod-{name}.json");
    node.write(&manifest, pod.manifest().to_string()).unwrap();
    containerd.client().run(&pod).unwrap()
}

fn netns(containerd: &Containerd, sandbox: &str) -> String {
    let netns = containerd.client().status(sandbox).unwrap().netns;
    netns.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Kills the shim of a sandbox and every process in its network namespace.
fn kill(sandbox: &str, netns: &str) {
    let namespace = Some(inode(&format!("/run/netns/{netns}")).unwrap());
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        if !name.chars().all(|one| one.is_ascii_digit()) {
            continue;
        }
        let command = fs::read_to_string(format!("/proc/{name}/cmdline")).unwrap_or_default();
        let is_shim = command.contains("containerd-shim") && command.contains(sandbox);
        if is_shim || inode(&format!("/proc/{name}/ns/net")) == namespace {
            // It may end by itself once its shim is gone.
            let _ = run("kill", &["-9", &name]);
        }
    }
}

fn inode(path: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Reserved addresses, plans, and interfaces of pods on the node.
fn left(node: &Node) -> (usize, usize, usize) {
    let reserved = inspect::reserved_addresses(node).unwrap().len();
    let ledger = inspect::files(&node.path("ledger")).unwrap();
    let plans = ledger.keys().filter(|path| path.components().count() == 1);
    let plans = plans.filter(|path| !path.display().to_string().starts_with('.'));
    let mut links = inspect::links(None).unwrap();
    links.retain(|link| link.kind == "veth" && !["uplink", "storage"].contains(&&*link.name));
    (reserved, plans.count(), links.len())
}

/// What so many pods have.
fn of_pods(count: usize) -> (usize, usize, usize) {
    (2 * count, count, 2 * count)
}

#[test]
fn lost_sandboxes_leave_nothing_on_the_node() {
    on_a_private_node(|node| {
        if !containerd::is_possible() {
            eprintln!("left out: runc needs to be root of this machine, not of a user namespace");
            return;
        }
        networks::prepare(node).unwrap();
        let socket = node.path("containerd/containerd.sock");
        let collect = json!({ "runtimeSocket": socket, "intervalMs": 100, "graceMs": 1000 });
        node.config["cnidaria"]["collect"] = collect;
        fs::write(node.path("boot-id"), "first boot\n").unwrap();
        let boot_id = node.path("boot-id").display().to_string();
        run("mount", &["--bind", &boot_id, BOOT_ID]).unwrap();
        node.start_daemon().unwrap();
        let containerd = Containerd::start(node).unwrap();
        let sandboxes = ["a", "b", "c"].map(|name| start(node, &containerd, name));
        let spaces = sandboxes.each_ref().map(|one| netns(&containerd, one));
        assert_eq!(left(node), of_pods(3));

        // The runtime forgets one, whose processes and namespace are gone.
        kill(&sandboxes[0], &spaces[0]);
        node.until("containerd forgets the killed sandbox", || {
            containerd.forget(&sandboxes[0]).is_ok()
        });
        drop(containerd);
        run("ip", &["netns", "delete", &spaces[0]]).unwrap();
        let containerd = start_again(node);
        let listed = containerd.client().list().unwrap();
        assert_eq!(listed.len(), 2, "{listed:?}");
        node.until("the killed sandbox is collected", || {
            left(node) == of_pods(2)
        });
        for netns in &spaces[1..] {
            let links = inspect::links(Some(netns)).unwrap();
            let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
            assert_eq!(names, ["eth0", "net1"], "it lives");
        }
        containerd.client().stop(&sandboxes[1]).unwrap();
        containerd.client().remove(&sandboxes[1]).unwrap();
        assert_eq!(left(node), of_pods(1));

        // A power failure: the runtime comes back without its state.
        node.kill_daemon().unwrap();
        drop(containerd);
        kill(&sandboxes[2], &spaces[2]);
        run("ip", &["netns", "delete", &spaces[2]]).unwrap();
        for dir in ["root", "state"] {
            fs::rename(
                node.path(&format!("containerd/{dir}")),
                node.path(&format!("containerd/{dir}.lost")),
            )
            .unwrap();
        }
        fs::write(node.path("boot-id"), "second boot\n").unwrap();
        node.start_daemon().unwrap();
        let containerd = start_again(node);
        let next = start(node, &containerd, "d");
        node.until("nothing of the earlier boot is left", || {
            left(node) == of_pods(1)
        });
        containerd.client().stop(&next).unwrap();
        containerd.client().remove(&next).unwrap();
        assert_eq!(left(node), of_pods(0));
    });
}
