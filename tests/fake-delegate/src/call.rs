//! The caller's input: the environment, the bytes of standard input, and the conf in them.

use std::env;
use std::io::{self, Read};

use serde_json::Value;

/// One execution of this binary.
pub(crate) struct Call {
    /// The name it was executed by, as the caller passed it.
    pub(crate) argv0: String,
    /// `CNI_COMMAND`; empty if unset.
    pub(crate) command: String,
    /// All of standard input.
    pub(crate) stdin: Vec<u8>,
    /// Standard input as JSON; `Null` if empty, which VERSION allows.
    pub(crate) conf: Value,
}

impl Call {
    /// Reads the environment and standard input.
    ///
    /// # Errors
    /// A message, when standard input cannot be read or is not JSON.
    pub(crate) fn receive() -> Result<Self, String> {
        let argv0 = env::args_os().next().unwrap_or_default();
        let mut stdin = Vec::new();
        io::stdin()
            .read_to_end(&mut stdin)
            .map_err(|source| format!("standard input cannot be read: {source}"))?;
        let conf = if stdin.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&stdin)
                .map_err(|source| format!("standard input is not JSON: {source}"))?
        };
        Ok(Self {
            argv0: argv0.to_string_lossy().into_owned(),
            command: variable("CNI_COMMAND"),
            stdin,
            conf,
        })
    }

    /// The conf's `cniVersion`; the oldest version if it is missing, as the specification says.
    pub(crate) fn cni_version(&self) -> &str {
        self.conf
            .get("cniVersion")
            .and_then(Value::as_str)
            .unwrap_or("0.1.0")
    }
}

/// An environment variable; empty if unset.
pub(crate) fn variable(name: &str) -> String {
    env::var_os(name)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
