//! Compares what a policy did with what it does now.

use std::collections::BTreeMap;

use policy_engine::record::{Answer, Call, Redactor, Turn};
use policy_engine::{Finding, Hook, RequestFacts, Severity};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One thing that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Difference {
    /// `namespace/name`; empty for GC and STATUS.
    pub(super) pod: String,
    /// Container id of the sandbox.
    pub(super) container_id: String,
    /// The hook.
    pub(super) hook: &'static str,
    /// Interface and network, in hooks of one attachment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<String>,
    /// `verdict`, `message`, `finding`, or the JSON pointer of an edit.
    pub(super) field: String,
    /// What was recorded; `None` for nothing.
    pub(super) old: Option<String>,
    /// What the policy does now.
    pub(super) new: Option<String>,
}

/// How a call compares.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Same,
    /// It cannot be compared, with the reason.
    Not(&'static str),
    Different(Vec<Difference>),
}

/// What a turn did, field by field.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done(BTreeMap<String, String>);

/// Compares a recorded call with the new turn in it.
///
/// # Errors
/// The record has something else in place of what the hook was offered.
pub(super) fn compare(
    facts: &RequestFacts,
    call: &Call,
    (policy, new): (&str, Option<&Turn>),
    redactor: &Redactor,
) -> serde_json::Result<Compared> {
    let old = call.turn(policy);
    if old.is_none() && new.is_none() {
        return Ok(Compared::Same);
    }
    if let Some(old) = old {
        if old.conflict {
            return Ok(Compared::Not("an edit of another policy was in the way"));
        }
        if old.timed_out() {
            return Ok(Compared::Not("the policy had run out of time"));
        }
        if call.is_cut(policy) {
            return Ok(Compared::Not("the policy had read more than is recorded"));
        }
    }
    let old = old
        .map(|turn| Done::of(turn, call.hook, None))
        .unwrap_or_else(Done::nothing);
    let new = new
        .map(|turn| Done::of(turn, call.hook, Some(redactor)))
        .unwrap_or_else(Done::nothing);
    if old == new {
        return Ok(Compared::Same);
    }
    let keys = old.0.keys().chain(new.0.keys());
    let keys: std::collections::BTreeSet<&String> = keys.collect();
    let changed = keys
        .into_iter()
        .map(|key| (key, old.0.get(key), new.0.get(key)))
        .filter(|(_, old, new)| old != new);
    let (network, interface) = call.offered.get()?.subject().unzip();
    let differences = changed.map(|(field, old, new)| Difference {
        pod: facts
            .pod
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        container_id: facts.container_id.clone(),
        hook: call.hook.as_str(),
        interface: interface.map(str::to_owned),
        network: network.map(str::to_owned),
        field: field.clone(),
        old: old.cloned(),
        new: new.cloned(),
    });
    Ok(Compared::Different(differences.collect()))
}

/// An operation of a patch.
#[derive(Deserialize)]
struct Operation {
    path: String,
    #[serde(default)]
    value: Option<Box<RawValue>>,
}

impl Done {
    /// That of a policy that is not called.
    fn nothing() -> Self {
        Self(BTreeMap::from([(
            "verdict".to_owned(),
            "accept".to_owned(),
        )]))
    }

    fn of(turn: &Turn, hook: Hook, redactor: Option<&Redactor>) -> Self {
        let mut done = Self::nothing();
        let verdict = match &turn.answer {
            Answer::Accept => "accept".to_owned(),
            Answer::Deny { code, message } => {
                done.0.insert("message".to_owned(), message.clone());
                format!("deny {code}")
            }
            // The text of a trap names the module's functions.
            Answer::Failed { cause, .. } => format!("fail: {cause}"),
        };
        // These hooks have no verdict.
        let has_verdict = !matches!(hook, Hook::AddFailed | Hook::Del | Hook::Gc);
        if has_verdict || matches!(turn.answer, Answer::Failed { .. }) {
            done.0.insert("verdict".to_owned(), verdict);
        }
        let patch = match redactor {
            Some(redactor) => redactor.patch(&turn.edits),
            None => turn.edits.clone(),
        };
        let operations: Vec<Operation> = serde_json::from_str(&patch).unwrap_or_default();
        for Operation { path, value } in operations {
            let value = value.map_or("removed".to_owned(), |value| value.get().to_owned());
            done.add(path, value);
        }
        if turn.omitted > 0 {
            done.add("more edits".to_owned(), turn.omitted.to_string());
        }
        for finding in &turn.findings {
            let fields = finding.fields.iter();
            let fields = fields.map(|(name, value)| format!(" {name}={value:?}"));
            let fields: String = fields.collect();
            let severity = match finding.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
            };
            let Finding { code, message, .. } = finding;
            done.add(
                "finding".to_owned(),
                format!("{severity} {code}: {message}{fields}"),
            );
        }
        done
    }

    fn add(&mut self, field: String, text: String) {
        let known = self.0.entry(field).or_default();
        if !known.is_empty() {
            known.push_str("; ");
        }
        known.push_str(&text);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use serde_json::json;

    fn call(turns: &serde_json::Value) -> Call {
        let attachment = json!({"network": "a/n", "ifName": "net1", "isDefault": false,
            "conf": {"type": "ptp"}, "ips": [], "mac": null, "bandwidth": null,
            "portMappings": [], "infinibandGuid": null});
        let call = json!({"hook": "before-add", "offered": {"beforeAdd": [attachment, {}, []]},
            "turns": turns});
        serde_json::from_str(&call.to_string()).unwrap()
    }

    fn facts() -> RequestFacts {
        let facts = json!({"command": "ADD", "containerId": "c", "labels": {}, "annotations": {},
            "pod": {"namespace": "shop", "name": "web", "uid": "u"}, "namespaceLabels": null,
            "nodeName": "n"});
        serde_json::from_value(facts).unwrap()
    }

    fn turn(rest: serde_json::Value) -> serde_json::Value {
        let mut turn = json!({"policy": "p", "digest": "d", "answer": "accept"});
        turn.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        turn
    }

    fn differences(old: serde_json::Value, new: serde_json::Value) -> Vec<[Option<String>; 3]> {
        let (old, new) = (call(&json!([turn(old)])), call(&json!([turn(new)])));
        let new = new.turn("p");
        match compare(&facts(), &old, ("p", new), &Redactor::default()).unwrap() {
            Compared::Different(all) => all
                .into_iter()
                .map(|one| [Some(one.field), one.old, one.new])
                .collect(),
            Compared::Same => Vec::new(),
            Compared::Not(reason) => panic!("{reason}"),
        }
    }

    fn row(row: [&str; 3]) -> [Option<String>; 3] {
        row.map(|cell| (cell != "-").then(|| cell.to_owned()))
    }

    #[test]
    fn each_changed_field_is_a_difference() {
        let mtu = json!({"edits": "[{\"op\":\"add\",\"path\":\"/conf/mtu\",\"value\":1400}]"});
        let other = json!({"edits": "[{\"op\":\"add\",\"path\":\"/conf/mtu\",\"value\":9000}]"});
        assert_eq!(differences(mtu.clone(), mtu.clone()), Vec::<[_; 3]>::new());
        assert_eq!(
            differences(mtu.clone(), other),
            [row(["/conf/mtu", "1400", "9000"])]
        );
        let deny = json!({"answer": {"deny": {"code": 130, "message": "no"}}});
        assert_eq!(
            differences(mtu, deny.clone()),
            [
                row(["/conf/mtu", "1400", "-"]),
                row(["message", "-", "no"]),
                row(["verdict", "accept", "deny 130"])
            ]
        );
        let reworded = json!({"answer": {"deny": {"code": 130, "message": "never"}}});
        assert_eq!(
            differences(deny, reworded),
            [row(["message", "no", "never"])]
        );
    }

    #[test]
    fn all_of_a_finding_is_compared() {
        let finding = |severity: &str, fields: serde_json::Value| {
            let finding = json!({"policy": "p", "hook": "before-add", "severity": severity,
                "code": "c", "message": "m", "fields": fields});
            json!({ "findings": [finding] })
        };
        let plain = finding("info", json!([]));
        let rows = differences(plain.clone(), finding("warning", json!([["a", "b"]])));
        let expected = row(["finding", "info c: m", "warning c: m a=\"b\""]);
        assert_eq!(rows, [expected]);
        assert_eq!(differences(plain.clone(), plain), Vec::<[_; 3]>::new());
    }

    #[test]
    fn a_policy_that_is_not_called_accepts() {
        let accepts = call(&json!([turn(json!({}))]));
        let compared =
            |call: &Call, new| compare(&facts(), call, ("p", new), &Redactor::default()).unwrap();
        assert_eq!(compared(&accepts, None), Compared::Same);
        let nothing = call(&json!([]));
        assert_eq!(compared(&nothing, accepts.turn("p")), Compared::Same);
    }

    #[test]
    fn accidents_of_the_recording_are_not_compared() {
        let compared = |rest| {
            let call = call(&json!([turn(rest)]));
            compare(&facts(), &call, ("p", None), &Redactor::default()).unwrap()
        };
        let is_not = |compared| matches!(compared, Compared::Not(_));
        assert!(is_not(compared(json!({"conflict": true}))));
        let late = json!({"answer": {"failed": {"cause": "timeout", "reason": "its 50 ms"}}});
        assert!(is_not(compared(late)));
        assert!(is_not(compared(json!({"outside": {"cut": true}}))));
    }
}
