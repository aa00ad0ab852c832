//! What no policy may freely change in a conf: what is executed, and under which name and version.
//!
//! Go's JSON matches keys case-insensitively, and delegating plugins execute what nested objects
//! name. So every `type` counts, at any depth and in any spelling.

use cni_types::args::PluginType;
use cni_types::json::{Document, Node, Pointer};

use super::difference::folded;
use super::plugins::{chain, chained, is_chain, type_of};
use super::protected_changes::ProtectedChanges;
use super::rules::{Place, permit, short};
use super::{EditError, validate};
use crate::model::grant::ConfGrant;

/// Checks that `new` executes what `old` executes, with the same name and version.
pub(crate) fn check(old: &Document, new: &Document, grant: &ConfGrant) -> Result<(), EditError> {
    if !matches!(new.root(), Node::Object(_)) {
        return Err(validate::invalid("a conf is not a JSON object"));
    }
    let chain = is_chain(new) && !is_chain(old);
    let chain = chain.then(|| chained(old.root()).ok()).flatten();
    // A single plugin at the head of a chain is executed as before.
    let before = chain.as_ref().unwrap_or(old.root());
    let mut found = ProtectedChanges::default();
    found.pair(None, Place::CONF, before, new.root());
    found.judge(grant, &Pointer::root())?;
    if has_types(old.root()) && !has_types(new.root()) {
        return Err(typeless());
    }
    Ok(())
}

/// Like [`check`], for one edit that sets or removes the value at `pointer`; compares only that.
pub(super) fn check_edit(
    conf: &Document,
    pointer: &Pointer,
    new: Option<&Node>,
    grant: &ConfGrant,
) -> Result<(), EditError> {
    let old = conf.get(pointer);
    let Some((last, path)) = pointer.tokens().split_last() else {
        return match new {
            Some(new @ Node::Object(_)) => {
                let mut found = ProtectedChanges::default();
                found.pair(None, Place::CONF, conf.root(), new);
                found.judge(grant, pointer)?;
                typed_after(conf, pointer, Some(new))
            }
            _ => Err(validate::invalid("a conf is not a JSON object")),
        };
    };
    let mut place = Place::CONF;
    let mut through = None;
    let mut node = Some(conf.root());
    for (depth, token) in path.iter().enumerate() {
        if let Some(Node::Object(_)) = node {
            let key = folded(token);
            through = through.or_else(|| place.rule(&key));
            place = place.below(&key);
        } else {
            place = place.element(token.parse().unwrap_or(usize::MAX));
        }
        node = path.get(..=depth).and_then(|path| conf.at(path));
    }
    if let Some(rule) = through.filter(|_| old != new) {
        permit(rule, grant, || short(&pointer.to_string()))?;
    }
    let parent = pointer.parent().unwrap_or_default();
    let mut found = ProtectedChanges::default();
    match node {
        Some(Node::Object(_)) => found.member(None, place, last, old, new),
        Some(Node::Array(list)) => found.in_list(place, last, list.len(), (old, new)),
        _ => found.element(None, place, old, new),
    }
    found.judge(grant, &parent)?;
    typed_after(conf, pointer, new)
}

/// Rejects a new `type` in cni-args, because plugins may execute it.
pub(super) fn check_args(
    old: Option<&Node>,
    new: Option<&Node>,
    at: &str,
) -> Result<(), EditError> {
    let mut found = ProtectedChanges::default();
    found.element(None, Place::CNI_ARGS, old, new);
    let place = Pointer::root().child(at);
    found.judge(&ConfGrant::default(), &place)
}

/// Like [`check_args`], for one member.
pub(super) fn check_arg(key: &str, new: &Node, at: &str) -> Result<(), EditError> {
    let mut found = ProtectedChanges::default();
    found.member(None, Place::CNI_ARGS, key, None, Some(new));
    let place = Pointer::root().child(at);
    found.judge(&ConfGrant::default(), &place)
}

/// Whether the conf has plugins and each of them has a type.
fn has_types(conf: &Node) -> bool {
    let mut chain = chain(conf).peekable();
    chain.peek().is_some() && chain.all(has_type)
}

fn has_type(plugin: &Node) -> bool {
    type_of(plugin).is_some_and(|name| PluginType::new(name).is_ok())
}

fn typeless() -> EditError {
    validate::invalid("a conf whose plugins have no type")
}

/// Whether each plugin still has a type after an edit that could remove one.
fn typed_after(conf: &Document, pointer: &Pointer, new: Option<&Node>) -> Result<(), EditError> {
    let string = |node: Option<&Node>| {
        let name: Option<String> = node.and_then(|node| node.get_as().ok());
        name.is_some_and(|name| PluginType::new(name).is_ok())
    };
    let list = conf.get(&Pointer::root().child("plugins"));
    let list = match list {
        Some(Node::Array(list)) => Some(list),
        _ => None,
    };
    let tokens: Vec<&str> = pointer.tokens().iter().map(String::as_str).collect();
    let typed = match (tokens.as_slice(), list) {
        ([], _) => new.is_some_and(has_types),
        (["type"], None) => string(new),
        (["plugins"], _) => match new {
            Some(Node::Array(list)) => !list.is_empty() && list.iter().all(has_type),
            _ => has_type(conf.root()),
        },
        (["plugins", _], Some(list)) => match new {
            Some(new) => has_type(new),
            None => list.len() > 1,
        },
        (["plugins", _, "type"], Some(_)) => string(new),
        _ => true,
    };
    match typed || !has_types(conf.root()) {
        true => Ok(()),
        false => Err(typeless()),
    }
}
