//! What breaks a node, one break for each check.

use std::time::UNIX_EPOCH;

use cnidaria_kube::expiry::Use;
use serde_json::json;
use shim_api::admin::{AttachmentState, PolicyState, Unreadable};

use super::rig::{Rig, certificate, link, nad, policy};
use crate::doctor::node::{Cluster, Daemon, Link};

/// A code, what breaks the node, and other codes that follow from it.
pub(super) type Case = (&'static str, fn(&mut Rig), &'static [&'static str]);

pub(super) const CASES: &[Case] = &[
    ("C101", |rig| rig.node.config = None, &[]),
    (
        "C102",
        |rig| rig.node.config = Some(Err("socketDir: x".into())),
        &[],
    ),
    (
        "C103",
        |rig| rig.configure(|config| config["sockteDir"] = json!("/x")),
        &[],
    ),
    (
        "C104",
        |rig| {
            rig.configure(|config| {
                let config = config.as_object_mut().unwrap();
                config.remove("multusConfigFile");
                config.remove("multusAutoconfigDir");
            });
        },
        &[],
    ),
    (
        "C105",
        |rig| {
            let root = rig.path("nonexistent");
            rig.configure(|config| config["chrootDir"] = json!(root));
        },
        &[],
    ),
    (
        "C106",
        |rig| rig.configure(|config| config["readinessindicatorfile"] = json!("/nonexistent")),
        &[],
    ),
    ("R201", |rig| rig.remove("net.d"), &[]),
    (
        "R202",
        |rig| {
            rig.write(
                "net.d/00-multus.conf",
                r#"{"cniVersion":"1.0.0","name":"n","type":"multus-shim"}"#,
            );
            let conf = std::fs::read(rig.path("net.d/00-multus.conf")).unwrap();
            rig.remove("net.d/10-primary.conflist");
            rig.write("net.d/00-multus.conf", conf);
            own_socket(rig);
        },
        &[],
    ),
    ("R203", |rig| rig.remove("net.d/00-multus.conf"), &[]),
    (
        "R204",
        |rig| {
            let primary = std::fs::read(rig.path("net.d/10-primary.conflist")).unwrap();
            rig.write("net.d/00-a.conflist", primary);
        },
        &["R210"],
    ),
    ("R205", |rig| rig.write("net.d/20-torn.conf", "{"), &[]),
    (
        "R206",
        |rig| {
            let own = std::fs::read(rig.path("net.d/00-multus.conf")).unwrap();
            rig.write("net.d/05-multus.conf", own);
        },
        &[],
    ),
    (
        "R207",
        |rig| {
            let conf = std::fs::read_to_string(rig.path("net.d/00-multus.conf")).unwrap();
            let own = rig.path("multus").display().to_string();
            rig.write("net.d/00-multus.conf", conf.replace(&own, "/nonexistent"));
        },
        &[],
    ),
    (
        "R208",
        |rig| {
            let conf = std::fs::read_to_string(rig.path("net.d/00-multus.conf")).unwrap();
            rig.write("net.d/00-multus.conf", conf.replace("10-primary", "gone"));
        },
        &[],
    ),
    (
        "R209",
        |rig| rig.node.daemon = Daemon::Away("away".into()),
        &["D501"],
    ),
    (
        "R210",
        |rig| {
            let own = std::fs::File::options()
                .write(true)
                .open(rig.path("net.d/00-multus.conf"));
            let times = std::fs::FileTimes::new().set_modified(UNIX_EPOCH);
            own.unwrap().set_times(times).unwrap();
        },
        &[],
    ),
    ("S301", |rig| rig.remove("bin"), &[]),
    ("S302", |rig| rig.remove("bin/multus-shim"), &["F951"]),
    ("S303", |rig| rig.set_mode("bin/multus-shim", 0o644), &[]),
    (
        "S304",
        |rig| rig.write("bin/multus-shim", "of Multus"),
        &["F951"],
    ),
    (
        "S305",
        |rig| rig.node.shim = Some(b"newer: cnidaria.shim".to_vec()),
        &[],
    ),
    ("S307", |rig| rig.set_mode("bin/multus-shim", 0o777), &[]),
    ("P401", |rig| rig.remove("bin/macvlan"), &[]),
    ("P402", |rig| rig.remove("bin/host-local"), &[]),
    ("P403", |rig| rig.set_mode("bin/bridge", 0o644), &[]),
    ("P404", |rig| rig.remove("bin/loopback"), &[]),
    (
        "P405",
        |rig| {
            let mut broken = nad("blue", json!({}));
            broken.config = Some("{".into());
            rig.server().nads = Ok(vec![broken]);
        },
        &[],
    ),
    (
        "P406",
        |rig| rig.set_nad(json!({"cniVersion": "1.0.0", "type": "multus"})),
        &[],
    ),
    (
        "P407",
        |rig| {
            let mut empty = nad("nonexistent", json!({}));
            empty.config = None;
            rig.server().nads = Ok(vec![empty]);
        },
        &[],
    ),
    (
        "P408",
        |rig| rig.node.links.retain(|link| link.name != "eth0"),
        &[],
    ),
    ("P409", |rig| rig.node.links = vec![link("eth0", 1300)], &[]),
    (
        "P410",
        |rig| rig.node.links = vec![link("eth0", 1500), link("cni0", 1500)],
        &[],
    ),
    (
        "P411",
        |rig| {
            rig.node.links = vec![Link {
                is_up: false,
                ..link("eth0", 1500)
            }]
        },
        &[],
    ),
    (
        "P412",
        |rig| {
            rig.set_nad(
                json!({"cniVersion": "1.0.0", "type": "bridge", "bridge": "cni0",
                "ipam": {"type": "host-local", "subnet": "10.1.128.0/24"}}),
            );
        },
        &[],
    ),
    (
        "D501",
        |rig| {
            rig.node.daemon = Daemon::Away("away".into());
            rig.remove("net.d/00-multus.conf");
        },
        &[],
    ),
    (
        "D502",
        |rig| rig.node.daemon = Daemon::Foreign("404".into()),
        &[],
    ),
    ("D503", |rig| rig.node.daemon = Daemon::Ending, &[]),
    ("D504", |rig| rig.set_mode("multus", 0o777), &[]),
    ("L601", |rig| rig.set_mode("cni", 0o777), &[]),
    (
        "L602",
        |rig| {
            rig.attachments().unreadable.push(Unreadable {
                container_id: "c2".into(),
                reason: "torn".into(),
                cni_dir: None,
            });
        },
        &[],
    ),
    (
        "L603",
        |rig| {
            rig.attachments().attachments[0].state = AttachmentState::UndoPending {
                reason: "no plugin".into(),
                retries: 3,
            };
        },
        &[],
    ),
    ("L604", |rig| rig.write("cni/.deferred/c1", "{}"), &[]),
    (
        "L605",
        |rig| {
            let netns = rig.path("gone").display().to_string();
            rig.attachments().attachments[0].netns = netns;
        },
        &[],
    ),
    (
        "L606",
        |rig| {
            let dir = rig.path("var/lib/cni/networks/blue");
            rig.reserve("blue", "10.2.0.2", "c1");
            rig.reserve("blue", "10.2.0.3", "c9");
            std::fs::write(dir.join("last_reserved_ip.0"), "10.2.0.3").unwrap();
        },
        &[],
    ),
    (
        "L607",
        |rig| {
            rig.set_nad(json!({"cniVersion": "1.0.0", "type": "bridge", "bridge": "br1"}));
            rig.node.links.push(Link {
                master: Some("br1".into()),
                ..link("veth1", 1500)
            });
        },
        &[],
    ),
    ("L608", |rig| rig.write("cni/.damaged/c1", "x"), &[]),
    (
        "L611",
        |rig| {
            let collect = json!({ "runtimeSocket": rig.path("none.sock") });
            let collect = serde_json::from_value(collect).unwrap();
            rig.node.settings.own.collect = Some(collect);
        },
        &[],
    ),
    ("L612", |rig| rig.write("var/lib/cni/multus/c1", "{}"), &[]),
    (
        "A701",
        |rig| rig.node.cluster = Cluster::None { manifests: false },
        &[],
    ),
    ("A702", |rig| rig.remove("token"), &[]),
    (
        "A703",
        |rig| rig.server().nads = Err(cnidaria_kube::client::Error::Unavailable("down".into())),
        &[],
    ),
    (
        "A704",
        |rig| rig.server().nads = Err(cnidaria_kube::client::Error::Refused("answers 401".into())),
        &[],
    ),
    ("A705", |rig| rig.server().rights[3].1 = Ok(false), &[]),
    (
        "A706",
        |rig| rig.server().nads = Err(cnidaria_kube::client::Error::NotFound("404".into())),
        &[],
    ),
    (
        "A707",
        |rig| rig.server().token = Some(token(r#"{"exp":1799999990,"nbf":1}"#)),
        &[],
    ),
    (
        "A708",
        |rig| rig.server().token = Some(token(r#"{"exp":1900000000,"nbf":1800000100}"#)),
        &[],
    ),
    (
        "A709",
        |rig| rig.server().daemon_set = Some(cnidaria_kube::DaemonSet::Deleted),
        &[],
    ),
    (
        "A710",
        |rig| {
            rig.configure(|config| {
                drop(
                    config["cnidaria"]
                        .as_object_mut()
                        .unwrap()
                        .remove("daemonSet"),
                )
            });
        },
        &[],
    ),
    (
        "A711",
        |rig| rig.server().policy_status = Some(Ok(None)),
        &[],
    ),
    (
        "A751",
        |rig| rig.server().certificates = vec![certificate(Use::Client, -365, -1)],
        &[],
    ),
    (
        "A752",
        |rig| rig.server().certificates = vec![certificate(Use::Client, -363, 2)],
        &[],
    ),
    (
        "A753",
        |rig| rig.server().certificates = vec![certificate(Use::Authorities, -365, -1)],
        &[],
    ),
    (
        "A754",
        |rig| rig.server().certificates = vec![certificate(Use::Authorities, -3_000, 20)],
        &[],
    ),
    (
        "A755",
        |rig| rig.server().certificates = vec![certificate(Use::Client, 1, 365)],
        &[],
    ),
    ("Y801", |rig| rig.remove("modules"), &[]),
    ("Y802", |rig| rig.remove("configs"), &[]),
    (
        "Y803",
        |rig| rig.write("etc/cnidaria/policies/20-x.wasm", ""),
        &[],
    ),
    ("Y804", |rig| rig.policy().state = PolicyState::Broken, &[]),
    ("Y805", |rig| rig.policy().state = PolicyState::Stale, &[]),
    (
        "Y806",
        |rig| rig.policy().state = PolicyState::Quarantined,
        &[],
    ),
    ("Y807", |rig| rig.policy().counts.failures = 1, &[]),
    (
        "Y808",
        |rig| rig.policy().grants_asked = vec!["state".into()],
        &[],
    ),
    (
        "Y809",
        |rig| {
            if let Daemon::Serving { policies, .. } = &mut rig.node.daemon {
                policies.policies.push(policy("idle"));
                policies.policies[1].counts.evaluations = 0;
            }
        },
        &[],
    ),
    (
        "Y810",
        |rig| {
            let file = rig.path("bypass");
            std::fs::write(&file, "").unwrap();
            rig.configure(|config| config["cnidaria"]["policies"]["bypassFile"] = json!(file));
        },
        &[],
    ),
    (
        "Y811",
        |rig| rig.configure(|config| config["cnidaria"]["policies"]["required"] = json!(["other"])),
        &[],
    ),
    ("Y812", |rig| rig.remove("modules/guard.wasm"), &[]),
    ("Y813", |rig| rig.set_mode("modules", 0o777), &[]),
    (
        "K901",
        |rig| {
            rig.write("lib/modules/6.1/modules.dep", "kernel/bridge.ko:");
        },
        &[],
    ),
    (
        "K902",
        |rig| rig.write("proc/sys/net/ipv4/ip_forward", "0"),
        &[],
    ),
    (
        "K903",
        |rig| rig.write("proc/sys/fs/inotify/max_user_instances", "8"),
        &[],
    ),
    (
        "K904",
        |rig| {
            let dir = rig.path("no-cgroup/delegates");
            rig.configure(|config| config["cnidaria"]["delegateCgroup"] = json!(dir));
        },
        &[],
    ),
    ("K905", |rig| rig.remove("run/netns"), &[]),
    (
        "K906",
        |rig| rig.write("proc/sys/net/ipv4/neigh/default/gc_thresh3", "512"),
        &[],
    ),
    (
        "K907",
        |rig| {
            rig.write("proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
            rig.set_nad(
                json!({"cniVersion": "1.0.0", "type": "macvlan", "master": "eth0",
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "fd00::/64"}]]}}),
            );
        },
        &[],
    ),
    (
        "K908",
        |rig| rig.write("proc/sys/user/max_net_namespaces", "10"),
        &[],
    ),
    ("F951", |rig| rig.write("bin/cnidaria-shim", "other"), &[]),
    (
        "F952",
        |rig| rig.remove("bin/.cnidaria-installed.json"),
        &[],
    ),
    ("F953", |rig| rig.write("bin/.12-0.new", "torn"), &[]),
    (
        "F954",
        |rig| rig.configure(|config| config["logFile"] = json!("/nonexistent/log")),
        &[],
    ),
];

/// The runtime's conf names this node's socket.
fn own_socket(rig: &Rig) {
    let conf = json!({"cniVersion": "1.0.0", "name": "n", "type": "multus-shim",
        "daemonSocketDir": rig.path("multus")});
    rig.write("net.d/00-multus.conf", conf.to_string());
}

fn token(claims: &str) -> String {
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    format!("x.{claims}.x")
}
