//! Conf members that refer to places or powers of the node, each with a grant of its own.

use cni_types::json::Node;

use crate::model::grant::Grant;

/// Members that select a device of the node.
const DEVICES: [&str; 9] = [
    "bridge",
    "device",
    "deviceid",
    "hwaddr",
    // Decide where `master` and `links` are looked for.
    "linkincontainer",
    "links",
    "linksincontainer",
    "master",
    "pcibusid",
];
/// Members through which plugins modify the node's packet filter, or filter what the pod sends.
const FIREWALL: [&str; 16] = [
    "backend",
    "conditionsv4",
    "conditionsv6",
    "externalsetmarkchain",
    "firewalldzone",
    "ingresspolicy",
    "ipmasq",
    "ipmasqbackend",
    "iptablesadminchainname",
    "macspoofchk",
    "markmasqbit",
    "masqall",
    "portisolation",
    "snat",
    "spoofchk",
    "trust",
];
/// Members that take all plugins of a conf out of a verb.
const VERBS: [&str; 2] = ["disablecheck", "disablegc"];
/// Endings of keys that hold files, directories and sockets.
const PATH_ENDS: [&str; 12] = [
    "bin",
    "bindirs",
    "dir",
    "dirs",
    "directory",
    "file",
    "files",
    "path",
    "paths",
    "resolvconf",
    "sock",
    "socket",
];
/// Beginnings of keys that configure access to an API.
const API_BEGINNINGS: [&str; 3] = ["etcd", "k8s", "kubeconfig"];
/// Keys that match these endings but hold no paths.
const NO_PATHS: [&str; 2] = ["multipath", "profile"];
/// Beginnings of values that are node paths, under any key.
const PATHS: [&str; 4] = ["/", "./", "../", "~"];

/// The grant needed to change the member under a [folded](super::difference::folded) key.
pub(super) fn key(folded: &str) -> Option<Grant> {
    let key: String = folded.chars().filter(|c| !matches!(c, '_' | '-')).collect();
    if key == "capabilities" {
        return Some(Grant::ChangeCapabilities);
    }
    if DEVICES.contains(&&*key) {
        return Some(Grant::ChangeDevices);
    }
    if FIREWALL.contains(&&*key) {
        return Some(Grant::ChangeFirewall);
    }
    if VERBS.contains(&&*key) {
        return Some(Grant::RemovePlugin);
    }
    let is_path = PATH_ENDS.iter().any(|end| key.ends_with(end))
        || API_BEGINNINGS.iter().any(|begin| key.starts_with(begin));
    (is_path && !NO_PATHS.contains(&&*key)).then_some(Grant::ChangePaths)
}

/// The grant needed to set or replace a plain value.
pub(super) fn value(node: &Node) -> Option<Grant> {
    let Node::Scalar(text) = node else {
        return None;
    };
    if !text.starts_with('"') {
        return None;
    }
    let text: String = node.get_as().ok()?;
    let text = text.trim().to_ascii_lowercase();
    // As in `http+unix://`.
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_local = scheme
        .split('+')
        .any(|part| matches!(part, "file" | "unix"));
    let leads_up = || text.split('/').any(|segment| segment == "..");
    let is_path = is_local || PATHS.iter().any(|begin| text.starts_with(begin)) || leads_up();
    is_path.then_some(Grant::ChangePaths)
}

#[cfg(test)]
mod tests {
    use super::super::difference::folded;
    use super::*;

    #[test]
    fn places_and_powers_are_known_by_their_keys() {
        let check = |keys: &[&str], expected: Option<Grant>| {
            for text in keys {
                assert_eq!(key(&folded(text)), expected, "{text}");
            }
        };
        check(
            &[
                "binDir",
                "BINDIR",
                "dataDir",
                "data_dir",
                "confDir",
                "kubeconfig",
                "kubeConfig",
                "logFile",
                "log-file",
                "resolvConf",
                "daemonSocketPath",
                "CNIDeviceInfoFile",
                "k8s_api_root",
                "etcd_key_file",
                "socketDir",
                "subnetFile",
                "configuration_path",
            ],
            Some(Grant::ChangePaths),
        );
        check(
            &["capabilities", "Capabilitie\u{17f}"],
            Some(Grant::ChangeCapabilities),
        );
        check(
            &[
                "device", "deviceID", "pciBusID", "master", "Bridge", "hwaddr",
            ],
            Some(Grant::ChangeDevices),
        );
        check(
            &["linksInContainer", "links", "linkInContainer"],
            Some(Grant::ChangeDevices),
        );
        check(
            &[
                "firewalldZone",
                "conditionsV4",
                "macspoofchk",
                "spoofchk",
                "trust",
                "portIsolation",
                "backend",
                "snat",
                "masqAll",
                "markMasqBit",
                "ipMasq",
                "ipMasqBackend",
            ],
            Some(Grant::ChangeFirewall),
        );
        check(&["disableCheck", "disableGC"], Some(Grant::RemovePlugin));
        check(
            &["mtu", "vlan", "ranges", "sysctl", "mode", "profile", "dns"],
            None,
        );
    }

    #[test]
    fn paths_are_known_by_their_values() {
        let check = |json: &str, expected: bool| {
            let node = Node::parse(json, cni_types::json::Limits::default()).unwrap();
            assert_eq!(value(&node).is_some(), expected, "{json}");
        };
        check(r#""/etc/shadow""#, true);
        check(r#""\u002fetc""#, true);
        check(r#""../x""#, true);
        check(r#""a/../../etc""#, true);
        check(r#""a/..""#, true);
        check(r#"" .. ""#, true);
        check(r#""a..b/c...""#, false);
        check(r#""unix:///run/x""#, true);
        check(r#""UNIX:/run/x""#, true);
        check(r#"" File:/etc/x""#, true);
        check(r#""http+unix:///run/x""#, true);
        check(r#""http://unix/x""#, false);
        check(r#""10.0.0.0/8""#, false);
        check(r#""fd00::/64""#, false);
        check("7", false);
    }
}
