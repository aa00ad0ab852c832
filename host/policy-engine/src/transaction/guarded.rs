//! Conf members that refer to places or powers of the node, each with a grant of its own.

use cni_types::json::Node;

use crate::model::grant::Grant;

/// Members that select a device of the node.
const DEVICES: [&str; 7] = [
    "bridge",
    "device",
    "deviceid",
    "hwaddr",
    // Decides where `master` is looked for.
    "linkincontainer",
    "master",
    "pcibusid",
];
/// Members through which plugins modify the node's packet filter.
const FIREWALL: [&str; 6] = [
    "conditionsv4",
    "conditionsv6",
    "externalsetmarkchain",
    "firewalldzone",
    "ingresspolicy",
    "iptablesadminchainname",
];
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
const PATHS: [&str; 6] = ["/", "./", "../", "~", "file:", "unix:"];

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
    let text = text.trim();
    let leads_up = || text.split('/').any(|segment| segment == "..");
    let is_path = PATHS.iter().any(|begin| text.starts_with(begin)) || leads_up();
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
            &["firewalldZone", "conditionsV4"],
            Some(Grant::ChangeFirewall),
        );
        check(
            &[
                "mtu", "vlan", "ranges", "sysctl", "mode", "profile", "ipMasq", "dns",
            ],
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
        check(r#""10.0.0.0/8""#, false);
        check(r#""fd00::/64""#, false);
        check("7", false);
    }
}
