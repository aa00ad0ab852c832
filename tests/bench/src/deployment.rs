//! Our own daemon, installed in its own directory and started as often as needed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use node::Binaries;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::error::Error;
use crate::manifests::{NODE_NAME, NOOP, network};
use crate::target::{Target, is_ready};

/// Time limit for a start or a stop.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_micros(250);

/// The benchmark's directory on the private node.
const ROOT: &str = "/run/bench";
const NETNS: &str = "bench";

/// What all deployments share: delegates, a network namespace, the binaries.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) binaries: Binaries,
    pub(crate) noop: PathBuf,
    plugins: PathBuf,
}

/// A directory with a daemon configuration.
#[derive(Debug)]
pub(crate) struct Deployment {
    root: PathBuf,
    site: Site,
    config: Value,
}

/// A running daemon, stopped on drop.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) target: Target,
    /// Time from start until it was ready and had its policies.
    pub(crate) ready_after: Duration,
}

impl Site {
    /// Prepares a private node.
    ///
    /// # Errors
    /// [`Error`] when a binary is missing or a namespace cannot be created.
    pub(crate) fn new() -> Result<Self, Error> {
        let binaries = Binaries::of_this_build()?;
        let noop = binaries.target().join("shim/cnidaria-fake-delegate");
        let plugins = Path::new(ROOT).join("bin");
        fs::create_dir_all(&plugins).map_err(Error::file(&plugins))?;
        let link = |from: &Path, name: &str| {
            let to = plugins.join(name);
            symlink(from, &to).map_err(Error::file(to))
        };
        link(&noop, NOOP)?;
        let reference = std::env::var("CNI_BIN_DIR").unwrap_or_else(|_| "/usr/lib/cni".to_owned());
        for name in ["bridge", "host-local"] {
            link(&Path::new(&reference).join(name), name)?;
        }
        node::run("ip", &["netns", "add", NETNS])?;
        node::run("ip", &["-n", NETNS, "link", "set", "lo", "up"])?;
        Ok(Self {
            binaries,
            noop,
            plugins,
        })
    }

    pub(crate) fn netns(&self) -> String {
        format!("/run/netns/{NETNS}")
    }

    pub(crate) fn plugins(&self) -> String {
        self.plugins.display().to_string()
    }

    /// Creates a daemon's directory, with the no-op delegate as default network and no manifests.
    pub(crate) fn deployment(&self, name: &str) -> Result<Deployment, Error> {
        let root = Path::new(ROOT).join(name);
        let config = json!({
            "cniVersion": "1.0.0",
            "socketDir": root.join("multus"),
            "binDir": self.plugins,
            "cniDir": root.join("ledger"),
            "logToStderr": true,
            "cnidaria": {
                "manifests": root.join("manifests"),
                "statusDir": root.join("status"),
            },
        });
        let deployment = Deployment {
            root,
            site: self.clone(),
            config,
        };
        for name in ["manifests", "net.d", "ledger"] {
            let path = deployment.path(name);
            fs::create_dir_all(&path).map_err(Error::file(path))?;
        }
        let default = network("cluster", NOOP);
        let conf = default.pointer("/spec/config").and_then(Value::as_str);
        deployment.write("net.d/10-default.conf", conf.unwrap_or_default())?;
        Ok(deployment)
    }
}

impl Deployment {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<(), Error> {
        let path = self.path(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        fs::write(&path, text).map_err(Error::file(path))
    }

    /// Adds manifests, one file per object as people write them.
    pub(crate) fn add(&self, objects: &[Value]) -> Result<(), Error> {
        for (number, object) in objects.iter().enumerate() {
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
            let kind = text("/kind").unwrap_or_default();
            let name = text("/metadata/name").unwrap_or_default();
            let file = format!("manifests/{kind}-{number}-{name}.json");
            self.write(&file, object.to_string())?;
        }
        Ok(())
    }

    /// Adds `count` copies of one of this build's policies.
    pub(crate) fn add_policies(&mut self, module: &str, count: usize) -> Result<(), Error> {
        let built = self.site.binaries.policy(module)?;
        self.add_modules(&built, count)
    }

    /// Adds `count` policies of one module, with the configuration beside it, if any. Each copy
    /// contains its number, so that all are compiled, cached and mapped as if unrelated.
    pub(crate) fn add_modules(&mut self, module: &Path, count: usize) -> Result<(), Error> {
        let bytes = fs::read(module).map_err(Error::file(module))?;
        let beside = module.with_extension("json");
        let config = match fs::read(&beside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(read.map_err(Error::file(&beside))?),
        };
        for number in 0..count {
            let mut bytes = bytes.clone();
            bytes.extend(custom_section(number));
            let name = format!("policies/{:02}-copy", 10 + number);
            self.write(&format!("{name}.wasm"), &bytes)?;
            if let Some(config) = &config {
                self.write(&format!("{name}.json"), config)?;
            }
        }
        let policies = json!({
            "modules": self.path("policies"),
            "cache": self.path("policy-cache"),
            "compiler": self.site.binaries.command_line()?,
        });
        self.set("policies", policies);
        Ok(())
    }

    /// Sets one of Cnidaria's own settings.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        if let Some(Value::Object(own)) = self.config.get_mut("cnidaria") {
            own.insert(key.to_owned(), value);
        }
    }

    /// Sets a member of one of Cnidaria's own settings.
    pub(crate) fn set_of(&mut self, key: &str, member: &str, value: Value) {
        self.config["cnidaria"][key][member] = value;
    }

    /// Reads pods and networks from an API server instead of manifests.
    pub(crate) fn use_api(&mut self, kubeconfig: &Path) {
        self.config["kubeconfig"] = kubeconfig.display().to_string().into();
        self.config["cnidaria"] = json!({ "nodeName": NODE_NAME });
    }

    /// Starts the daemon and waits until it is ready and has its policies.
    pub(crate) fn start(&self) -> Result<Running, Error> {
        self.write("daemon-config.json", self.config.to_string())?;
        let conf = json!({
            "cniVersion": "1.0.0",
            "name": "multus-cni-network",
            "type": "cnidaria-shim",
            "clusterNetwork": self.path("net.d/10-default.conf"),
            "daemonSocketDir": self.path("multus"),
        });
        let binary = self.site.binaries.daemon()?;
        let log = self.path("daemon.log");
        let log_file = File::create(&log).map_err(Error::file(&log))?;
        let start = Instant::now();
        let child = Command::new(&binary)
            .arg("--config")
            .arg(self.path("daemon-config.json"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .map_err(|source| Error::Start {
                program: binary.display().to_string(),
                source,
            })?;
        let target = Target {
            socket: self.path("multus/multus.sock"),
            shim: self.site.binaries.shim()?,
            conf: conf.to_string().into_bytes(),
            netns: self.site.netns(),
            plugins: self.site.plugins(),
            knows_uids: true,
        };
        let mut running = Running {
            child,
            target,
            ready_after: Duration::ZERO,
        };
        while !is_ready(&running.target.socket) {
            let ended = running.child.try_wait().ok().flatten();
            if ended.is_some() || start.elapsed() > PATIENCE {
                return Err(Error::Failed {
                    what: "starting the daemon".to_owned(),
                    said: fs::read_to_string(&log).unwrap_or_default(),
                });
            }
            thread::sleep(POLL);
        }
        let has_policies = self.config.pointer("/cnidaria/policies").is_some();
        while has_policies && running.target.is_loading()? {
            thread::sleep(POLL);
        }
        running.ready_after = start.elapsed();
        Ok(running)
    }
}

/// A custom section, which WebAssembly engines ignore.
fn custom_section(number: usize) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    let name = b"bench";
    let number = number.to_string();
    let mut content = vec![u8::try_from(name.len()).unwrap_or_default()];
    content.extend(name);
    content.extend(number.as_bytes());
    let mut section = vec![CUSTOM, u8::try_from(content.len()).unwrap_or_default()];
    section.extend(content);
    section
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            thread::sleep(Duration::from_millis(2));
        }
    }
}
