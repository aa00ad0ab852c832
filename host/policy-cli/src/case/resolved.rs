//! Turns a document into a case: fills in what follows from the rest, and checks names.

use std::collections::BTreeMap;
use std::path::Path;

use cni_types::error::chain;
use cnidaria_core::domain::metadata::Metadata as Object;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::{NETWORKS_ANNOTATION, Owner, Pod as Described, PodIdentity};
use cnidaria_core::domain::resource_claim::PodClaims;
use policy_engine::trial::StateValue;
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

use super::Case;
use super::answers::answers;
use super::clock::time;
use super::format::{Document, Metadata, Pod};
use super::mistake::{CaseFile, Error};
use super::steps::steps;
use crate::manifests::{self, Objects};
use crate::node::Surroundings;
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
pub(super) fn resolve(
    file: &CaseFile<'_>,
    (at, defaults_at): (Location, Option<Location>),
    document: Document,
) -> Result<Case, Error> {
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
    // YAML reads the mode `off` as false.
    if let Some(mode @ Value::Bool(false)) = config.get_mut("mode") {
        *mode = "off".into();
    }
    let steps = steps(file, at, &document, &objects)?;
    let answers = answers(file, document.delegates.as_ref(), &objects)?;
    let place = |key: &String| {
        let own = file.tree.find(at, &["config", key]);
        let inherited = || file.tree.find(defaults_at?, &["defaults", "config", key]);
        // The settings have a key of their own.
        let direct = || file.tree.find(at, &[key]);
        let defaults = || file.tree.find(defaults_at?, &["defaults", key]);
        let found = own.or_else(inherited).or_else(direct).or_else(defaults);
        let place = manifests::place(found.or(Some(at)));
        (key.clone(), place)
    };
    Ok(Case {
        name,
        file: file.path.to_owned(),
        line: at.line(),
        config_places: config.keys().map(place).collect(),
        config,
        surroundings: Surroundings {
            objects,
            default,
            default_networks: document
                .node
                .as_ref()
                .map(|node| node.default_networks.clone())
                .unwrap_or_default(),
            node: document.node.and_then(|node| node.name),
            state: state(file, document.state.unwrap_or_default())?,
            clock,
            is_recorded: false,
        },
        answers,
        codes: document.codes.unwrap_or_default(),
        steps,
    })
}

fn objects(file: &CaseFile<'_>, document: &Document) -> Result<Objects, Error> {
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
        if name.contains('/') || name.is_empty() || namespace.is_empty() {
            let reason =
                "expected the key to be a name, or a namespace and a name with a slash between";
            return Err(file.mistake(conf.referenced, reason));
        }
        objects.add_nad(Nad {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            config: Some(conf_text(file, conf)?),
            ..Nad::default()
        });
    }
    annotate(file, document, &mut objects)?;
    for (name, pod) in document.pods.iter().flatten() {
        let shared = document.pod.clone().unwrap_or_default();
        let named = Pod {
            name: Some(name.clone()),
            ..pod.clone()
        };
        add(named.with_defaults(&shared), &mut objects);
    }
    if document.pods.is_none() && (document.pod.is_some() || objects.pods().is_empty()) {
        add(document.pod.clone().unwrap_or_default(), &mut objects);
    }
    Ok(objects)
}

/// Annotates networks.
fn annotate(file: &CaseFile<'_>, document: &Document, objects: &mut Objects) -> Result<(), Error> {
    for (reference, annotations) in document.network_annotations.iter().flatten() {
        let (namespace, name) = reference.split_once('/').unwrap_or((NAMESPACE, reference));
        let Some(nad) = objects.nad(namespace, name) else {
            let known = objects.nads().iter();
            let known: Vec<String> = known
                .map(|nad| match nad.namespace.as_str() {
                    NAMESPACE => nad.name.clone(),
                    namespace => format!("{namespace}/{}", nad.name),
                })
                .collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let hint = suggest::hint(reference, &known);
            let reason = format!("unknown network {reference:?}; {hint}");
            return Err(file.mistake(annotations.referenced, reason));
        };
        let mut nad = nad.clone();
        nad.annotations.extend(annotations.value.clone());
        objects.add_nad(nad);
    }
    Ok(())
}

/// Adds a pod and its devices.
fn add(mut pod: Pod, objects: &mut Objects) {
    let devices = pod.devices.take().unwrap_or_default();
    let pod = described(pod);
    objects.add_devices(&pod.namespace, &pod.name, devices);
    objects.add_pod(pod);
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
fn conf_text(file: &CaseFile<'_>, conf: &Spanned<Value>) -> Result<String, Error> {
    let text = match &conf.value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            checked(file, conf.referenced, members)?;
            conf.value.to_string()
        }
        _ => {
            let reason = "a network is the conf of a plugin: an object, or its JSON text";
            return Err(file.mistake(conf.referenced, reason));
        }
    };
    Ok(text)
}

/// Checks what the daemon would find only when a pod uses the network. The text of a conf is not
/// checked, so that a case can have a wrong one.
fn checked(file: &CaseFile<'_>, at: Location, conf: &Map<String, Value>) -> Result<(), Error> {
    if conf.contains_key("type") || conf.contains_key("plugins") {
        return Ok(());
    }
    let mut reason = "a conf needs a type, or a list of plugins".to_owned();
    let mut keys = conf.keys();
    if let Some(meant) = keys.find_map(|key| suggest::similar(key, &["type", "plugins"])) {
        reason.push_str(&format!("; did you mean {meant:?}?"));
    }
    Err(file.mistake(at, reason))
}

/// Keys of a value of the state that is bound.
const BOUND: [&str; 3] = ["value", "sandbox", "interface"];

fn state(
    file: &CaseFile<'_>,
    given: BTreeMap<String, Spanned<Value>>,
) -> Result<BTreeMap<String, StateValue>, Error> {
    let kept = |given: &Spanned<Value>| {
        let wrong = |reason: &str| file.mistake(given.referenced, reason);
        let members = match &given.value {
            Value::String(text) => {
                return Ok(StateValue {
                    value: text.clone().into_bytes(),
                    ..StateValue::default()
                });
            }
            Value::Object(members) => members,
            _ => return Err(wrong("expected a text, or value and sandbox")),
        };
        if let Some(key) = members.keys().find(|key| !BOUND.contains(&key.as_str())) {
            let hint = suggest::hint(key, &BOUND);
            return Err(wrong(&format!("unknown key {key:?}; {hint}")));
        }
        let text = |key: &str| members.get(key).and_then(Value::as_str).map(str::to_owned);
        match (text("value"), text("sandbox")) {
            (Some(value), Some(sandbox)) => Ok(StateValue {
                value: value.into_bytes(),
                container_id: Some(sandbox),
                if_name: text("interface"),
            }),
            _ => Err(wrong("expected the texts value and sandbox")),
        }
    };
    let given = given.into_iter();
    given.map(|(key, state)| Ok((key, kept(&state)?))).collect()
}
