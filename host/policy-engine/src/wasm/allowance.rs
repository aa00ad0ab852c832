//! The time limit of one call of a policy, and the budget that sets it.

use std::fmt;
use std::time::Duration;

use crate::config::Limits;

/// The time limit of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Wall clock.
    pub(crate) time: Duration,
    /// The budget that ends the call.
    pub(crate) budget: TimeBudget,
}

/// A time budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeBudget {
    /// `limits.timeoutMs`, for each call.
    Call,
    /// `limits.requestTimeoutMs`, for all calls of one policy in one request.
    Policy(Duration),
    /// `policies.requestTimeoutMs`, for all policies in one request.
    Request(Duration),
}

impl Allowance {
    /// The limit of a call outside any request.
    pub(crate) fn of_call(limits: &Limits) -> Self {
        Self {
            time: limits.timeout(),
            budget: TimeBudget::Call,
        }
    }

    /// The smaller of this limit and the rest of another budget.
    pub(crate) fn min(self, time: Duration, budget: TimeBudget) -> Self {
        match time < self.time {
            true => Self { time, budget },
            false => self,
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| time.as_millis();
        match &self.budget {
            TimeBudget::Call => write!(
                f,
                "did not return within {} ms (limits.timeoutMs)",
                ms(&self.time)
            ),
            TimeBudget::Policy(all) => write!(
                f,
                "used up its {} ms of this request (limits.requestTimeoutMs)",
                ms(all)
            ),
            TimeBudget::Request(all) => write!(
                f,
                "all policies together used up their {} ms of this request \
                 (policies.requestTimeoutMs)",
                ms(all)
            ),
        }
    }
}
