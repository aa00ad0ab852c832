//! The difference of two trees as an RFC 6902 JSON patch.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Node, Pointer};

/// The operations that turn one tree into another, in order. Deterministic; values keep the
/// target's text.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Patch {
    operations: Vec<Operation>,
}

/// One step of a [`Patch`].
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// A new value; in an array, later elements take the next index.
    Add {
        /// RFC 6901 pointer.
        path: String,
        /// The new value.
        value: Box<RawValue>,
    },
    /// A removed value; in an array, later elements take the previous index.
    Remove {
        /// RFC 6901 pointer.
        path: String,
    },
    /// A value that changed.
    Replace {
        /// RFC 6901 pointer.
        path: String,
        /// The new value.
        value: Box<RawValue>,
    },
}

impl Patch {
    /// The steps from `old` to `new`: unchanged subtrees are omitted, and nested changes have their
    /// own paths.
    pub fn between(old: &Node, new: &Node) -> Self {
        let mut patch = Self::default();
        patch.compare(&Pointer::root(), old, new);
        patch
    }

    /// The steps, in order of application.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn compare(&mut self, at: &Pointer, old: &Node, new: &Node) {
        match (old, new) {
            _ if old == new => {}
            (Node::Object(old), Node::Object(new)) => self.compare_objects(at, old, new),
            (Node::Array(old), Node::Array(new)) => self.compare_arrays(at, old, new),
            _ => self.operations.push(Operation::Replace {
                path: at.to_string(),
                value: new.to_raw(),
            }),
        }
    }

    fn compare_objects(&mut self, at: &Pointer, old: &[(String, Node)], new: &[(String, Node)]) {
        let (olds, news) = (by_key(old), by_key(new));
        for (key, before) in old {
            match news.get(key.as_str()) {
                Some(after) => self.compare(&at.child(key), before, after),
                None => self.remove(&at.child(key)),
            }
        }
        for (key, value) in new
            .iter()
            .filter(|(key, _)| !olds.contains_key(key.as_str()))
        {
            self.add(&at.child(key), value);
        }
    }

    /// Keeps the common prefix and suffix; between them, compares elements pairwise and adds or
    /// removes the rest. One insertion or removal is thus one operation.
    fn compare_arrays(&mut self, at: &Pointer, old: &[Node], new: &[Node]) {
        let equal = |(a, b): &(&Node, &Node)| a == b;
        let head = old.iter().zip(new).take_while(equal).count();
        let shorter = old.len().min(new.len()) - head;
        let tail = old
            .iter()
            .rev()
            .zip(new.iter().rev())
            .take(shorter)
            .take_while(equal)
            .count();
        let middle = |nodes: &[Node]| nodes.len() - head - tail;
        let (removed, added) = (middle(old), middle(new));
        let both = removed.min(added);
        for (offset, (a, b)) in old.iter().zip(new).enumerate().skip(head).take(both) {
            self.compare(&at.child(offset.to_string()), a, b);
        }
        for offset in (head + both..head + removed).rev() {
            self.remove(&at.child(offset.to_string()));
        }
        for (offset, value) in new.iter().enumerate().take(head + added).skip(head + both) {
            self.add(&at.child(offset.to_string()), value);
        }
    }

    fn add(&mut self, at: &Pointer, value: &Node) {
        self.operations.push(Operation::Add {
            path: at.to_string(),
            value: value.to_raw(),
        });
    }

    fn remove(&mut self, at: &Pointer) {
        self.operations.push(Operation::Remove {
            path: at.to_string(),
        });
    }
}

fn by_key(members: &[(String, Node)]) -> HashMap<&str, &Node> {
    members
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .collect()
}

impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
