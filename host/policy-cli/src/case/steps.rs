//! The requests of a case, with their expectations.

use std::collections::BTreeMap;

use cnidaria_core::domain::pod::Pod as Described;
use policy_engine::Hook;
use serde_saphyr::{Location, Spanned};

use super::Step;
use super::answers::answers;
use super::clock::time;
use super::expect::{Expect, Verdict};
use super::format::{Document, Step as Written};
use super::mistake::{CaseFile, Error};
use crate::manifests::Objects;
use crate::node::{RuntimeCall, Verb};
use crate::suggest;

/// The requests of a document: its steps, or one ADD of its only pod.
///
/// # Errors
/// The first mistake.
pub(super) fn steps(
    file: &CaseFile<'_>,
    at: Location,
    document: &Document,
    objects: &Objects,
) -> Result<Vec<Step>, Error> {
    let Some(written) = &document.steps else {
        let only = match objects.pods() {
            [only] => only,
            _ => return Err(file.mistake(at, "several pods need steps: which is added when?")),
        };
        let expect = expectation(file, document.expect.as_ref())?;
        return Ok(vec![Step {
            request: pod_request(Verb::Add, &only.name, only),
            answers: None,
            clock: None,
            expect,
        }]);
    };
    if let Some(expect) = &document.expect {
        let reason = "expect stands in each of the steps, if there are steps";
        return Err(file.mistake(expect.referenced, reason));
    }
    if written.value.is_empty() {
        return Err(file.mistake(written.referenced, "expected at least one step"));
    }
    let mut sandboxes = Sandboxes::new();
    let mut steps = Vec::new();
    for step in &written.value {
        steps.push(Step {
            request: request(file, step, objects, &mut sandboxes)?,
            answers: match &step.value.delegates {
                Some(given) => Some(answers(file, Some(given), objects)?),
                None => None,
            },
            clock: time(file, step.value.clock.as_ref())?,
            expect: expectation(file, step.value.expect.as_ref())?,
        });
    }
    Ok(steps)
}

/// The pods that earlier steps have added, by their sandboxes.
type Sandboxes = BTreeMap<String, Described>;

fn request(
    file: &CaseFile<'_>,
    step: &Spanned<Written>,
    objects: &Objects,
    sandboxes: &mut Sandboxes,
) -> Result<RuntimeCall, Error> {
    let given = &step.value;
    let of_known = |verb, name| {
        let pod = known(file, name, sandboxes)?;
        Ok(pod_request(verb, &name.value, pod))
    };
    match (
        &given.add,
        &given.check,
        &given.del,
        &given.gc,
        given.status,
    ) {
        (Some(name), None, None, None, None) => {
            let pod = described(file, name, objects)?;
            let sandbox = given.sandbox.clone().unwrap_or_else(|| pod.name.clone());
            let request = pod_request(Verb::Add, &sandbox, pod);
            sandboxes.insert(sandbox, pod.clone());
            Ok(request)
        }
        (None, Some(name), None, None, None) => of_known(Verb::Check, name),
        (None, None, Some(name), None, None) => of_known(Verb::Del, name),
        (None, None, None, Some(used), None) => {
            for name in used {
                known(file, name, sandboxes)?;
            }
            let used = used.iter().map(|name| name.value.clone());
            Ok(RuntimeCall::Gc(used.collect()))
        }
        (None, None, None, None, Some(true)) => Ok(RuntimeCall::Status),
        _ => {
            let reason = "a step has exactly one of add, check, del, gc and status";
            Err(file.mistake(step.referenced, reason))
        }
    }
}

/// The pod of this name among a document's manifests.
fn described<'a>(
    file: &CaseFile<'_>,
    name: &Spanned<String>,
    objects: &'a Objects,
) -> Result<&'a Described, Error> {
    let mut pods = objects.pods().iter();
    pods.find(|pod| pod.name == name.value).ok_or_else(|| {
        let known: Vec<&str> = objects.pods().iter().map(|pod| &*pod.name).collect();
        let hint = suggest::hint(&name.value, &known);
        let reason = format!("unknown pod {:?}; {hint}", name.value);
        file.mistake(name.referenced, reason)
    })
}

/// The pod that an earlier step has added as this sandbox.
fn known<'a>(
    file: &CaseFile<'_>,
    name: &Spanned<String>,
    sandboxes: &'a Sandboxes,
) -> Result<&'a Described, Error> {
    sandboxes.get(&name.value).ok_or_else(|| {
        let known: Vec<&str> = sandboxes.keys().map(String::as_str).collect();
        let mut reason = format!("no earlier step adds sandbox {:?}", name.value);
        if !known.is_empty() {
            reason.push_str("; ");
            reason.push_str(&suggest::hint(&name.value, &known));
        }
        file.mistake(name.referenced, reason)
    })
}

fn pod_request(verb: Verb, container: &str, pod: &Described) -> RuntimeCall {
    RuntimeCall::Pod {
        verb,
        container: container.to_owned(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    }
}

/// Hooks in which a policy has no verdict.
const WITHOUT_VERDICT: [&str; 3] = ["add-failed", "del", "gc"];

fn expectation(file: &CaseFile<'_>, given: Option<&Spanned<Expect>>) -> Result<Expect, Error> {
    let Some(given) = given else {
        return Ok(Expect::default());
    };
    let Expect {
        verdict,
        code,
        hook,
        cause,
        ..
    } = &given.value;
    let is_denial = code.is_some() || hook.is_some() || cause.is_some();
    if *verdict == Some(Verdict::Accept) && is_denial {
        let reason = "an accepted request has no code, hook or cause";
        return Err(file.mistake(given.referenced, reason));
    }
    if let Some(hook) = hook {
        let known: Vec<&str> = Hook::ALL.iter().map(|hook| hook.as_str()).collect();
        if WITHOUT_VERDICT.contains(&hook.value.as_str()) {
            let reason = format!("a policy cannot deny in the hook {:?}", hook.value);
            return Err(file.mistake(hook.referenced, reason));
        }
        if !known.contains(&hook.value.as_str()) {
            let hint = suggest::hint(&hook.value, &known);
            let reason = format!("unknown hook {:?}; {hint}", hook.value);
            return Err(file.mistake(hook.referenced, reason));
        }
    }
    Ok(given.value.clone())
}
