//! Cases: a pod, its surroundings, and what a policy should do.

mod answers;
mod clock;
mod expect;
mod format;
mod mistake;
mod read;
mod resolved;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use policy_engine::trial::Fault;
use serde_json::{Map, Value};

pub(crate) use expect::{Expect, ExpectedFinding, Pointers, Severity, Verdict};
pub(crate) use mistake::Error;
pub(crate) use read::read;

use crate::manifests;
use crate::node::{Answer, RuntimeCall, Surroundings};

/// One case, ready to run.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name, or the place of its document.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    /// The line on which its document begins.
    pub(crate) line: u64,
    /// Keys of the policy's configuration that the case replaces.
    pub(crate) config: Map<String, Value>,
    /// `:line:column` of those keys.
    pub(crate) config_places: BTreeMap<String, String>,
    /// The node at the beginning.
    pub(crate) surroundings: Surroundings,
    /// What delegates answer, by network.
    pub(crate) answers: BTreeMap<String, Answer>,
    /// Denial codes that the suite should reach.
    pub(crate) codes: BTreeSet<u32>,
    /// The requests, in order.
    pub(crate) steps: Vec<Step>,
}

impl Case {
    /// Whether a step expects that the policy does not load.
    pub(crate) fn expects_refusal(&self) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|step| step.expect.verdict == Some(Verdict::Refused))
    }

    /// The mistake that an expectation is if the module lacks its hook.
    pub(crate) fn lacks(&self, hooks: &[&str]) -> Option<Error> {
        let expected = self
            .steps
            .iter()
            .filter_map(|step| step.expect.hook.as_ref());
        let mut absent = expected.filter(|hook| !hooks.contains(&hook.value.as_str()));
        absent.next().map(|hook| Error::Mistake {
            path: self.file.clone(),
            at: manifests::place(Some(hook.referenced)),
            reason: format!(
                "expect.hook: the module does not have the hook {:?}; it has {}",
                hook.value,
                hooks.join(", ")
            ),
        })
    }

    /// What a policy's refusal of the case's settings is about, with its place.
    pub(crate) fn refusal(&self, fault: &Fault) -> Option<String> {
        let is_of_settings = fault.key.trim_start_matches('/').starts_with("settings");
        let place = self
            .config_places
            .get("settings")
            .filter(|_| is_of_settings)?;
        Some(format!("{}{place}  {fault}", self.file.display()))
    }

    /// The mistake that a fault of the configuration is: only the case's own keys can have one.
    pub(crate) fn mistake(&self, fault: &Fault) -> Error {
        let key = fault.key.split(['.', '[']).next().unwrap_or_default();
        let place = self.config_places.get(key).cloned();
        Error::Mistake {
            path: self.file.clone(),
            at: place.unwrap_or_else(|| format!(":{}:1", self.line)),
            reason: format!("config.{fault}"),
        }
    }
}

/// One request of a case.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) request: RuntimeCall,
    /// What delegates answer from this step on; `None` if that does not change.
    pub(crate) answers: Option<BTreeMap<String, Answer>>,
    /// The time from this step on, in milliseconds since 1970.
    pub(crate) clock: Option<u64>,
    /// The expected outcome.
    pub(crate) expect: Expect,
}
