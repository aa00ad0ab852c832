//! A sound node in a directory.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use cnidaria_core::domain::nad::Nad;
use cnidaria_kube::expiry::{Use, Validity};
use cnidaria_kube::{DaemonSet, Published};
use config::daemon::DaemonConfig;
use serde_json::{Value, json};
use shim_api::admin::{
    AttachmentList, AttachmentState, ListedAttachment, Pod, Policy, PolicyCounts, PolicyList,
    PolicyMode, PolicyState,
};

use crate::doctor::checks;
use crate::doctor::gather::RIGHTS;
use crate::doctor::node::{Cluster, Daemon, Link, Node, Server};
use crate::install::{SHIM_NAMES, is_our_shim};
use crate::installation::{Installation, New};

pub(super) const SHIM: &[u8] = b"a shim: cnidaria.shim";
/// The time of the node, in seconds since 1970.
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) struct Rig {
    pub(super) dir: tempfile::TempDir,
    pub(super) config: Value,
    pub(super) node: Node,
}

impl Rig {
    /// A node on which no check finds anything.
    pub(super) fn sound() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "net.d",
            "bin",
            "modules",
            "configs",
            "cni",
            "run/netns",
            "multus",
            "proc",
            "etc",
        ] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let config = json!({
            "cniVersion": "1.0.0",
            "multusConfigFile": "auto",
            "multusAutoconfigDir": at("net.d"),
            "cniConfigDir": at("net.d"),
            "socketDir": at("multus"),
            "daemonSocketDir": at("multus"),
            "cniDir": at("cni"),
            "binDir": at("bin"),
            "cnidaria": {
                "daemonSet": "cnidaria",
                "policies": { "modules": at("modules"), "configs": at("configs"),
                    "cache": at("cache"), "state": at("state") },
            },
        });
        let settings = DaemonConfig::parse(config.to_string().as_bytes()).unwrap();
        let node = Node {
            root: dir.path().to_owned(),
            config_path: at("daemon-config.json"),
            config: None,
            settings,
            bin_dir: at("bin"),
            plugin_path: Vec::new(),
            shim: Some(SHIM.to_vec()),
            daemon: Daemon::Serving {
                policies: PolicyList {
                    policies: vec![policy("guard")],
                },
                attachments: AttachmentList {
                    attachments: vec![attachment("c1", "net1")],
                    ..AttachmentList::default()
                },
            },
            cluster: Cluster::Server(Box::new(Server {
                files: vec![at("token")],
                token: None,
                certificates: [Use::Client, Use::Authorities]
                    .map(|usage| certificate(usage, -100, 200))
                    .into(),
                nads: Ok(vec![nad(
                    "blue",
                    json!({
                        "cniVersion": "1.0.0", "type": "macvlan", "master": "eth0", "mtu": 1400,
                        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.2.0.0/16"}]]},
                    }),
                )]),
                rights: RIGHTS.into_iter().map(|right| (right, Ok(true))).collect(),
                daemon_set: Some(DaemonSet::Present),
                policy_status: Some(Ok(Some(Published {
                    policies: vec![("guard".to_owned(), "Loaded".to_owned(), None)],
                }))),
            })),
            links: vec![
                link("eth0", 1500),
                Link {
                    is_bridge: true,
                    ..link("cni0", 1500)
                },
            ],
            in_use: |_| BTreeSet::new(),
            kernel: "6.1".to_owned(),
            now: UNIX_EPOCH + Duration::from_secs(NOW),
        };
        let mut rig = Self { dir, config, node };
        rig.fill();
        rig.configure(|_| {});
        rig
    }

    fn fill(&self) {
        let primary = json!({"cniVersion": "1.0.0", "name": "cbr0", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true,
             "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}}]});
        self.write("net.d/10-primary.conflist", primary.to_string());
        let own = json!({"cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus-shim",
            "daemonSocketDir": self.path("multus"),
            "clusterNetwork": self.path("net.d/10-primary.conflist")});
        self.write("net.d/00-multus.conf", own.to_string());
        let shims = SHIM_NAMES.map(|name| New {
            name: name.to_owned(),
            content: SHIM.to_vec(),
            mode: 0o755,
        });
        let installation = Installation::in_dir(&self.path("bin"));
        installation.put(&shims, is_our_shim).unwrap();
        for plugin in ["bridge", "host-local", "loopback", "macvlan"] {
            self.write(&format!("bin/{plugin}"), "a plugin");
            self.set_mode(&format!("bin/{plugin}"), 0o755);
        }
        for file in [
            "token",
            "multus/multus.sock",
            "modules/guard.wasm",
            "netns-c1",
        ] {
            self.write(file, "");
        }
        self.write("configs/10-guard.json", r#"{"module":"guard.wasm"}"#);
        self.write(
            "lib/modules/6.1/modules.dep",
            "kernel/net/macvlan.ko.xz: a\nkernel/bridge.ko:",
        );
        for (file, text) in [
            ("net/ipv4/ip_forward", "1"),
            ("fs/inotify/max_user_instances", "512"),
            ("net/ipv4/neigh/default/gc_thresh3", "4096"),
            ("net/ipv6/conf/all/disable_ipv6", "0"),
            ("user/max_net_namespaces", "10000"),
        ] {
            self.write(&format!("proc/sys/{file}"), text);
        }
        for dir in ["bin", "cni", "multus", "modules", "configs"] {
            self.set_mode(dir, 0o755);
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        let path = self.path(name);
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }

    pub(super) fn set_mode(&self, name: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(name), mode).unwrap();
    }

    /// Reserves an address for a container with host-local, long ago.
    pub(super) fn reserve(&self, network: &str, address: &str, container: &str) {
        let file = format!("var/lib/cni/networks/{network}/{address}");
        self.write(&file, format!("{container}\r\nnet1"));
        let file = std::fs::File::options().write(true).open(self.path(&file));
        let times = std::fs::FileTimes::new().set_modified(UNIX_EPOCH);
        file.unwrap().set_times(times).unwrap();
    }

    /// Changes the daemon's configuration.
    pub(super) fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        let config = DaemonConfig::parse(self.config.to_string().as_bytes()).unwrap();
        self.node.settings = config.clone();
        self.node.config = Some(Ok(config));
    }

    pub(super) fn set_nad(&mut self, conf: Value) {
        self.server().nads = Ok(vec![nad("blue", conf)]);
    }

    pub(super) fn server(&mut self) -> &mut Server {
        match &mut self.node.cluster {
            Cluster::Server(server) => server,
            Cluster::None { .. } => panic!("the rig has no server"),
        }
    }

    pub(super) fn policy(&mut self) -> &mut Policy {
        match &mut self.node.daemon {
            Daemon::Serving { policies, .. } => policies.policies.first_mut().unwrap(),
            _ => panic!("no daemon serves"),
        }
    }

    pub(super) fn attachments(&mut self) -> &mut AttachmentList {
        match &mut self.node.daemon {
            Daemon::Serving { attachments, .. } => attachments,
            _ => panic!("no daemon serves"),
        }
    }

    /// Codes and texts of what is found. What depends on this machine's own disk is left out.
    pub(super) fn found(&self, pre: bool) -> Vec<(&'static str, String)> {
        let found = checks::run(&self.node, pre).into_iter();
        let found = found.map(|finding| (finding.check.code, finding.found));
        let own = self.path("cni").display().to_string();
        found
            .filter(|(code, text)| *code != "L610" || !text.starts_with(&own))
            .collect()
    }
}

/// A certificate that is valid between these days from now.
pub(super) fn certificate(usage: Use, begins: i64, ends: i64) -> Validity {
    let at = |days: i64| {
        let seconds = i64::try_from(NOW).unwrap() + days * 24 * 3600;
        UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap())
    };
    Validity {
        source: PathBuf::from("/etc/kubeconfig"),
        usage,
        begins: at(begins),
        ends: at(ends),
    }
}

pub(super) fn link(name: &str, mtu: u32) -> Link {
    Link {
        name: name.to_owned(),
        mtu,
        is_up: true,
        ..Link::default()
    }
}

pub(super) fn nad(name: &str, conf: Value) -> Nad {
    Nad {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        config: Some(conf.to_string()),
        ..Nad::default()
    }
}

pub(super) fn attachment(container: &str, if_name: &str) -> ListedAttachment {
    ListedAttachment {
        container_id: container.to_owned(),
        pod: Pod {
            namespace: "default".to_owned(),
            name: "a".to_owned(),
            uid: "u".to_owned(),
        },
        network: "default/blue".to_owned(),
        if_name: if_name.to_owned(),
        netns: String::new(),
        state: AttachmentState::Attached,
        since_unix_seconds: None,
        since: None,
        cni_dir: None,
    }
}

pub(super) fn policy(name: &str) -> Policy {
    Policy {
        name: name.to_owned(),
        file: format!("/{name}.wasm"),
        state: PolicyState::Loaded,
        mode: PolicyMode::Enforce,
        required: false,
        digest: None,
        hooks: Vec::new(),
        grants_asked: Vec::new(),
        description: None,
        grants_given: Vec::new(),
        last_error: None,
        state_error: None,
        last_failure: None,
        load: 1,
        counts: PolicyCounts {
            evaluations: 1,
            ..PolicyCounts::default()
        },
    }
}
