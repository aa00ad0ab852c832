//! The calls that nerdctl and cnitool make for containers without a cluster, on real plugins.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Answer, Node, Pod, Sandbox, networks, run};

const ID: &str = "4f5a0c6d1b2e3f4a5b6c7d8e9f0a1b2c3d4e5f60718293a4b5c6d7e8f9012345";
const NERDCTL: &str = "IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=web";

/// A container that the manifest of `default/web` describes, as nerdctl starts it.
fn node_and_container(node: &mut Node) -> Sandbox {
    let mut prepare = || {
        networks::prepare(node)?;
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "web").networks("blue"))
    };
    Sandbox {
        container_id: format!("default-{ID}"),
        ..prepare().expect("the node can be prepared")
    }
}

fn make(node: &Node, command: &str, container: &Sandbox, args: Option<&str>) -> Answer {
    let call = node.call(command, container).unwrap();
    let call = match args {
        Some(args) => call.with("CNI_ARGS", args),
        None => call.without("CNI_ARGS"),
    };
    call.make().unwrap()
}

fn succeed(node: &Node, command: &str, container: &Sandbox, args: Option<&str>) {
    let answer = make(node, command, container, args);
    assert!(answer.succeeded(), "{command}: {answer:#?}\n{}", node.log());
}

fn interfaces(container: &Sandbox) -> Vec<String> {
    let links = inspect::links(Some(&container.netns_name)).unwrap();
    let names = links.into_iter().map(|link| link.name);
    names.filter(|name| name != "lo").collect()
}

#[test]
fn nerdctl_gets_the_networks_of_the_manifest() {
    on_a_private_node(|node| {
        let web = node_and_container(node);
        let clean = Traces::of(node, &web.netns_name).unwrap();
        succeed(node, "ADD", &web, Some(NERDCTL));
        assert_eq!(interfaces(&web), ["eth0", "net1"]);
        let status = node.network_status(&web.pod).unwrap();
        assert_eq!(status[1]["name"], "default/blue", "{status:#}");
        let table = node.command_line(&["attachments"]).unwrap();
        assert_eq!(table.matches(" web ").count(), 2, "{table}");

        // The next daemon finds it in the ledger, whatever happened to the manifest.
        node.stop_daemon().unwrap();
        fs::remove_file(node.path("manifests/pod-default-web.json")).unwrap();
        node.start_daemon().unwrap();
        succeed(node, "CHECK", &web, Some(NERDCTL));
        succeed(node, "DEL", &web, Some(NERDCTL));
        assert_eq!(Traces::of(node, &web.netns_name).unwrap(), clean);
    });
}

/// A process in a container's namespace; killed when dropped.
struct Process(Child);

impl Process {
    fn inside(container: &Sandbox) -> Self {
        let name = &container.netns_name;
        let arguments = ["netns", "exec", name, "sleep", "100000"];
        let process = Self(Command::new("ip").args(arguments).spawn().unwrap());
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        while inode(process.netns()) != inode(container.netns()) {
            thread::yield_now();
        }
        process
    }

    fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn a_container_of_nerdctl_starts_and_stops() {
    on_a_private_node(|node| {
        let web = node_and_container(node);
        let clean = Traces::of(node, &web.netns_name).unwrap();
        let call = |command: &str, netns: &str| {
            let call = node.call(command, &web).unwrap();
            let call = call.with("CNI_ARGS", NERDCTL).with("CNI_NETNS", netns);
            let answer = call.make().unwrap();
            assert!(answer.succeeded(), "{command}: {answer:#?}\n{}", node.log());
        };
        // The createRuntime hook, run twice if containerd restarts; then postStop.
        let process = Process::inside(&web);
        for _ in 0..2 {
            call("DEL", "");
            assert_eq!(inspect::reserved_addresses(node).unwrap(), clean.addresses);
            networks_gone(&web);
            call("ADD", &process.netns().display().to_string());
            assert_eq!(interfaces(&web), ["eth0", "net1"]);
        }
        drop(process);
        run("ip", &["netns", "delete", &web.netns_name]).unwrap();
        call("DEL", "");
        assert_eq!(inspect::reserved_addresses(node).unwrap(), clean.addresses);
        assert!(inspect::files(&node.path("ledger")).unwrap().is_empty());
    });
}

/// A DEL without a namespace leaves the interfaces to the kernel; the test reuses the namespace.
fn networks_gone(container: &Sandbox) {
    for name in interfaces(container) {
        run(
            "ip",
            &["-n", &container.netns_name, "link", "delete", &name],
        )
        .unwrap();
    }
}

#[test]
fn a_call_without_arguments_has_the_default() {
    on_a_private_node(|node| {
        let mut tool = node_and_container(node);
        tool.container_id = "cnitool-77383ca0a0715733ca6f".to_owned();
        let clean = Traces::of(node, &tool.netns_name).unwrap();
        for args in [None, Some("")] {
            succeed(node, "ADD", &tool, args);
            assert_eq!(interfaces(&tool), ["eth0"]);
            succeed(node, "CHECK", &tool, args);
            succeed(node, "DEL", &tool, args);
            assert_eq!(Traces::of(node, &tool.netns_name).unwrap(), clean);
        }
    });
}

#[test]
fn a_damaged_ledger_is_not_recovered_by_guess() {
    on_a_private_node(|node| {
        let web = node_and_container(node);
        let clean = Traces::of(node, &web.netns_name).unwrap();
        succeed(node, "ADD", &web, Some(NERDCTL));
        let file = node.path("ledger").join(&web.container_id);
        let text = fs::read(&file).unwrap();
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        fs::remove_dir_all(node.path("ledger/results")).unwrap();
        let manifest = node.path("manifests/pod-default-web.json");
        let described = fs::read(&manifest).unwrap();

        // A DEL of the default network alone would leave net1's address.
        fs::remove_file(&manifest).unwrap();
        let unknown = make(node, "DEL", &web, Some(NERDCTL));
        assert!(unknown.stdout.contains("is damaged"), "{unknown:#?}");

        fs::write(&manifest, described).unwrap();
        succeed(node, "DEL", &web, Some(NERDCTL));
        fs::remove_dir_all(node.path("ledger/.damaged")).unwrap();
        assert_eq!(Traces::of(node, &web.netns_name).unwrap(), clean);
    });
}
