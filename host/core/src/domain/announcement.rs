//! Events for the owner of a pod, in Multus' wording.

use cni_types::version::Version;

use super::entry::Entry;

/// How many of an attachment's addresses a message lists.
const MAX_ADDRESSES: usize = 16;

/// The message of the Event for a new attachment. `None` if its delegates made neither an interface
/// nor an address, such as those that only set sysctls. Results before 0.3.0 cannot list
/// interfaces, so they always get a message.
pub fn of_attachment(entry: &Entry) -> Option<String> {
    let result = entry.result.as_ref()?;
    let is_silent = result.interfaces.is_empty() && result.ips.is_empty();
    if is_silent && result.cni_version >= Version::V0_3_0 {
        return None;
    }
    let addresses = result.ips.iter().map(|ip| ip.address.to_string());
    let mut named: Vec<String> = addresses.take(MAX_ADDRESSES).collect();
    if result.ips.len() > named.len() {
        named.push(format!("… {} in all", result.ips.len()));
    }
    Some(format!(
        "Add {} [{}] from {}",
        entry.if_name,
        named.join(" "),
        entry.network
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod::PodRef;
    use cni_types::args::{CniArgs, ContainerId, IfName};
    use cni_types::conf::NetworkConfList;
    use cni_types::json::RawObject;
    use cni_types::result::CniResult;
    use cni_types::version::ConfVersion;

    fn message(result: &str) -> Option<String> {
        of_attachment(&Entry {
            container_id: ContainerId::new("c").unwrap(),
            netns: None,
            namespace: None,
            tags: std::collections::BTreeMap::new(),
            failed_add: None,
            added_at: None,
            runtime_network: None,
            pod: PodRef {
                namespace: "default".into(),
                name: "a".into(),
                uid: "u".into(),
            },
            network: "default/n".into(),
            if_name: IfName::new("net1").unwrap(),
            is_default: false,
            is_chosen: false,
            conf: NetworkConfList::parse_any(r#"{"name":"n","type":"t"}"#).unwrap(),
            cni_args: CniArgs::new(),
            capability_args: RawObject::new(),
            device: None,
            result: Some(CniResult::parse(result.as_bytes(), ConfVersion::MISSING).unwrap()),
        })
    }

    #[test]
    fn event_names_addresses_and_network() {
        for (result, expected) in [
            (
                r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"},{"address":"fd00::2/64"}]}"#,
                "Add net1 [10.0.0.2/24 fd00::2/64] from default/n",
            ),
            (
                r#"{"cniVersion":"1.0.0","interfaces":[{"name":"net1"}]}"#,
                "Add net1 [] from default/n",
            ),
            (
                r#"{"ip4":{"ip":"10.0.0.2/24"}}"#,
                "Add net1 [10.0.0.2/24] from default/n",
            ),
            ("{}", "Add net1 [] from default/n"),
        ] {
            assert_eq!(message(result).as_deref(), Some(expected));
        }
    }

    #[test]
    fn result_without_interfaces_makes_no_event() {
        for result in [
            r#"{"cniVersion":"1.0.0"}"#,
            r#"{"cniVersion":"1.0.0","routes":[{"dst":"10.0.0.0/8"}]}"#,
            r#"{"cniVersion":"0.3.0","dns":{}}"#,
        ] {
            assert_eq!(message(result), None, "{result}");
        }
    }
}
