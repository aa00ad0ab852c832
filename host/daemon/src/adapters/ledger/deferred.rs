//! DELs that shims have recorded while no daemon was there, a file each. This daemon makes the
//! directory, which tells shims that somebody is going to look into it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cni_types::args::ContainerId;
use shim_api::deferred::DIR;

use super::file;
use crate::domain::entry::Entry;

/// Delegates whose DEL undoes everything although the namespace is gone. Not the others: what they
/// have to give back may go with it, as the name of a card that `host-device` moved into it, and
/// `tuning` keeps a file of what it changed until it can change it back. `sbr` fails without one.
const OUTLIVE_NETNS: [&str; 13] = [
    "bandwidth",
    "bridge",
    "firewall",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "passthru",
    "portmap",
    "ptp",
    "static",
    "vlan",
    "vrf",
];
/// Settings with which they leave rules on the node that they cannot find without the addresses in
/// the namespace. Go reads keys whatever their case.
const NEED_NETNS: [&str; 2] = ["ipmasq", "macspoofchk"];

/// Whether all of this can be undone when its namespace is gone. `more` are further delegates that
/// can.
pub(super) fn outlives_netns(entries: &[Entry], more: &BTreeSet<String>) -> bool {
    let knows = |name: &str| OUTLIVE_NETNS.contains(&name) || more.contains(name);
    let mut plugins = entries.iter().flat_map(|entry| entry.conf.plugins());
    plugins.all(|plugin| {
        let name = plugin.plugin_type().as_str();
        let ipam = plugin.ipam_type().map(|ipam| ipam.as_str());
        let needs = plugin.raw().iter().any(|(key, value)| {
            let is_off = matches!(value.get(), "false" | "null");
            !is_off && NEED_NETNS.contains(&key.to_ascii_lowercase().as_str())
        });
        knows(name) && ipam.is_none_or(knows) && (!needs || more.contains(name))
    })
}

/// Makes the directory, for this user alone, or keeps it where it is so.
///
/// # Errors
/// Also where somebody else could write to it.
pub(super) fn ask(cni_dir: &Path) -> io::Result<()> {
    file::make_private_dir(&cni_dir.join(DIR))
}

/// Removes the directory when nothing is in it, so that no more is recorded.
///
/// # Errors
/// Also where something is in it.
pub(super) fn no_more(cni_dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir(cni_dir.join(DIR)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Whose DELs are recorded.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn list(cni_dir: &Path) -> io::Result<Vec<ContainerId>> {
    let files = match std::fs::read_dir(cni_dir.join(DIR)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut containers = Vec::new();
    for file in files {
        // What is not whole yet begins with a dot.
        containers.extend(ContainerId::new(file?.file_name().to_string_lossy()));
    }
    Ok(containers)
}

/// The record of one container.
pub(super) fn path(cni_dir: &Path, container: &ContainerId) -> PathBuf {
    cni_dir.join(DIR).join(container.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::args::{CniArgs, IfName};
    use cni_types::conf::NetworkConfList;
    use cni_types::json::RawObject;

    use crate::domain::pod::PodRef;

    fn check(conf: &str, expected: bool) {
        let entry = Entry {
            container_id: ContainerId::new("c").unwrap(),
            netns: None,
            pod: PodRef {
                namespace: String::new(),
                name: String::new(),
                uid: String::new(),
            },
            network: "n".into(),
            if_name: IfName::new("eth0").unwrap(),
            is_default: true,
            conf: NetworkConfList::parse_any(conf).unwrap(),
            cni_args: CniArgs::new(),
            capability_args: RawObject::new(),
            result: None,
            namespace: None,
            failed_add: None,
            device: None,
        };
        let more = BTreeSet::from(["calico".to_owned()]);
        assert_eq!(outlives_netns(&[entry], &more), expected, "{conf}");
    }

    #[test]
    fn only_what_is_known_to_be_undone_without_a_namespace_is() {
        let plugin = |rest: &str| format!(r#"{{"cniVersion":"1.0.0","name":"n",{rest}}}"#);
        check(
            &plugin(r#""type":"bridge","ipam":{"type":"host-local"}"#),
            true,
        );
        check(&plugin(r#""type":"calico","ipam":{"type":"static"}"#), true);
        check(&plugin(r#""type":"bridge","ipMasq":false"#), true);
        check(&plugin(r#""type":"bridge","ipMasq":true"#), false);
        check(&plugin(r#""type":"bridge","IPMASQ":true"#), false);
        check(&plugin(r#""type":"bridge","macspoofchk":true"#), false);
        check(&plugin(r#""type":"macvlan","ipam":{"type":"dhcp"}"#), false);
        check(
            &plugin(r#""type":"host-device"}"#.trim_end_matches('}')),
            false,
        );
        check(
            &plugin(r#""plugins":[{"type":"bridge"},{"type":"sriov"}]"#),
            false,
        );
        check(
            &plugin(r#""plugins":[{"type":"bridge"},{"type":"portmap"}]"#),
            true,
        );
    }
}
