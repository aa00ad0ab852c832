//! Sandboxes are killed hard, and the node is rebooted: no DEL comes, and the daemon collects what
//! they have left because the runtime, asked over its socket, does not know them. Kernel and
//! host-local show that nothing is left, and that what lives is untouched.
//!
//! `CNIDARIA_HARD_KILLS` sets the number of kills.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::thread;

use fake_kubelet::{FakeKubelet, Fault};
use node::case::on_a_private_node;
use node::{Call, Node, Pod, Sandbox, inspect, networks, run};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const KILLS: usize = 40;
/// How many sandboxes are started and killed together.
const AT_ONCE: usize = 8;
/// After so many kills the node is rebooted.
const UPTIME: usize = 24;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A node whose runtime is known by its socket alone.
struct Rig<'a> {
    node: &'a mut Node,
    runtime: FakeKubelet,
    /// The sandboxes that the runtime has.
    living: Vec<Sandbox>,
    /// Another runtime's, which no list has.
    foreign: Option<Sandbox>,
    names: usize,
}

/// How a sandbox ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its processes and its namespace are gone.
    Killed,
    /// The same, and the ledger was lost as well.
    Unrecorded,
}

impl<'a> Rig<'a> {
    fn new(node: &'a mut Node, tokio: &Runtime) -> Self {
        networks::prepare(node).unwrap();
        let socket = node.path("cri.sock");
        let collect = json!({ "runtimeSocket": socket, "intervalMs": 50, "graceMs": 200 });
        node.config["cnidaria"]["collect"] = collect;
        fs::write(node.path("boot-id"), "first boot\n").unwrap();
        let boot_id = node.path("boot-id").display().to_string();
        run("mount", &["--bind", &boot_id, BOOT_ID]).unwrap();
        let _guard = tokio.enter();
        let runtime = FakeKubelet::start(&socket).unwrap();
        node.start_daemon().unwrap();
        Self {
            node,
            runtime,
            living: Vec::new(),
            foreign: None,
            names: 0,
        }
    }

    fn list(&self) {
        let ids = self.living.iter().map(|one| one.container_id.clone());
        self.runtime.set_sandboxes(ids);
    }

    fn make(&mut self) -> Sandbox {
        self.names += 1;
        let pod = Pod::new("default", &format!("p{}", self.names)).networks("blue");
        self.node.add_pod(pod).unwrap()
    }

    fn call(&self, verb: &str, sandbox: &Sandbox) -> Call {
        self.node.call(verb, sandbox).unwrap()
    }

    /// Starts sandboxes, all at once. The runtime lists them only then.
    fn start(&mut self, count: usize) -> Vec<Sandbox> {
        let sandboxes: Vec<Sandbox> = (0..count).map(|_| self.make()).collect();
        let calls = sandboxes.iter().map(|sandbox| self.call("ADD", sandbox));
        let calls: Vec<Call> = calls.collect();
        thread::scope(|scope| {
            let adding: Vec<_> = calls
                .iter()
                .map(|call| scope.spawn(|| call.make()))
                .collect();
            for one in adding {
                let answer = one.join().unwrap().unwrap();
                assert!(answer.succeeded(), "{answer:#?} {}", self.node.log());
            }
        });
        self.living.extend(sandboxes.clone());
        self.list();
        sandboxes
    }

    /// Ends sandboxes without a DEL.
    fn end(&mut self, sandboxes: &[Sandbox], end: End) {
        self.living.retain(|one| {
            sandboxes
                .iter()
                .all(|ended| ended.container_id != one.container_id)
        });
        self.list();
        for sandbox in sandboxes {
            run("ip", &["netns", "delete", &sandbox.netns_name]).unwrap();
            let manifest = format!("manifests/pod-default-{}.json", sandbox.pod.name);
            fs::remove_file(self.node.path(&manifest)).unwrap();
            if end == End::Unrecorded {
                self.forget(&sandbox.container_id);
            }
        }
    }

    /// Removes a sandbox from the ledger, as a damaged disk does.
    fn forget(&self, id: &str) {
        let ledger = self.node.path("ledger");
        for path in inspect::files(&ledger).unwrap().into_keys() {
            if path.display().to_string().contains(id) {
                // The daemon may be collecting it at this moment.
                let _ = fs::remove_file(ledger.join(path));
            }
        }
    }

    /// Ends everything, as a power failure does, and starts the next daemon.
    fn reboot(&mut self, number: usize) {
        self.node.kill_daemon().unwrap();
        let living = std::mem::take(&mut self.living);
        self.end(&living, End::Killed);
        if let Some(foreign) = self.foreign.take() {
            self.end(&[foreign], End::Killed);
        }
        fs::write(self.node.path("boot-id"), format!("boot {number}\n")).unwrap();
        self.node.start_daemon().unwrap();
    }

    /// The addresses that the living have, by the kernel, as host-local names them.
    fn wanted(&self) -> BTreeSet<String> {
        let all = self.living.iter().chain(&self.foreign);
        let links = all.flat_map(|one| inspect::links(Some(&one.netns_name)).unwrap());
        let addresses = links.flat_map(|link| link.addresses);
        addresses
            .map(|address| address.split('/').next().unwrap().to_owned())
            .collect()
    }

    /// The addresses that are reserved, and how many interfaces and containers there are.
    fn found(&self) -> (BTreeSet<String>, usize, usize) {
        let reserved = inspect::reserved_addresses(self.node).unwrap();
        let address = |path: String| path.split('/').next_back().unwrap().to_owned();
        let mut links = inspect::links(None).unwrap();
        links.retain(|link| link.kind == "veth" && !["uplink", "storage"].contains(&&*link.name));
        let ledger = fs::read_dir(self.node.path("ledger")).unwrap().flatten();
        let plans =
            ledger.filter(|file| file.file_name().to_string_lossy().starts_with("sandbox-"));
        (
            reserved.into_iter().map(address).collect(),
            links.len(),
            plans.count(),
        )
    }

    /// Waits until nothing but the living is left.
    fn wait(&self) {
        let pods = self.living.iter().chain(&self.foreign).count();
        let wanted = (self.wanted(), 2 * pods, pods);
        let what = format!("only the living are left: {wanted:#?}");
        self.node.until(&what, || self.found() == wanted);
    }

    /// CHECKs the living, by the runtime's own question.
    fn check(&self) {
        for sandbox in self.living.iter().chain(&self.foreign) {
            let answer = self.call("CHECK", sandbox).make().unwrap();
            assert!(answer.succeeded(), "{answer:#?} {}", self.node.log());
        }
    }

    fn collected(&self) -> Vec<Value> {
        let list = self
            .node
            .command_line(&["attachments", "--output", "json"])
            .unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        list["collected"].as_array().cloned().unwrap_or_default()
    }
}

fn kills() -> usize {
    env::var("CNIDARIA_HARD_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"))
}

#[test]
fn hard_kills_and_reboots_leave_nothing() {
    let tokio = Runtime::new().unwrap();
    on_a_private_node(|node| {
        let mut rig = Rig::new(node, &tokio);
        let (mut killed, mut boots) = (0, 0);
        while killed < kills() {
            if rig.foreign.is_none() {
                // Of another runtime: no list has them, but they live.
                rig.foreign = rig.start(1).pop();
                rig.living.clear();
                rig.start(2);
            }
            let sandboxes = rig.start(AT_ONCE);
            let half = sandboxes.split_at(AT_ONCE / 2);
            rig.end(half.0, End::Killed);
            rig.end(half.1, End::Unrecorded);
            killed += AT_ONCE;
            rig.wait();
            rig.check();
            if killed / UPTIME > boots {
                boots += 1;
                killed += rig.living.len();
                rig.reboot(boots);
                rig.wait();
            }
        }
        println!("{killed} hard kills, {boots} reboots, nothing left");
        let log = rig.node.log();
        assert!(log.contains("collecting an attachment"), "{log}");
        assert!(log.contains("released an address"), "{log}");
    });
}

#[test]
fn an_unusable_answer_collects_nothing() {
    let tokio = Runtime::new().unwrap();
    on_a_private_node(|node| {
        let mut rig = Rig::new(node, &tokio);
        rig.start(2);
        let refusal = Fault::Refuse {
            code: 2,
            message: "server is not initialized yet".to_owned(),
            times: usize::MAX,
        };
        rig.runtime.set_fault(refusal);
        let dead = rig.start(1);
        rig.end(&dead, End::Killed);
        let (addresses, _, plans) = rig.found();
        // Several intervals and grace periods.
        let mut asked = 0;
        rig.node.until("the runtime was asked 20 times", || {
            asked += rig.runtime.take_calls().len();
            asked >= 20
        });
        let found = rig.found();
        assert_eq!((found.0, found.2), (addresses, plans));
        assert_eq!(rig.collected(), [Value::Null; 0]);
        rig.runtime.set_fault(Fault::None);
        rig.wait();
        rig.check();
        let collected = rig.collected();
        assert_eq!(collected.len(), 2, "{collected:#?}");
        assert_eq!(collected[0]["containerId"], json!(dead[0].container_id));
        assert!(
            Path::new("/run/netns")
                .join(&rig.living[0].netns_name)
                .exists()
        );
    });
}
