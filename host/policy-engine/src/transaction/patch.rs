//! A policy's changes as an RFC 6902 JSON patch, bounded in size.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cni_types::json::Node;

use super::difference::{Kind, Step};
use crate::model::patch::{Change, Operation, Patch};

/// Maximum bytes of a patch's text.
const MAX_TEXT: usize = 16 << 10;
/// Maximum bytes of one path.
const MAX_PATH: usize = 1 << 10;
/// Maximum fields of one patch.
const MAX_FIELDS: usize = 16;

/// The difference that one policy made in one hook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EditPatch {
    /// The operations that fit.
    pub(crate) patch: Patch,
    /// Number of operations that did not fit.
    pub(crate) omitted: usize,
    /// The changed fields, for metrics: bounded cardinality.
    pub(crate) fields: BTreeSet<String>,
    /// Bytes of the patch's text.
    size: usize,
}

impl EditPatch {
    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.patch.0.is_empty() && self.omitted == 0
    }

    /// Adds one difference, which belongs to `field`.
    pub(super) fn push(&mut self, step: &Step<'_, '_>, field: impl FnOnce() -> String) {
        let change = match step.kind {
            Kind::Added { .. } => Change::Add,
            Kind::Removed => Change::Remove,
            Kind::Changed => Change::Replace,
            Kind::Shifted(_) => return,
        };
        if self.fields.len() < MAX_FIELDS {
            self.fields.insert(field());
        }
        // Operations after an omitted one may not apply without it.
        let operation = (self.omitted == 0).then(|| self.operation(change, step));
        match operation.flatten() {
            Some(operation) => self.patch.0.push(operation),
            None => self.omitted += 1,
        }
    }

    /// The operation for a step, if its text fits.
    fn operation(&mut self, change: Change, step: &Step<'_, '_>) -> Option<Operation> {
        let length: usize = step.path.iter().map(|token| token.len() + 1).sum();
        let room = MAX_TEXT - self.size;
        if length > MAX_PATH.min(room) {
            return None;
        }
        let mut path = String::with_capacity(length);
        for token in step.path {
            path.push('/');
            path.push_str(&token.replace('~', "~0").replace('/', "~1"));
        }
        let value = match step.new {
            Some(value) => Some(bounded(value, room)?),
            None => None,
        };
        let operation = Operation {
            change,
            path,
            value,
        };
        let comma = usize::from(self.size > 0);
        let size = self.size + comma + operation.text_len();
        if size > MAX_TEXT {
            return None;
        }
        self.size = size;
        Some(operation)
    }
}

/// The text of a value if it fits into `room`; an oversized value is not formatted to its end.
fn bounded(value: &Node, room: usize) -> Option<String> {
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
    let mut bounded = Bounded {
        text: String::new(),
        room,
    };
    write!(bounded, "{value}").ok()?;
    Some(bounded.text)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use cni_types::json::Limits;

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
        assert_eq!(patch.patch.to_string(), "[]");
        push(&mut patch, &["conf", "a/b~"], r#"{"x":1}"#);
        push(&mut patch, &["conf", "c"], "2");
        assert_eq!(
            patch.patch.to_string(),
            r#"[{"op":"add","path":"/conf/a~1b~0","value":{"x":1}},{"op":"add","path":"/conf/c","value":2}]"#
        );
        assert_eq!(patch.omitted, 0);
    }

    #[test]
    fn a_patch_is_bounded_and_says_what_is_missing() {
        let mut patch = EditPatch::default();
        for number in 0..5_000 {
            push(&mut patch, &["conf", &number.to_string()], "true");
        }
        assert!(patch.patch.to_string().len() <= MAX_TEXT + 2);
        serde_json::from_str::<serde_json::Value>(&patch.patch.to_string()).unwrap();
        assert!(patch.omitted > 4_000);

        for (path, value) in [
            (&["conf", &"k".repeat(32_000)], "1".to_owned()),
            (
                &["conf", &"k".repeat(10)],
                format!("\"{}\"", "v".repeat(20_000)),
            ),
        ] {
            let mut patch = EditPatch::default();
            push(&mut patch, path, &value);
            assert_eq!((patch.patch.to_string().as_str(), patch.omitted), ("[]", 1));
        }
    }
}
