//! What the object says. Nothing here depends on the API server: a report and what was written
//! before give what is to be written.

use std::collections::BTreeSet;

use cni_types::json::Cause;
use cni_types::text::deceives;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::Failure;

use super::{Mode, NodePolicies, NodePolicy, State};

/// Group and version of the kind.
const API_VERSION: &str = "cnidaria.dev/v1alpha1";
const KIND: &str = "PolicyNodeStatus";

/// Limits of the definition in `deploy/kustomize/base/policy-status.yaml`.
const MAX_POLICIES: usize = 128;
const MAX_NAME: usize = 255;
const MAX_DIGEST: usize = 128;
const MAX_REASON: usize = 512;
const MAX_TROUBLE: usize = 1024;
/// Policies in trouble that a message names.
const MAX_NAMED: usize = 3;
/// Members of the status that may be absent, which a merge patch must remove.
const OPTIONAL: [&str; 2] = ["trouble", "omitted"];

/// Path of all objects.
pub(super) const COLLECTION: &str = "/apis/cnidaria.dev/v1alpha1/policynodestatuses";

/// Path of a node's object.
pub(crate) fn path(node: &str) -> String {
    format!("{COLLECTION}/{node}")
}

/// A new object, owned by its node so that the cluster deletes it with the node.
pub(super) fn new(node: &str, uid: &str) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": node,
            "labels": {
                "app.kubernetes.io/name": "cnidaria",
                "app.kubernetes.io/part-of": "cnidaria",
            },
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Node",
                "name": node,
                "uid": uid,
            }],
        },
    })
}

/// The patch that replaces the status.
pub(super) fn patch(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(members) = status.as_object_mut() {
        for member in OPTIONAL {
            members.entry(member).or_insert(Value::Null);
        }
    }
    json!({ "status": status })
}

/// What a status consists of.
pub(super) struct Facts<'a> {
    pub(super) report: &'a NodePolicies,
    pub(super) daemon_version: &'a str,
    /// `metadata.generation` of the object.
    pub(super) observed_generation: i64,
    /// The status as last written, from which times are taken over.
    pub(super) before: &'a Value,
    pub(super) now: &'a str,
}

/// The status of the object. Equal facts give an equal status, whatever the time.
pub(super) fn status(facts: &Facts<'_>) -> Value {
    let report = facts.report;
    let count = |fits: &dyn Fn(&NodePolicy) -> bool| {
        report.policies.iter().filter(|policy| fits(policy)).count()
    };
    let in_mode = |mode: Mode| count(&|policy| policy.state.is_in_force() && policy.mode == mode);
    let (chosen, omitted) = chosen(&report.policies);
    let policies: Vec<Value> = chosen.iter().map(|one| listed(one, facts)).collect();
    let mut status = json!({
        "daemonVersion": facts.daemon_version,
        "generation": report.generation,
        "counts": {
            "total": report.policies.len(),
            "enforced": in_mode(Mode::Enforce),
            "audited": in_mode(Mode::Audit),
            "off": count(&|policy| policy.state == State::Off),
            "notInForce": count(&|policy| policy.state.is_missing()),
        },
        "policies": policies,
        "conditions": [
            condition("Ready", &ready(report), facts),
            condition("Current", &current(report), facts),
        ],
    });
    if let Some(trouble) = trouble(&report.policies) {
        set(&mut status, "trouble", json!(trouble));
    }
    if omitted > 0 {
        set(&mut status, "omitted", json!(omitted));
    }
    status
}

fn set(object: &mut Value, member: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "Loaded",
            Self::Stale => "Stale",
            Self::Pending => "Pending",
            Self::Failed => "Failed",
            Self::Quarantined => "Quarantined",
            Self::Off => "Off",
        }
    }

    fn is_in_force(self) -> bool {
        matches!(self, Self::Loaded | Self::Stale)
    }

    /// Whether a policy should be in force and is not.
    fn is_missing(self) -> bool {
        matches!(self, Self::Pending | Self::Failed | Self::Quarantined)
    }

    fn is_troubled(self) -> bool {
        !matches!(self, Self::Loaded | Self::Off)
    }
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "Enforce",
            Self::Audit => "Audit",
            Self::Off => "Off",
        }
    }
}

/// The policies that the list has room for, those in trouble first, by name; and how many it has not.
fn chosen(policies: &[NodePolicy]) -> (Vec<&NodePolicy>, usize) {
    let mut names = BTreeSet::new();
    let mut chosen: Vec<&NodePolicy> = policies
        .iter()
        .filter(|policy| names.insert(text(&policy.name, MAX_NAME)))
        .collect();
    chosen.sort_by(|a, b| {
        let key = |policy: &NodePolicy| !policy.state.is_troubled();
        (key(a), &a.name).cmp(&(key(b), &b.name))
    });
    let omitted = policies
        .len()
        .saturating_sub(MAX_POLICIES.min(chosen.len()));
    chosen.truncate(MAX_POLICIES);
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    (chosen, omitted)
}

fn listed(policy: &NodePolicy, facts: &Facts<'_>) -> Value {
    let mut listed = Map::new();
    let mut set = |member: &str, value: Value| drop(listed.insert(member.to_owned(), value));
    set("name", json!(text(&policy.name, MAX_NAME)));
    set("state", json!(policy.state.as_str()));
    set("mode", json!(policy.mode.as_str()));
    if let Some(digest) = &policy.digest {
        set("digest", json!(text(digest, MAX_DIGEST)));
    }
    set("generation", json!(policy.load));
    if let Some(reason) = policy
        .reason
        .as_ref()
        .filter(|_| policy.state.is_troubled())
    {
        set("reason", json!(text(reason, MAX_REASON)));
    }
    let now = Value::Object(listed);
    with_time(now, "name", &["state", "mode", "digest"], facts, "policies")
}

/// Adds when one of some members last changed, according to the element of the earlier list that
/// has the same key.
fn with_time(mut now: Value, key: &str, members: &[&str], facts: &Facts<'_>, list: &str) -> Value {
    const TIME: &str = "lastTransitionTime";
    let former = facts.before.get(list).and_then(Value::as_array);
    let former = former.into_iter().flatten().find(|former| {
        let is_same = |member: &&str| former.get(*member) == now.get(*member);
        is_same(&key) && members.iter().all(is_same)
    });
    let time = former.and_then(|former| former.get(TIME)?.as_str());
    let time = json!(time.unwrap_or(facts.now));
    set(&mut now, TIME, time);
    now
}

/// Status, reason and message of a condition.
type Verdict = (bool, &'static str, String);

fn condition(kind: &str, (holds, reason, message): &Verdict, facts: &Facts<'_>) -> Value {
    let condition = json!({
        "type": kind,
        "status": if *holds { "True" } else { "False" },
        "reason": reason,
        "message": message,
        "observedGeneration": facts.observed_generation,
    });
    with_time(condition, "type", &["status"], facts, "conditions")
}

/// Whether each policy that is not off is in force.
fn ready(report: &NodePolicies) -> Verdict {
    let policies = &report.policies;
    if report.is_bypassed {
        let message = "a file on the node makes requests bypass all policies";
        return (false, "Bypassed", message.to_owned());
    }
    let missing: Vec<&NodePolicy> = policies
        .iter()
        .filter(|policy| policy.state.is_missing())
        .collect();
    if missing.is_empty() {
        return match policies
            .iter()
            .filter(|one| one.state.is_in_force())
            .count()
        {
            0 => (true, "NoPolicies", "the node has no policies".to_owned()),
            1 => (true, "InForce", "1 policy is in force".to_owned()),
            count => (true, "InForce", format!("{count} policies are in force")),
        };
    }
    let is_pending = missing.iter().all(|policy| policy.state == State::Pending);
    let reason = if is_pending { "Pending" } else { "NotInForce" };
    (false, reason, named(&missing))
}

/// Whether each policy is in force as its newest files say.
fn current(report: &NodePolicies) -> Verdict {
    let troubled = troubled(&report.policies);
    if troubled.is_empty() {
        let message = "each policy is in force as its newest files say";
        return (true, "UpToDate", message.to_owned());
    }
    let is_stale = troubled.iter().all(|policy| policy.state == State::Stale);
    let reason = if is_stale { "Stale" } else { "NotInForce" };
    (false, reason, named(&troubled))
}

fn troubled(policies: &[NodePolicy]) -> Vec<&NodePolicy> {
    let troubled = policies.iter().filter(|one| one.state.is_troubled());
    troubled.collect()
}

/// The policies that are not in force as their newest files say.
fn trouble(policies: &[NodePolicy]) -> Option<String> {
    let troubled = troubled(policies);
    (!troubled.is_empty()).then(|| named(&troubled))
}

/// Some policies with their states.
fn named(policies: &[&NodePolicy]) -> String {
    let shown = policies.iter().take(MAX_NAMED);
    let mut names: Vec<String> = shown
        .map(|policy| format!("{} {}", text(&policy.name, MAX_NAME), policy.state.as_str()))
        .collect();
    let more = policies.len().saturating_sub(MAX_NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    text(&names.join(", "), MAX_TROUBLE)
}

/// A text without characters that deceive, of at most so many characters.
fn text(text: &str, limit: usize) -> String {
    let printable = |c: char| if deceives(c) { ' ' } else { c };
    text.chars().map(printable).take(limit).collect()
}

/// What the cluster has of a node's policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Name, state and digest of each policy.
    pub policies: Vec<(String, String, Option<String>)>,
}

impl Published {
    /// Reads an object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default)]
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            policies: Vec<Listed>,
        }
        #[derive(Deserialize)]
        struct Listed {
            name: String,
            state: String,
            digest: Option<String>,
        }
        let object: Object = serde_json::from_slice(body)
            .map_err(|error| Failure::Malformed(Cause::from(error).to_string()))?;
        let policies = object.status.policies.into_iter();
        Ok(Self {
            policies: policies
                .map(|one| (one.name, one.state, one.digest))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, state: State) -> NodePolicy {
        NodePolicy {
            name: name.to_owned(),
            state,
            mode: match state {
                State::Off => Mode::Off,
                _ => Mode::Enforce,
            },
            digest: Some("sha256:1".to_owned()),
            load: 1,
            reason: Some("why".to_owned()),
        }
    }

    fn report(policies: Vec<NodePolicy>) -> NodePolicies {
        NodePolicies {
            generation: 1,
            is_bypassed: false,
            policies,
        }
    }

    fn at(now: &str, report: &NodePolicies, before: &Value) -> Value {
        status(&Facts {
            report,
            daemon_version: "1",
            observed_generation: 1,
            before,
            now,
        })
    }

    fn of(states: &[State]) -> Value {
        let policies = states.iter().enumerate();
        let policies = policies.map(|(index, state)| policy(&format!("p{index}"), *state));
        at("now", &report(policies.collect()), &Value::Null)
    }

    fn conditions(status: &Value) -> [(&str, &str); 2] {
        [0, 1].map(|index| {
            let condition = &status["conditions"][index];
            let member = |name: &str| condition[name].as_str().unwrap();
            (member("status"), member("reason"))
        })
    }

    #[test]
    fn conditions_say_what_is_in_force() {
        use State::{Failed, Loaded, Off, Pending, Quarantined, Stale};
        for (states, expected) in [
            (&[][..], [("True", "NoPolicies"), ("True", "UpToDate")]),
            (&[Off], [("True", "NoPolicies"), ("True", "UpToDate")]),
            (&[Loaded, Off], [("True", "InForce"), ("True", "UpToDate")]),
            (&[Loaded, Stale], [("True", "InForce"), ("False", "Stale")]),
            (
                &[Stale, Failed],
                [("False", "NotInForce"), ("False", "NotInForce")],
            ),
            (
                &[Loaded, Quarantined],
                [("False", "NotInForce"), ("False", "NotInForce")],
            ),
            (
                &[Loaded, Pending],
                [("False", "Pending"), ("False", "NotInForce")],
            ),
        ] {
            assert_eq!(conditions(&of(states)), expected, "{states:?}");
        }
        let bypassed = NodePolicies {
            is_bypassed: true,
            ..report(vec![policy("p", Loaded)])
        };
        let status = at("now", &bypassed, &Value::Null);
        assert_eq!(conditions(&status)[0], ("False", "Bypassed"));
    }

    #[test]
    fn counts_and_trouble_are_for_columns() {
        use State::{Failed, Loaded, Off, Quarantined, Stale};
        let mut policies = vec![policy("a", Loaded), policy("b", Stale), policy("c", Off)];
        policies[0].mode = Mode::Audit;
        policies.extend(["d", "e", "f"].map(|name| policy(name, Failed)));
        policies.push(policy("g", Quarantined));
        let status = at("now", &report(policies), &Value::Null);
        let counts = json!({"total": 7, "enforced": 1, "audited": 1, "off": 1, "notInForce": 4});
        assert_eq!(status["counts"], counts);
        assert_eq!(status["trouble"], "b Stale, d Failed, e Failed, 2 more");
        assert_eq!(of(&[Loaded])["trouble"], Value::Null);
    }

    #[test]
    fn times_change_with_what_they_are_about() {
        let mut policies = report(vec![
            policy("a", State::Loaded),
            policy("b", State::Loaded),
            policy("c", State::Loaded),
        ]);
        let first = at("1", &policies, &Value::Null);
        assert_eq!(at("2", &policies, &first), first, "nothing has changed");
        policies.policies[1].state = State::Stale;
        policies.policies[2].digest = None;
        policies.policies[0].load = 2;
        let second = at("2", &policies, &first);
        let times = |status: &Value, list: &str| -> Vec<String> {
            let list = status[list].as_array().unwrap().iter();
            let time = |one: &Value| one["lastTransitionTime"].as_str().unwrap().to_owned();
            list.map(time).collect()
        };
        assert_eq!(times(&second, "policies"), ["1", "2", "2"]);
        assert_eq!(times(&second, "conditions"), ["1", "2"]);
        assert_eq!(second["policies"][0]["generation"], 2);
    }

    #[test]
    fn a_patch_removes_what_is_absent() {
        let status = of(&[State::Failed]);
        assert_eq!(patch(&status)["status"]["trouble"], "p0 Failed");
        let patch = patch(&of(&[State::Loaded]));
        let status = patch["status"].as_object().unwrap();
        for member in OPTIONAL {
            assert_eq!(status.get(member), Some(&Value::Null));
        }
    }

    #[test]
    fn many_and_long_values_are_bounded() {
        let long = "\u{1b}é".repeat(10_000);
        let mut policies: Vec<NodePolicy> = (0..1000)
            .map(|number| policy(&format!("{number:04}"), State::Loaded))
            .collect();
        policies.push(NodePolicy {
            reason: Some(long.clone()),
            digest: Some(long.clone()),
            ..policy("troubled", State::Failed)
        });
        policies.extend([policy(&long, State::Failed), policy(&long, State::Stale)]);
        let status = at("now", &report(policies), &Value::Null);
        assert_eq!(status["policies"].as_array().unwrap().len(), MAX_POLICIES);
        assert_eq!(status["omitted"], 1003 - MAX_POLICIES);
        assert_eq!(status["counts"]["total"], 1003);
        let text = status.to_string();
        assert!(text.contains("troubled"), "{text}");
        assert!(!text.contains("u001b"), "{text}");
        assert!(text.len() < 64 << 10, "{}", text.len());
    }

    #[test]
    fn an_object_is_read_as_far_as_it_goes() {
        let status = of(&[State::Loaded]);
        let object = json!({"metadata": {"name": "n"}, "status": status}).to_string();
        let published = Published::parse(object.as_bytes()).unwrap();
        let expected = ("p0", "Loaded", Some("sha256:1"));
        let [(name, state, digest)] = &published.policies[..] else {
            panic!("{published:?}");
        };
        assert_eq!((&**name, &**state, digest.as_deref()), expected);
        let new = new("n", "u").to_string();
        assert_eq!(
            Published::parse(new.as_bytes()).unwrap(),
            Published::default()
        );
    }
}
