//! Turns a document into a case: fills in what follows from the rest, and checks names.

use std::collections::BTreeMap;
use std::path::Path;

use cni_types::error::chain;
use cnidaria_core::domain::metadata::Metadata as Object;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::{NETWORKS_ANNOTATION, Owner, Pod as Described, PodIdentity};
use cnidaria_core::domain::resource_claim::PodClaims;
use policy_engine::Hook;
use policy_engine::trial::StateValue;
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

use super::format::{Document, Expect, Metadata, Pod, StateEntry, Step as Written};
use super::read::Place;
use super::{Case, Error, Step};
use crate::manifests::{self, Objects};
use crate::node::{Answer, RuntimeCall, Surroundings, Verb};
use crate::suggest;

/// The name of a pod that has none.
const POD: &str = "pod";
/// The namespace of a pod or network that names none.
const NAMESPACE: &str = "default";
/// The uid of a pod that has none.
const UID: &str = "00000000-0000-0000-0000-000000000001";

/// The case of a document.
///
/// # Errors
/// The first mistake.
pub(super) fn resolve(file: &Place<'_>, at: Location, document: Document) -> Result<Case, Error> {
    let objects = objects(file, &document)?;
    let name = match &document.name {
        Some(name) => name.clone(),
        None => format!("{}:{}", file.path.display(), at.line()),
    };
    let default = match &document.default {
        Some(conf) => Some(conf_text(file, conf)?),
        None => None,
    };
    let clock = time(file, document.clock.as_ref())?;
    let mut config = document.config.clone().unwrap_or_default();
    if let Some(settings) = &document.settings {
        config.insert("settings".to_owned(), settings.clone());
    }
    let steps = steps(file, at, &document, &objects)?;
    let answers = answers(file, document.delegates.as_ref())?;
    Ok(Case {
        name,
        file: file.path.to_owned(),
        line: at.line(),
        config,
        surroundings: Surroundings {
            objects,
            default,
            node: document.node.and_then(|node| node.name),
            state: state(document.state.unwrap_or_default()),
            clock,
            is_recorded: false,
        },
        answers,
        codes: document.codes.unwrap_or_default(),
        steps,
    })
}

fn objects(file: &Place<'_>, document: &Document) -> Result<Objects, Error> {
    let mut objects = Objects::default();
    if let Some(path) = &document.manifests {
        let dir = file.path.parent().unwrap_or(Path::new("."));
        let read = manifests::files(&dir.join(&path.value));
        objects = read.map_err(|error| file.mistake(path.referenced, chain(&error)))?;
    }
    let namespaces = document.namespaces.iter().flatten();
    for (name, metadata) in namespaces {
        objects.add_namespace(name.clone(), object(metadata.clone()));
    }
    if let Some(node) = &document.node {
        let name = node
            .name
            .clone()
            .unwrap_or_else(|| crate::node::NODE.to_owned());
        let metadata = Metadata {
            labels: node.labels.clone(),
            annotations: node.annotations.clone(),
        };
        objects.add_node(name, object(metadata));
    }
    for (reference, conf) in document.networks.iter().flatten() {
        let (namespace, name) = reference.split_once('/').unwrap_or((NAMESPACE, reference));
        objects.add_nad(Nad {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            config: Some(conf_text(file, conf)?),
            annotations: BTreeMap::new(),
        });
    }
    for (name, pod) in document.pods.iter().flatten() {
        let shared = document.pod.clone().unwrap_or_default();
        let named = Pod {
            name: Some(name.clone()),
            ..pod.clone()
        };
        objects.add_pod(described(named.with_defaults(&shared)));
    }
    if document.pods.is_none() && (document.pod.is_some() || objects.pods().is_empty()) {
        objects.add_pod(described(document.pod.clone().unwrap_or_default()));
    }
    Ok(objects)
}

fn object(metadata: Metadata) -> Object {
    Object {
        labels: metadata.labels,
        annotations: metadata.annotations,
    }
}

fn described(pod: Pod) -> Described {
    let mut annotations = pod.annotations.unwrap_or_default();
    if let Some(networks) = pod.networks {
        let text = match networks {
            Value::String(text) => text,
            list => list.to_string(),
        };
        annotations.insert(NETWORKS_ANNOTATION.to_owned(), text);
    }
    Described {
        namespace: pod.namespace.unwrap_or_else(|| NAMESPACE.to_owned()),
        name: pod.name.unwrap_or_else(|| POD.to_owned()),
        uid: pod.uid.unwrap_or_else(|| UID.to_owned()),
        labels: pod.labels.unwrap_or_default(),
        annotations,
        claims: PodClaims::default(),
        identity: PodIdentity {
            service_account: pod.service_account.map(String::into_boxed_str),
            owner: pod.owner.map(|owner| {
                Box::new(Owner {
                    kind: owner.kind,
                    name: owner.name,
                    uid: owner.uid,
                })
            }),
            host_network: pod.host_network.unwrap_or_default(),
        },
    }
}

/// The JSON text of a conf.
fn conf_text(file: &Place<'_>, conf: &Spanned<Value>) -> Result<String, Error> {
    let text = match &conf.value {
        Value::String(text) => text.clone(),
        Value::Object(members) => Value::Object(members.clone()).to_string(),
        _ => {
            let reason = "a network is the conf of a plugin: an object, or its JSON text";
            return Err(file.mistake(conf.referenced, reason));
        }
    };
    Ok(text)
}

fn answers(
    file: &Place<'_>,
    given: Option<&BTreeMap<String, Spanned<Value>>>,
) -> Result<BTreeMap<String, Answer>, Error> {
    let given = given.into_iter().flatten();
    given
        .map(|(network, value)| {
            let wrong = |reason: &str| file.mistake(value.referenced, reason);
            let Value::Object(members) = &value.value else {
                return Err(wrong("expected members of a CNI result, or error"));
            };
            let answer = match members.get("error") {
                Some(error) if members.len() == 1 => error_answer(error)
                    .ok_or_else(|| wrong("error: expected code, a number, and msg, a text"))?,
                _ => Answer::Result(members.clone()),
            };
            answer
                .check()
                .map_err(|reason| wrong(&format!("not members of a CNI result: {reason}")))?;
            Ok((network.clone(), answer))
        })
        .collect()
}

fn error_answer(error: &Value) -> Option<Answer> {
    let members: &Map<String, Value> = error.as_object()?;
    Some(Answer::Error {
        code: u32::try_from(members.get("code")?.as_u64()?).ok()?,
        message: members.get("msg")?.as_str()?.to_owned(),
    })
}

fn state(given: BTreeMap<String, StateEntry>) -> BTreeMap<String, StateValue> {
    let kept = |state| match state {
        StateEntry::Text(text) => StateValue {
            value: text.into_bytes(),
            ..StateValue::default()
        },
        StateEntry::Bound(bound) => StateValue {
            value: bound.value.into_bytes(),
            container_id: Some(bound.sandbox),
            if_name: bound.interface,
        },
    };
    given
        .into_iter()
        .map(|(key, state)| (key, kept(state)))
        .collect()
}

/// Milliseconds since 1970 of a number or an RFC 3339 time.
fn time(file: &Place<'_>, given: Option<&Spanned<Value>>) -> Result<Option<u64>, Error> {
    let Some(given) = given else { return Ok(None) };
    let read = match &given.value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| u64::try_from(time.as_millisecond()).ok()),
        _ => None,
    };
    match read {
        Some(time) => Ok(Some(time)),
        None => {
            let reason = "expected a time such as 2026-01-31T12:00:00Z, or milliseconds since 1970";
            Err(file.mistake(given.referenced, reason))
        }
    }
}

fn steps(
    file: &Place<'_>,
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
    let mut sandboxes: BTreeMap<String, Described> = BTreeMap::new();
    let mut steps = Vec::new();
    for step in written {
        steps.push(Step {
            request: request(file, step, objects, &mut sandboxes)?,
            answers: match &step.value.delegates {
                Some(given) => Some(answers(file, Some(given))?),
                None => None,
            },
            clock: time(file, step.value.clock.as_ref())?,
            expect: expectation(file, step.value.expect.as_ref())?,
        });
    }
    Ok(steps)
}

fn request(
    file: &Place<'_>,
    step: &Spanned<Written>,
    objects: &Objects,
    sandboxes: &mut BTreeMap<String, Described>,
) -> Result<RuntimeCall, Error> {
    let given = &step.value;
    let known = |name: &Spanned<String>, sandboxes: &BTreeMap<String, Described>| {
        sandboxes.get(&name.value).cloned().ok_or_else(|| {
            let known: Vec<&str> = sandboxes.keys().map(String::as_str).collect();
            let hint = suggest::hint(&name.value, &known);
            let reason = format!("no earlier step adds sandbox {:?}; {hint}", name.value);
            file.mistake(name.referenced, reason)
        })
    };
    match given {
        Written {
            add: Some(name),
            check: None,
            del: None,
            gc: None,
            status: None,
            ..
        } => {
            let mut pods = objects.pods().iter();
            let pod = pods.find(|pod| pod.name == name.value).ok_or_else(|| {
                let known: Vec<&str> = objects.pods().iter().map(|pod| &*pod.name).collect();
                let hint = suggest::hint(&name.value, &known);
                file.mistake(
                    name.referenced,
                    format!("unknown pod {:?}; {hint}", name.value),
                )
            })?;
            let sandbox = given.sandbox.clone().unwrap_or_else(|| pod.name.clone());
            let request = pod_request(Verb::Add, &sandbox, pod);
            sandboxes.insert(sandbox, pod.clone());
            Ok(request)
        }
        Written {
            add: None,
            check: Some(name),
            del: None,
            gc: None,
            status: None,
            ..
        } => Ok(pod_request(
            Verb::Check,
            &name.value,
            &known(name, sandboxes)?,
        )),
        Written {
            add: None,
            check: None,
            del: Some(name),
            gc: None,
            status: None,
            ..
        } => Ok(pod_request(
            Verb::Del,
            &name.value,
            &known(name, sandboxes)?,
        )),
        Written {
            add: None,
            check: None,
            del: None,
            gc: Some(used),
            status: None,
            ..
        } => Ok(RuntimeCall::Gc(used.clone())),
        Written {
            add: None,
            check: None,
            del: None,
            gc: None,
            status: Some(true),
            ..
        } => Ok(RuntimeCall::Status),
        _ => {
            let reason = "a step has exactly one of add, check, del, gc and status";
            Err(file.mistake(step.referenced, reason))
        }
    }
}

fn pod_request(verb: Verb, container: &str, pod: &Described) -> RuntimeCall {
    RuntimeCall::Pod {
        verb,
        container: container.to_owned(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    }
}

fn expectation(file: &Place<'_>, given: Option<&Spanned<Expect>>) -> Result<Expect, Error> {
    let Some(given) = given else {
        return Ok(Expect::default());
    };
    if let Some(hook) = &given.value.hook {
        let known: Vec<&str> = Hook::ALL.iter().map(|hook| hook.as_str()).collect();
        if !known.contains(&hook.value.as_str()) {
            let hint = suggest::hint(&hook.value, &known);
            let reason = format!("unknown hook {:?}; {hint}", hook.value);
            return Err(file.mistake(hook.referenced, reason));
        }
    }
    Ok(given.value.clone())
}
