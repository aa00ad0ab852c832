//! A policy's changes as an RFC 6902 JSON patch for the log, bounded in size.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::difference::{Kind, Step};

/// Maximum bytes of a patch's text.
const MAX_TEXT: usize = 16 << 10;
/// Maximum bytes of one path.
const MAX_PATH: usize = 1 << 10;
/// Maximum fields of one patch.
const MAX_FIELDS: usize = 16;

/// The difference that one policy made in one hook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EditPatch {
    text: String,
    omitted: usize,
    fields: BTreeSet<String>,
}

impl EditPatch {
    /// The operations that fit, as JSON text.
    pub(crate) fn text(&self) -> String {
        format!("[{}]", self.text)
    }

    /// Number of operations that did not fit.
    pub(crate) fn omitted(&self) -> usize {
        self.omitted
    }

    /// The changed fields, for metrics: bounded cardinality.
    pub(crate) fn fields(&self) -> &BTreeSet<String> {
        &self.fields
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.omitted == 0
    }

    /// Adds one difference, which belongs to `field`.
    pub(super) fn push(&mut self, step: &Step<'_, '_>, field: impl FnOnce() -> String) {
        let operation = match step.kind {
            Kind::Added { .. } => "add",
            Kind::Removed => "remove",
            Kind::Changed => "replace",
            Kind::Shifted(_) => return,
        };
        if self.fields.len() < MAX_FIELDS {
            self.fields.insert(field());
        }
        if !self.write(operation, step) {
            self.omitted += 1;
        }
    }

    fn write(&mut self, operation: &str, step: &Step<'_, '_>) -> bool {
        // Operations after an omitted one may not apply without it.
        if self.omitted > 0 {
            return false;
        }
        let path: usize = step.path.iter().map(|token| token.len() + 1).sum();
        let room = MAX_TEXT - self.text.len();
        if path > MAX_PATH || path > room {
            return false;
        }
        let mut pointer = String::with_capacity(path);
        for token in step.path {
            pointer.push('/');
            pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
        }
        let mut text = Bounded {
            text: String::new(),
            room,
        };
        let comma = if self.text.is_empty() { "" } else { "," };
        let path = serde_json::to_string(&pointer).unwrap_or_default();
        let written = write!(text, r#"{comma}{{"op":"{operation}","path":{path}"#)
            .and_then(|()| match step.new {
                Some(value) => write!(text, r#","value":{value}}}"#),
                None => text.write_str("}"),
            })
            .is_ok();
        if written {
            self.text.push_str(&text.text);
        }
        written
    }
}

/// A writer that fails when full, so that an oversized value is not formatted to its end.
struct Bounded {
    text: String,
    room: usize,
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.text.len() + text.len() > self.room {
            return Err(std::fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use cni_types::json::{Limits, Node};

    fn push(patch: &mut EditPatch, path: &[&str], json: &str) {
        let path: Vec<_> = path.iter().map(|token| Cow::Borrowed(*token)).collect();
        let node = Node::parse(json, Limits::default()).unwrap();
        let step = Step {
            path: &path,
            kind: Kind::Added { member: true },
            old: None,
            new: Some(&node),
        };
        patch.push(&step, || "conf".to_owned());
    }

    #[test]
    fn operations_are_those_of_rfc_6902() {
        let mut patch = EditPatch::default();
        assert_eq!(patch.text(), "[]");
        push(&mut patch, &["conf", "a/b~"], r#"{"x":1}"#);
        push(&mut patch, &["conf", "c"], "2");
        assert_eq!(
            patch.text(),
            r#"[{"op":"add","path":"/conf/a~1b~0","value":{"x":1}},{"op":"add","path":"/conf/c","value":2}]"#
        );
        assert_eq!(patch.omitted(), 0);
    }

    #[test]
    fn a_patch_is_bounded_and_says_what_is_missing() {
        let mut patch = EditPatch::default();
        for number in 0..5_000 {
            push(&mut patch, &["conf", &number.to_string()], "true");
        }
        assert!(patch.text().len() <= MAX_TEXT + 2);
        serde_json::from_str::<serde_json::Value>(&patch.text()).unwrap();
        assert!(patch.omitted() > 4_000);

        for (path, value) in [
            (&["conf", &"k".repeat(32_000)], "1".to_owned()),
            (
                &["conf", &"k".repeat(10)],
                format!("\"{}\"", "v".repeat(20_000)),
            ),
        ] {
            let mut patch = EditPatch::default();
            push(&mut patch, path, &value);
            assert_eq!((patch.text().as_str(), patch.omitted()), ("[]", 1));
        }
    }
}
