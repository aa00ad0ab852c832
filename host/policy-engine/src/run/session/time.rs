//! Time accounting of one request: each policy pays for its own calls, and all share one budget.

use std::time::Duration;

use crate::config::Limits;
use crate::model::report::Cause;
use crate::wasm::allowance::{Allowance, TimeBudget};
use crate::wasm::instance::Failure;

/// Time spent by the policies of one request, by index.
pub(super) struct Time {
    /// The budget that all policies share.
    budget: Duration,
    spent: Vec<Duration>,
}

impl Time {
    /// An unspent budget for `policies` policies.
    pub(super) fn new(budget: Duration, policies: usize) -> Self {
        Self {
            budget,
            spent: vec![Duration::ZERO; policies],
        }
    }

    /// Charges a policy for its call, or for the host's work on its edits.
    pub(super) fn charge(&mut self, index: usize, time: Duration) {
        if let Some(spent) = self.spent.get_mut(index) {
            *spent = spent.saturating_add(time);
        }
    }

    /// The time available for the policy's next call.
    ///
    /// # Errors
    /// [`Cause::Timeout`] if none is left. The reason names the policy that spent most of the
    /// shared budget; `name` maps indexes to names.
    pub(super) fn left<'a>(
        &self,
        index: usize,
        limits: &Limits,
        name: impl Fn(usize) -> Option<&'a str>,
    ) -> Result<Allowance, Failure> {
        let own = limits.request_timeout();
        let spent = self.spent.get(index).copied().unwrap_or_default();
        let all = self.spent.iter().sum();
        let allowance = Allowance::of_call(limits)
            .min(own.saturating_sub(spent), TimeBudget::Policy(own))
            .min(
                self.budget.saturating_sub(all),
                TimeBudget::Request(self.budget),
            );
        if !allowance.time.is_zero() {
            return Ok(allowance);
        }
        let mut reason = allowance.to_string();
        if let TimeBudget::Request(_) = allowance.budget
            && let Some((most, time)) = self.spent.iter().enumerate().max_by_key(|(_, time)| **time)
            && let Some(name) = name(most)
        {
            reason = format!(
                "not called: {reason}, {name:?} {} ms of them",
                time.as_millis()
            );
        }
        Err(Failure {
            cause: Cause::Timeout,
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn left(time: &Time, index: usize) -> Result<Allowance, Failure> {
        let names = ["greedy", "guard"];
        time.left(index, &Limits::default(), |index| names.get(index).copied())
    }

    #[test]
    fn the_smallest_budget_ends_a_call() {
        let mut time = Time::new(ms(6_000), 2);
        assert_eq!(left(&time, 0).unwrap().budget, TimeBudget::Call);
        time.charge(0, ms(4_500));
        let allowance = left(&time, 0).unwrap();
        assert_eq!(
            (allowance.time, allowance.budget),
            (ms(500), TimeBudget::Policy(ms(5_000)))
        );
        time.charge(1, ms(1_400));
        let allowance = left(&time, 0).unwrap();
        assert_eq!(
            (allowance.time, allowance.budget),
            (ms(100), TimeBudget::Request(ms(6_000)))
        );
    }

    #[test]
    fn a_policy_pays_for_itself_alone() {
        let mut time = Time::new(ms(60_000), 2);
        time.charge(0, ms(5_000));
        let failure = left(&time, 0).unwrap_err();
        assert_eq!(failure.cause, Cause::Timeout);
        assert!(failure.reason.contains("its 5000 ms"), "{}", failure.reason);
        assert_eq!(left(&time, 1).unwrap().time, ms(1_000));
    }

    #[test]
    fn the_shared_budget_names_who_spent_it() {
        let mut time = Time::new(ms(3_000), 2);
        time.charge(0, ms(2_900));
        time.charge(1, ms(100));
        let failure = left(&time, 1).unwrap_err();
        assert!(
            failure.reason.ends_with("\"greedy\" 2900 ms of them"),
            "{}",
            failure.reason
        );
    }
}
