//! Compares a request's outcome with the expected one, member by member.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::observe::{Observed, severity};
use crate::case::{Expect, ExpectedFinding, Pointers, Severity, Verdict};

/// A request that did not go as expected: both sides as YAML-like text, for a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// The request, if there are several.
    pub(super) title: String,
    /// What was expected.
    pub(super) expected: String,
    /// The actual values of the expected members.
    pub(super) actual: String,
}

/// Both sides of a comparison, with the same keys.
#[derive(Default)]
struct Sides {
    expected: Map<String, Value>,
    actual: Map<String, Value>,
}

impl Sides {
    fn put(&mut self, key: &str, expected: Value, actual: Value) {
        self.expected.insert(key.to_owned(), expected);
        self.actual.insert(key.to_owned(), actual);
    }
}

/// The difference, if there is one.
pub(super) fn compare(expect: &Expect, observed: &Observed, title: String) -> Option<Difference> {
    let mut sides = Sides::default();
    verdict(expect, observed, &mut sides);
    attachments(expect, observed, &mut sides);
    results(expect, observed, &mut sides);
    reports(expect, observed, &mut sides);
    (sides.expected != sides.actual).then(|| Difference {
        title,
        expected: text(&sides.expected),
        actual: text(&sides.actual),
    })
}

fn verdict(expect: &Expect, observed: &Observed, sides: &mut Sides) {
    let implied = match (&expect.code, &expect.hook, &expect.cause) {
        (None, None, None) => Verdict::Accept,
        _ => Verdict::Deny,
    };
    let expected = expect.verdict.unwrap_or(implied);
    let actual = observed.verdict.map(Verdict::as_str);
    sides.put("verdict", json!(expected.as_str()), json!(actual));
    if let Some(code) = expect.code {
        sides.put("code", json!(code), json!(observed.code));
    }
    if let Some(hook) = &expect.hook {
        sides.put("hook", json!(hook.value), json!(observed.hook));
    }
    if let Some(cause) = &expect.cause {
        sides.put("cause", json!(cause), json!(observed.cause));
    }
    let is_as_expected = observed.verdict == Some(expected);
    match (&expect.message, &observed.message) {
        (Some(part), Some(message)) if message.contains(part.as_str()) => {}
        (Some(part), message) => sides.put("message", json!(part), json!(message)),
        // Shows why a request was not accepted.
        (None, Some(message)) if !is_as_expected => {
            sides.actual.insert("message".to_owned(), json!(message));
            if let Some(hook) = observed.hook.filter(|_| expect.hook.is_none()) {
                sides.actual.insert("hook".to_owned(), json!(hook));
            }
        }
        (None, _) => {}
    }
}

fn attachments(expect: &Expect, observed: &Observed, sides: &mut Sides) {
    let attachments = &observed.attachments;
    if let Some(interfaces) = &expect.interfaces {
        let actual: Vec<&str> = attachments.iter().map(|one| &*one.if_name).collect();
        sides.put("interfaces", json!(interfaces), json!(actual));
    }
    if let Some(networks) = &expect.networks {
        let actual: Vec<&str> = attachments.iter().map(|one| &*one.network).collect();
        sides.put("networks", json!(networks), json!(actual));
    }
    if let Some(edits) = &expect.edits {
        // An empty map expects no edits at all.
        let is_named = |key: &String| edits.is_empty() || edits.contains_key(key);
        let mut actual = observed.edits.clone();
        actual.retain(|key, _| is_named(key));
        for key in edits.keys() {
            actual.entry(key.clone()).or_default();
        }
        sides.put("edits", json!(edits), json!(actual));
    }
    let find = |if_name: &str| attachments.iter().find(|one| one.if_name == if_name);
    if let Some(confs) = &expect.conf {
        let actual = by_interface(confs, |if_name| find(if_name).map(|one| &one.conf));
        sides.put("conf", json!(confs), actual);
    }
    if let Some(arguments) = &expect.arguments {
        let actual = by_interface(arguments, |if_name| find(if_name).map(|one| &one.arguments));
        sides.put("arguments", json!(arguments), actual);
    }
}

/// The values at the pointers that an expectation names.
fn by_interface<'v>(
    expected: &BTreeMap<String, Pointers>,
    find: impl Fn(&str) -> Option<&'v Value>,
) -> Value {
    let interfaces = expected.iter().map(|(if_name, pointers)| {
        let values = match find(if_name) {
            Some(value) => at(pointers, value),
            None => json!("not attached"),
        };
        (if_name.clone(), values)
    });
    Value::Object(interfaces.collect())
}

fn at(pointers: &Pointers, value: &Value) -> Value {
    let found = pointers.keys().map(|pointer| {
        let pointer = pointer.as_str();
        let value = value.pointer(pointer).cloned().unwrap_or_default();
        (pointer.to_owned(), value)
    });
    Value::Object(found.collect())
}

fn results(expect: &Expect, observed: &Observed, sides: &mut Sides) {
    if let Some(pointers) = &expect.result {
        let actual = observed.result.as_ref().map(|result| at(pointers, result));
        sides.put("result", json!(pointers), json!(actual));
    }
    let member = |if_name: &str, key: &str| {
        let element = observed.status.get(if_name)?;
        Some(element.get(key).cloned().unwrap_or_else(|| json!({})))
    };
    if let Some(dns) = &expect.dns {
        let actual = dns.keys().map(|if_name| {
            let dns = member(if_name, "dns").unwrap_or_default();
            (if_name.clone(), dns)
        });
        let actual = Value::Object(actual.collect());
        sides.put("dns", json!(dns), actual);
    }
    if let Some(tags) = &expect.tags {
        let actual = tags.keys().map(|if_name| {
            let tags = member(if_name, "tags").unwrap_or_default();
            (if_name.clone(), tags)
        });
        let actual = Value::Object(actual.collect());
        sides.put("tags", json!(tags), actual);
    }
}

fn reports(expect: &Expect, observed: &Observed, sides: &mut Sides) {
    if let Some(findings) = &expect.findings {
        let count = findings.len().max(observed.findings.len());
        let (mut expected, mut actual) = (Vec::new(), Vec::new());
        for index in 0..count {
            let wanted = findings.get(index);
            let found = observed.findings.get(index);
            expected.extend(wanted.map(shown));
            actual.extend(found.map(|found| like(wanted, found)));
        }
        sides.put("findings", Value::Array(expected), Value::Array(actual));
    }
    if let Some(lines) = &expect.log {
        let has = |part: &&String| observed.log.iter().any(|line| line.contains(part.as_str()));
        if !lines.iter().all(|part| has(&part)) {
            sides.put("log", json!(lines), json!(observed.log));
        }
    }
    if let Some(state) = &expect.state {
        sides.put("state", json!(state), json!(observed.state));
    }
}

fn shown(wanted: &ExpectedFinding) -> Value {
    let members = [
        ("code", json!(wanted.code)),
        ("severity", json!(wanted.severity)),
        ("message", json!(wanted.message)),
        ("fields", json!(wanted.fields)),
    ];
    let given = members.into_iter().filter(|(_, value)| !value.is_null());
    let given = given.map(|(key, value)| (key.to_owned(), value));
    Value::Object(given.collect())
}

/// A finding with the members that are compared; a message that has the expected part counts as it.
fn like(wanted: Option<&ExpectedFinding>, found: &policy_engine::Finding) -> Value {
    let all = ExpectedFinding {
        code: Some(String::new()),
        severity: Some(Severity::Info),
        message: Some(String::new()),
        fields: None,
    };
    let wanted = wanted.unwrap_or(&all);
    let mut members = Map::new();
    if wanted.code.is_some() {
        members.insert("code".to_owned(), json!(found.code));
    }
    if wanted.severity.is_some() {
        members.insert("severity".to_owned(), json!(severity(found)));
    }
    if let Some(part) = &wanted.message {
        let message = match found.message.contains(part.as_str()) && !part.is_empty() {
            true => part,
            false => &found.message,
        };
        members.insert("message".to_owned(), json!(message));
    }
    if let Some(fields) = &wanted.fields {
        let named = found
            .fields
            .iter()
            .filter(|(name, _)| fields.contains_key(name));
        let named: BTreeMap<&String, &String> = named.map(|(name, value)| (name, value)).collect();
        members.insert("fields".to_owned(), json!(named));
    }
    Value::Object(members)
}

/// A value as lines of text, of which a diff shows a few.
fn text(members: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (key, value) in members {
        write(&mut text, 0, key, value);
    }
    text
}

fn write(text: &mut String, depth: usize, key: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push_str(&format!("{indent}{key}:\n"));
            for (key, value) in members {
                write(text, depth + 1, key, value);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            text.push_str(&format!("{indent}{key}:\n"));
            for element in elements {
                text.push_str(&format!("{indent}- {element}\n"));
            }
        }
        value => text.push_str(&format!("{indent}{key}: {value}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed() -> Observed {
        Observed {
            verdict: Some(Verdict::Deny),
            code: Some(130),
            hook: Some("select"),
            message: Some("network default/legacy is denied".to_owned()),
            ..Observed::default()
        }
    }

    fn expect(code: u32, message: &str) -> Expect {
        Expect {
            code: Some(code),
            message: Some(message.to_owned()),
            ..Expect::default()
        }
    }

    #[test]
    fn expected_values_are_not_differences() {
        assert_eq!(
            compare(&expect(130, "default/legacy"), &observed(), String::new()),
            None
        );
    }

    #[test]
    fn a_difference_shows_both_sides() {
        let found = compare(&expect(131, "legacy"), &observed(), String::new());
        let found = found.map(|found| (found.expected, found.actual));
        let sides = (
            "code: 131\nverdict: \"deny\"\n",
            "code: 130\nverdict: \"deny\"\n",
        );
        assert_eq!(found, Some((sides.0.to_owned(), sides.1.to_owned())));
    }

    #[test]
    fn an_unexpected_denial_shows_its_reason() {
        let found = compare(&Expect::default(), &observed(), String::new());
        let actual = found.map(|found| found.actual).unwrap_or_default();
        assert!(
            actual.contains("message: \"network default/legacy is denied\""),
            "{actual}"
        );
        assert!(actual.contains("hook: \"select\""), "{actual}");
    }
}
