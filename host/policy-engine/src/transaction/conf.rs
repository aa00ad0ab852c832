//! What a policy may do to a plugin conf, which stays JSON: unknown keys survive untouched, and
//! the members that decide what is executed stay as they are.

use std::collections::BTreeSet;

use cni_types::args::PluginType;
use cni_types::json::{Document, Node, Pointer};

use super::{EditError, validate};

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

/// Members of a plugin or of a list that no policy may change.
const PROTECTED: [&str; 6] = [
    "name",
    "cniversion",
    "cniversions",
    "prevresult",
    "runtimeconfig",
    // Without it, a chain goes on with files of a directory.
    "loadonlyinlinedplugins",
];

/// Whether, and to what, a policy may change which binaries a conf names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TypeGrant(pub(crate) BTreeSet<String>);

/// Checks that `new` executes what `old` executes and is of the same name and version.
///
/// Go's JSON matches keys whatever their case, and delegating plugins execute what nested objects
/// name. So every `type` at any depth counts, however it is written.
pub(super) fn check(old: &Document, new: &Document, grant: &TypeGrant) -> Result<(), EditError> {
    if !matches!(new.root(), Node::Object(_)) {
        return Err(validate::invalid("a conf is a JSON object"));
    }
    let (mut before, mut after) = (Protected::default(), Protected::default());
    before.collect(&Pointer::root(), old.root(), true);
    after.collect(&Pointer::root(), new.root(), true);
    if let Some(path) = difference(&before.members, &after.members) {
        return Err(EditError::Immutable(path));
    }
    if has_types(old) && !has_types(new) {
        return Err(validate::invalid("a conf whose plugins have no type"));
    }
    let Some(path) = difference(&before.types, &after.types) else {
        return Ok(());
    };
    if grant.0.is_empty() {
        return Err(EditError::Immutable(path));
    }
    // Those that the conf had may change places; one more than there was is as new as any other.
    let mut known: Vec<&Node> = before.types.iter().map(|(_, old)| old).collect();
    for (path, value) in &after.types {
        if let Some(same) = known.iter().position(|old| *old == value) {
            known.swap_remove(same);
            continue;
        }
        let name: Option<String> = value.get_as().ok();
        let allowed = name.filter(|name| grant.0.contains(name) && PluginType::new(name).is_ok());
        if allowed.is_none() {
            return Err(EditError::Immutable(format!("{path} to {value}")));
        }
    }
    Ok(())
}

/// Whether there is something to execute, and each plugin says what.
fn has_types(conf: &Document) -> bool {
    let types = plugin_types(conf);
    !types.is_empty() && types.iter().all(|name| PluginType::new(name).is_ok())
}

/// Sets the MTU on every plugin that has one.
pub(super) fn set_mtu(conf: &mut Document, mtu: u32) -> Result<(), EditError> {
    let plugins: Vec<Pointer> = plugins(conf)
        .filter(|(_, plugin)| has_mtu(plugin))
        .map(|(pointer, _)| pointer)
        .collect();
    if plugins.is_empty() {
        return Err(validate::invalid("no plugin of the chain has an MTU"));
    }
    for plugin in plugins {
        for key in mtu_keys(conf.get(&plugin)) {
            set(conf, &plugin.child(key), &mtu.to_string())?;
        }
    }
    Ok(())
}

/// Every MTU of a plugin and its pointer, also of plugins of lists within lists.
pub(super) fn mtus(conf: &Node) -> Vec<(String, &Node)> {
    let mut found = Vec::new();
    collect_mtus(&Pointer::root(), conf, &mut found);
    found
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
                let path = at.child(key.as_str());
                match folded(key).as_str() {
                    "mtu" => found.push((path.to_string(), value)),
                    "plugins" => collect_mtus(&path, value, found),
                    _ => {}
                }
            }
        }
    }
}

/// `type` of each plugin, in order.
pub(crate) fn plugin_types(conf: &Document) -> Vec<String> {
    plugins(conf)
        .map(|(_, plugin)| type_of(plugin).unwrap_or_default())
        .collect()
}

/// JSON text at a pointer that a guest gave.
pub(crate) fn get(conf: &Document, pointer: &str) -> Option<String> {
    Some(conf.get(&Pointer::parse(pointer).ok()?)?.to_string())
}

/// Replaces or adds a value.
pub(super) fn set(conf: &mut Document, pointer: &Pointer, json: &str) -> Result<(), EditError> {
    conf.set(pointer, json)
        .map(|_| ())
        .map_err(|error| refused(&error))
}

/// Removes a value.
pub(super) fn remove(conf: &mut Document, pointer: &Pointer) -> Result<(), EditError> {
    conf.remove(pointer)
        .map(|_| ())
        .map_err(|error| refused(&error))
}

/// Reads a pointer that a guest gave.
pub(super) fn pointer(text: &str) -> Result<Pointer, EditError> {
    Pointer::parse(text).map_err(|error| refused(&error))
}

fn refused(error: &cni_types::json::Error) -> EditError {
    use cni_types::json::Error;
    match error {
        Error::TooLarge { .. } | Error::TooDeep { .. } => EditError::TooLarge(error.to_string()),
        Error::Syntax { source } => validate::invalid(format!("no JSON: {source}")),
        _ => validate::invalid(error.to_string()),
    }
}

/// The plugins of a conflist, or the conf itself.
fn plugins(conf: &Document) -> impl Iterator<Item = (Pointer, &Node)> {
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

fn type_of(plugin: &Node) -> Option<String> {
    plugin.get(&Pointer::root().child("type"))?.get_as().ok()
}

fn has_mtu(plugin: &Node) -> bool {
    let Node::Object(members) = plugin else {
        return false;
    };
    members.iter().any(|(key, _)| folded(key) == "mtu")
        || type_of(plugin).is_some_and(|name| WITH_MTU.contains(&name.as_str()))
}

/// The keys under which the plugin would read its MTU; the last one counts, so all are set.
fn mtu_keys(plugin: Option<&Node>) -> Vec<String> {
    let mut keys = vec!["mtu".to_owned()];
    if let Some(Node::Object(members)) = plugin {
        keys.extend(
            members
                .iter()
                .map(|(key, _)| key.clone())
                .filter(|key| key != "mtu" && folded(key) == "mtu"),
        );
    }
    keys
}

#[derive(Default)]
struct Protected {
    members: Vec<(String, Node)>,
    types: Vec<(String, Node)>,
}

impl Protected {
    /// `plugin` says whether `node` is a list, a plugin, or something within one.
    fn collect(&mut self, at: &Pointer, node: &Node, plugin: bool) {
        match node {
            Node::Scalar(_) => {}
            Node::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.collect(&at.child(index.to_string()), element, plugin);
                }
            }
            Node::Object(members) => {
                for (key, value) in members {
                    let (path, key) = (at.child(key.as_str()), folded(key));
                    if key == "type" {
                        self.types.push((path.to_string(), value.clone()));
                    } else if plugin && PROTECTED.contains(&key.as_str()) {
                        self.members.push((path.to_string(), value.clone()));
                    }
                    self.collect(&path, value, plugin && key == "plugins");
                }
            }
        }
    }
}

/// The first path in which two lists of members differ.
fn difference(old: &[(String, Node)], new: &[(String, Node)]) -> Option<String> {
    let missing = |from: &[(String, Node)], within: &[(String, Node)]| {
        from.iter()
            .find(|member| !within.contains(member))
            .map(|(path, _)| path.clone())
    };
    missing(new, old).or_else(|| missing(old, new))
}

/// A key as Go's JSON compares it: letters that fold to ASCII included.
fn folded(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"firewall"}]}"#;

    fn conf(json: &str) -> Document {
        Document::parse(json, cni_types::json::Limits::default()).unwrap()
    }

    fn edited(json: &str, at: &str, value: &str, grant: &TypeGrant) -> Result<Document, EditError> {
        let old = conf(json);
        let mut new = old.clone();
        set(&mut new, &pointer(at)?, value)?;
        check(&old, &new, grant)?;
        Ok(new)
    }

    #[test]
    fn what_decides_what_is_executed_cannot_be_changed() {
        for (at, value) in [
            ("/name", r#""m""#),
            ("/cniVersion", r#""0.1.0""#),
            ("/Name", r#""m""#),
            ("/cniVer\u{17f}ion", r#""0.1.0""#),
            ("/plugins/0/type", r#""evil""#),
            ("/plugins/0/TYPE", r#""evil""#),
            ("/plugins/0/ipam/type", r#""evil""#),
            ("/plugins/0/ipam", r"{}"),
            ("/plugins/0/prevResult", r"{}"),
            ("/plugins/0/runtimeConfig", r"{}"),
            ("/plugins/0/delegate", r#"{"type":"evil"}"#),
            ("/plugins/-", r#"{"type":"evil"}"#),
            ("/plugins", r"[]"),
            (
                "/plugins/0/delegate",
                r#"{"meta":[{"ipam":{"Type":"evil"}}]}"#,
            ),
            ("/loadOnlyInlinedPlugins", "false"),
            ("/cniVersions", r#"["0.1.0"]"#),
            ("/Plugins", r#"[{"name":"x"}]"#),
            ("", r"{}"),
        ] {
            let error = edited(CHAIN, at, value, &TypeGrant::default()).unwrap_err();
            assert!(!matches!(error, EditError::NotGranted(_)), "{at}: {error}");
        }
    }

    #[test]
    fn the_rest_is_free() {
        for (at, value) in [
            ("/plugins/0/mtu", "1400"),
            ("/plugins/0/ipam/ranges", "[]"),
            ("/plugins/0/args", r#"{"name":"x"}"#),
            ("/disableCheck", "true"),
        ] {
            edited(CHAIN, at, value, &TypeGrant::default()).unwrap();
        }
    }

    #[test]
    fn a_granted_type_may_be_set_and_no_other() {
        let grant = TypeGrant(["ptp".to_owned()].into());
        edited(CHAIN, "/plugins/0/type", r#""ptp""#, &grant).unwrap();
        edited(CHAIN, "/plugins/0/type", r#""evil""#, &grant).unwrap_err();
        edited(CHAIN, "/plugins/-", r#"{"type":"ptp"}"#, &grant).unwrap();
        edited(CHAIN, "/name", r#""m""#, &grant).unwrap_err();
        // The conf has a bridge; a second one is not granted.
        edited(CHAIN, "/plugins/-", r#"{"type":"bridge"}"#, &grant).unwrap_err();
        edited(CHAIN, "/plugins/0/ipam/type", r#""bridge""#, &grant).unwrap_err();
        for nothing in [
            "[]",
            "{}",
            "[{}]",
            r#"[{"type":""}]"#,
            r#"[{"type":"bridge"},7]"#,
        ] {
            edited(CHAIN, "/plugins", nothing, &grant).unwrap_err();
        }
        let crooked = TypeGrant(["../ptp".to_owned()].into());
        edited(CHAIN, "/plugins/0/type", r#""../ptp""#, &crooked).unwrap_err();
    }

    #[test]
    fn the_mtu_goes_to_every_plugin_that_has_one() {
        let check = |json: &str, expected: &str| {
            let mut conf = conf(json);
            set_mtu(&mut conf, 1400).unwrap();
            assert_eq!(conf.to_string(), expected);
        };
        check(
            r#"{"type":"macvlan","master":"eth0"}"#,
            r#"{"type":"macvlan","master":"eth0","mtu":1400}"#,
        );
        check(
            r#"{"plugins":[{"type":"bridge","mtu":9000},{"type":"portmap"},{"type":"own","MTU":1}]}"#,
            r#"{"plugins":[{"type":"bridge","mtu":1400},{"type":"portmap"},{"type":"own","MTU":1400,"mtu":1400}]}"#,
        );
    }

    #[test]
    fn a_chain_without_an_mtu_refuses_one() {
        set_mtu(&mut conf(r#"{"plugins":[{"type":"portmap"},7]}"#), 1400).unwrap_err();
    }

    #[test]
    fn numbers_and_order_of_other_members_survive() {
        let text = r#"{"type":"bridge","big":12345678901234567890,"z":1.50,"a":null}"#;
        let new = edited(text, "/mtu", "1400", &TypeGrant::default()).unwrap();
        assert_eq!(
            new.to_string(),
            r#"{"type":"bridge","big":12345678901234567890,"z":1.50,"a":null,"mtu":1400}"#
        );
    }
}
