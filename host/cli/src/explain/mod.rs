//! `cnidaria explain`: what an ADD of a pod would do.

mod conf;
mod pod;
mod show;

use std::error::Error;

use serde_json::value::RawValue;
use shim_api::endpoint;
use shim_api::explain::{Explain, Explanation, GivenPod};

use crate::args::{Args, ExplainPodArgs, Format};
use crate::{daemon, output};

/// Exit code if the ADD would fail.
const REFUSED: u8 = 3;

/// Stands for the sandbox's id, which the runtime has not chosen yet. As long as theirs, because the
/// length of a file name depends on it.
const CONTAINER: &str = "explain000000000000000000000000000000000000000000000000000000000";

/// The explanation as text, and the exit code.
pub(crate) fn explain(args: &Args, asked: &ExplainPodArgs) -> Result<(String, u8), Box<dyn Error>> {
    let (pod, given) = match (&asked.manifest, &asked.pod) {
        (Some(file), _) => {
            let given = pod::read(file, &asked.namespace)?;
            (given.clone(), Some(given))
        }
        (None, named) => {
            let named = named.as_deref().unwrap_or_default();
            (pod::named(named, &asked.namespace), None)
        }
    };
    let conf = conf::of_runtime(asked.cni_conf.as_deref())?;
    let question = Explain {
        request: add(&pod, conf)?,
        pod: given,
    };
    let explanation: Explanation = daemon::post(&args.socket_dir(), endpoint::EXPLAIN, &question)?;
    let code = if explanation.refusal.is_some() {
        REFUSED
    } else {
        0
    };
    let text = match args.output {
        Format::Json => output::json(&explanation)?,
        Format::Table => show::text(&explanation, asked.confs),
    };
    Ok((text, code))
}

/// The ADD that a runtime would send.
fn add(pod: &GivenPod, conf: Vec<u8>) -> Result<Box<RawValue>, serde_json::Error> {
    let GivenPod {
        namespace, name, ..
    } = pod;
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={CONTAINER}"
    );
    let netns = format!("/run/netns/{CONTAINER}");
    let env = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", CONTAINER),
        ("CNI_NETNS", &netns),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", &args),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    serde_json::value::to_raw_value(&shim_api::Request {
        env: env.into(),
        config: conf,
        interface_attributes: None,
    })
}
