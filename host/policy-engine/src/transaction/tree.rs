//! Builds JSON trees from host types.

use std::collections::HashMap;

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
/// Different elements of one key are one value.
pub(super) fn set<K: Into<String>>(elements: impl IntoIterator<Item = (K, Node)>) -> Node {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut members: Vec<(String, Vec<Node>)> = Vec::new();
    for (key, value) in elements {
        let key = key.into();
        let place = *places.entry(key.clone()).or_insert(members.len());
        match members.get_mut(place) {
            Some((_, values)) if values.last() == Some(&value) => {}
            Some((_, values)) => values.push(value),
            None => members.push((key, vec![value])),
        }
    }
    let member = |(key, mut values): (String, Vec<Node>)| match (values.len(), values.pop()) {
        (1, Some(only)) => (key, only),
        (_, last) => {
            values.extend(last);
            (key, Node::Array(values))
        }
    };
    Node::Object(members.into_iter().map(member).collect())
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
