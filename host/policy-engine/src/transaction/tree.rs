//! Builds JSON trees from host types.

use std::collections::HashSet;

use cni_types::json::{Limits, Node};

/// An object of the members that have a value.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Option<Node>)>) -> Node {
    Node::Object(
        members
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect(),
    )
}

/// An object keyed by the elements of a list: a set whose elements can be owned separately.
pub(super) fn set<K: Into<String>>(elements: impl IntoIterator<Item = (K, Node)>) -> Node {
    let mut known = HashSet::new();
    let members = elements.into_iter().map(|(key, value)| (key.into(), value));
    Node::Object(
        members
            .filter(|(key, _)| known.insert(key.clone()))
            .collect(),
    )
}

pub(super) fn strings_as_set(elements: &[String]) -> Node {
    set(elements.iter().map(|element| (element.as_str(), yes())))
}

pub(super) fn strings(elements: &[String]) -> Node {
    Node::Array(elements.iter().map(|element| string(element)).collect())
}

pub(super) fn string(text: &str) -> Node {
    scalar(&text)
}

pub(super) fn number(number: impl Into<u64>) -> Node {
    Node::Scalar(number.into().to_string().into())
}

/// `true`, the value of a set's members.
pub(super) fn yes() -> Node {
    Node::Scalar("true".into())
}

/// The list's node; `None` if empty, as CNI's JSON omits empty lists.
pub(super) fn unless_empty<T>(list: &[T], node: impl FnOnce(&[T]) -> Node) -> Option<Node> {
    (!list.is_empty()).then(|| node(list))
}

/// Parses JSON that the host itself serialised.
pub(super) fn parsed(json: &str) -> Node {
    let limits = Limits {
        max_bytes: usize::MAX,
        ..Limits::default()
    };
    Node::parse(json, limits).unwrap_or_else(|_| Node::Object(Vec::new()))
}

fn scalar<T: serde::Serialize>(value: &T) -> Node {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    Node::Scalar(text.into())
}
