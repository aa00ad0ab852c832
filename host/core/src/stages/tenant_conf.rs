//! Confs that tenants write. Daemon, policies and plugins must read the same in them: Go's decoder
//! ignores the case of keys, so a conf could show a policy one value and a plugin another.

use std::borrow::Cow;

use cni_types::conf::{self, NetworkConfList, PluginConf};
use cni_types::json::{self, Node, RawObject, keys};

use crate::domain::limits::{Exceeded, Limits};
use crate::domain::members;

/// Members of a plugin's conf that daemon and policies read, in the specification's spelling.
const KEYS: [&str; 9] = [
    "args",
    "capabilities",
    "cniVersion",
    "dns",
    "ipam",
    "name",
    "prevResult",
    "runtimeConfig",
    "type",
];
/// What the runtime alone sets (specification, section 3, deriving runtimeConfig).
const RUNTIME_CONFIG: &str = "runtimeConfig";

/// Why a tenant's conf is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It exceeds a limit.
    #[error(transparent)]
    Limit(#[from] Exceeded),
    /// Two members of one object differ in case alone.
    #[error("members {0:?} and {1:?} of one object are the same to a plugin")]
    Twins(String, String),
}

/// Measures a conf and looks for twins in it. Call it before parsing, which finds other faults.
///
/// # Errors
/// [`Error`].
pub fn check(limits: &Limits, text: &[u8]) -> Result<(), Error> {
    limits.check_conf(text)?;
    let within = json::Limits {
        max_bytes: limits.conf_bytes,
        max_depth: limits.conf_depth,
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return Ok(());
    };
    match Node::parse(text, within) {
        Ok(node) => refuse_twins(&node),
        Err(_) => Ok(()),
    }
}

/// Measures `cni-args` for a conf with this many plugins, and looks for twins in them.
///
/// # Errors
/// [`Error`].
pub fn check_args(limits: &Limits, args: &RawObject, plugins: usize) -> Result<(), Error> {
    limits.check_cni_args(args, plugins)?;
    match Node::parse(&args.to_text(), json::Limits::default()) {
        Ok(node) => refuse_twins(&node),
        Err(_) => Ok(()),
    }
}

fn refuse_twins(node: &Node) -> Result<(), Error> {
    match keys::twins(node) {
        None => Ok(()),
        Some([one, other]) => Err(Error::Twins(one.to_owned(), other.to_owned())),
    }
}

/// The conf with the specification's spelling of the keys above, of `ipam.type` and `args.cni`, and
/// without `runtimeConfig`. It has no twins.
///
/// # Errors
/// [`conf::Error`] if it is not a conf then.
pub fn canonical(conf: NetworkConfList) -> Result<NetworkConfList, conf::Error> {
    let plugins: Vec<Cow<'_, RawObject>> = (conf.plugins().iter())
        .map(|plugin| canonical_plugin(plugin.raw()))
        .collect();
    if plugins
        .iter()
        .all(|plugin| matches!(plugin, Cow::Borrowed(_)))
    {
        return Ok(conf);
    }
    let plugins = plugins.into_iter();
    let plugins = plugins.map(|plugin| PluginConf::from_raw(plugin.into_owned()));
    conf.with_plugins(plugins.collect::<Result<_, _>>()?)
}

fn canonical_plugin(plugin: &RawObject) -> Cow<'_, RawObject> {
    let mut renamed = spelt(plugin, &KEYS);
    if renamed.contains_key(RUNTIME_CONFIG) {
        tracing::warn!(
            plugin = plugin.get_as::<String>("type").ok().flatten(),
            "left out runtimeConfig of a network's conf: only the runtime sets it"
        );
        renamed.to_mut().remove(RUNTIME_CONFIG);
    }
    for (key, inner) in [("ipam", "type"), ("args", "cni")] {
        let Ok(Some(object)) = renamed.get_as::<RawObject>(key) else {
            continue;
        };
        if let Cow::Owned(object) = spelt(&object, &[inner])
            && let Err(error) = renamed.to_mut().set(key, &object)
        {
            tracing::debug!(%error, key, "cannot give a member of the conf its documented spelling; delegates receive it as written");
        }
    }
    renamed
}

/// The object with these keys' documented spelling.
fn spelt<'a>(object: &'a RawObject, known: &[&'static str]) -> Cow<'a, RawObject> {
    let spelling = |key: &str| members::known(known, key);
    let is_spelt = |(key, _)| spelling(key).is_none_or(|known| known == key);
    if object.iter().all(is_spelt) {
        return Cow::Borrowed(object);
    }
    let mut spelt = RawObject::new();
    for (key, value) in object.iter() {
        spelt.set_raw(spelling(key).unwrap_or(key), value.to_owned());
    }
    Cow::Owned(spelt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_in_case_alone_are_refused() {
        let limits = Limits::default();
        for (text, is_right) in [
            (r#"{"type":"a","vlan":5,"mtu":1}"#, true),
            (r#"{"type":"a","vlan":5,"VLAN":7}"#, false),
            (r#"{"plugins":[{"type":"a"}],"PLUGINS":[]}"#, false),
            (r#"{"type":"a","args":{"cni":{"mac":1,"Mac":2}}}"#, false),
            ("{", true),
        ] {
            assert_eq!(check(&limits, text.as_bytes()).is_ok(), is_right, "{text}");
        }
        let args = RawObject::parse(r#"{"mac":"a","MAC":"b"}"#).unwrap();
        assert!(check_args(&limits, &args, 1).is_err());
    }

    #[test]
    fn known_keys_get_their_spelling() {
        for (text, expected) in [
            (
                r#"{"name":"n","TYPE":"a","Capabilities":{"mac":true},"x":1}"#,
                r#"{"name":"n","type":"a","capabilities":{"mac":true},"x":1}"#,
            ),
            (
                r#"{"name":"n","plugins":[{"type":"a","ipam":{"Type":"b"},"ARGS":{"CNI":{"c":1}}}]}"#,
                r#"{"name":"n","plugins":[{"type":"a","ipam":{"type":"b"},"args":{"cni":{"c":1}}}]}"#,
            ),
            (
                r#"{"name":"n","type":"a","RuntimeConfig":{"mac":"x"}}"#,
                r#"{"name":"n","type":"a"}"#,
            ),
            (
                r#"{ "name":"n", "type":"a" }"#,
                r#"{ "name":"n", "type":"a" }"#,
            ),
        ] {
            let conf = NetworkConfList::parse_any(text).unwrap();
            assert_eq!(canonical(conf).unwrap().text(), expected);
        }
    }
}
