//! Leaves values out of recordings.

use std::collections::BTreeMap;

use cni_types::json::{Document, Limits, Node};
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Answer;
use super::form::{Offered, Recorded, RecordedOutcome, Turn};
use super::lazy::Lazy;
use crate::config::Redaction;
use crate::model::outside::Bytes;
use crate::model::request::PolicyAttachment;

/// What stands for a value that is left out.
const REDACTED: &str = "redacted";

/// Shorter values of annotations stay in the texts of policies, which they could be part of by chance.
const MIN_HIDDEN: usize = 4;

/// Applies the rules of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    annotations: Vec<String>,
    keys: Vec<String>,
    /// The tokens of each pointer.
    pointers: Vec<Vec<String>>,
}

impl Redactor {
    /// The rules as they are applied.
    pub fn new(rules: &Redaction) -> Self {
        let tokens = |pointer: &String| {
            let tokens = pointer.strip_prefix('/').unwrap_or(pointer).split('/');
            let unescaped = tokens.map(|token| token.replace("~1", "/").replace("~0", "~"));
            unescaped.collect()
        };
        Self {
            annotations: rules.annotations.clone(),
            keys: rules.keys.clone(),
            pointers: rules.pointers.iter().map(tokens).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.keys.is_empty() && self.pointers.is_empty()
    }

    /// JSON without the values; other text as it is.
    pub fn json(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if !self.is_empty() {
            self.text(&mut text, false);
        }
        text
    }

    /// Leaves the values out of a request.
    pub(crate) fn request(&self, recorded: &mut Recorded) {
        if self.is_empty() {
            return;
        }
        let mut hidden = Vec::new();
        for (name, value) in &mut recorded.facts.annotations {
            match self.is_annotation(name) {
                true => hidden.push(std::mem::replace(value, REDACTED.to_owned())),
                false => self.text(value, false),
            }
        }
        hidden.retain(|value| value.len() >= MIN_HIDDEN);
        for call in &mut recorded.calls {
            self.offered(&mut call.offered);
            if let Some(Offered::AddFailed(_, why)) = call.offered.known_mut() {
                hide_in(&mut why.message, &hidden);
            }
            call.left.iter_mut().for_each(|left| self.offered(left));
            for turn in &mut call.turns {
                self.turn(turn);
                hide(turn, &hidden);
            }
        }
    }

    fn turn(&self, turn: &mut Turn) {
        turn.input.iter_mut().for_each(|input| self.offered(input));
        turn.edits = self.patch(&turn.edits);
        for (question, answer) in &mut turn.outside.lookups {
            let annotation = question.strip_prefix("annotation ");
            let name = annotation.and_then(|rest| rest.split(' ').next());
            let Some(answer) = answer else { continue };
            if question.starts_with("annotations of ") {
                self.annotations(answer);
                continue;
            }
            match name.is_some_and(|name| self.is_annotation(name)) {
                true => REDACTED.clone_into(answer),
                false => self.text(answer, question.starts_with("conf ")),
            }
        }
        for Bytes(value) in turn.outside.state.values_mut().flatten() {
            if let Ok(mut text) = String::from_utf8(value.clone()) {
                self.text(&mut text, false);
                *value = text.into_bytes();
            }
        }
    }

    /// Annotations by name, as JSON.
    fn annotations(&self, text: &mut String) {
        let Ok(mut all) = serde_json::from_str::<BTreeMap<String, String>>(text) else {
            return;
        };
        for (name, value) in &mut all {
            match self.is_annotation(name) {
                true => REDACTED.clone_into(value),
                false => self.text(value, false),
            }
        }
        *text = serde_json::to_string(&all).unwrap_or_default();
    }

    /// A patch without the values.
    pub fn patch(&self, patch: &str) -> String {
        if self.is_empty() || patch.is_empty() {
            return patch.to_owned();
        }
        let Ok(Node::Array(mut operations)) = Node::parse(patch, Limits::default()) else {
            return patch.to_owned();
        };
        for operation in &mut operations {
            let Node::Object(members) = operation else {
                continue;
            };
            let path = members.iter().find_map(|(key, value)| match value {
                Node::Scalar(text) if key == "path" => serde_json::from_str::<String>(text).ok(),
                _ => None,
            });
            let path = path.unwrap_or_default();
            let mut tokens: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
            let is_conf = tokens.first().is_some_and(|token| token == "conf");
            if is_conf {
                tokens.remove(0);
            }
            let within = (1..=tokens.len()).any(|end| {
                let path = tokens.get(..end).unwrap_or_default();
                self.leaves_out(path, is_conf)
            });
            for (key, value) in members.iter_mut() {
                if key == "value" {
                    match within {
                        true => *value = redacted(),
                        false => self.node(value, &mut tokens, is_conf),
                    }
                }
            }
        }
        Node::Array(operations).to_string()
    }

    fn offered(&self, offered: &mut Lazy<Offered>) {
        // A request that is about to be written was never JSON.
        let Some(offered) = offered.known_mut() else {
            return;
        };
        match offered {
            Offered::Select(networks) | Offered::ValidateSelections(networks) => {
                let others = networks.others.iter_mut().map(|slot| &mut slot.selection);
                for selection in others.chain(&mut networks.default) {
                    let args = &mut selection.cni_args;
                    args.iter_mut().for_each(|args| self.document(args, false));
                }
            }
            Offered::BeforeAdd(attachment, _, later) => {
                self.attachment(attachment);
                later.iter_mut().for_each(|one| self.attachment(one));
            }
            Offered::ValidatePlan(plan) | Offered::AddFailed(plan, _) => {
                plan.iter_mut().for_each(|one| self.attachment(one));
            }
            Offered::AfterAdd(attachment, outcome)
            | Offered::Check(attachment, outcome)
            | Offered::Del(attachment, outcome) => {
                self.attachment(attachment);
                self.outcome(outcome);
            }
            Offered::Finalize(plan, result, statuses)
            | Offered::ValidateResult(plan, result, statuses) => {
                plan.iter_mut().for_each(|one| self.attachment(one));
                self.outcome(result);
                statuses.iter_mut().for_each(|one| self.outcome(one));
            }
            Offered::Gc(_) | Offered::Status => {}
        }
    }

    fn attachment(&self, attachment: &mut PolicyAttachment) {
        self.document(&mut attachment.conf, true);
        let args = &mut attachment.cni_args;
        args.iter_mut().for_each(|args| self.document(args, false));
        self.text(&mut attachment.fixed.runtime_config, false);
    }

    fn outcome(&self, outcome: &mut RecordedOutcome) {
        let mut text = outcome.result.get().to_owned();
        self.text(&mut text, false);
        if let Ok(raw) = RawValue::from_string(text) {
            outcome.result = raw;
        }
    }

    fn document(&self, document: &mut Document, is_conf: bool) {
        let mut root = document.root().clone();
        self.node(&mut root, &mut Vec::new(), is_conf);
        // A document stays within the limits, but for a key whose short values are replaced by
        // longer ones; then nothing of it is recorded.
        let limits = document.limits();
        let parsed = Document::parse(&root.to_string(), limits);
        let parsed = parsed.or_else(|_| Document::parse("{}", limits));
        if let Ok(parsed) = parsed {
            *document = parsed;
        }
    }

    /// A text, as far as it is JSON.
    fn text(&self, text: &mut String, is_conf: bool) {
        if !text.starts_with(['{', '[']) {
            return;
        }
        if let Ok(mut node) = Node::parse(text, Limits::default()) {
            self.node(&mut node, &mut Vec::new(), is_conf);
            *text = node.to_string();
        }
    }

    fn node(&self, node: &mut Node, path: &mut Vec<String>, is_conf: bool) {
        let mut below = |token: String, value: &mut Node| {
            path.push(token);
            match self.leaves_out(path, is_conf) {
                true => *value = redacted(),
                false => self.node(value, path, is_conf),
            }
            path.pop();
        };
        match node {
            Node::Object(members) => {
                for (key, value) in members {
                    below(key.clone(), value);
                }
            }
            Node::Array(elements) => {
                for (index, value) in elements.iter_mut().enumerate() {
                    below(index.to_string(), value);
                }
            }
            Node::Scalar(text) => {
                // JSON may be the text of a string.
                let string = text.starts_with(r#""{"#) || text.starts_with(r#""["#);
                let inner = string.then(|| serde_json::from_str::<String>(text).ok());
                if let Some(mut inner) = inner.flatten() {
                    self.text(&mut inner, is_conf);
                    *node = Node::Scalar(Value::String(inner).to_string().into());
                }
            }
        }
    }

    fn leaves_out(&self, path: &[String], is_conf: bool) -> bool {
        let is = |token: &String, rule: &String| rule == "*" || rule == token;
        let last = path.last();
        let is_key = |key: &String| last.is_some_and(|last| last.eq_ignore_ascii_case(key));
        self.keys.iter().any(is_key)
            || is_conf
                && self.pointers.iter().any(|rule| {
                    rule.len() == path.len() && path.iter().zip(rule).all(|(a, b)| is(a, b))
                })
    }

    fn is_annotation(&self, name: &str) -> bool {
        self.annotations
            .iter()
            .any(|rule| match rule.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => rule == name,
            })
    }
}

/// Takes values out of what a policy wrote itself.
fn hide(turn: &mut Turn, hidden: &[String]) {
    let findings = turn.findings.iter_mut().flat_map(|finding| {
        let fields = finding.fields.iter_mut().map(|(_, value)| value);
        fields.chain([&mut finding.message])
    });
    let answer = match &mut turn.answer {
        Answer::Accept => None,
        Answer::Deny { message, .. } => Some(message),
        Answer::Failed { reason, .. } => Some(reason),
    };
    for text in findings.chain(answer).chain([&mut turn.edits]) {
        hide_in(text, hidden);
    }
}

fn hide_in(text: &mut String, hidden: &[String]) {
    for value in hidden {
        if text.contains(value.as_str()) {
            *text = text.replace(value.as_str(), REDACTED);
        }
    }
}

fn redacted() -> Node {
    Node::Scalar(format!("{REDACTED:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let list = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect();
        Redactor::new(&Redaction {
            annotations: list(&["example.com/*"]),
            keys: list(&["password"]),
            pointers: list(&["/plugins/*/ipam/key"]),
        })
    }

    #[test]
    fn rules_reach_members_of_any_depth() {
        let redactor = redactor();
        let check = |text: &str, is_conf: bool, expected: &str| {
            let mut text = text.to_owned();
            redactor.text(&mut text, is_conf);
            assert_eq!(text, expected);
        };
        check(
            r#"{"a":[{"Password":{"x":1}}],"n":1.00}"#,
            false,
            r#"{"a":[{"Password":"redacted"}],"n":1.00}"#,
        );
        let conf = r#"{"plugins":[{"ipam":{"key":"k","type":"t"}}]}"#;
        let without = r#"{"plugins":[{"ipam":{"key":"redacted","type":"t"}}]}"#;
        check(conf, true, without);
        check(conf, false, conf);
        check("password", false, "password");
        check(
            r#"{"text":"{\"password\":1}"}"#,
            false,
            r#"{"text":"{\"password\":\"redacted\"}"}"#,
        );
    }

    #[test]
    fn patches_lose_the_same_values() {
        let redactor = redactor();
        let check = |operation: &str, expected: &str| {
            assert_eq!(
                redactor.patch(&format!("[{operation}]")),
                format!("[{expected}]")
            );
        };
        check(
            r#"{"op":"add","path":"/conf/ipam/password/x","value":1}"#,
            r#"{"op":"add","path":"/conf/ipam/password/x","value":"redacted"}"#,
        );
        check(
            r#"{"op":"add","path":"/conf/plugins/0/ipam","value":{"key":"k"}}"#,
            r#"{"op":"add","path":"/conf/plugins/0/ipam","value":{"key":"redacted"}}"#,
        );
        check(
            r#"{"op":"add","path":"/conf/mtu","value":9}"#,
            r#"{"op":"add","path":"/conf/mtu","value":9}"#,
        );
    }

    #[test]
    fn annotations_are_left_out_by_name() {
        let redactor = redactor();
        let mut all = r#"{"example.com/token":"t","other":"{\"password\":1}"}"#.to_owned();
        redactor.annotations(&mut all);
        assert_eq!(
            all,
            r#"{"example.com/token":"redacted","other":"{\"password\":\"redacted\"}"}"#
        );
        assert!(redactor.is_annotation("example.com/token"));
        assert!(!redactor.is_annotation("example.org/token"));
    }
}
