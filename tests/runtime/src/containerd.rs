//! containerd with everything that it has below one directory of a private node: root, state,
//! socket, image, CNI conf and binaries.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use node::{Node, run};

use crate::cri::Client;
use crate::error::Error;
use crate::image;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Where runc puts its cgroups, in every hierarchy of this machine.
const CGROUP: &str = "/cnidaria-runtime-tests";

/// A running containerd. Dropped, it and its cgroups are gone; its sandboxes end with the node.
#[derive(Debug)]
pub struct Containerd {
    child: Child,
    client: Client,
    log: PathBuf,
}

/// Whether runc could work here: it needs to be root of the machine, not of a user namespace.
pub fn is_possible() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut numbers = map.split_ascii_whitespace();
    numbers.next() == Some("0") && numbers.next() == Some("0")
}

impl Containerd {
    /// Starts it on a node whose daemon runs, and waits until it is ready for pods.
    ///
    /// # Errors
    /// [`Error::Start`] when it is not installed, [`Error::Containerd`] when it does not get ready.
    pub fn start(node: &Node) -> Result<Self, Error> {
        let dir = node.path("containerd");
        let net = dir.join("net.d");
        let bin = dir.join("bin");
        for dir in [&net, &bin] {
            fs::create_dir_all(dir).map_err(Error::file(dir))?;
        }
        let conf = net.join("00-multus.conf");
        fs::write(&conf, node.conf.to_string()).map_err(Error::file(&conf))?;
        // containerd itself wants the loopback plugin.
        let loopback = Path::new(&node.plugins()).join("loopback");
        for (name, target) in [
            ("cnidaria-shim", node.binaries().shim()?),
            ("loopback", loopback),
        ] {
            let link = bin.join(name);
            symlink(target, &link).map_err(Error::file(&link))?;
        }
        let config = dir.join("config.toml");
        fs::write(&config, configuration(&dir)).map_err(Error::file(&config))?;
        let log = dir.join("log");
        let log_file = File::create(&log).map_err(Error::file(&log))?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .map_err(|source| Error::Start {
                program: "containerd",
                source,
            })?;
        let socket = dir.join("containerd.sock");
        let client = Client::new(&socket, CGROUP, &dir.join("logs"));
        let mut containerd = Self { child, client, log };
        containerd.wait_until_ready()?;
        let image = image::make(&dir.join("image"))?.display().to_string();
        let socket = socket.display().to_string();
        let import = ["images", "import", "--snapshotter", "native", &image];
        let mut arguments = vec!["--address", &socket, "--namespace", "k8s.io"];
        arguments.extend(import);
        run("ctr", &arguments)?;
        Ok(containerd)
    }

    /// What the kubelet would have.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let problem = match self.client.not_ready() {
                Ok(missing) if missing.is_empty() => return Ok(()),
                Ok(missing) => missing.join(", "),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.child.try_wait().ok().flatten() {
                return Err(self.problem(format!("ended with {status}")));
            }
            if start.elapsed() > PATIENCE {
                return Err(self.problem(format!("is not ready after {PATIENCE:?}: {problem}")));
            }
            thread::sleep(POLL);
        }
    }

    fn problem(&self, problem: String) -> Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(20)..);
        Error::Containerd {
            problem,
            log: last.unwrap_or_default().join("\n"),
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
        // A directory of the machine's, empty when all pods are gone: one for each hierarchy.
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten();
        for hierarchy in hierarchies {
            let _ = fs::remove_dir(hierarchy.path().join(CGROUP.trim_start_matches('/')));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(CGROUP.trim_start_matches('/')));
    }
}

/// Snapshots that are copies need no support of the file system; profiles of AppArmor and changes of
/// the OOM score would need more of the machine than a test should.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    let image = image::NAME;
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{dir}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
disable_apparmor = true
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{dir}/bin"
conf_dir = "{dir}/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{dir}/runc"
SystemdCgroup = false
"#
    )
}
