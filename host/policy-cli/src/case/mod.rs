//! Cases: a pod, its surroundings, and what a policy should do.

mod format;
mod read;
mod resolved;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value};

pub(crate) use format::{Expect, ExpectedFinding, Verdict};
pub(crate) use read::{Error, read};

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
    /// The node at the beginning.
    pub(crate) surroundings: Surroundings,
    /// What delegates answer, by network.
    pub(crate) answers: BTreeMap<String, Answer>,
    /// Denial codes that the suite should reach.
    pub(crate) codes: BTreeSet<u32>,
    /// The requests, in order.
    pub(crate) steps: Vec<Step>,
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
