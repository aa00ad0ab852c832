//! How long one call of a policy may take, and which of the budgets ends it.

use std::fmt;
use std::time::Duration;

use crate::config::Limits;

/// How long one call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Wall clock.
    pub(crate) time: Duration,
    /// The budget that ends the call.
    pub(crate) budget: Budget,
}

/// A budget of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// `limits.timeoutMs`: each call.
    Call,
    /// `limits.requestTimeoutMs`: all calls of one policy in one request.
    Policy(Duration),
    /// `policies.requestTimeoutMs`: all policies in one request.
    Request(Duration),
}

impl Allowance {
    /// What a call may take without any request.
    pub(crate) fn of_call(limits: &Limits) -> Self {
        Self {
            time: limits.timeout(),
            budget: Budget::Call,
        }
    }

    /// This one, or what is left of another budget where that is less.
    pub(crate) fn min(self, time: Duration, budget: Budget) -> Self {
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
            Budget::Call => write!(
                f,
                "did not return within {} ms (limits.timeoutMs)",
                ms(&self.time)
            ),
            Budget::Policy(all) => write!(
                f,
                "used up its {} ms of this request (limits.requestTimeoutMs)",
                ms(all)
            ),
            Budget::Request(all) => write!(
                f,
                "all policies together used up their {} ms of this request \
                 (policies.requestTimeoutMs)",
                ms(all)
            ),
        }
    }
}
