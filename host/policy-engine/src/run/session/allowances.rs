//! What policies may still report and log in one request, even if their instances fail.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::report::Finding;
use crate::wasm::instance::Instance;
use crate::wasm::store::LogBudget;

/// The remaining allowance of each policy, by index in the generation.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    /// Findings reported so far.
    findings: BTreeMap<usize, usize>,
    /// Remaining log budgets of failed instances.
    logs: BTreeMap<usize, LogBudget>,
    /// The engine's own messages on each policy.
    said: Mutex<BTreeMap<Arc<str>, usize>>,
}

/// How often the engine logs and reports that one policy fails, or would deny, in one request.
const MAX_SAID: usize = 8;

/// Whether the engine still logs and reports of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    Yes,
    /// For the last time in this request.
    Last,
    No,
}

impl Allowances {
    /// Drops the findings of a hook beyond the policy's limit for the request.
    pub(super) fn cut(&mut self, index: usize, findings: &mut Vec<Finding>, limit: usize) {
        if findings.is_empty() {
            return;
        }
        let reported = self.findings.entry(index).or_default();
        findings.truncate(limit.saturating_sub(*reported));
        *reported += findings.len();
    }

    /// Counts something that the engine itself has to say of a policy.
    pub(super) fn say(&self, policy: &Arc<str>) -> Say {
        let mut said = self.said.lock();
        let said = said.entry(Arc::clone(policy)).or_default();
        *said += 1;
        match (*said).cmp(&MAX_SAID) {
            Ordering::Less => Say::Yes,
            Ordering::Equal => Say::Last,
            Ordering::Greater => Say::No,
        }
    }

    /// Saves the remaining log budget of a failed instance.
    pub(super) fn keep(&mut self, index: usize, failed: &Instance) {
        self.logs.insert(index, failed.log_budget());
    }

    /// Limits a new instance to what its failed predecessor left.
    pub(super) fn apply(&self, index: usize, instance: &mut Instance) {
        if let Some(budget) = self.logs.get(&index) {
            instance.limit_log(*budget);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::{Hook, Severity};

    #[test]
    fn the_engine_repeats_itself_a_few_times() {
        let allowances = Allowances::default();
        let say = |policy: &str| allowances.say(&policy.into());
        let said: Vec<Say> = (0..100).map(|_| say("p")).collect();
        assert_eq!(said.iter().filter(|say| **say != Say::No).count(), MAX_SAID);
        assert_eq!(said.iter().filter(|say| **say == Say::Last).count(), 1);
        assert_eq!(say("other"), Say::Yes);
    }

    #[test]
    fn findings_are_limited_over_all_hooks() {
        let finding = Finding {
            policy: "p".to_owned(),
            hook: Hook::BeforeAdd,
            severity: Severity::Info,
            code: "c".to_owned(),
            message: String::new(),
            fields: Vec::new(),
        };
        let mut allowances = Allowances::default();
        let mut left = |index| {
            let mut findings = vec![finding.clone(); 2];
            allowances.cut(index, &mut findings, 3);
            findings.len()
        };
        assert_eq!([left(0), left(0), left(0), left(1)], [2, 1, 0, 2]);
    }
}
