//! `cnidaria policy bench`: what a policy costs, hook by hook.

mod report;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::{NETWORKS_ANNOTATION, Pod};
use policy_engine::Hook;
use policy_engine::trial::{Loaded, Refusal};

use crate::manifests::{self, Objects};
use crate::node::{Node, PolicyEvent, RuntimeCall, Surroundings, Verb};
use crate::policy::{self, Policy};
use crate::{FAILED, Output, runtime};

/// The container id of the only sandbox.
const SANDBOX: &str = "sandbox";
/// Requests before the measured ones.
const WARM_UP: usize = 10;

/// What to measure.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The component, a .wasm file
    #[arg(value_name = "FILE")]
    module: PathBuf,
    /// The policy's configuration; by default, an empty one
    #[arg(long, value_name = "JSON")]
    config: Option<PathBuf>,
    /// The pod: the first in a manifest; by default, one with a network beside the default one
    #[arg(long, value_name = "YAML")]
    pod: Option<PathBuf>,
    /// The pod's networks, and namespaces and the node if the policy reads them: a file or directory
    /// of manifests
    #[arg(long, value_name = "YAML")]
    nads: Vec<PathBuf>,
    /// How often the pod is attached, checked and detached
    #[arg(long, value_name = "N", default_value = "1000")]
    rounds: NonZeroUsize,
}

/// Why nothing was measured.
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
    /// The policy cannot be instantiated.
    #[error("cannot instantiate {path}", path = path.display())]
    Instance {
        /// The module.
        path: PathBuf,
        /// Why.
        source: Refusal,
    },
}

/// What was measured.
#[derive(Debug, Default)]
struct Measured {
    module_bytes: usize,
    code_bytes: usize,
    compilation: Duration,
    instantiation: Vec<Duration>,
    hooks: BTreeMap<Hook, Calls>,
    /// The reasons of ADDs that were denied or failed.
    failures: BTreeMap<String, usize>,
    /// Whether a policy denied one of them.
    is_denied: bool,
}

/// The calls of one hook.
#[derive(Debug, Default)]
struct Calls {
    durations: Vec<Duration>,
    /// Bytes of the instance's memories after each call.
    memory: Vec<u64>,
}

/// Measures the policy. The exit code is 3 if it denies the pod, and 1 if the ADD fails for another
/// reason.
///
/// # Errors
/// [`Error`] if a file is not usable.
pub fn bench(args: &BenchArgs, is_json: bool) -> Result<Output, Error> {
    let begun = Instant::now();
    let policy = Policy::open(&args.module, args.config.as_deref())?;
    let mut measured = Measured {
        compilation: begun.elapsed(),
        module_bytes: policy.bytes,
        code_bytes: policy.compiled.code_bytes(),
        ..Measured::default()
    };
    let (objects, pod) = objects(args)?;
    runtime().block_on(async {
        let loaded = policy.load().await?;
        for _ in 0..args.rounds.get() {
            let instance = loaded.instantiate().await;
            let took = instance.map_err(|source| Error::Instance {
                path: args.module.clone(),
                source,
            })?;
            measured.instantiation.push(took);
        }
        measure(&loaded, (objects, &pod), args.rounds.get(), &mut measured).await;
        Ok::<_, Error>(())
    })?;
    let code = match measured.failures.is_empty() {
        true => 0,
        false if measured.is_denied => FAILED,
        false => 1,
    };
    let text = match is_json {
        true => report::json(&measured),
        false => report::text(&measured),
    };
    Ok(Output { text, code })
}

/// Attaches, checks and detaches the pod, again and again.
async fn measure(
    loaded: &Loaded,
    (objects, pod): (Objects, &Pod),
    rounds: usize,
    measured: &mut Measured,
) {
    let surroundings = Surroundings {
        objects,
        ..Surroundings::default()
    };
    let node = Node::new(loaded, surroundings);
    let request = |verb| RuntimeCall::Pod {
        verb,
        container: SANDBOX.to_owned(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    };
    let requests = [
        request(Verb::Add),
        request(Verb::Check),
        RuntimeCall::Status,
        RuntimeCall::Gc(vec![SANDBOX.to_owned()]),
        request(Verb::Del),
    ];
    for round in 0..WARM_UP + rounds {
        for request in &requests {
            let answered = node.handle(request).await;
            if round < WARM_UP {
                continue;
            }
            let is_add = matches!(
                request,
                RuntimeCall::Pod {
                    verb: Verb::Add,
                    ..
                }
            );
            if let (Err(error), true) = (&answered.result, is_add) {
                measured.is_denied |= answered.denial().is_some();
                *measured
                    .failures
                    .entry(cni_types::error::chain(error))
                    .or_default() += 1;
            }
            for event in answered.events {
                if let PolicyEvent::Called {
                    hook,
                    duration,
                    memory,
                    ..
                } = event
                {
                    let calls = measured.hooks.entry(hook).or_default();
                    calls.durations.push(duration);
                    calls.memory.push(memory.0);
                }
            }
        }
    }
}

/// The pod and what surrounds it.
fn objects(args: &BenchArgs) -> Result<(Objects, Pod), Error> {
    let read = |path: &PathBuf| {
        manifests::files(path).map_err(|error| Error::Manifests(cni_types::error::chain(&error)))
    };
    let mut objects = Objects::default();
    for path in &args.nads {
        objects.extend(read(path)?);
    }
    let Some(path) = &args.pod else {
        let (nad, pod) = example();
        objects.add_nad(nad);
        objects.add_pod(pod.clone());
        return Ok((objects, pod));
    };
    let pods = read(path)?;
    let pod = pods.pods().first().cloned();
    let pod = pod.ok_or_else(|| Error::NoPod { path: path.clone() })?;
    objects.extend(pods);
    Ok((objects, pod))
}

/// A pod with one network.
fn example() -> (Nad, Pod) {
    let nad = Nad {
        namespace: "default".to_owned(),
        name: "example".to_owned(),
        config: Some(
            r#"{"cniVersion":"1.0.0","type":"macvlan","master":"eth1","ipam":{"type":"host-local","subnet":"10.9.0.0/24"}}"#
                .to_owned(),
        ),
        ..Nad::default()
    };
    let pod = Pod {
        namespace: "default".to_owned(),
        name: "example".to_owned(),
        uid: "00000000-0000-0000-0000-000000000001".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "example".to_owned())]),
        annotations: BTreeMap::from([(NETWORKS_ANNOTATION.to_owned(), "example".to_owned())]),
        claims: Default::default(),
        identity: Default::default(),
    };
    (nad, pod)
}
