//! `cnidaria policy run`: one ADD of one pod, with everything that the policy does.

mod show;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use cni_types::error::chain;
use serde_json::Value;

use crate::manifests::{self, Objects};
use crate::node::{ANY, Answer, Node, RuntimeCall, Surroundings, Verb};
use crate::policy::{self, Policy};
use crate::{FAILED, Output, runtime};

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
    /// The manifest has no pod.
    #[error("{path} has no object of kind Pod", path = path.display())]
    NoPod {
        /// The manifest.
        path: PathBuf,
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
        objects.extend(read(path)?);
    }
    let pods = read(&args.pod)?;
    let pod = pods.pods().first().cloned().ok_or_else(|| Error::NoPod {
        path: args.pod.clone(),
    })?;
    objects.extend(pods);
    let default = args.default_network.as_ref().map(json).transpose()?;
    let answers = answers(&args.delegates)?;
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
            default: default.map(|conf| conf.to_string()),
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
            text: show::text(&answered, &node.entries(SANDBOX), status.as_deref()),
            code,
        })
    })
}

fn json(path: &PathBuf) -> Result<Value, Error> {
    let failed = |reason: String| Error::Json {
        path: path.clone(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        Error::Syntax {
            path: path.clone(),
            line,
            column,
            reason: message.trim_end_matches(&place).to_owned(),
        }
    })
}

fn answers(given: &[String]) -> Result<BTreeMap<String, Answer>, Error> {
    let mut answers = BTreeMap::new();
    for given in given {
        let (network, path) = given.split_once('=').unwrap_or((ANY, given));
        let path = PathBuf::from(path);
        let failed = |reason: &str| Error::Json {
            path: path.clone(),
            reason: reason.to_owned(),
        };
        let Value::Object(members) = json(&path)? else {
            return Err(failed("is not a JSON object"));
        };
        let answer = Answer::Result(members);
        answer.check().map_err(|reason| failed(&reason))?;
        answers.insert(network.to_owned(), answer);
    }
    Ok(answers)
}
