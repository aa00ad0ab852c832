//! podman with its CNI backend and all its state below one directory of a private node. Its
//! containers use a root directory, so they need no image.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use node::{Node, run};
use serde_json::{Value, json};

use crate::cgroups::{self, CGROUP};
use crate::error::Error;
use crate::image;

/// The network that the shim serves.
pub const NETWORK: &str = "pods";
/// libcni always stores results here, whatever podman's configuration.
const STATE: &str = "/var/lib";

/// podman on a node. It has no daemon; dropping it removes its cgroups.
#[derive(Debug)]
pub struct Podman {
    dir: PathBuf,
    rootfs: PathBuf,
}

impl Podman {
    /// Configures podman for a node whose daemon is running, with the shim as its only plugin.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Node`] when the set-up fails.
    pub fn on(node: &Node) -> Result<Self, Error> {
        let mut plugin = node.conf.clone();
        if let Some(members) = plugin.as_object_mut() {
            members.remove("name");
            members.remove("cniVersion");
        }
        let network = json!({ "cniVersion": "1.0.0", "name": NETWORK, "plugins": [plugin] });
        Self::with_network(node, &network)
    }

    /// Configures podman with a custom conflist for [`NETWORK`].
    ///
    /// # Errors
    /// See [`on`](Self::on).
    pub fn with_network(node: &Node, network: &Value) -> Result<Self, Error> {
        let dir = node.path("podman");
        for name in ["bin", "net.d"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(Error::file(path))?;
        }
        let shim = dir.join("bin/cnidaria-shim");
        symlink(node.binaries().shim()?, &shim).map_err(Error::file(&shim))?;
        for (name, text) in [
            ("net.d/10-pods.conflist", network.to_string()),
            ("containers.conf", configuration(&dir)),
            ("storage.conf", storage(&dir)),
        ] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::file(&path))?;
        }
        // The node has its own mount table.
        run("mount", &["-t", "tmpfs", "tmpfs", STATE])?;
        let rootfs = image::root_directory(&dir)?;
        for name in ["dev", "proc", "sys", "etc", "run", "tmp"] {
            let path = rootfs.join(name);
            fs::create_dir_all(&path).map_err(Error::file(path))?;
        }
        Ok(Self { dir, rootfs })
    }

    /// Starts a container that sleeps; returns its id. `verb` is `run` or `create`.
    ///
    /// # Errors
    /// See [`podman`](Self::podman).
    pub fn sleep(&self, verb: &str, options: &[&str]) -> Result<String, Error> {
        let rootfs = self.rootfs.display().to_string();
        let mut arguments = vec![verb, "--cgroup-parent", CGROUP, "--network", NETWORK];
        if verb == "run" {
            arguments.push("--detach");
        }
        arguments.extend(options);
        arguments.extend(["--rootfs", &rootfs, "/bin/sleep", "100000"]);
        self.podman(&arguments)
    }

    /// The name of a running container's namespace in `/run/netns`.
    ///
    /// # Errors
    /// See [`podman`](Self::podman).
    pub fn netns(&self, container: &str) -> Result<String, Error> {
        let format = "{{.NetworkSettings.SandboxKey}}";
        let path = self.podman(&["inspect", "--format", format, container])?;
        let name = Path::new(&path).file_name().unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    }

    /// Executes podman; returns its output.
    ///
    /// # Errors
    /// [`Error::Start`] when it is not installed, [`Error::Podman`] when it fails.
    pub fn podman(&self, arguments: &[&str]) -> Result<String, Error> {
        let output = Command::new("podman")
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"))
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Start {
                program: "podman",
                source,
            })?;
        if !output.status.success() {
            return Err(Error::Podman {
                command: arguments.join(" "),
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.podman(&["rm", "--all", "--force", "--time", "0"]);
        cgroups::remove(CGROUP);
    }
}

/// Uses file locks: shared memory is the whole machine's.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"[network]
network_backend = "cni"
cni_plugin_dirs = ["{dir}/bin"]
network_config_dir = "{dir}/net.d"
default_network = "{NETWORK}"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
static_dir = "{dir}/libpod"
tmp_dir = "{dir}/tmp"

[containers]
apparmor_profile = "unconfined"
default_sysctls = []
log_driver = "none"
"#
    )
}

fn storage(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"[storage]
driver = "vfs"
graphroot = "{dir}/storage"
runroot = "{dir}/runroot"
"#
    )
}
