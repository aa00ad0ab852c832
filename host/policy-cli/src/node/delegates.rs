//! The delegates of a simulated node: they answer what the case says, or a plausible result.

use std::path::PathBuf;

use async_trait::async_trait;
use cni_types::conf::NetworkConfList;
use cni_types::error::CniError;
use cni_types::result::CniResult;
use cni_types::version::{ConfVersion, Version};
use cnidaria_core::domain::entry::{Entry, FailedAdd};
use cnidaria_core::ports::{Attached, DelegateError, Delegates, Wanted};
use serde_json::{Map, Value, json};

use super::{DEFAULT_NETWORK, World};
use crate::manifests::Objects;
use crate::suggest;

/// The key of an answer for every network without one of its own.
pub(crate) const ANY: &str = "*";

/// Members of a CNI result.
const RESULT: [&str; 5] = ["cniVersion", "interfaces", "ips", "routes", "dns"];

/// What the delegates of a network answer to ADD.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Members of the result; the others have plausible values.
    Result(Map<String, Value>),
    /// An error.
    Error { code: u32, message: String },
}

impl Answer {
    /// Checks that the answer is a CNI result, whatever the interface's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Result(members) => {
                let mut names = members.keys();
                if let Some(member) = names.find(|key| !RESULT.contains(&key.as_str())) {
                    let hint = suggest::hint(member, &RESULT);
                    return Err(format!("unknown member {member:?}; {hint}"));
                }
                result("eth0", members.clone(), &[]).map(drop)
            }
            Self::Error { .. } => Ok(()),
        }
    }
}

/// The network that the key of an answer is probably a misspelling of. Names of interfaces are not
/// networks.
pub(crate) fn misspelt(network: &str, objects: &Objects) -> Option<String> {
    let number = |prefix| network.strip_prefix(prefix)?.parse::<u16>().ok();
    let is_interface = number("eth").or_else(|| number("net")).is_some();
    if network == DEFAULT_NETWORK || is_interface {
        return None;
    }
    let nads = objects.nads().iter();
    let known: Vec<String> = nads
        .flat_map(|nad| [nad.name.clone(), format!("{}/{}", nad.namespace, nad.name)])
        .collect();
    if known.iter().any(|known| known == network) {
        return None;
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    suggest::similar(network, &known).map(str::to_owned)
}

/// A result in which the members that are not given have plausible values.
fn result(if_name: &str, given: Map<String, Value>, ips: &[String]) -> Result<CniResult, String> {
    let addresses: Vec<Value> = match ips {
        [] => vec![json!({"address": "192.0.2.2/24", "interface": 0})],
        ips => ips
            .iter()
            .map(|ip| json!({"address": with_prefix(ip), "interface": 0}))
            .collect(),
    };
    let mut members = Map::new();
    members.insert("cniVersion".to_owned(), json!("1.0.0"));
    members.insert(
        "interfaces".to_owned(),
        json!([{"name": if_name, "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/simulated"}]),
    );
    members.insert("ips".to_owned(), Value::Array(addresses));
    members.extend(given);
    let text = Value::Object(members).to_string();
    CniResult::parse(text.as_bytes(), ConfVersion::from(Version::V1_0_0))
        .map_err(|error| error.to_string())
}

fn with_prefix(ip: &str) -> String {
    match (ip.contains('/'), ip.contains(':')) {
        (true, _) => ip.to_owned(),
        (false, true) => format!("{ip}/64"),
        (false, false) => format!("{ip}/24"),
    }
}

#[async_trait]
impl Delegates for World {
    async fn add(
        &self,
        _: &[PathBuf],
        entry: &Entry,
        _: Wanted,
    ) -> Result<CniResult, DelegateError> {
        let answer = self.answer(entry);
        let failed = |error: CniError| DelegateError {
            network: entry.network.clone(),
            error,
            executed: true,
            timed_out: false,
            failed_at: Some(FailedAdd {
                plugin: 0,
                refused: true,
                started: true,
                so_far: None,
                unfinished: false,
            }),
        };
        let members = match answer {
            Some(Answer::Error { code, message }) => {
                return Err(failed(CniError::new(code, message)));
            }
            Some(Answer::Result(members)) => members,
            None => Map::new(),
        };
        let ips: Vec<String> = entry
            .capability_args
            .get_as("ips")
            .ok()
            .flatten()
            .unwrap_or_default();
        result(entry.if_name.as_str(), members, &ips).map_err(|reason| {
            failed(CniError::new(
                6,
                format!("the answer is not a CNI result: {reason}"),
            ))
        })
    }

    async fn check(&self, _: &[PathBuf], _: &Entry) -> Result<(), DelegateError> {
        Ok(())
    }

    async fn status(&self, _: &[PathBuf], _: &NetworkConfList) -> Result<(), DelegateError> {
        Ok(())
    }

    async fn gc(
        &self,
        _: &[PathBuf],
        _: &NetworkConfList,
        _: &[Attached],
    ) -> Result<(), Vec<DelegateError>> {
        Ok(())
    }

    async fn del(&self, _: &[PathBuf], _: &Entry) -> Result<Vec<DelegateError>, DelegateError> {
        Ok(Vec::new())
    }
}

impl World {
    /// The answer for an attachment: by interface, `namespace/name`, name, or for any network.
    fn answer(&self, entry: &Entry) -> Option<Answer> {
        let answers = self.answers.lock();
        let name = entry.network.rsplit('/').next().unwrap_or_default();
        let keys = [entry.if_name.as_str(), &entry.network, name, ANY];
        keys.into_iter().find_map(|key| answers.get(key).cloned())
    }
}
