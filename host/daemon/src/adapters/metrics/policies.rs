//! Metrics about policies. Labels are names of policies, hooks and fields, never values from pods
//! or messages.

use std::fmt::Debug;

use parking_lot::{Mutex, MutexGuard};
use policy_engine::{Evaluation, Hook, Mode, Observer, PolicyInfo, Skipped, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::guests::Guests;
use super::registered;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Evaluated {
    policy: String,
    hook: &'static str,
    verdict: &'static str,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    policy: String,
    hook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    policy: String,
    hook: &'static str,
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Edited {
    policy: String,
    hook: &'static str,
    field: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Damaged {
    policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Passed {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Info {
    policy: String,
    digest: String,
    generation: u64,
    state: &'static str,
    mode: &'static str,
}

/// The metrics for one outcome of one policy's calls. Cached because a lookup by labels takes as
/// long as the host's part of a short call.
#[derive(Debug)]
struct Place {
    policy: String,
    hook: Hook,
    verdict: &'static str,
    mode: Mode,
    evaluations: Counter,
    seconds: Histogram,
}

/// Metrics about policies.
#[derive(Debug)]
pub struct Policies {
    /// For the policies in force.
    places: Mutex<Vec<Place>>,
    evaluations: Family<Evaluated, Counter>,
    seconds: Family<Called, Histogram>,
    failures: Family<Failed, Counter>,
    edits: Family<Edited, Counter>,
    skipped: Family<Passed, Counter>,
    damaged: Family<Damaged, Counter>,
    info: Family<Info, Gauge>,
    generation: Gauge,
    guests: Guests,
}

/// Buckets from ten microseconds, less than any call costs, to more than any call may take.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 21))
}

impl Policies {
    /// Registers the metrics with `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let seconds = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register(
            "cnidaria_policy_seconds",
            "Time that a hook of a policy took, with its instance where none was ready",
            seconds.clone(),
        );
        let guests = Guests::default();
        guests.register(registry);
        Self {
            places: Mutex::default(),
            seconds,
            evaluations: registered(
                registry,
                "cnidaria_policy_evaluations",
                "Calls of the hooks of policies",
            ),
            failures: registered(
                registry,
                "cnidaria_policy_failures",
                "Calls in which a policy came to no answer, by class",
            ),
            edits: registered(
                registry,
                "cnidaria_policy_edits",
                "Fields that policies changed, or in audit mode would have changed",
            ),
            skipped: registered(
                registry,
                "cnidaria_policy_skipped_requests",
                "Requests that no policy saw, by reason",
            ),
            damaged: registered(
                registry,
                "cnidaria_policy_damaged_states",
                "State files of policies that were damaged when they were read",
            ),
            info: registered(
                registry,
                "cnidaria_policy_info",
                "The policies of this node, with the digests of their modules",
            ),
            generation: registered(
                registry,
                "cnidaria_policy_generation",
                "Loads of the policies in which something had changed",
            ),
            guests,
        }
    }
}

impl Policies {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock()
    }

    fn place(&self, policy: &str, hook: Hook, verdict: &'static str, mode: Mode) -> Place {
        let called = Called {
            policy: policy.to_owned(),
            hook: hook.as_str(),
        };
        let evaluated = Evaluated {
            policy: policy.to_owned(),
            hook: hook.as_str(),
            verdict,
            mode: mode.as_str(),
        };
        Place {
            policy: policy.to_owned(),
            hook,
            verdict,
            mode,
            evaluations: self.evaluations.get_or_create(&evaluated).clone(),
            seconds: self.seconds.get_or_create(&called).clone(),
        }
    }
}

impl Observer for Policies {
    fn evaluated(&self, evaluation: &Evaluation<'_>) {
        let Evaluation {
            policy,
            hook,
            mode,
            verdict,
            duration,
        } = *evaluation;
        let verdict = match verdict {
            Verdict::Accept => "accept",
            Verdict::Deny => "deny",
            Verdict::Failed(cause) => {
                let labels = Failed {
                    policy: policy.to_owned(),
                    hook: hook.as_str(),
                    class: cause.as_str(),
                };
                self.failures.get_or_create(&labels).inc();
                "failure"
            }
        };
        let count = |place: &Place| {
            place.evaluations.inc();
            place.seconds.observe(duration.as_secs_f64());
        };
        let mut places = self.places();
        let found = places.iter().find(|place| {
            (place.hook, place.verdict, place.mode) == (hook, verdict, mode)
                && place.policy == policy
        });
        match found {
            Some(place) => count(place),
            None => {
                let place = self.place(policy, hook, verdict, mode);
                count(&place);
                places.push(place);
            }
        }
    }

    fn edited(&self, policy: &str, hook: Hook, field: &str) {
        let labels = Edited {
            policy: policy.to_owned(),
            hook: hook.as_str(),
            field: field.to_owned(),
        };
        self.edits.get_or_create(&labels).inc();
    }

    fn counted(&self, policy: &str, name: &str, by: f64) {
        self.guests.count(policy, name, by);
    }

    fn observed(&self, policy: &str, name: &str, value: f64) {
        self.guests.observe(policy, name, value);
    }

    fn skipped(&self, reason: Skipped) {
        let reason = reason.as_str();
        self.skipped.get_or_create(&Passed { reason }).inc();
    }

    fn state_damaged(&self, policy: &str) {
        let policy = policy.to_owned();
        self.damaged.get_or_create(&Damaged { policy }).inc();
    }

    fn loaded(&self, generation: u64, policies: &[PolicyInfo]) {
        self.generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.info.clear();
        self.places().clear();
        for policy in policies {
            let labels = Info {
                policy: policy.name.clone(),
                digest: policy.digest.clone().unwrap_or_default(),
                generation,
                state: policy.state.as_str(),
                mode: policy.mode.as_str(),
            };
            self.info.get_or_create(&labels).set(1);
        }
        self.guests
            .keep(|policy| policies.iter().any(|known| known.name == policy));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use policy_engine::{Cause, Mode};

    use crate::adapters::metrics::Metrics;

    use super::*;

    fn shows(metrics: &Metrics, line: &str) {
        let text = metrics.text(super::super::Snapshot::default());
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }

    #[test]
    fn evaluations_are_counted_and_timed() {
        let metrics = Metrics::default();
        for verdict in [
            Verdict::Accept,
            Verdict::Deny,
            Verdict::Failed(Cause::Timeout),
        ] {
            metrics.policies().evaluated(&Evaluation {
                policy: "10-a",
                hook: Hook::BeforeAdd,
                mode: Mode::Audit,
                verdict,
                duration: Duration::from_millis(1),
            });
        }
        for verdict in ["accept", "deny", "failure"] {
            shows(
                &metrics,
                &format!(
                    r#"cnidaria_policy_evaluations_total{{policy="10-a",hook="before-add",verdict="{verdict}",mode="audit"}} 1"#
                ),
            );
        }
        shows(
            &metrics,
            r#"cnidaria_policy_failures_total{policy="10-a",hook="before-add",class="timeout"} 1"#,
        );
        shows(
            &metrics,
            r#"cnidaria_policy_seconds_count{policy="10-a",hook="before-add"} 3"#,
        );
        shows(
            &metrics,
            r#"cnidaria_policy_seconds_bucket{le="0.00128",policy="10-a",hook="before-add"} 3"#,
        );
    }

    #[test]
    fn edits_and_skipped_requests_are_counted() {
        let metrics = Metrics::default();
        metrics
            .policies()
            .edited("10-a", Hook::AfterAdd, "result.dns");
        metrics.policies().skipped(Skipped::Bypass);
        metrics.policies().state_damaged("10-a");
        shows(
            &metrics,
            r#"cnidaria_policy_damaged_states_total{policy="10-a"} 1"#,
        );
        shows(
            &metrics,
            r#"cnidaria_policy_edits_total{policy="10-a",hook="after-add",field="result.dns"} 1"#,
        );
        shows(
            &metrics,
            r#"cnidaria_policy_skipped_requests_total{reason="bypass"} 1"#,
        );
    }
}
