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
    use crate::domain::sandbox::Sandbox;
    use cni_types::args::{ContainerId, IfName};
    use cni_types::conf::NetworkConfList;
    use cni_types::result::CniResult;
    use cni_types::version::ConfVersion;

    fn message(result: &str) -> Option<String> {
        let sandbox = Sandbox::recorded(ContainerId::new("c").unwrap());
        let conf = NetworkConfList::parse_any(r#"{"name":"n","type":"t"}"#).unwrap();
        let if_name = IfName::new("net1").unwrap();
        of_attachment(&Entry {
            result: Some(CniResult::parse(result.as_bytes(), ConfVersion::MISSING).unwrap()),
            ..Entry::of(&sandbox, "default/n", if_name, conf)
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
