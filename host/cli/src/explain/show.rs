//! Shows an explanation.

use std::fmt::Write as _;

use serde_json::Value;
use shim_api::explain::{Action, Explanation, Network, Operation, PolicyAction, Recorded};

use crate::output::plain;

/// The networks with where they come from and what policies change, the refusal, and the difference
/// to what is attached.
pub(super) fn text(explanation: &Explanation, confs: bool) -> String {
    let mut text = String::new();
    let pod = &explanation.pod;
    line(&mut text, 0, &format!("pod {}/{}", pod.namespace, pod.name));
    let about_pod = |action: &&PolicyAction| action.if_name.is_none();
    for action in explanation.actions.iter().filter(about_pod) {
        line(&mut text, 2, &described(action));
    }
    for ignored in &explanation.ignored {
        line(&mut text, 2, &format!("warning: {ignored}"));
    }
    for network in &explanation.networks {
        self::network(&mut text, network, &explanation.actions, confs);
    }
    match &explanation.refusal {
        Some(refusal) => {
            if explanation.networks.is_empty() {
                let about_one = explanation
                    .actions
                    .iter()
                    .filter(|one| one.if_name.is_some());
                for action in about_one {
                    line(&mut text, 2, &described(action));
                }
            }
            let message = format!("would fail with code {}: {}", refusal.code, refusal.message);
            line(&mut text, 0, &message);
            if !refusal.details.is_empty() {
                line(&mut text, 2, &refusal.details);
            }
        }
        None => line(&mut text, 0, "would be attached"),
    }
    recorded(&mut text, explanation);
    text
}

fn network(text: &mut String, network: &Network, actions: &[PolicyAction], confs: bool) {
    let Network {
        network: name,
        if_name,
        origin,
        ..
    } = network;
    line(text, 2, &format!("{if_name:<8} {name}: {origin}"));
    line(text, 11, &plugins(network));
    if confs {
        line(text, 11, network.conf.get());
    }
    if let Some(device) = &network.device {
        line(text, 11, &format!("device {device}"));
    }
    for capability in &network.untaken {
        let message = format!("warning: {capability} is requested, and no plugin declares it");
        line(text, 11, &message);
    }
    for action in actions {
        if action.if_name.as_ref() == Some(if_name) {
            line(text, 11, &described(action));
        }
    }
}

/// The types of a network's plugins, with the address plugin of each.
fn plugins(network: &Network) -> String {
    let conf: Value = serde_json::from_str(network.conf.get()).unwrap_or_default();
    let plugins = match conf.get("plugins").and_then(Value::as_array) {
        Some(plugins) => plugins.iter().collect(),
        None => vec![&conf],
    };
    let plugins = plugins.into_iter().map(|plugin| {
        let text = |pointer| plugin.pointer(pointer).and_then(Value::as_str);
        let own = text("/type").unwrap_or("?");
        match text("/ipam/type") {
            Some(ipam) => format!("{own} with {ipam}"),
            None => own.to_owned(),
        }
    });
    plugins.collect::<Vec<_>>().join(", then ")
}

fn described(action: &PolicyAction) -> String {
    let PolicyAction {
        policy,
        hook,
        enforced,
        ..
    } = action;
    let audit = if *enforced {
        ""
    } else {
        " (audit: not in force)"
    };
    match &action.action {
        Action::Edit { patch } => format!("policy {policy} ({hook}){audit}: {}", edits(patch)),
        Action::Deny { code, message } => {
            format!("policy {policy} ({hook}) denies with code {code}{audit}: {message}")
        }
        Action::Finding { code, message } => {
            format!("policy {policy} ({hook}) finds {code}: {message}")
        }
        Action::Unknown => {
            format!("policy {policy} ({hook}): something that a newer daemon reports")
        }
    }
}

/// A JSON patch as `pointer = value`.
fn edits(patch: &[Operation]) -> String {
    let edits = patch
        .iter()
        .map(|Operation { path, value, .. }| match value {
            Some(value) => format!("{path} = {value}"),
            None => format!("{path} removed"),
        });
    edits.collect::<Vec<_>>().join(", ")
}

/// What the ledger has of the pod, and how the plan differs.
fn recorded(text: &mut String, explanation: &Explanation) {
    let Explanation {
        recorded, networks, ..
    } = explanation;
    if recorded.is_empty() {
        return;
    }
    line(text, 0, "recorded on this node:");
    for Recorded {
        container_id,
        if_name,
        network,
        attached,
    } in recorded
    {
        let state = if *attached {
            ""
        } else {
            ", not attached yet, or failed"
        };
        let id: String = container_id.chars().take(13).collect();
        line(
            text,
            2,
            &format!("{if_name:<8} {network} (container {id}{state})"),
        );
    }
    let is_recorded = |one: &&Network| {
        let same = |of: &Recorded| of.if_name == one.if_name && of.network == one.network;
        recorded.iter().any(same)
    };
    let missing = networks.iter().filter(|one| !is_recorded(one));
    let missing: Vec<_> = missing.map(|one| one.if_name.as_str()).collect();
    if !missing.is_empty() {
        let message = format!(
            "{} would be new: a pod gets its networks when its sandbox is created, so later changes of annotations, \
             network attachment definitions or policies reach it when it is created again",
            missing.join(", ")
        );
        line(text, 0, &message);
    }
}

fn line(text: &mut String, indent: usize, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:indent$}{}", "", plain(content));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explanation(more: &Value) -> Explanation {
        let mut whole = json!({
            "pod": { "namespace": "shop", "name": "web", "uid": "" },
            "networks": [{
                "network": "pods", "ifName": "eth0", "origin": "clusterNetwork of the CNI conf",
                "conf": { "type": "bridge", "ipam": { "type": "host-local" } },
                "cniArgs": "", "capabilityArgs": {},
            }],
        });
        for (key, value) in more.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn what_the_add_ignores_is_a_warning() {
        let ignored = json!({ "ignored": ["annotation a: unknown member \"ipps\""] });
        let text = text(&explanation(&ignored), false);
        let expected = "\n  warning: annotation a: unknown member \"ipps\"\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn networks_show_origin_and_edits() {
        let shown = text(
            &explanation(&json!({ "actions": [{
                "policy": "mtu", "hook": "before-add", "ifName": "eth0", "enforced": true,
                "action": "edit", "patch": [{ "op": "add", "path": "/conf/mtu", "value": 1400 }],
            }] })),
            false,
        );
        assert_eq!(
            shown,
            "pod shop/web\n  eth0     pods: clusterNetwork of the CNI conf\n           bridge with host-local\n           \
             policy mtu (before-add): /conf/mtu = 1400\nwould be attached\n"
        );
    }

    #[test]
    fn a_refusal_shows_code_and_cause() {
        let refusal = json!({ "refusal": { "code": 7, "message": "no\u{1b}[2J" }, "networks": [] });
        let shown = text(&explanation(&refusal), false);
        assert_eq!(
            shown,
            "pod shop/web\nwould fail with code 7: no\\u{1b}[2J\n"
        );
    }

    #[test]
    fn networks_that_are_not_recorded_are_named() {
        let recorded = json!({ "recorded": [
            { "containerId": "c", "ifName": "net1", "network": "x", "attached": true },
        ] });
        let shown = text(&explanation(&recorded), false);
        assert!(shown.contains("eth0 would be new"), "{shown}");
    }
}
