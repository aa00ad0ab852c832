//! A conf as its plugins: a single one, or a chain.

use cni_types::json::{Document, Node, Pointer};

use super::difference::{folded, folds_to};
use super::{EditError, validate};

/// A plugin of fewer members is searched.
const FEW: usize = 32;

/// Whether a conf is a list of plugins.
pub(super) fn is_chain(conf: &Document) -> bool {
    let plugins = conf.get(&Pointer::root().child("plugins"));
    matches!(plugins, Some(Node::Array(_)))
}

/// A single plugin's conf as a chain of this plugin: its name and version are those of the chain.
pub(super) fn chained(conf: &Node) -> Result<Node, EditError> {
    let Node::Object(members) = conf else {
        return Err(validate::invalid("a conf is not a JSON object"));
    };
    if members.iter().any(|(key, _)| *folded(key) == *"plugins") {
        return Err(validate::invalid(
            "the conf has a member plugins that is not a chain",
        ));
    }
    let of_list = |key: &str| matches!(&*folded(key), "name" | "cniversion" | "cniversions");
    let members = members.iter().cloned();
    let (mut list, plugin): (Vec<_>, Vec<_>) = members.partition(|(key, _)| of_list(key));
    let plugins = Node::Array(vec![Node::Object(plugin)]);
    list.push(("plugins".to_owned(), plugins));
    Ok(Node::Object(list))
}

/// The plugins of a conflist, or the conf itself.
pub(super) fn plugins(conf: &Document) -> impl Iterator<Item = (Pointer, &Node)> {
    let list = Pointer::root().child("plugins");
    let chain = match conf.get(&list) {
        Some(Node::Array(chain)) => Some(chain),
        _ => None,
    };
    let single = chain.is_none().then(|| (Pointer::root(), conf.root()));
    chain
        .into_iter()
        .flatten()
        .enumerate()
        .map(move |(index, plugin)| (list.child(index.to_string()), plugin))
        .chain(single)
}

/// The members of each plugin that Go takes for `key`, with their pointers. Plugins without one cost
/// little.
pub(super) fn members_of<'a>(
    conf: &'a Document,
    key: &str,
) -> impl Iterator<Item = (Pointer, &'a Node)> {
    let list = Pointer::root().child("plugins");
    let key = folded(key).into_owned();
    let has = |plugin: &Node| match plugin {
        Node::Object(members) if members.len() < FEW => {
            members.iter().any(|(known, _)| folds_to(known, &key))
        }
        Node::Object(_) => true,
        Node::Array(_) | Node::Scalar(_) => false,
    };
    let places: Vec<Pointer> = match conf.get(&list) {
        Some(Node::Array(chain)) => {
            let having = chain.iter().enumerate().filter(|(_, plugin)| has(plugin));
            having
                .map(|(index, _)| list.child(index.to_string()))
                .collect()
        }
        _ => vec![Pointer::root()],
    };
    places.into_iter().flat_map(move |place| {
        let same = conf.spellings(place.tokens(), &key).into_iter();
        let at = |(known, value): &'a (String, Node)| (place.child(known.as_str()), value);
        same.map(at).collect::<Vec<_>>()
    })
}

/// The `type` of each plugin, in order.
pub(crate) fn plugin_types(conf: &Document) -> Vec<String> {
    chain(conf.root())
        .map(|plugin| type_of(plugin).unwrap_or_default())
        .collect()
}

/// The plugins of a conflist, or the conf itself, without pointers.
pub(super) fn chain(conf: &Node) -> impl Iterator<Item = &Node> {
    let list = match conf.get(&Pointer::root().child("plugins")) {
        Some(Node::Array(list)) => Some(list),
        _ => None,
    };
    let single = list.is_none().then_some(conf);
    list.into_iter().flatten().chain(single)
}

/// The `type` of a plugin.
pub(super) fn type_of(plugin: &Node) -> Option<String> {
    plugin.get(&Pointer::root().child("type"))?.get_as().ok()
}
