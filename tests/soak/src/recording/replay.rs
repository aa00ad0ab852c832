//! A replay of the recording, and what it has to say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use node::Node;
use serde_json::{Value, json};

use crate::Error;

/// What a replay says.
#[derive(Debug)]
pub(crate) struct Replay {
    code: Option<i32>,
    said: Value,
}

/// Replays a recording through the module of the recorded policy with these settings.
pub(crate) fn replay(node: &Node, recording: &Path, settings: &Value) -> Result<Replay, Error> {
    let config = json!({ "settings": settings }).to_string();
    let config = node.write("10-mtu.json", config)?;
    let program = node.binaries().command_line()?;
    let output = Command::new(&program)
        .args(["--output", "json", "policy", "replay"])
        .arg(recording)
        .arg("--module")
        .arg(node.binaries().policy("annotation-mtu")?)
        .arg("--config")
        .arg(config)
        .output()
        .map_err(|source| node::Error::Start {
            program: program.display().to_string(),
            source,
        })?;
    let said = serde_json::from_slice(&output.stdout).map_err(|error| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Error::Wrong(format!("the replay does not print JSON: {error}: {stderr}"))
    })?;
    Ok(Replay {
        code: output.status.code(),
        said,
    })
}

impl Replay {
    /// Checks that all recorded requests were compared, and none differs.
    pub(crate) fn expect_no_difference(&self, recorded: u64) -> Result<(), Error> {
        let said = &self.said;
        let is_whole = said["requests"] == recorded
            && said["skippedBytes"] == 0
            && said["notCompared"] == json!({})
            && said["missing"] == json!({});
        match self.code == Some(0) && said["differenceCount"] == 0 && is_whole {
            true => Ok(()),
            false => Err(self.wrong(&format!(
                "expected {recorded} requests without a difference"
            ))),
        }
    }

    /// Checks that exactly these ADDs are denied, by container id, and nothing else differs.
    pub(crate) fn expect_denials(&self, expected: &BTreeMap<String, usize>) -> Result<(), Error> {
        let mut denials: BTreeMap<String, usize> = BTreeMap::new();
        for difference in self.said["differences"].as_array().into_iter().flatten() {
            let is_known = match difference["field"].as_str() {
                Some("verdict") => {
                    let container = difference["containerId"].as_str().unwrap_or_default();
                    *denials.entry(container.to_owned()).or_default() += 1;
                    difference["old"] == "accept" && difference["new"] == "deny 111"
                }
                Some("message") => difference["old"].is_null(),
                Some("/conf/mtu") => difference["old"] == "1337" && difference["new"].is_null(),
                _ => false,
            };
            if !is_known || difference["hook"] != "before-add" || difference["interface"] != "net1"
            {
                return Err(self.wrong(&format!("unexpected difference: {difference}")));
            }
        }
        let all: usize = expected.values().sum();
        match self.code == Some(3) && denials == *expected && self.said["changed"] == all {
            true => Ok(()),
            false => Err(self.wrong(&format!("expected denials {expected:?}, found {denials:?}"))),
        }
    }

    fn wrong(&self, what: &str) -> Error {
        Error::Wrong(format!("{what}\nexit code {:?}, {self}", self.code))
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = &self.said;
        write!(
            f,
            "{} of {} requests would change, replayed in {:.2} s",
            said["changed"],
            said["requests"],
            said["seconds"].as_f64().unwrap_or_default()
        )?;
        for key in ["notCompared", "missing"] {
            if said[key] != json!({}) {
                write!(f, "; {key}: {}", said[key])?;
            }
        }
        Ok(())
    }
}
