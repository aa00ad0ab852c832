//! One execution of the shim, as containerd does it: `CNI_*` in the environment, the conf on
//! standard input. Cases with bad input can change every variable and byte.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::Error;
use crate::pod::Sandbox;

/// A call, not yet made.
#[derive(Debug, Clone)]
pub struct Call {
    /// The binary to execute.
    pub shim: PathBuf,
    /// The `CNI_*` variables.
    pub variables: BTreeMap<String, String>,
    /// Standard input.
    pub stdin: Vec<u8>,
}

/// What the shim answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Exit code; `None` when a signal killed it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Time from start to exit.
    pub took: Duration,
}

impl Call {
    /// The call that containerd makes for a sandbox. `plugins` are the directories of `CNI_PATH`.
    pub fn new(shim: PathBuf, command: &str, sandbox: &Sandbox, plugins: &str) -> Self {
        let pod = &sandbox.pod;
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
            pod.namespace, pod.name, sandbox.container_id, pod.uid
        );
        let variables = [
            ("CNI_COMMAND", command.to_owned()),
            ("CNI_CONTAINERID", sandbox.container_id.clone()),
            ("CNI_NETNS", sandbox.netns().display().to_string()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_PATH", plugins.to_owned()),
            ("CNI_ARGS", arguments),
        ];
        Self {
            shim,
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            stdin: Vec::new(),
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Sets standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Executes the shim and waits for it to exit.
    ///
    /// # Errors
    /// [`Error::Start`] when it cannot be started.
    pub fn make(&self) -> Result<Answer, Error> {
        let program = self.shim.display().to_string();
        let start_error = |source| Error::Start {
            program: program.clone(),
            source,
        };
        let start = Instant::now();
        let mut child = Command::new(&self.shim)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(&self.variables)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start_error)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A shim that rejects the environment may exit without reading its input.
            let _ = stdin.write_all(&self.stdin);
        }
        let output = child.wait_with_output().map_err(start_error)?;
        Ok(Answer {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: start.elapsed(),
        })
    }
}

impl Answer {
    /// Whether the call succeeded.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as JSON.
    ///
    /// # Errors
    /// [`Error::Json`] when it is not JSON.
    pub fn json(&self) -> Result<Value, Error> {
        serde_json::from_str(&self.stdout).map_err(|source| Error::Json {
            what: "standard output of the shim".to_owned(),
            text: self.stdout.clone(),
            source,
        })
    }
}
