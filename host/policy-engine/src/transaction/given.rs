//! What a delegate is given beside its conf: the arguments of capabilities and the cni-args, from
//! runtime, pod and policies together.

use std::collections::BTreeSet;

use cni_types::json::{Document, Node, Pointer, RawObject};

use super::EditError;
use super::capability_args::{bandwidth, port_mapping};
use super::conf::ConfEdit;
use super::difference::folded;
use super::plugins::members_of;
use super::spelling::{later, spelt_twice};
use super::tree::{object, string, strings, unless_empty};
use crate::model::request::PolicyAttachment;

/// The arguments that policies set with typed edits, in Go's spelling.
const TYPED: [&str; 5] = ["ips", "mac", "infinibandGUID", "bandwidth", "portMappings"];

/// The arguments are not a JSON object, so that no policy can judge them.
#[derive(Debug, thiserror::Error)]
#[error("the runtime configuration of network {network:?} cannot be shown")]
pub(crate) struct Unreadable {
    network: String,
    #[source]
    source: cni_types::json::Error,
}

/// The arguments of all capabilities as JSON text, with the policies' edits. Neither their size nor
/// their depth matters.
///
/// # Errors
/// [`Unreadable`]: a policy must not take the arguments for empty.
pub(crate) fn runtime_config(attachment: &PolicyAttachment) -> Result<String, Unreadable> {
    let unreadable = |source| Unreadable {
        network: attachment.network.clone(),
        source,
    };
    let given = match attachment.fixed.runtime_config.as_str() {
        "" => "{}",
        given => given,
    };
    let mut arguments = RawObject::parse(given).map_err(unreadable)?;
    for key in TYPED {
        arguments.remove(key);
    }
    let typed = object([
        ("ips", unless_empty(&attachment.ips, strings)),
        ("mac", attachment.mac.as_deref().map(string)),
        (
            "infinibandGUID",
            attachment.infiniband_guid.as_deref().map(string),
        ),
        ("bandwidth", attachment.bandwidth.as_ref().map(bandwidth)),
        (
            "portMappings",
            unless_empty(&attachment.port_mappings, |mappings| {
                Node::Array(mappings.iter().map(port_mapping).collect())
            }),
        ),
    ]);
    if let Node::Object(members) = typed {
        for (key, value) in members {
            arguments.set_raw(&key, value.to_raw());
        }
    }
    Ok(arguments.to_text())
}

/// The cni-args of all plugins as JSON text: `args.cni` of the conf, into which the daemon has
/// merged the pod's, and the policies' edits. If plugins differ in a value, the first one's.
pub(crate) fn cni_args(attachment: &PolicyAttachment) -> Option<String> {
    let edited = attachment.cni_args.as_ref().map(Document::root);
    let edited = members(edited);
    let replaced: BTreeSet<_> = edited.iter().map(|(key, _)| folded(key)).collect();
    let mut known = BTreeSet::new();
    let mut shown: Vec<(String, Node)> = Vec::new();
    for (_, args) in in_conf(&attachment.conf) {
        for (key, value) in args {
            if !replaced.contains(&folded(key)) && known.insert(key.as_str()) {
                shown.push((key.clone(), value.clone()));
            }
        }
    }
    shown.extend(edited.iter().cloned());
    let is_given = !shown.is_empty() || attachment.cni_args.is_some();
    is_given.then(|| Node::Object(shown).to_string())
}

/// The edits that take members out of `args.cni` of all plugins.
pub(super) fn without_args(conf: &Document, keys: &[&str]) -> Vec<ConfEdit> {
    let mut edits = Vec::new();
    for (place, args) in in_conf(conf) {
        for (key, _) in args {
            if keys.contains(&&*folded(key)) {
                edits.push(ConfEdit {
                    pointer: place.child(key.as_str()),
                    value: None,
                });
            }
        }
    }
    edits
}

/// Checks that plugins will read a member of the cni-args that is set under this key.
pub(super) fn is_read(attachment: &PolicyAttachment, key: &str) -> Result<(), EditError> {
    let conf = &attachment.conf;
    let mut places = in_conf(conf);
    let given = places.find_map(|(place, _)| later(conf, place.tokens(), key));
    let edited = || later(attachment.cni_args.as_ref()?, &[], key);
    match given.or_else(edited) {
        None => Ok(()),
        Some(other) => Err(spelt_twice(key, other)),
    }
}

/// `args.cni` of each plugin, with its pointer, in any spelling.
fn in_conf(conf: &Document) -> impl Iterator<Item = (Pointer, &[(String, Node)])> {
    let args = members_of(conf, "args");
    let cni = args.flat_map(|(place, _)| spelt(conf, &place, "cni"));
    cni.map(|(place, cni)| (place, members(Some(cni))))
}

/// The members that Go takes for this key, of the object at a place.
fn spelt<'a>(conf: &'a Document, place: &Pointer, key: &str) -> Vec<(Pointer, &'a Node)> {
    let same = conf.spellings(place.tokens(), key).into_iter();
    same.map(|(known, value)| (place.child(known.as_str()), value))
        .collect()
}

fn members(node: Option<&Node>) -> &[(String, Node)] {
    match node {
        Some(Node::Object(members)) => members,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
