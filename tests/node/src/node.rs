//! The node: its directories, networks, pods and daemon. It lives below `/run`, which is empty and
//! private on a node created by `tests/node/enter`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::binaries::Binaries;
use crate::call::Call;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::hotplug;
use crate::pod::{Pod, Sandbox};
use crate::program::run;

/// Where Debian installs the reference plugins; `CNI_BIN_DIR` overrides it.
const PLUGINS: &str = "/usr/lib/cni";

/// A node with one daemon. Dropping it undoes nothing: the namespaces take care of that.
#[derive(Debug)]
pub struct Node {
    root: PathBuf,
    binaries: Binaries,
    /// The daemon's configuration; change it before [`Node::start_daemon`].
    pub config: Value,
    /// The conf that the runtime passes to the shim.
    pub conf: Value,
    /// The daemon's environment variables, besides `PATH`.
    pub environment: BTreeMap<String, String>,
    daemon: Option<Daemon>,
    /// The daemon of another build.
    other_daemon: Option<PathBuf>,
}

impl Node {
    /// Creates the directories. Called once on a private node.
    ///
    /// # Errors
    /// [`Error::File`] when a directory cannot be created.
    pub fn new() -> Result<Self, Error> {
        let root = PathBuf::from("/run/node");
        let binaries = Binaries::of_this_build()?;
        let plugins = std::env::var("CNI_BIN_DIR").unwrap_or_else(|_| PLUGINS.to_owned());
        let config = json!({
            "cniVersion": "1.0.0",
            "socketDir": root.join("multus"),
            "binDir": plugins,
            "cniDir": root.join("ledger"),
            "logLevel": "verbose",
            "logToStderr": true,
            "cnidaria": {
                "manifests": root.join("manifests"),
                "statusDir": root.join("status"),
                "logFormat": "json",
            },
        });
        let conf = json!({
            "cniVersion": "1.0.0",
            "name": "multus-cni-network",
            "type": "cnidaria-shim",
            "clusterNetwork": root.join("net.d/10-default.conflist"),
            "daemonSocketDir": root.join("multus"),
            "cniDir": root.join("ledger"),
        });
        let node = Self {
            root,
            binaries,
            config,
            conf,
            environment: BTreeMap::new(),
            daemon: None,
            other_daemon: None,
        };
        for name in ["manifests", "status", "ledger", "ipam", "net.d", "policies"] {
            let path = node.path(name);
            fs::create_dir_all(&path).map_err(Error::file(path))?;
        }
        Ok(node)
    }

    /// A path below the node's own directory. `ipam` holds host-local's data, `ledger` is `cniDir`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The binaries that this node runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The directories in which the daemon looks for delegates.
    pub fn plugins(&self) -> String {
        let directory = self.config.get("binDir").and_then(Value::as_str);
        directory.unwrap_or(PLUGINS).to_owned()
    }

    pub(crate) fn set_plugins(&mut self, directory: &Path) {
        if let Some(value) = self.config.get_mut("binDir") {
            *value = json!(directory);
        }
    }

    /// Writes a file below the node's own directory, creating parent directories as needed.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
        let path = self.path(name);
        let directory = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&path, text))
            .map_err(Error::file(&path))?;
        Ok(path)
    }

    /// Writes the default network's conflist.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn set_default_network(&self, conf: &Value) -> Result<(), Error> {
        self.write("net.d/10-default.conflist", pretty(conf))?;
        Ok(())
    }

    /// Adds a NAD with this conf.
    ///
    /// # Errors
    /// [`Error::File`] when the manifest cannot be written.
    pub fn add_network(&self, namespace: &str, name: &str, conf: &Value) -> Result<(), Error> {
        self.add_raw_network(namespace, name, &conf.to_string())
    }

    /// Adds a NAD whose conf may be any text.
    ///
    /// # Errors
    /// [`Error::File`] when the manifest cannot be written.
    pub fn add_raw_network(&self, namespace: &str, name: &str, conf: &str) -> Result<(), Error> {
        let manifest = json!({
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "config": conf },
        });
        self.write(
            &format!("manifests/nad-{namespace}-{name}.json"),
            pretty(&manifest),
        )?;
        Ok(())
    }

    /// Adds a pod and creates its sandbox, as a runtime would.
    ///
    /// # Errors
    /// [`Error::File`] for the manifest, [`Error::Failed`] for the namespace.
    pub fn add_pod(&self, pod: Pod) -> Result<Sandbox, Error> {
        let name = format!("{}-{}", pod.namespace, pod.name);
        self.write(
            &format!("manifests/pod-{name}.json"),
            pretty(&pod.manifest()),
        )?;
        run("ip", &["netns", "add", &name])?;
        run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        Ok(Sandbox {
            container_id: format!("sandbox-{name}"),
            netns_name: name,
            pod,
        })
    }

    /// Adds a policy under a name such as `10-guard`: a module of this build and its configuration.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] for a missing module, [`Error::File`] when it cannot be copied.
    pub fn add_policy(&mut self, name: &str, module: &str, config: &Value) -> Result<(), Error> {
        let built = self.binaries.policy(module)?;
        let bytes = fs::read(&built).map_err(Error::file(built))?;
        self.add_module(name, &bytes, config)
    }

    /// Adds a policy whose module may be any bytes.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn add_module(&mut self, name: &str, bytes: &[u8], config: &Value) -> Result<(), Error> {
        self.write(&format!("policies/{name}.wasm"), bytes)?;
        self.write(&format!("policies/{name}.json"), pretty(config))?;
        let policies = json!({
            "modules": self.path("policies"),
            "cache": self.path("policy-cache"),
            "compiler": self.binaries.command_line()?,
        });
        if let Some(Value::Object(own)) = self.config.get_mut("cnidaria") {
            own.insert("policies".to_owned(), policies);
        }
        Ok(())
    }

    /// Runs the command line against this node's daemon; returns its output.
    ///
    /// # Errors
    /// [`Error::Failed`] with the command's error output.
    pub fn command_line(&self, arguments: &[&str]) -> Result<String, Error> {
        let program = self.binaries.command_line()?.display().to_string();
        let directory = self.socket_dir().display().to_string();
        let mut all = vec!["--socket-dir", directory.as_str()];
        all.extend(arguments);
        run(&program, &all)
    }

    /// A pod's network-status, as the daemon wrote it.
    ///
    /// # Errors
    /// [`Error::File`] when it is missing, [`Error::Json`] when it is malformed.
    pub fn network_status(&self, pod: &Pod) -> Result<Value, Error> {
        let path = self.path(&format!("status/{}/{}.json", pod.namespace, pod.name));
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let mut status: Value = serde_json::from_str(&text).map_err(|source| Error::Json {
            what: path.display().to_string(),
            text,
            source,
        })?;
        let networks = status.get_mut("network-status").map(Value::take);
        Ok(networks.unwrap_or_default())
    }

    /// Starts this binary from now on, such as the daemon of another version.
    pub fn use_daemon(&mut self, program: PathBuf) {
        self.other_daemon = Some(program);
    }

    /// Starts the daemon with [`Node::config`] and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::NotBuilt`], [`Error::Start`], [`Error::Running`] or, with the end of its log,
    /// [`Error::Daemon`].
    pub fn start_daemon(&mut self) -> Result<(), Error> {
        // A running daemon would answer for a second one, which cannot take over the socket.
        if self.daemon.is_some() {
            return Err(Error::Running);
        }
        let config = self.write("daemon-config.json", pretty(&self.config))?;
        let program = match &self.other_daemon {
            Some(program) => program.clone(),
            None => self.binaries.daemon()?,
        };
        self.daemon = Some(Daemon::start(
            Command::new(program)
                .arg("--config")
                .arg(&config)
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .envs(&self.environment),
            self.socket_dir().join("multus.sock"),
            self.log_path(),
        )?);
        Ok(())
    }

    /// The HTTP status of the daemon's `/healthz`.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] when it is not running, [`Error::File`] when it does not respond.
    pub fn health(&self) -> Result<u16, Error> {
        let daemon = self.daemon.as_ref().ok_or(Error::NoDaemon)?;
        let answer = daemon.health();
        answer.map_err(Error::file(self.socket_dir().join("multus.sock")))
    }

    /// The daemon's process id.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] when it is not running.
    pub fn daemon_pid(&self) -> Result<u32, Error> {
        self.daemon.as_ref().map(Daemon::pid).ok_or(Error::NoDaemon)
    }

    /// Stops the daemon with SIGTERM and waits for it.
    ///
    /// # Errors
    /// [`Error::Daemon`] when it does not exit with code 0.
    pub fn stop_daemon(&mut self) -> Result<(), Error> {
        self.daemon.take().ok_or(Error::NoDaemon)?.stop()
    }

    /// Kills the daemon with SIGKILL.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] when it is not running.
    pub fn kill_daemon(&mut self) -> Result<(), Error> {
        self.daemon.take().ok_or(Error::NoDaemon)?.kill()
    }

    /// Everything that the node's daemons have written to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.path("daemon.log")
    }

    fn socket_dir(&self) -> &Path {
        let directory = self.config.get("socketDir").and_then(Value::as_str);
        Path::new(directory.unwrap_or_default())
    }

    /// A shim call for a sandbox, with [`Node::conf`] on standard input.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] when the shim is missing.
    pub fn call(&self, command: &str, sandbox: &Sandbox) -> Result<Call, Error> {
        let call = Call::new(self.binaries.shim()?, command, sandbox, &self.plugins());
        Ok(call.stdin(self.conf.to_string()))
    }

    /// Asks the daemon to attach a network of this conf to a running sandbox, or to detach it.
    /// Returns the response's status and body.
    ///
    /// # Errors
    /// [`Error::File`] when the daemon does not listen, [`Error::NotBuilt`].
    pub fn plug(
        &self,
        command: &str,
        sandbox: &Sandbox,
        if_name: &str,
        conf: &Value,
    ) -> Result<(u16, String), Error> {
        let call = self.call(command, sandbox)?.with("CNI_IFNAME", if_name);
        hotplug::post(&self.socket_dir().join("multus.sock"), &call, conf)
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
