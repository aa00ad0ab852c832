//! One policy's turn in a hook: whether it has one, the call, and what its answer or failure means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Instrument as _, Span, field::Empty};

use super::Session;
use super::allowances::Say;
use crate::config::count;
use crate::load::policy::Policy;
use crate::model::outside::{self, Source};
use crate::model::policy::Mode;
use crate::model::ports::{Evaluation, Verdict};
use crate::model::report::{Cause, Denied, Finding, Hook, Report, Severity, clean};
use crate::model::witness::Call;
use crate::record::{self, TurnNotes, Value};
use crate::run::journal;
use crate::wasm::allowance::{Allowance, TimeBudget};
use crate::wasm::hooks::Answer;
use crate::wasm::instance::{Failure, Instance};
use crate::wasm::stage::Stage;

/// Maximum bytes of a denial's message, and of its details.
const MAX_MESSAGE: usize = 1024;
const MAX_DETAILS: usize = 4096;

/// Target of the `tracing` span of each call.
const TRACE_TARGET: &str = "cnidaria::trace";

/// A call's answer, its stage and its findings.
type Called = Result<(Answer, Stage, Vec<Finding>), Failure>;

/// A policy, its index among the session's instances, and the network that the hook works on, if it
/// works on one.
pub(super) struct Turn {
    pub(super) index: usize,
    pub(super) policy: Arc<Policy>,
    network: Option<Arc<str>>,
}

impl Session {
    /// The policies that have the hook and see the request, in order.
    pub(super) fn turns(&self, hook: Hook, network: Option<&str>) -> Vec<Turn> {
        let name = network.map(Arc::from);
        self.asked(hook, network)
            .map(|(index, policy)| Turn {
                index,
                policy: Arc::clone(policy),
                network: name.clone(),
            })
            .collect()
    }

    /// Whether any policy has the hook and sees the request.
    pub(super) fn asks(&self, hook: Hook, network: Option<&str>) -> bool {
        self.asked(hook, network).next().is_some()
    }

    fn asked(
        &self,
        hook: Hook,
        network: Option<&str>,
    ) -> impl Iterator<Item = (usize, &Arc<Policy>)> {
        let chain = match self.skipped {
            true => &[],
            false => self.generation.chain(),
        };
        chain.iter().enumerate().filter(move |(index, policy)| {
            let waits = hook != Hook::Del || !self.exhausted.contains(index);
            waits
                && !self.given_up.contains(index)
                && policy.has(hook)
                && policy.sees(&self.facts, network)
        })
    }

    /// Calls one policy and acts on its answer or failure. Returns the stage if it accepted, `None`
    /// if the request goes on without it.
    pub(super) async fn turn(
        &mut self,
        turn: &Turn,
        hook: Hook,
        stage: Stage,
        report: &mut Report,
    ) -> Result<Option<Stage>, Denied> {
        let (policy, network) = (&turn.policy, turn.network.as_deref());
        self.tape
            .begin(|| TurnNotes::new(&policy.name, policy.shared_digest(), Value::of(&stage)));
        let start = Instant::now();
        let (called, budget) = match self.allowance(turn) {
            Ok(allowance) => {
                let span = tracing::info_span!(
                    target: TRACE_TARGET,
                    "policy",
                    policy = &*policy.name,
                    hook = hook.as_str(),
                    outcome = Empty,
                    error = Empty,
                );
                let call = self.call(turn, hook, stage, allowance);
                let called = call.instrument(span.clone()).await;
                note(&span, &called);
                (called, Some(allowance.budget))
            }
            Err(failure) => (Err(failure), None),
        };
        self.count(policy, hook, &called, start.elapsed());
        let (answer, stage, mut findings) = match called {
            Ok(answer) => answer,
            Err(failure) => {
                self.failed.insert(turn.index);
                let answer = record::Answer::failed(failure.cause, &failure.reason);
                self.tape.turn(|turn| turn.answer = answer);
                if failure.cause == Cause::Timeout {
                    self.exhausted.insert(turn.index);
                }
                self.fail(policy, (hook, network), &failure, report)?;
                if failure.cause == Cause::Timeout && budget != Some(TimeBudget::Call) {
                    // Later hooks would fail the same way.
                    self.given_up.insert(turn.index);
                }
                return Ok(None);
            }
        };
        let limit = policy.spec.as_ref().map_or(0, |spec| spec.limits.findings);
        self.allowances.cut(turn.index, &mut findings, count(limit));
        for finding in &findings {
            if !self.is_rehearsal() {
                journal::finding(&self.facts, network, finding);
            }
            if let Some(witness) = &self.generation.services().witness {
                witness.found(finding);
            }
        }
        self.tape.turn(|turn| turn.findings.clone_from(&findings));
        report.findings.extend(findings);
        let Answer::Deny(denial) = answer else {
            return Ok(Some(stage));
        };
        let denied = Denied {
            code: denial.code.max(Denied::FIRST_CODE),
            details: denial.details.map(|details| clean(&details, MAX_DETAILS)),
            ..policy.deny(hook, Cause::Policy, clean(&denial.message, MAX_MESSAGE))
        };
        self.tape.turn(|turn| {
            turn.answer = record::Answer::Deny {
                code: denied.code,
                message: denied.message.clone(),
            };
        });
        match self.deny(policy, network, denied, report) {
            Some(denied) => Err(denied),
            None => Ok(None),
        }
    }

    /// The time and budget for the policy's next call.
    fn allowance(&self, Turn { index, policy, .. }: &Turn) -> Result<Allowance, Failure> {
        let limits = policy.spec.as_ref().map(|spec| spec.limits);
        let chain = self.generation.chain();
        let name = |index| chain.get(index).map(|policy: &Arc<Policy>| &*policy.name);
        self.time.left(*index, &limits.unwrap_or_default(), name)
    }

    /// Calls one policy in its instance for this request, creating it if needed. Charges the policy
    /// for the time, except for waiting for memory, and for turns that its own guests did not have.
    async fn call(
        &mut self,
        turn: &Turn,
        hook: Hook,
        stage: Stage,
        mut allowance: Allowance,
    ) -> Called {
        let Turn { index, policy, .. } = turn;
        // Taken out, so that a failed instance is not used again.
        let mut instance = match self.instances.take(*index) {
            Some(instance) => instance,
            None => {
                let mut made = match self.made_ahead(*index, policy) {
                    Some((instance, made_in)) => {
                        // As if the request had waited for it.
                        self.time.charge(*index, made_in);
                        instance
                    }
                    None => {
                        // Boxed to keep the common case, an instance made ahead, small.
                        let instance =
                            Box::pin(self.instantiate(*index, policy, allowance)).await?;
                        allowance = self.allowance(turn)?;
                        instance
                    }
                };
                self.allowances.apply(*index, &mut made);
                made
            }
        };
        instance.reserve().await;
        let subject = self.watched_subject(&stage);
        let start = Instant::now();
        let called = match self.source() {
            Source::Live => instance.call(hook, stage, allowance).await,
            mut source => {
                let call = instance.call(hook, stage, allowance);
                let called = outside::during(&mut source, call).await;
                self.learned(source);
                called
            }
        };
        let duration = start.elapsed().saturating_sub(instance.waited());
        self.time.charge(*index, duration);
        self.watch(hook, subject, &called, (&instance, duration));
        match &called {
            Ok(_) => self.instances.put_back(*index, instance),
            Err(_) => self.allowances.keep(*index, &instance),
        }
        called
    }

    /// The instance made ahead for this request, if any; has the next one made.
    fn made_ahead(&mut self, index: usize, policy: &Policy) -> Option<(Instance, Duration)> {
        if self.is_rehearsal() {
            return None;
        }
        self.instances.refill(index, || policy.refill());
        policy.made_ahead(&self.facts, self.instances.account())
    }

    /// Where the next call learns about what is outside its request.
    fn source(&mut self) -> Source {
        match self.answers.take() {
            Some(answers) => Source::Recorded(Box::new(answers)),
            None if self.tape.is_on() || self.generation.services().witness.is_some() => {
                Source::Noted(Box::default())
            }
            None => Source::Live,
        }
    }

    /// Keeps what a call has learned.
    fn learned(&mut self, source: Source) {
        match source {
            Source::Noted(outside) => {
                if let Some(witness) = &self.generation.services().witness {
                    for grant in &outside.grants {
                        witness.used(grant.as_str());
                    }
                }
                if !outside.is_empty() {
                    self.tape.turn(|turn| turn.outside = Some(outside));
                }
            }
            Source::Recorded(answers) => self.answers = Some(*answers),
            Source::Live => {}
        }
    }

    async fn instantiate(
        &mut self,
        index: usize,
        policy: &Policy,
        allowance: Allowance,
    ) -> Result<Instance, Failure> {
        let limits = policy.spec.as_ref().map(|spec| spec.limits);
        let most = match &policy.module {
            Some(module) => module.most(&limits.unwrap_or_default()),
            None => 0,
        };
        let reservation = self.instances.account().reserve(&policy.name, most).await;
        let (start, services) = (Instant::now(), self.generation.services());
        let budget = (reservation, allowance);
        let instance = policy.instance(&self.facts, services, budget).await;
        let time = match &instance {
            Ok(instance) => instance.made_in(),
            Err(_) => start.elapsed(),
        };
        self.time.charge(index, time);
        instance
    }

    fn count(&self, policy: &Policy, hook: Hook, called: &Called, duration: Duration) {
        if self.is_rehearsal() {
            return;
        }
        policy.evaluated();
        if let Some(observer) = &self.generation.services().observer {
            let verdict = verdict(called);
            let (policy, mode) = (&*policy.name, policy.mode());
            observer.evaluated(&Evaluation {
                policy,
                hook,
                mode,
                verdict,
                duration,
            });
        }
    }

    /// The network and interface that a hook works on, if calls are watched.
    fn watched_subject(&self, stage: &Stage) -> Option<(String, String)> {
        self.generation.services().witness.as_ref()?;
        let attachment = stage.attachment()?;
        Some((attachment.network.clone(), attachment.if_name.clone()))
    }

    fn watch(
        &self,
        hook: Hook,
        subject: Option<(String, String)>,
        called: &Called,
        (instance, duration): (&Instance, Duration),
    ) {
        if let Some(witness) = &self.generation.services().witness {
            let subject = subject.as_ref();
            witness.called(&Call {
                hook,
                attachment: subject.map(|(network, if_name)| (&**network, &**if_name)),
                verdict: verdict(called),
                duration,
                memory: instance.memory(),
                log_lines: instance.log_lines(),
            });
        }
    }

    /// Acts on a denial: fails the request, or adds a finding in audit mode.
    pub(super) fn deny(
        &self,
        policy: &Policy,
        network: Option<&str>,
        mut denied: Denied,
        report: &mut Report,
    ) -> Option<Denied> {
        let say = match policy.mode() {
            Mode::Audit => self.allowances.say(&policy.name),
            // Ends the request.
            Mode::Enforce | Mode::Off => Say::Yes,
        };
        if !self.is_rehearsal() {
            policy.denied();
            if say != Say::No {
                let digest = policy.digest();
                journal::denial(&self.facts, network, digest, &denied, policy.mode());
            }
        }
        self.witness_denial(&denied, policy.mode());
        if policy.mode() != Mode::Audit {
            denied.findings = std::mem::take(&mut report.findings);
            return Some(denied);
        }
        if say == Say::No {
            return None;
        }
        self.add(
            report,
            Finding {
                policy: denied.policy,
                hook: denied.hook,
                severity: Severity::Info,
                code: "policy-audit-deny".to_owned(),
                message: format!(
                    "would have denied with code {}: {}{}",
                    denied.code,
                    denied.message,
                    last_words(say)
                ),
                fields: Vec::new(),
            },
        );
        None
    }

    /// Adds a finding of the engine's own.
    fn add(&self, report: &mut Report, finding: Finding) {
        if let Some(witness) = &self.generation.services().witness {
            witness.found(&finding);
        }
        report.findings.push(finding);
    }

    fn witness_denial(&self, denied: &Denied, mode: Mode) {
        if let Some(witness) = &self.generation.services().witness {
            witness.denied(denied, mode);
        }
    }

    /// Acts on a failure: fails the request, or adds a finding if the policy is open.
    pub(super) fn fail(
        &self,
        policy: &Policy,
        (hook, network): (Hook, Option<&str>),
        failure: &Failure,
        report: &mut Report,
    ) -> Result<(), Denied> {
        let open = matches!(hook, Hook::AddFailed | Hook::Del | Hook::Gc)
            || policy.mode() == Mode::Audit
            || !policy.is_closed(failure.cause);
        let say = match open {
            true => self.allowances.say(&policy.name),
            // Ends the request.
            false => Say::Yes,
        };
        if !self.is_rehearsal() {
            policy.failed(hook, failure);
            if say != Say::No {
                journal::failure(&self.facts, policy, (hook, network), failure, open);
            }
        }
        if !open {
            let mut denied = policy.deny(hook, failure.cause, failure.reason.clone());
            if failure.cause == Cause::Load && policy.is_loading().is_some() {
                denied.code = Denied::TRY_AGAIN;
            }
            self.witness_denial(&denied, policy.mode());
            denied.findings = std::mem::take(&mut report.findings);
            return Err(denied);
        }
        if say == Say::No {
            return Ok(());
        }
        self.add(
            report,
            Finding {
                policy: policy.name.to_string(),
                hook,
                severity: Severity::Warning,
                code: format!("policy-{}", failure.cause),
                message: format!(
                    "went on without the policy: {}{}",
                    failure.reason,
                    last_words(say)
                ),
                fields: Vec::new(),
            },
        );
        Ok(())
    }
}

/// Notes in a call's span how it ended.
fn note(span: &Span, called: &Called) {
    if span.is_disabled() {
        return;
    }
    if let Err(failure) = called {
        span.record("error", failure.reason.as_str());
    }
    span.record("outcome", verdict(called).as_str());
}

/// What ends the last message of its kind.
fn last_words(say: Say) -> &'static str {
    match say {
        Say::Last => "; more of this policy in this request is only counted",
        Say::Yes | Say::No => "",
    }
}

/// How a call ended.
fn verdict(called: &Called) -> Verdict {
    match called {
        Ok((Answer::Deny(_), ..)) => Verdict::Deny,
        Ok(_) => Verdict::Accept,
        Err(failure) => Verdict::Failed(failure.cause),
    }
}
