//! The daemon's configuration without secrets. What the daemon passes on to plugins may have any
//! member, so only values of keys that it knows are shown.

use std::collections::BTreeSet;
use std::path::Path;

use cnidaria_kube::config::ApiServer;
use config::daemon::DaemonConfig;
use config::reference;
use files::Links;
use policy_engine::Redaction;
use serde_json::Value;

use super::scrub::{HIDDEN, Scrubber, is_secret_key};

/// Where the kubelet mounts a pod's token.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const MAX_CREDENTIALS: u64 = 1 << 20;
/// Members of confs that say which plugin is meant, and no more.
const HARMLESS: [&str; 3] = ["cniVersion", "name", "type"];
/// The project's own keys.
const OWN: &str = "cnidaria";

/// The configuration as JSON, and a scrubber that knows what was left out.
pub(super) fn redacted(text: &[u8], config: Option<&DaemonConfig>) -> (String, Scrubber) {
    let rules = config.and_then(|config| config.own.policies.as_ref()?.record.as_ref());
    let rules = rules.map(|record| Redaction {
        annotations: record.redact.annotations.clone(),
        keys: record.redact.keys.clone(),
        pointers: record.redact.pointers.clone(),
    });
    let mut hidden = credentials(config);
    let shown = match serde_json::from_slice::<Value>(text) {
        Ok(mut value) => {
            let known = known();
            hide(&mut value, "", &known, &mut hidden);
            serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
        }
        // Not even its beginning is shown.
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            format!("the configuration is not JSON at line {line} column {column}\n")
        }
    };
    let scrubber = Scrubber::new(hidden, &rules.unwrap_or_default());
    (scrubber.text(&shown), scrubber)
}

/// Dotted paths of the keys that the daemon knows.
fn known() -> BTreeSet<String> {
    let sections = reference::SECTIONS.iter();
    let paths = sections.flat_map(|(section, keys)| {
        keys.iter().map(move |key| match *section {
            "own" => format!("{OWN}.{}", key.name),
            _ => key.name.to_owned(),
        })
    });
    paths.collect()
}

/// Hides every value that is not that of a known key, and collects what it hides.
fn hide(value: &mut Value, path: &str, known: &BTreeSet<String>, hidden: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let below = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                match is_secret_key(name) {
                    true => hide_all(value, hidden),
                    false => hide(value, &below, known, hidden),
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                hide(element, path, known, hidden);
            }
        }
        Value::Null | Value::Bool(_) => {}
        scalar => {
            let name = path.rsplit('.').next().unwrap_or(path);
            let is_known = known.contains(path) || HARMLESS.contains(&name);
            let is_conf = scalar
                .as_str()
                .is_some_and(|text| text.contains(['{', '\n']));
            if !is_known || is_conf {
                hide_all(scalar, hidden);
            }
        }
    }
}

fn hide_all(value: &mut Value, hidden: &mut Vec<String>) {
    match value {
        Value::Object(members) => members
            .iter_mut()
            .for_each(|(_, one)| hide_all(one, hidden)),
        Value::Array(elements) => elements.iter_mut().for_each(|one| hide_all(one, hidden)),
        scalar => {
            if let Value::String(text) = scalar {
                hidden.push(std::mem::take(text));
            }
            *scalar = Value::String(HIDDEN.to_owned());
        }
    }
}

/// The daemon's credentials, so that they can be searched for.
fn credentials(config: Option<&DaemonConfig>) -> Vec<String> {
    let read = |path: &Path| files::read(path, Links::Follow, MAX_CREDENTIALS).ok();
    let token = read(Path::new(TOKEN));
    let token = token.and_then(|token| String::from_utf8(token).ok());
    let mut found: Vec<String> = token
        .into_iter()
        .map(|token| token.trim().to_owned())
        .collect();
    let kubeconfig = match config.map(|config| &config.api_server) {
        Some(ApiServer::Kubeconfig(path)) => Some(path),
        Some(ApiServer::PerNodeCertificate {
            bootstrap_kubeconfig,
            ..
        }) => Some(bootstrap_kubeconfig),
        _ => None,
    };
    let text = kubeconfig.and_then(|path| read(path));
    let text = text.and_then(|text| String::from_utf8(text).ok());
    let documents = text.and_then(|text| yaml::documents(&text).ok());
    for value in documents.unwrap_or_default() {
        collect(&value, &mut found);
    }
    found
}

/// The texts below keys of secrets.
fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if is_secret_key(name) => found.push(text.clone()),
                    value => collect(value, found),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|one| collect(one, found)),
        _ => {}
    }
}
