//! The answer of `POST /v1/explain`.

use cni_types::error::{CniError, code};
use hyper::StatusCode;
use serde_json::value::RawValue;
use shim_api::{admin, explain as wire};

use crate::response;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::pod::Pod;
use cnidaria_core::pipeline::{Error, ExplainedNetwork, Explanation, Origin};
use cnidaria_core::ports::{Action, PolicyAction};

/// Parses the body: the ADD, and the pod if one is given.
///
/// # Errors
/// The body is not a [`wire::Explain`].
pub(crate) fn parse(body: &[u8]) -> Result<(Box<RawValue>, Option<Pod>), CniError> {
    let asked: wire::Explain = serde_json::from_slice(body)
        .map_err(|error| CniError::new(code::DECODING_FAILURE, error.to_string()))?;
    let pod = asked.pod.map(|given| Pod {
        namespace: given.namespace,
        name: given.name,
        labels: given.labels,
        annotations: given.annotations,
        ..Pod::default()
    });
    Ok((asked.request, pod))
}

/// Status and body for an explanation.
pub(crate) fn answer(explained: Result<Explanation, Error>) -> (StatusCode, Vec<u8>) {
    match explained {
        Ok(explanation) => {
            let body = serde_json::to_vec(&on_the_wire(explanation)).unwrap_or_default();
            (StatusCode::OK, body)
        }
        Err(error) => response::refused(&response::cni_error(&error)),
    }
}

fn on_the_wire(explanation: Explanation) -> wire::Explanation {
    let Explanation {
        pod,
        networks,
        ignored,
        actions,
        refusal,
        recorded,
    } = explanation;
    wire::Explanation {
        pod: admin::Pod {
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
        },
        refusal: refusal.map(|error| {
            let CniError {
                code, msg, details, ..
            } = response::cni_error(&error);
            wire::Refusal {
                code,
                message: msg,
                details,
            }
        }),
        networks: networks.into_iter().map(network).collect(),
        ignored,
        actions: actions.into_iter().map(action).collect(),
        recorded: recorded.into_iter().map(of_ledger).collect(),
    }
}

fn network(network: ExplainedNetwork) -> wire::Network {
    let ExplainedNetwork {
        origin,
        entry,
        untaken,
    } = network;
    wire::Network {
        network: entry.network,
        if_name: entry.if_name.to_string(),
        origin: match origin {
            Origin::Conf(key) => format!("{key} of the CNI conf"),
            Origin::Annotation(annotation, element) => {
                format!("element {element} of annotation {annotation}")
            }
            Origin::Policy => "added by a policy".to_owned(),
        },
        conf: raw(entry.conf.text()),
        cni_args: entry.cni_args.to_string(),
        capability_args: raw(&entry.capability_args.to_string()),
        device: entry.device.map(|device| device.id),
        untaken: untaken.into_iter().map(str::to_owned).collect(),
    }
}

/// JSON that was parsed before.
fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn action(action: PolicyAction) -> wire::PolicyAction {
    wire::PolicyAction {
        policy: action.policy,
        hook: action.hook.to_owned(),
        if_name: action.if_name,
        enforced: action.is_enforced,
        action: match action.action {
            Action::Edited(patch) => wire::Action::Edit { patch },
            Action::Denied { code, message } => wire::Action::Deny { code, message },
            Action::Found { code, message } => wire::Action::Finding { code, message },
        },
    }
}

fn of_ledger(entry: Entry) -> wire::Recorded {
    wire::Recorded {
        container_id: entry.container_id.to_string(),
        if_name: entry.if_name.to_string(),
        network: entry.network,
        attached: entry.result.is_some(),
    }
}
