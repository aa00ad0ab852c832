//! The set-up of the recordings, recreated on a private node.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use node::{Answer, Call, Node, networks, run};
use serde_json::{Value, json};

use crate::golden;

/// The UID of the pod `default/plain` in the recordings.
pub const PLAIN_UID: &str = "c86f7ddc-aa93-4689-83a6-bae720bb93fd";
/// The node's own links: the macvlan network's master, and its peer.
pub const WIRE: [&str; 2] = ["peerd0", "peerd1"];
/// The result of the delegate `tracer`.
const TRACED: &str = r#"{"cniVersion":"$cniVersion","interfaces":[{"name":"$CNI_IFNAME","mac":"02:00:00:00:00:09","mtu":1450,"sandbox":"$CNI_NETNS"}],
    "ips":[{"address":"10.9.0.2/24","gateway":"10.9.0.1","interface":0},{"address":"fd00::2/64","gateway":"fd00::1","interface":0}],
    "routes":[{"dst":"0.0.0.0/0","gw":"10.9.0.1"},{"dst":"::/0","gw":"fd00::1"},{"dst":"10.200.0.0/16"}],
    "dns":{"nameservers":["10.9.0.53"],"domain":"d.example","search":["s.example"],"options":["ndots:5"]}}"#;

/// A private node with the recorded set-up.
#[derive(Debug)]
pub struct Rig<'a> {
    /// The private node.
    pub node: &'a mut Node,
    /// The rig's directory, which replaces `$RIG`.
    pub root: String,
}

impl<'a> Rig<'a> {
    /// Creates files, links and delegates, and configures the daemon from
    /// `daemon-config-<config>.json` without starting it.
    ///
    /// # Panics
    /// When the set-up fails.
    pub fn new(node: &'a mut Node, config: &str) -> Self {
        let root = node
            .path("")
            .to_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        let mut rig = Self { node, root };
        rig.configure(config);
        rig.write_confs();
        rig.write_manifests();
        rig.install_delegates();
        networks::add_wire(WIRE[0], WIRE[1]).unwrap();
        rig
    }

    /// Like [`new`](Self::new), with the daemon running.
    ///
    /// # Panics
    /// When the daemon does not start.
    pub fn started(node: &'a mut Node, config: &str) -> Self {
        let rig = Self::new(node, config);
        rig.node.start_daemon().unwrap();
        rig
    }

    fn configure(&mut self, config: &str) {
        let mut daemon = self.golden(&format!("inputs/daemon-config-{config}.json"));
        daemon["cnidaria"] = json!({
            "manifests": self.node.path("manifests"),
            "statusDir": self.node.path("status"),
            "logFormat": "json",
            // Multus does not record DELs for later.
            "deferDels": false,
        });
        self.node.config = daemon;
    }

    fn write_confs(&self) {
        let copy = |file: &str, to: &str| {
            let text = golden::text(&format!("inputs/{file}"), &self.root);
            self.node.write(to, text).unwrap();
        };
        copy("10-bridge.conf", "autoconf-conf/10-bridge.conf");
        copy("10-bridge.conflist", "autoconf/10-bridge.conflist");
        copy("10-tracer.conflist", "autoconf-tracer/10-tracer.conflist");
        let failing = r#"{"cniVersion":"1.1.0","name":"sf","plugins":[{"type":"statusfail"}]}"#;
        self.node
            .write("autoconf-sf/10-sf.conflist", failing)
            .unwrap();
        fs::create_dir_all(self.node.path("cni.d")).unwrap();
    }

    fn write_manifests(&self) {
        for file in ["inputs/nads.json", "inputs/pods.json", "tracer.json"] {
            let mut list = self.golden(file);
            give_uids(&mut list);
            let name = file.trim_start_matches("inputs/");
            let path = format!("manifests/{name}");
            self.node.write(&path, list.to_string()).unwrap();
        }
    }

    fn install_delegates(&self) {
        let reference = std::env::var("CNI_BIN_DIR").unwrap_or_else(|_| "/usr/lib/cni".to_owned());
        let directory = self.node.path("cnibin");
        fs::create_dir_all(&directory).unwrap();
        for entry in fs::read_dir(reference).unwrap() {
            let entry = entry.unwrap();
            symlink(entry.path(), directory.join(entry.file_name())).unwrap();
        }
        fs::create_dir_all(self.node.path("calls")).unwrap();
        let error = |code: u32, msg: &str, details: &str| json!({ "error": { "cniVersion": "1.0.0", "code": code, "msg": msg, "details": details } });
        let traced: Value = serde_json::from_str(TRACED).unwrap();
        self.install("tracer", &json!({ "ADD": { "result": traced } }));
        self.install("noop", &json!({}));
        self.install(
            "fail",
            &json!({ "ADD": error(11, "try again later", "fake") }),
        );
        self.install(
            "failraw",
            &json!({ "ADD": { "stderr": "boom on stderr", "exit": 1 } }),
        );
        self.install(
            "statusfail",
            &json!({
                "ADD": error(7, "bad net conf", "det"),
                "CHECK": error(102, "check failed", "det"),
                "DEL": error(11, "try later del", "det"),
                "GC": error(101, "gc failed", "det"),
                "STATUS": error(50, "plugin not available", "ipam down"),
            }),
        );
    }

    /// Installs a recording fake delegate under a name, or replaces its instructions.
    ///
    /// # Panics
    /// When it cannot be installed.
    pub fn install(&self, name: &str, instructions: &Value) {
        let binary = self.node.path(&format!("cnibin/{name}"));
        if !binary.exists() {
            symlink(self.node.binaries().fake_delegate().unwrap(), &binary).unwrap();
        }
        let mut instructions = instructions.clone();
        instructions["record"] = json!(self.node.path("calls"));
        let path = format!("cnibin/{name}.fake.json");
        self.node.write(&path, instructions.to_string()).unwrap();
    }

    /// A recording, adapted to this rig.
    pub fn golden(&self, file: &str) -> Value {
        golden::json(file, &self.root)
    }

    /// Creates a recorded call's namespace unless it exists.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn make_namespace(&self, name: &str) {
        if !Path::new("/run/netns").join(name).exists() {
            run("ip", &["netns", "add", name]).unwrap();
        }
    }

    /// A recorded execution of the shim, not yet made.
    ///
    /// # Panics
    /// When the recording is not an execution.
    pub fn call(&self, recorded: &Value) -> Call {
        let variables: BTreeMap<String, String> = recorded["env"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        Call {
            shim: self.node.binaries().shim().unwrap(),
            variables,
            stdin: recorded["stdin"].as_str().unwrap().as_bytes().to_vec(),
        }
    }

    /// Repeats a recorded execution.
    ///
    /// # Panics
    /// When the shim cannot be executed.
    pub fn replay(&self, recorded: &Value) -> Answer {
        self.call(recorded).make().unwrap()
    }

    /// Repeats a recorded execution, which must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub fn succeed(&self, recorded: &Value) -> Answer {
        let answer = self.replay(recorded);
        assert!(answer.succeeded(), "{answer:#?}\n{}", self.node.log());
        answer
    }

    /// The fake delegates' calls since the last time, in order.
    ///
    /// # Panics
    /// When a record cannot be read.
    pub fn calls(&self) -> Vec<Value> {
        let directory = self.node.path("calls");
        let files = node::inspect::files(&directory).unwrap();
        files
            .into_iter()
            .map(|(name, bytes)| {
                fs::remove_file(directory.join(name)).unwrap();
                let mut call: Value = serde_json::from_slice(&bytes).unwrap();
                // Multus passes no trace on.
                let env = call.get_mut("env").and_then(Value::as_object_mut);
                env.and_then(|env| env.remove("TRACEPARENT"));
                call
            })
            .collect()
    }

    /// The daemon's socket.
    pub fn socket(&self) -> std::path::PathBuf {
        self.node.path("run/multus.sock")
    }
}

/// The UID on this rig of a recorded pod.
pub fn uid(pod: &str) -> String {
    match pod {
        "plain" => PLAIN_UID.to_owned(),
        other => format!("uid-of-{other}"),
    }
}

fn give_uids(list: &mut Value) {
    for item in list["items"].as_array_mut().into_iter().flatten() {
        let name = item["metadata"]["name"].as_str().unwrap().to_owned();
        item["metadata"]["uid"] = json!(uid(&name));
    }
}
