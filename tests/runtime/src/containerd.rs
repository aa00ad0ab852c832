//! containerd with all its state below one directory of a private node: root, socket, image, CNI
//! conf and binaries.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use node::{Node, run};

use crate::cgroups::{self, CGROUP};
use crate::cri::Client;
use crate::error::Error;
use crate::image;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A running containerd. Dropping it stops it and removes its cgroups; its sandboxes end with the
/// node.
#[derive(Debug)]
pub struct Containerd {
    child: Child,
    client: Client,
    log: PathBuf,
    socket: PathBuf,
}

/// A runtime's CNI directories.
#[derive(Debug, Clone)]
pub struct Places {
    /// The plugin directory.
    pub bin: PathBuf,
    /// The conf directory.
    pub conf: PathBuf,
}

/// A container that is not part of a sandbox.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its unique name.
    pub id: String,
    /// A loaded image, with its registry.
    pub image: String,
    /// The command to execute.
    pub command: Vec<String>,
    /// Bind mounts in `ctr`'s format.
    pub mounts: Vec<String>,
    /// Variables: `NAME=value`.
    pub environment: Vec<String>,
}

/// Whether runc can work here: it needs to be root on the machine, not just in a user namespace.
pub fn is_possible() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut numbers = map.split_ascii_whitespace();
    numbers.next() == Some("0") && numbers.next() == Some("0")
}

impl Containerd {
    /// Starts containerd on a node whose daemon is running, with the shim as its only plugin, and
    /// waits until it is ready for pods.
    ///
    /// # Errors
    /// [`Error::Start`] when it is not installed, [`Error::Containerd`] when it does not become
    /// ready.
    pub fn start(node: &Node) -> Result<Self, Error> {
        let dir = node.path("containerd");
        let places = Places {
            bin: dir.join("bin"),
            conf: dir.join("net.d"),
        };
        for dir in [&places.bin, &places.conf] {
            fs::create_dir_all(dir).map_err(Error::file(dir))?;
        }
        let conf = places.conf.join("00-multus.conf");
        fs::write(&conf, node.conf.to_string()).map_err(Error::file(&conf))?;
        // containerd itself requires the loopback plugin.
        let loopback = Path::new(&node.plugins()).join("loopback");
        for (name, target) in [
            ("cnidaria-shim", node.binaries().shim()?),
            ("loopback", loopback),
        ] {
            let link = places.bin.join(name);
            symlink(target, &link).map_err(Error::file(&link))?;
        }
        Self::start_with(node, &places)
    }

    /// Starts containerd with existing plugins and confs, and waits until it is ready for pods.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn start_with(node: &Node, places: &Places) -> Result<Self, Error> {
        let dir = node.path("containerd");
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
        let config = dir.join("config.toml");
        fs::write(&config, configuration(&dir, places)).map_err(Error::file(&config))?;
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
        let mut containerd = Self {
            child,
            client,
            log,
            socket,
        };
        containerd.wait_until_ready()?;
        containerd.load(&image::make(&dir.join("image"))?)?;
        Ok(containerd)
    }

    /// Loads an image archive.
    ///
    /// # Errors
    /// With the output of `ctr`.
    pub fn load(&self, archive: &Path) -> Result<(), Error> {
        let archive = archive.display().to_string();
        self.ctr(&["images", "import", "--snapshotter", "native", &archive])?;
        Ok(())
    }

    /// Runs a container in the host's network and PID namespaces, like a DaemonSet's privileged
    /// one. Returns its output, or nothing if `detached`.
    ///
    /// # Errors
    /// With the output of `ctr` or of the container.
    pub fn run_privileged(&self, container: &Container, detached: bool) -> Result<String, Error> {
        let Container {
            id,
            image,
            command,
            mounts,
            environment,
        } = container;
        let cgroup = format!("{CGROUP}/{id}");
        let life = if detached { "--detach" } else { "--rm" };
        let mut arguments = vec![
            "run",
            life,
            "--privileged",
            "--read-only",
            "--net-host",
            "--with-ns",
            "pid:/proc/1/ns/pid",
            "--snapshotter",
            "native",
            "--cgroup",
            &cgroup,
        ];
        for mount in mounts {
            arguments.extend(["--mount", mount]);
        }
        for variable in environment {
            arguments.extend(["--env", variable]);
        }
        arguments.extend([image.as_str(), id]);
        arguments.extend(command.iter().map(String::as_str));
        self.ctr(&arguments)
    }

    /// Executes a command in a running container, as the kubelet does for a probe.
    ///
    /// # Errors
    /// With the output of the command, if it fails.
    pub fn probe(&self, id: &str, command: &[String]) -> Result<String, Error> {
        let mut arguments = vec!["tasks", "exec", "--exec-id", "probe", id];
        arguments.extend(command.iter().map(String::as_str));
        self.ctr(&arguments)
    }

    /// Removes what containerd has on disk of a sandbox that has ended. Its CRI service forgets it at
    /// the next start.
    ///
    /// # Errors
    /// With the output of `ctr`, while a task runs.
    pub fn forget(&self, sandbox: &str) -> Result<(), Error> {
        self.ctr(&["containers", "rm", sandbox])?;
        Ok(())
    }

    /// Stops a detached container with SIGTERM, as the kubelet does, and waits for it.
    ///
    /// # Errors
    /// With the output of `ctr`.
    pub fn end(&self, id: &str) -> Result<(), Error> {
        self.ctr(&["tasks", "kill", "--signal", "SIGTERM", id])?;
        let start = Instant::now();
        while let Err(error) = self.ctr(&["tasks", "rm", id]) {
            if start.elapsed() > PATIENCE {
                return Err(error);
            }
            thread::sleep(POLL);
        }
        self.ctr(&["containers", "rm", id])?;
        Ok(())
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String, Error> {
        let socket = self.socket.display().to_string();
        let mut all = vec!["--address", &socket, "--namespace", "k8s.io"];
        all.extend(arguments);
        Ok(run("ctr", &all)?)
    }

    /// A CRI client, as the kubelet has.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// containerd's standard error so far.
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
        cgroups::remove(CGROUP);
    }
}

/// Native snapshots are copies, which need no file system support; AppArmor profiles and OOM score
/// changes would require too much of the machine.
fn configuration(dir: &Path, places: &Places) -> String {
    let (dir, bin, conf) = (dir.display(), places.bin.display(), places.conf.display());
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
bin_dir = "{bin}"
conf_dir = "{conf}"

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
