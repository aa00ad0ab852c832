//! What policies may still report and log in one request, whatever becomes of their instances.

use std::collections::BTreeMap;

use crate::call::Instance;
use crate::report::Finding;
use crate::store::LogBudget;

/// What is left to each policy, by its place in the generation.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    /// How many findings each has reported.
    findings: BTreeMap<usize, usize>,
    /// What failed instances have left of their logs.
    logs: BTreeMap<usize, LogBudget>,
}

impl Allowances {
    /// Drops the findings of a hook that are more than a policy may report in a request.
    pub(super) fn cut(&mut self, index: usize, findings: &mut Vec<Finding>, limit: usize) {
        if findings.is_empty() {
            return;
        }
        let reported = self.findings.entry(index).or_default();
        findings.truncate(limit.saturating_sub(*reported));
        *reported += findings.len();
    }

    /// Keeps what an instance that failed has left.
    pub(super) fn keep(&mut self, index: usize, failed: &Instance) {
        self.logs.insert(index, failed.log_budget());
    }

    /// Holds a new instance to what the one before it has left.
    pub(super) fn apply(&self, index: usize, instance: &mut Instance) {
        if let Some(budget) = self.logs.get(&index) {
            instance.limit_log(*budget);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Hook, Severity};

    #[test]
    fn findings_are_limited_over_all_hooks() {
        let finding = Finding {
            policy: "p".to_owned(),
            hook: Hook::BeforeAdd,
            severity: Severity::Info,
            code: "c".to_owned(),
            message: String::new(),
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
