//! What a policy's failures mean.

use super::members::Members;
use crate::model::report::Cause;
use crate::model::words::words;

/// Whether a failure denies the request, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FailurePolicies {
    load: FailurePolicy,
    trap: FailurePolicy,
    timeout: FailurePolicy,
    limit: FailurePolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum FailurePolicy {
    /// The request is denied.
    #[default]
    Closed,
    /// The request goes on without the policy.
    Open,
}

words!(FailurePolicy {
    Closed: "closed",
    Open: "open",
});

impl FailurePolicies {
    /// Whether a failure of this class denies the request.
    pub(crate) fn closed(self, cause: Cause) -> bool {
        let policy = match cause {
            Cause::Load => self.load,
            Cause::Trap => self.trap,
            Cause::Timeout => self.timeout,
            Cause::Limit => self.limit,
            // These are decisions, not failures.
            Cause::Policy | Cause::Conflict => FailurePolicy::Closed,
        };
        policy == FailurePolicy::Closed
    }

    fn all(policy: FailurePolicy) -> Self {
        Self {
            load: policy,
            trap: policy,
            timeout: policy,
            limit: policy,
        }
    }
}

impl Default for FailurePolicies {
    fn default() -> Self {
        Self::all(FailurePolicy::Closed)
    }
}

impl FailurePolicies {
    /// One word for all classes, or an object of classes; missing classes are closed.
    pub(super) fn read(members: &mut Members<'_>) -> Self {
        const KEY: &str = "failurePolicy";
        if !members.is_object(KEY) {
            return members.read(KEY).given().map(Self::all).unwrap_or_default();
        }
        let (each, _) = members.object(KEY, |classes| Self {
            load: classes.read("load").given().unwrap_or_default(),
            trap: classes.read("trap").given().unwrap_or_default(),
            timeout: classes.read("timeout").given().unwrap_or_default(),
            limit: classes.read("limit").given().unwrap_or_default(),
        });
        each.unwrap_or_default()
    }

    pub(super) fn strictest(self, other: Self) -> Self {
        let of =
            |a: FailurePolicy, b: FailurePolicy| if a == b { a } else { FailurePolicy::Closed };
        Self {
            load: of(self.load, other.load),
            trap: of(self.trap, other.trap),
            timeout: of(self.timeout, other.timeout),
            limit: of(self.limit, other.limit),
        }
    }
}
