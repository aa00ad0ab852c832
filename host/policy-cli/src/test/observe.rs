//! The outcome of a request, in the terms of an expectation.

use std::collections::BTreeMap;

use cni_types::error::chain;
use cni_types::version::Version;
use policy_engine::{Finding, Severity};
use serde_json::{Map, Value};

use crate::case::{self, Verdict};
use crate::node::{Answered, Node, PolicyEvent, RuntimeCall, Verb};

/// The outcome of a request.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) verdict: Option<Verdict>,
    pub(super) code: Option<u32>,
    pub(super) hook: Option<&'static str>,
    pub(super) cause: Option<&'static str>,
    pub(super) message: Option<String>,
    pub(super) attachments: Vec<Attached>,
    /// By interface or hook, then by JSON pointer.
    pub(super) edits: BTreeMap<String, BTreeMap<String, Value>>,
    pub(super) result: Option<Value>,
    /// The elements of network-status by interface.
    pub(super) status: BTreeMap<String, Map<String, Value>>,
    pub(super) findings: Vec<Finding>,
    pub(super) log: Vec<String>,
    pub(super) state: BTreeMap<String, String>,
}

/// An attachment as its delegates got it.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) if_name: String,
    pub(super) network: String,
    pub(super) conf: Value,
    pub(super) arguments: Value,
}

impl Observed {
    /// The outcome if the policy does not load.
    pub(super) fn refused(reason: &str) -> Self {
        Self {
            verdict: Some(Verdict::Refused),
            message: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    /// The outcome of `request`.
    pub(super) fn of(request: &RuntimeCall, answered: &Answered, node: &Node<'_>) -> Self {
        let mut observed = Self::default();
        observed.judge(answered);
        observed.note(&answered.events);
        if let RuntimeCall::Pod {
            container,
            namespace,
            name,
            ..
        } = request
        {
            observed.attachments = node
                .entries(container)
                .into_iter()
                .map(|entry| Attached {
                    if_name: entry.if_name.to_string(),
                    network: entry.network.clone(),
                    conf: parsed(entry.conf.text()),
                    arguments: parsed(&entry.capability_args.to_text()),
                })
                .collect();
            let status = node.status(namespace, name).unwrap_or_default();
            let elements: Vec<Map<String, Value>> =
                serde_json::from_str(&status).unwrap_or_default();
            for element in elements {
                if let Some(Value::String(interface)) = element.get("interface") {
                    observed.status.insert(interface.clone(), element);
                }
            }
        }
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        observed.state = node
            .state()
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect();
        observed
    }

    fn judge(&mut self, answered: &Answered) {
        self.verdict = Some(match (&answered.result, answered.denial()) {
            (Ok(result), _) => {
                let json = |result: &cni_types::result::CniResult| {
                    let version = result.cni_version;
                    result
                        .to_json(version)
                        .or_else(|_| result.to_json(Version::V1_0_0))
                };
                let text = result.as_ref().and_then(|result| json(result).ok());
                self.result = text.map(|text| parsed(&text));
                Verdict::Accept
            }
            (Err(_), Some(denial)) => {
                self.code = Some(denial.code);
                self.hook = Some(denial.hook.as_str());
                self.cause = Some(denial.cause.as_str());
                self.message = Some(denial.message.clone());
                Verdict::Deny
            }
            (Err(error), None) => {
                self.message = Some(chain(error));
                Verdict::Fail
            }
        });
    }

    fn note(&mut self, events: &[PolicyEvent]) {
        for event in events {
            match event {
                PolicyEvent::Edited {
                    hook,
                    if_name,
                    edits,
                } => {
                    let key = if_name.clone().unwrap_or_else(|| hook.to_string());
                    let own = self.edits.entry(key).or_default();
                    for edit in edits {
                        let value = edit.value.clone().unwrap_or_default();
                        own.insert(edit.path.clone(), value);
                    }
                }
                PolicyEvent::Finding(found) => self.findings.push(found.clone()),
                PolicyEvent::Logged { level, line } => {
                    self.log.push(format!("{}: {line}", level.as_str()));
                }
                PolicyEvent::Called { .. } | PolicyEvent::Denied(_) | PolicyEvent::Used(_) => {}
            }
        }
    }
}

/// A request for the title of a difference.
pub(super) fn describe(request: &RuntimeCall) -> String {
    match request {
        RuntimeCall::Pod {
            verb, container, ..
        } => {
            let verb = match verb {
                Verb::Add => "ADD",
                Verb::Check => "CHECK",
                Verb::Del => "DEL",
            };
            format!("{verb} {container}")
        }
        RuntimeCall::Gc(_) => "GC".to_owned(),
        RuntimeCall::Status => "STATUS".to_owned(),
    }
}

/// The severity in the terms of an expectation.
pub(super) fn severity(finding: &Finding) -> case::Severity {
    match finding.severity {
        Severity::Info => case::Severity::Info,
        Severity::Warning => case::Severity::Warning,
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
