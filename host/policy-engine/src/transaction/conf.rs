//! Edits of a conf, which stays JSON so that unknown keys survive untouched.

use std::collections::BTreeSet;

use cni_types::json::{Document, Error, Limits, Node, Pointer};

use super::difference::folded;
use super::plugins::{chained, is_chain, members_of, plugins, type_of};
use super::{EditError, protected, spelling, validate};
use crate::model::grant::{ConfGrant, Grant};
use crate::model::outside;

/// Plugins that read `mtu` from their conf.
const WITH_MTU: [&str; 12] = [
    "bridge",
    "cilium-cni",
    "host-device",
    "ib-sriov",
    "ipoib",
    "ipvlan",
    "macvlan",
    "ovs",
    "ptp",
    "sriov",
    "tuning",
    "vlan",
];

/// Members of a chain, with folded names.
const LIST: [&str; 7] = [
    "name",
    "cniversion",
    "cniversions",
    "disablecheck",
    "disablegc",
    "loadonlyinlinedplugins",
    "plugins",
];

/// One edit of a conf, checked but not applied yet.
#[derive(Debug)]
pub(crate) struct ConfEdit {
    /// Never ends in `-`, the token for a new element.
    pub(super) pointer: Pointer,
    /// `None` removes the value.
    pub(super) value: Option<Node>,
}

/// Parses a guest's pointer.
pub(super) fn pointer(text: &str) -> Result<Pointer, EditError> {
    Pointer::parse(text).map_err(|error| refused(&error))
}

/// Parses a guest's JSON value.
pub(super) fn value(json: &str, limits: Limits) -> Result<Node, EditError> {
    let value = Node::parse(json, limits).map_err(|error| refused(&error))?;
    validate::numbers(&value)?;
    Ok(value)
}

/// The JSON text at a guest's pointer, with keys compared as Go reads them.
pub(crate) fn get(conf: &Document, pointer: &str) -> Option<String> {
    let pointer = Pointer::parse(pointer).ok()?;
    Some(found(conf, pointer.tokens())?.to_string())
}

/// The value at a path, as Go reads it: of the keys that folding matches, the last one counts.
fn found<'a>(conf: &'a Document, path: &[String]) -> Option<&'a Node> {
    let mut way: Vec<String> = Vec::with_capacity(path.len());
    path.iter().try_fold(conf.root(), |node, token| match node {
        Node::Object(_) => {
            let ((key, value), _) = conf.last_spelling(&way, token)?;
            way.push(key.clone());
            Some(value)
        }
        Node::Array(_) => {
            way.push(token.clone());
            node.at(std::slice::from_ref(token))
        }
        Node::Scalar(_) => None,
    })
}

/// Replaces or adds a value.
pub(super) fn set(
    conf: &Document,
    pointer: Pointer,
    value: Node,
    grant: &ConfGrant,
) -> Result<ConfEdit, EditError> {
    let pointer = place(conf, pointer).map_err(|error| refused(&error))?;
    if let Some((key, object)) = pointer.tokens().split_last()
        && let Some(other) = spelling::later(conf, object, key)
    {
        return Err(spelling::spelt_twice(key, other));
    }
    protected::check_edit(conf, &pointer, Some(&value), grant)?;
    Ok(ConfEdit {
        pointer,
        value: Some(value),
    })
}

/// Removes a value.
pub(super) fn remove(
    conf: &Document,
    pointer: Pointer,
    grant: &ConfGrant,
) -> Result<ConfEdit, EditError> {
    if pointer.tokens().is_empty() || conf.get(&pointer).is_none() {
        let pointer = pointer.to_string();
        return Err(refused(&Error::NotFound { pointer }));
    }
    protected::check_edit(conf, &pointer, None, grant)?;
    Ok(ConfEdit {
        pointer,
        value: None,
    })
}

/// Sets the MTU of every plugin that has one.
pub(super) fn set_mtu(conf: &Document, mtu: u32) -> Result<Vec<ConfEdit>, EditError> {
    let mut edits = Vec::new();
    for (pointer, _) in plugins(conf).filter(|(at, _)| has_mtu(conf, at)) {
        for key in mtu_keys(conf, &pointer) {
            edits.push(ConfEdit {
                pointer: pointer.child(key),
                value: Some(Node::Scalar(mtu.to_string().into())),
            });
        }
    }
    match edits.is_empty() {
        true => Err(validate::invalid("no plugin of the chain has an MTU")),
        false => Ok(edits),
    }
}

/// A plugin that is added, checked but not applied yet.
#[derive(Debug)]
pub(super) enum Appended {
    /// To the end of a chain.
    Chain(ConfEdit),
    /// Behind a single plugin, whose conf becomes a chain.
    Single(Node),
}

/// Adds a plugin to the end of a chain, if the grant has its type.
pub(super) fn append(
    conf: &Document,
    plugin: Node,
    grant: &ConfGrant,
) -> Result<Appended, EditError> {
    if is_chain(conf) {
        let plugin = appended(conf, plugin, grant)?;
        return Ok(Appended::Chain(plugin));
    }
    let mut chain = conf.clone();
    chain
        .set_node(&Pointer::root(), chained(conf.root())?)
        .map_err(|error| refused(&error))?;
    let ConfEdit { value, .. } = appended(&chain, plugin, grant)?;
    let plugin = value.ok_or_else(|| validate::invalid("no plugin"))?;
    Ok(Appended::Single(plugin))
}

fn appended(conf: &Document, plugin: Node, grant: &ConfGrant) -> Result<ConfEdit, EditError> {
    let list = Pointer::root().child("plugins");
    let length = match conf.get(&list) {
        Some(Node::Array(chain)) => chain.len(),
        _ => 0,
    };
    let Some(name) = type_of(&plugin) else {
        return Err(validate::invalid("a plugin without a type"));
    };
    let pointer = list.child(length.to_string());
    if !grant.has(Grant::AppendPlugin) || !grant.append_types.contains(&name) {
        return Err(EditError::NeedsGrant {
            path: format!("{pointer}/type {name:?}"),
            grant: Grant::AppendPlugin,
        });
    }
    protected::check_edit(conf, &pointer, Some(&plugin), &grant.appending(name))?;
    outside::allowed(Grant::AppendPlugin);
    Ok(ConfEdit {
        pointer,
        value: Some(plugin),
    })
}

/// Checks that something reads a member that is added to the conf: of a chain, plugins read their own.
pub(super) fn is_read(conf: &Document, pointer: &Pointer) -> Result<(), EditError> {
    let [key] = pointer.tokens() else {
        return Ok(());
    };
    if !is_chain(conf) || LIST.contains(&&*folded(key)) || conf.get(pointer).is_some() {
        return Ok(());
    }
    Err(validate::invalid(format!(
        "the conf is a chain, of which no plugin reads {pointer}; its first plugin is at /plugins/0"
    )))
}

/// The capabilities that plugins of the chain declare.
pub(crate) fn capabilities(conf: &Document) -> BTreeSet<String> {
    let declared = members_of(conf, "capabilities").filter_map(|(_, value)| match value {
        Node::Object(members) => Some(members),
        Node::Array(_) | Node::Scalar(_) => None,
    });
    declared
        .flatten()
        .filter(|(_, value)| matches!(value.get_as(), Ok(true)))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Applies all edits, or none.
pub(super) fn apply(conf: &mut Document, edits: Vec<ConfEdit>) -> Result<(), EditError> {
    let mut made: Vec<(Pointer, Option<Node>)> = Vec::new();
    for ConfEdit { pointer, value } in edits {
        let outcome = match value {
            Some(value) => conf.set_node(&pointer, value),
            None => conf.remove(&pointer).map(Some),
        };
        match outcome {
            Ok(old) => made.push((pointer, old)),
            Err(error) => {
                for (pointer, old) in made.into_iter().rev() {
                    // Cannot fail: each value returns to the place it just had.
                    let _ = match old {
                        Some(old) => conf.set_node(&pointer, old).map(|_| ()),
                        None => conf.remove(&pointer).map(|_| ()),
                    };
                }
                return Err(refused(&error));
            }
        }
    }
    Ok(())
}

/// The pointer at which a value can be set, with an index in place of `-`.
fn place(conf: &Document, pointer: Pointer) -> Result<Pointer, Error> {
    let Some(parent) = pointer.parent() else {
        return Ok(pointer);
    };
    let token = pointer.tokens().last().cloned().unwrap_or_default();
    let at = || parent.to_string();
    match conf.get(&parent) {
        None => Err(Error::MissingParent { pointer: at() }),
        Some(Node::Scalar(_)) => Err(Error::NotAContainer { pointer: at() }),
        Some(Node::Object(_)) => Ok(pointer),
        Some(Node::Array(elements)) => {
            let len = elements.len();
            if token == "-" || token == len.to_string() {
                return Ok(parent.child(len.to_string()));
            }
            match conf.get(&pointer) {
                Some(_) => Ok(pointer),
                None => Err(Error::Index {
                    pointer: at(),
                    token,
                    len,
                }),
            }
        }
    }
}

/// Every plugin's MTU with its pointer, including plugins of nested lists.
pub(super) fn mtus(conf: &Node) -> Vec<(String, &Node)> {
    let mut found = Vec::new();
    collect_mtus(&Pointer::root(), conf, &mut found);
    found
}

/// The MTUs within a value that is set at a pointer into a conf.
pub(super) fn mtus_at<'a>(pointer: &Pointer, value: &'a Node) -> Vec<(String, &'a Node)> {
    let mut found = Vec::new();
    let mut rest = pointer.tokens();
    loop {
        match rest {
            [] => collect_mtus(pointer, value, &mut found),
            [key] if *folded(key) == *"mtu" => found.push((pointer.to_string(), value)),
            [key] if *folded(key) == *"plugins" => collect_mtus(pointer, value, &mut found),
            [key, _, below @ ..] if *folded(key) == *"plugins" => {
                rest = below;
                continue;
            }
            _ => {}
        }
        return found;
    }
}

fn collect_mtus<'a>(at: &Pointer, node: &'a Node, found: &mut Vec<(String, &'a Node)>) {
    match node {
        Node::Scalar(_) => {}
        Node::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                collect_mtus(&at.child(index.to_string()), element, found);
            }
        }
        Node::Object(members) => {
            for (key, value) in members {
                match &*folded(key) {
                    "mtu" => found.push((at.child(key.as_str()).to_string(), value)),
                    "plugins" => collect_mtus(&at.child(key.as_str()), value, found),
                    _ => {}
                }
            }
        }
    }
}

fn refused(error: &Error) -> EditError {
    match error {
        Error::TooLarge { .. } | Error::TooDeep { .. } => EditError::TooLarge(error.to_string()),
        Error::Syntax { source } => validate::invalid(format!("not JSON: {source}")),
        _ => validate::invalid(error.to_string()),
    }
}

fn has_mtu(conf: &Document, plugin: &Pointer) -> bool {
    let name = || -> Option<String> { conf.get(&plugin.child("type"))?.get_as().ok() };
    !conf.spellings(plugin.tokens(), "mtu").is_empty()
        || name().is_some_and(|name| WITH_MTU.contains(&name.as_str()))
}

/// The keys from which the plugin could read its MTU. Go uses the last one, so all are set.
fn mtu_keys(conf: &Document, plugin: &Pointer) -> Vec<String> {
    let written = conf.spellings(plugin.tokens(), "mtu").into_iter();
    let others = written.map(|(key, _)| key.clone());
    let mut keys = vec!["mtu".to_owned()];
    keys.extend(others.filter(|key| key != "mtu"));
    keys
}

#[cfg(test)]
mod tests;
