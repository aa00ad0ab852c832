//! What `deploy` installs on a node, from the real image and manifests: containerd runs the
//! DaemonSet's containers as a kubelet would, and they attach pods to their networks.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use node::case::on_a_private_node;
use node::inspect;
use node::{Node, Pod, networks, run, until};
use runtime::containerd::{self, Container, Containerd, Places};
use serde_json::{Value, json};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
/// The registry that a kubelet adds to the image's name.
const REGISTRY: &str = "docker.io/library";
const PLUGINS: &str = "/opt/cni/bin";
const CONFS: &str = "/etc/cni/net.d";
const LEDGER: &str = "/var/lib/cni/multus";

/// The manifests of `kustomize/base/daemonset.yaml`.
struct Manifests {
    pod: Value,
    config: Value,
}

impl Manifests {
    fn read() -> Self {
        let text =
            fs::read_to_string(Path::new(DEPLOY).join("kustomize/base/daemonset.yaml")).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let of = |kind: &str| {
            let found = documents.iter().find(|document| document["kind"] == kind);
            found.unwrap().clone()
        };
        let config = of("ConfigMap")["data"]["daemon-config.json"].clone();
        Self {
            pod: of("DaemonSet")["spec"]["template"]["spec"].clone(),
            config: serde_json::from_str(config.as_str().unwrap()).unwrap(),
        }
    }

    /// The init container as the component `uninstall` changes it.
    fn uninstalling(&self, config: &Path) -> Container {
        let patch = Path::new(DEPLOY).join("kustomize/components/uninstall/daemonset.yaml");
        let patch: Value = serde_saphyr::from_str(&fs::read_to_string(patch).unwrap()).unwrap();
        let mut pod = self.pod.clone();
        let new = &patch["spec"]["template"]["spec"]["initContainers"][0];
        let init = &mut pod["initContainers"][0];
        let mut mounts = new["volumeMounts"].as_array().unwrap().clone();
        mounts.extend(init["volumeMounts"].as_array().unwrap().clone());
        init["volumeMounts"] = json!(mounts);
        init["command"] = new["command"].clone();
        init["env"] = new["env"].clone();
        let changed = Self {
            pod,
            config: self.config.clone(),
        };
        changed.container("initContainers", config)
    }

    /// A container of the pod, with its volumes. ConfigMap volumes are subdirectories of `config`,
    /// by name.
    fn container(&self, kind: &str, config: &Path) -> Container {
        let container = &self.pod[kind][0];
        let command = container["command"].as_array().unwrap();
        let mounts = container["volumeMounts"].as_array().unwrap();
        Container {
            id: text(&container["name"]),
            image: format!("{REGISTRY}/{}", text(&container["image"])),
            command: command.iter().map(text).collect(),
            mounts: mounts
                .iter()
                .map(|mount| self.mount(mount, config))
                .collect(),
            environment: container["env"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|variable| {
                    let from = variable.pointer("/valueFrom/fieldRef/fieldPath");
                    assert_eq!(from, Some(&json!("spec.nodeName")));
                    format!("{}=node", text(&variable["name"]))
                })
                .collect(),
        }
    }

    fn mount(&self, mount: &Value, config: &Path) -> String {
        let volumes = self.pod["volumes"].as_array().unwrap();
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"]);
        let host = &volume.unwrap()["hostPath"];
        let source = match host["path"].as_str() {
            Some(path) => PathBuf::from(path),
            None => config.join(text(&volume.unwrap()["configMap"]["name"])),
        };
        if host["type"] == "DirectoryOrCreate" {
            fs::create_dir_all(&source).unwrap();
        }
        let writable = if mount["readOnly"] == true {
            "ro"
        } else {
            "rw"
        };
        let propagation = match mount["mountPropagation"].as_str() {
            Some("HostToContainer") => "rslave",
            other => {
                assert_eq!(other, None);
                "rprivate"
            }
        };
        let (source, target) = (source.display(), text(&mount["mountPath"]));
        format!("type=bind,src={source},dst={target},options=rbind:{writable}:{propagation}")
    }
}

/// The commands of the DaemonSet's probes.
fn probes(manifests: &Manifests) -> Vec<Vec<String>> {
    let container = &manifests.pod["containers"][0];
    ["startupProbe", "readinessProbe", "livenessProbe"]
        .map(|probe| container[probe]["exec"]["command"].as_array().unwrap())
        .into_iter()
        .map(|command| command.iter().map(text).collect())
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Makes the private node's directories writable and its mounts propagate to containers, as systemd
/// sets them up.
fn prepare_machine(node: &Node) {
    run("mount", &["--make-rshared", "/"]).unwrap();
    for dir in ["/etc", "/opt", "/var/lib"] {
        let own = |name: &str| {
            let path = node.path(&format!("machine{dir}/{name}"));
            fs::create_dir_all(&path).unwrap();
            path.display().to_string()
        };
        let (upper, work) = (own("upper"), own("work"));
        let options = format!("lowerdir={dir},upperdir={upper},workdir={work}");
        run("mount", &["-t", "overlay", "overlay", "-o", &options, dir]).unwrap();
    }
    // Hides whatever this machine has there.
    for dir in ["/etc/cni", "/opt/cni", "/var/lib/cni", "/var/lib/kubelet"] {
        fs::create_dir_all(dir).unwrap();
        run("mount", &["-t", "tmpfs", "tmpfs", dir]).unwrap();
    }
    for dir in [PLUGINS, CONFS] {
        fs::create_dir_all(dir).unwrap();
    }
    for name in ["bridge", "host-local", "loopback"] {
        let link = Path::new(PLUGINS).join(name);
        symlink(Path::new(&node.plugins()).join(name), link).unwrap();
    }
    let cluster = networks::bridge(node, "cluster", "10.77.0.0/24");
    let conf = json!({ "cniVersion": "1.0.0", "name": "cluster", "plugins": [cluster] });
    fs::write(
        Path::new(CONFS).join("10-cluster.conflist"),
        conf.to_string(),
    )
    .unwrap();
    let blue = networks::bridge(node, "blue", "10.78.0.0/24");
    node.add_network("default", "blue", &blue).unwrap();
}

/// Builds the image from this build's binaries, stripped of debug information.
fn image(node: &Node) -> PathBuf {
    let dir = node.path("build");
    fs::create_dir_all(&dir).unwrap();
    let binaries = node.binaries();
    for program in [binaries.daemon().unwrap(), binaries.command_line().unwrap()] {
        let stripped = dir.join(program.file_name().unwrap());
        let [program, stripped] = [program, stripped].map(|path| path.display().to_string());
        run("strip", &["-o", &stripped, &program]).unwrap();
    }
    let archive = dir.join("image.tar");
    let policy = binaries.policy("annotation-mtu").unwrap();
    let modules = policy.parent().unwrap().to_owned();
    let [dir, shim, path] = [&dir, &binaries.shim().unwrap(), &archive];
    let arguments = [dir, shim, &modules, path].map(|path| path.display().to_string());
    let arguments = arguments.each_ref().map(String::as_str);
    run(&format!("{DEPLOY}/image/build"), &arguments).unwrap();
    archive
}

/// Writes the example's configurations where the kubelet would.
fn apply_example(config: &Path) {
    let text = fs::read_to_string(Path::new(DEPLOY).join("example-policy.yaml")).unwrap();
    let example: Value = serde_saphyr::from_str(&text).unwrap();
    let dir = config.join(self::text(&example["metadata"]["name"]));
    for (key, value) in example["data"].as_object().unwrap() {
        fs::write(dir.join(key), self::text(value)).unwrap();
    }
}

#[test]
fn daemonset_containers_attach_pods() {
    on_a_private_node(|node| {
        if !containerd::is_possible() {
            eprintln!("left out: runc needs to be root of this machine, not of a user namespace");
            return;
        }
        prepare_machine(node);
        let places = Places {
            bin: PLUGINS.into(),
            conf: CONFS.into(),
        };
        let containerd = Containerd::start_with(node, &places).unwrap();
        containerd.load(&image(node)).unwrap();
        let mut manifests = Manifests::read();
        // Without a cluster, pods and networks are files on the node.
        manifests.config["cnidaria"] = json!({
            "manifests": "/host/run/node/manifests",
            "statusDir": "/host/run/node/status",
            "policies": manifests.config["cnidaria"]["policies"],
        });
        let file = "configs/cnidaria-daemon-config/daemon-config.json";
        node.write(file, manifests.config.to_string()).unwrap();
        let config = node.path("configs");
        let config = config.as_path();
        fs::create_dir_all(config.join("cnidaria-policies")).unwrap();

        let install = manifests.container("initContainers", config);
        containerd.run_privileged(&install, false).unwrap();
        assert!(Path::new(PLUGINS).join("multus-shim").is_file());
        let daemon = manifests.container("containers", config);
        containerd.run_privileged(&daemon, true).unwrap();
        let client = containerd.client();
        until("containerd reads the conf that the daemon has made", || {
            client.confs().unwrap().contains("multus-shim")
        });

        apply_example(config);
        until("the policy of the example is loaded", || {
            let program = node.binaries().command_line().unwrap();
            let list = run(program.to_str().unwrap(), &["policy", "list"]);
            list.is_ok_and(|list| list.contains("10-annotation-mtu") && list.contains("loaded"))
        });
        let pod = |name| Pod::new("default", name).networks("blue");
        let pods = ["a", "b"].map(|name| pod(name).annotation("cnidaria.dev/mtu", "net1=1400"));
        for pod in &pods {
            let manifest = format!("manifests/pod-{}.json", pod.name);
            node.write(&manifest, pod.manifest().to_string()).unwrap();
        }
        let sandboxes = pods.each_ref().map(|pod| client.run(pod).unwrap());
        let [here, there] = sandboxes.each_ref().map(|sandbox| {
            let netns = client.status(sandbox).unwrap().netns;
            netns.file_name().unwrap().to_str().unwrap().to_owned()
        });
        for link in ["eth0", "net1"] {
            let links = inspect::links(Some(&there)).unwrap();
            let other = links.iter().find(|one| one.name == link).unwrap();
            assert_eq!(other.mtu, if link == "net1" { 1400 } else { 1500 });
            let address = other.addresses.first().unwrap().split('/').next().unwrap();
            inspect::ping(&here, link, address).unwrap();
        }
        let status = node.network_status(&pods[0]).unwrap();
        assert_eq!(status[1]["name"], json!("default/blue"), "{status:#}");

        for command in probes(&manifests) {
            containerd.probe(&daemon.id, &command).unwrap();
        }

        // An update: the DaemonSet's next container takes over the state.
        containerd.end(&daemon.id).unwrap();
        containerd.run_privileged(&daemon, true).unwrap();
        for sandbox in &sandboxes {
            client.stop(sandbox).unwrap();
            client.remove(sandbox).unwrap();
        }
        // Either immediately or, if the daemon was not ready yet, by a retry.
        until("nothing is left of the pods", || {
            let left = inspect::files(Path::new(LEDGER)).unwrap();
            left.is_empty() && inspect::reserved_addresses(node).unwrap().is_empty()
        });
        uninstall(node, &containerd, &manifests, config, &daemon);
    });
}

/// Removes the installation while a pod runs: a pod that starts right after gets the primary network
/// alone, and nothing stays once the first one is gone.
fn uninstall(
    node: &Node,
    containerd: &Containerd,
    manifests: &Manifests,
    config: &Path,
    daemon: &Container,
) {
    let client = containerd.client();
    let start = |name: &str| {
        let pod = Pod::new("default", name).networks("blue");
        let manifest = format!("manifests/pod-{name}.json");
        node.write(&manifest, pod.manifest().to_string()).unwrap();
        client.run(&pod).unwrap()
    };
    let interfaces = |sandbox: &str| -> Vec<String> {
        let netns = client.status(sandbox).unwrap().netns;
        let name = netns.file_name().unwrap().to_str().unwrap().to_owned();
        let links = inspect::links(Some(&name)).unwrap();
        links.into_iter().map(|link| link.name).collect()
    };
    let before = start("before");
    assert!(interfaces(&before).contains(&"net1".to_owned()));
    containerd.end(&daemon.id).unwrap();
    let uninstalling = manifests.uninstalling(config);
    let done = containerd.run_privileged(&uninstalling, false);
    done.expect_err("the shim stays while the pod runs");
    assert!(!Path::new(CONFS).join("00-multus.conf").exists());
    assert!(Path::new(PLUGINS).join("multus-shim").exists());
    until("containerd reads the primary network's conf", || {
        !client.confs().unwrap().contains("multus-shim")
    });
    let after = start("after");
    let found = interfaces(&after);
    assert!(
        found.contains(&"eth0".to_owned()) && !found.contains(&"net1".to_owned()),
        "{found:?}"
    );

    for sandbox in [&before, &after] {
        client.stop(sandbox).unwrap();
        client.remove(sandbox).unwrap();
    }
    containerd.run_privileged(&uninstalling, false).unwrap();
    assert!(!Path::new(PLUGINS).join("multus-shim").exists());
    assert!(inspect::files(Path::new(LEDGER)).unwrap().is_empty());
    assert!(inspect::reserved_addresses(node).unwrap().is_empty());
    assert!(Path::new(PLUGINS).join("bridge").exists());
    assert!(Path::new(CONFS).join("10-cluster.conflist").exists());
}
