//! Checks the comparison of two confs against one that lists every value.

use std::collections::BTreeMap;

use super::naive::{flat, fold};
use crate::model::grant::ConfGrant;
use crate::transaction::{conf_difference, conf_same};
use cni_types::json::{Document, Limits, Node};

/// Compares two confs, separated by a line break.
///
/// # Panics
/// If a difference is missed or reported wrongly.
pub fn confs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some((old, new)) = text.split_once('\n') else {
        return;
    };
    let conf = |text: &str| Document::parse(text, Limits::default());
    let (Ok(old), Ok(new)) = (conf(old), conf(new)) else {
        return;
    };
    let arrays = text.contains('[');
    let same = flat(old.root()) == flat(new.root());
    assert_eq!(conf_same(old.root(), new.root()), same);

    let (before, after) = (executed(old.root()), executed(new.root()));
    let allowed = conf_difference(&old, &new, &ConfGrant::of(&[], &ConfGrant::MEMBERS)).is_ok();
    if allowed {
        // Elements may have moved, but none may have been added or removed.
        let count = |values: &BTreeMap<String, String>| {
            let mut values: Vec<_> = values.values().cloned().collect();
            values.sort();
            values
        };
        assert_eq!(count(&before), count(&after), "{old} {new}");
    }
    let comparable =
        !arrays && matches!((old.root(), new.root()), (Node::Object(_), Node::Object(_)));
    if comparable
        && old
            .root()
            .get(&cni_types::json::Pointer::root().child("type"))
            .is_none()
    {
        assert_eq!(allowed, before == after, "{old} {new}");
    }
}

/// Each `type` at any depth, keyed by its path as written.
fn executed(node: &Node) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(node, "", true, &mut found);
    found
}

fn collect(node: &Node, path: &str, plugin: bool, found: &mut BTreeMap<String, String>) {
    const PROTECTED: [&str; 6] = [
        "name",
        "cniversion",
        "cniversions",
        "prevresult",
        "runtimeconfig",
        "loadonlyinlinedplugins",
    ];
    match node {
        Node::Scalar(_) => {}
        Node::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                collect(element, &format!("{path}/{index}"), plugin, found);
            }
        }
        Node::Object(members) => {
            let at = path;
            for (raw, value) in members {
                let key = raw;
                let (path, key) = (format!("{path}/{key:?}"), fold(key));
                if key == "type" || plugin && PROTECTED.contains(&&*key) {
                    found.insert(path.clone(), exact(value));
                    // Go reads the last of several equal keys.
                    *found.entry(format!("{at}#{key}")).or_default() += &format!("{raw:?}");
                }
                collect(value, &path, plugin && key == "plugins", found);
            }
        }
    }
}

/// The same text for equal values.
fn exact(node: &Node) -> String {
    let value: Result<serde_json::Value, _> = node.get_as();
    match node {
        Node::Scalar(text) if !text.starts_with('"') => text.to_string(),
        Node::Array(elements) => format!("{:?}", elements.iter().map(exact).collect::<Vec<_>>()),
        Node::Object(members) => {
            let members = members.iter().map(|(key, value)| (key, exact(value)));
            format!("{:?}", members.collect::<BTreeMap<_, _>>())
        }
        Node::Scalar(_) => format!("{value:?}"),
    }
}
