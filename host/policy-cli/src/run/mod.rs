//! `cnidaria policy run`: one ADD of one pod, with everything that the policy does.

mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use cni_types::conf::NetworkConfList;
use cni_types::error::chain;
use cnidaria_core::domain::limits::Limits;
use cnidaria_core::pipeline::ignored_members;
use serde_json::Value;

use crate::manifests::{self, Objects};
use crate::node::{ANY, Answer, Node, RuntimeCall, Surroundings, Verb, misspelt};
use crate::policy::{self, Policy};
use crate::{FAILED, Output, runtime, suggest, text};

/// The container id of the only sandbox.
const SANDBOX: &str = "sandbox";

/// The policy, and the pod to attach.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The component, a .wasm file
    #[arg(value_name = "FILE")]
    module: PathBuf,
    /// The policy's configuration; by default, an empty one
    #[arg(long, value_name = "JSON")]
    config: Option<PathBuf>,
    /// The pod: the first in a manifest
    #[arg(long, value_name = "YAML")]
    pod: PathBuf,
    /// The pod's networks, and namespaces and the node if the policy reads them: a file or directory
    /// of manifests
    #[arg(long, value_name = "YAML")]
    nads: Vec<PathBuf>,
    /// What the delegates answer: members of a CNI result. With NETWORK=, of this network or interface
    #[arg(long = "delegate", value_name = "[NETWORK=]JSON")]
    delegates: Vec<String>,
    /// The conf of the default network
    #[arg(long, value_name = "JSON")]
    default_network: Option<PathBuf>,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy is not usable.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// A manifest is not usable.
    #[error("{0}")]
    Manifests(String),
    /// The manifest has no pod, or nothing that surrounds one.
    #[error("{path}{hint}", path = path.display())]
    NoObject {
        /// The manifest.
        path: PathBuf,
        /// What it has instead, with its place.
        hint: String,
    },
    /// The pod has no name.
    #[error("{path}{hint}", path = path.display())]
    Unnamed {
        /// The manifest.
        path: PathBuf,
        /// What it has instead, with its place.
        hint: String,
    },
    /// A network that a delegate answers for does not exist.
    #[error("--delegate {network:?}: no such network; did you mean {meant:?}?")]
    Network {
        network: String,
        /// The network that is probably meant.
        meant: String,
    },
    /// A conf or an answer of a delegate is not JSON.
    #[error("{path}:{line}:{column}  {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What was expected.
        reason: String,
    },
    /// A conf or an answer of a delegate is not usable.
    #[error("{path}: {reason}", path = path.display())]
    Json {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Runs the ADD. The exit code is 3 if the policy denies it, and 1 if it fails for another reason.
///
/// # Errors
/// [`Error`] if a file is not usable.
pub fn run(args: &RunArgs) -> Result<Output, Error> {
    let read =
        |path: &PathBuf| manifests::files(path).map_err(|error| Error::Manifests(chain(&error)));
    let policy = Policy::open(&args.module, args.config.as_deref())?;
    let mut objects = Objects::default();
    for path in &args.nads {
        let networks = read(path)?;
        if !networks.has_surroundings() {
            let hint = other_kind(path, "NetworkAttachmentDefinition");
            return Err(Error::NoObject {
                path: path.clone(),
                hint,
            });
        }
        objects.extend(networks);
    }
    let pods = read(&args.pod)?;
    let pod = pods
        .pods()
        .first()
        .cloned()
        .ok_or_else(|| Error::NoObject {
            path: args.pod.clone(),
            hint: other_kind(&args.pod, "Pod"),
        })?;
    if pod.name.is_empty() {
        let path = args.pod.clone();
        let hint = unnamed(&path);
        return Err(Error::Unnamed { path, hint });
    }
    let ignored = ignored_members(&pod, &Limits::default());
    objects.extend(pods);
    let default = args.default_network.as_deref().map(conf).transpose()?;
    let answers = answers(&args.delegates, &objects)?;
    let request = RuntimeCall::Pod {
        verb: Verb::Add,
        container: SANDBOX.to_owned(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    };
    runtime().block_on(async {
        let loaded = policy.load().await?;
        let surroundings = Surroundings {
            objects,
            default,
            ..Surroundings::default()
        };
        let node = Node::new(&loaded, surroundings);
        node.answer_with(answers);
        let answered = node.handle(&request).await;
        let code = match &answered.result {
            Ok(_) => 0,
            Err(_) if answered.denial().is_some() => FAILED,
            Err(_) => 1,
        };
        let status = node.status(&pod.namespace, &pod.name);
        Ok(Output {
            text: show::text(
                &answered,
                &node.entries(SANDBOX),
                status.as_deref(),
                &ignored,
            ),
            code,
        })
    })
}

/// What a file without an object of the expected kind has.
fn other_kind(path: &Path, expected: &str) -> String {
    let Some((place, kind)) = manifests::first_kind(path) else {
        return format!(" has no object of kind {expected}");
    };
    let meant = suggest::similar(&kind, &[expected]);
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
    format!("{place}  kind: expected a {expected}, not {kind:?}{meant}")
}

/// Where a pod without a name should have one, and what is misspelt there.
fn unnamed(path: &Path) -> String {
    let (place, misspelt) = manifests::unnamed(path);
    let hint = misspelt.map_or_else(String::new, |(key, meant)| {
        format!("; did you mean {meant:?} instead of {key:?}?")
    });
    format!("{place}  metadata.name: the pod has no name{hint}")
}

/// The conf of a network in a file.
fn conf(path: &Path) -> Result<String, Error> {
    let (_, text) = json(path)?;
    // The network has the name of the default network if it has none.
    let mut named: Value = serde_json::from_str(&text).unwrap_or_default();
    if let Some(members) = named.as_object_mut() {
        members.entry("name").or_insert_with(|| "default".into());
    }
    match NetworkConfList::parse_any(named.to_string()) {
        Ok(_) => Ok(text),
        Err(error) => Err(wrong(path, &text, &chain(&error))),
    }
}

/// A mistake in a JSON file, at the first value that the reason quotes.
fn wrong(path: &Path, text: &str, reason: &str) -> Error {
    let mut quoted = reason.split('"').skip(1).step_by(2);
    let at = quoted.find_map(|word| text.find(&format!("{word:?}")));
    let before = text.get(..at.unwrap_or(0)).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    Error::Syntax {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
        reason: reason.to_owned(),
    }
}

/// The value and the text of a JSON file.
fn json(path: &Path) -> Result<(Value, String), Error> {
    let failed = |reason: String| Error::Json {
        path: path.to_owned(),
        reason,
    };
    let read =
        text::read(path).and_then(|text| text::json(text).map_err(text::Unreadable::Encoding));
    let text = read.map_err(|unreadable| match unreadable {
        text::Unreadable::Io(error) => failed(error.to_string()),
        text::Unreadable::Encoding(wrong) => Error::Syntax {
            path: path.to_owned(),
            line: wrong.line,
            column: wrong.column,
            reason: wrong.reason,
        },
    })?;
    let value = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column().max(1));
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        Error::Syntax {
            path: path.to_owned(),
            line,
            column,
            reason: message.trim_end_matches(&place).to_owned(),
        }
    })?;
    Ok((value, text))
}

fn answers(given: &[String], objects: &Objects) -> Result<BTreeMap<String, Answer>, Error> {
    let mut answers = BTreeMap::new();
    for given in given {
        let (network, path) = given.split_once('=').unwrap_or((ANY, given));
        let path = PathBuf::from(path);
        if let Some(meant) = misspelt(network, objects) {
            let network = network.to_owned();
            return Err(Error::Network { network, meant });
        }
        let (value, text) = json(&path)?;
        let Value::Object(members) = value else {
            return Err(wrong(&path, &text, "expected a JSON object"));
        };
        let answer = Answer::Result(members);
        answer
            .check()
            .map_err(|reason| wrong(&path, &text, &reason))?;
        answers.insert(network.to_owned(), answer);
    }
    Ok(answers)
}
