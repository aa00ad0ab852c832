//! Reimplements the engine's tree operations in the simplest correct way, by comparing everything.

use std::collections::BTreeMap;

use cni_types::json::{Document, Node};

/// Prefix of the token for each of several values of one key.
pub(super) const SEVERAL: char = '#';

/// The values of a tree by path, as Go reads it; objects and arrays are included with their kind.
pub(super) fn flat(node: &Node) -> BTreeMap<Vec<String>, String> {
    let mut values = BTreeMap::new();
    flatten(node, &mut Vec::new(), &mut values);
    values
}

fn flatten(node: &Node, path: &mut Vec<String>, values: &mut BTreeMap<Vec<String>, String>) {
    let kind = match node {
        Node::Scalar(text) => text_of(text),
        Node::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                path.push(index.to_string());
                flatten(element, path, values);
                path.pop();
            }
            "an array".to_owned()
        }
        Node::Object(members) => {
            let mut groups: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
            for (key, value) in members {
                groups.entry(fold(key)).or_default().push(value);
            }
            for (key, group) in groups {
                path.push(key);
                match group.as_slice() {
                    [one] => flatten(one, path, values),
                    group => flatten_group(group, path, values),
                }
                path.pop();
            }
            "an object".to_owned()
        }
    };
    values.insert(path.clone(), kind);
}

/// The last plain value counts; other values may be merged.
fn flatten_group(
    group: &[&Node],
    path: &mut Vec<String>,
    values: &mut BTreeMap<Vec<String>, String>,
) {
    let plain = |node: &&Node| matches!(node, Node::Scalar(text) if &**text != "null");
    if let Some(Node::Scalar(last)) = group.last()
        && group.iter().all(plain)
    {
        values.insert(path.clone(), text_of(last));
        return;
    }
    for (index, node) in group.iter().enumerate() {
        path.push(format!("{SEVERAL}{index}"));
        flatten(node, path, values);
        path.pop();
    }
    values.insert(path.clone(), format!("{} values", group.len()));
}

/// The unescaped text of a string.
fn text_of(text: &str) -> String {
    match serde_json::from_str::<String>(text) {
        Ok(content) => format!("{content:?}"),
        Err(_) => text.to_owned(),
    }
}

pub(super) fn fold(key: &str) -> String {
    key.replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
        .to_ascii_lowercase()
}

/// A one-plugin conf merged with the cni-args, as the daemon passes it to the delegate.
pub(super) fn effective(conf: &Document, args: Option<&Document>) -> Node {
    let mut conf = conf.root().clone();
    if let Some(Node::Object(args)) = args.map(Document::root)
        && let Some(cni) = object_in(&mut conf, "args").and_then(|args| object_in(args, "cni"))
        && let Node::Object(members) = cni
    {
        for (key, value) in args {
            match members.iter_mut().find(|(known, _)| known == key) {
                Some((_, old)) => *old = value.clone(),
                None => members.push((key.clone(), value.clone())),
            }
        }
    }
    conf
}

fn object_in<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Node::Object(members) = node else {
        return None;
    };
    let at = match members.iter().position(|(known, _)| known == key) {
        Some(at) => at,
        None => {
            members.push((key.to_owned(), Node::Object(Vec::new())));
            members.len() - 1
        }
    };
    let (_, value) = members.get_mut(at)?;
    matches!(value, Node::Object(_)).then_some(value)
}
