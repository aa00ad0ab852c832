//! The daemon as a process of its own, on a directory.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

/// A daemon, killed on drop. Its log is the file `log` in the directory.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a daemon with the directory's `kubeconfig`, a copy of `runtime.conf` as the runtime's
/// conf if that file exists, and a further environment variable.
pub(super) fn start(dir: &Path, (name, value): (&str, &str)) -> Running {
    let runtime = dir.join("runtime.conf");
    let runtime = if runtime.exists() {
        runtime
    } else {
        Default::default()
    };
    let config = json!({
        "cniVersion": "1.0.0",
        "socketDir": dir.join("run"),
        "cniDir": dir.join("ledger"),
        "binDir": dir.join("bin"),
        "kubeconfig": dir.join("kubeconfig"),
        "multusConfigFile": runtime,
        "cniConfigDir": dir.join("net.d"),
        "clusterNetwork": dir.join("10-default.conf"),
        "logLevel": "debug",
        "logToStderr": true,
        "cnidaria": { "nodeName": "node1", "timeouts": { "podMs": 300, "statusMs": 300 } },
    });
    let file = dir.join("daemon-config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_cnidaria-daemon"))
        .arg("--config")
        .arg(file)
        .env(name, value)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Running(child)
}
