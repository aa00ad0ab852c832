//! Describes itself and its settings, and denies addresses that an attachment of the node has.

use cnidaria_guest::attachments::Filter;
use cnidaria_guest::prelude::*;
use cnidaria_guest::{Schema, describe, println};
use serde::Deserialize;

/// The settings.
#[derive(Debug, Deserialize, Schema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Networks whose addresses are checked; all without any.
    #[serde(default)]
    networks: Vec<String>,
    /// CNI error code of a denial.
    #[schema(minimum = 100, maximum = 999)]
    code: u32,
}

/// The policy.
#[derive(Debug)]
pub struct Described(Settings);

impl Policy for Described {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        match settings.code {
            666 => Err("code 666 is taken".to_owned()),
            _ => Ok(Self(settings)),
        }
    }
}

impl BeforeAdd for Described {
    fn before_add(&self, _: &Request, attachment: &Attachment, _: &Plan) -> Verdict {
        let network = attachment.network();
        if !self.0.networks.is_empty() && !self.0.networks.contains(&network) {
            return Ok(());
        }
        for ip in attachment.ips() {
            let address = ip.split('/').next().unwrap_or_default();
            println!("looks for {address}");
            if let Some(other) = Filter::ip(address).find().next() {
                let other = other?;
                return Err(Denial::new(
                    self.0.code,
                    format!("{address} is that of {}/{}", other.namespace, other.pod),
                ));
            }
        }
        Ok(())
    }
}

cnidaria_guest::export!(Described: before_add);

describe! {
    settings: Settings,
    grants: ["attachments", "rewrite-result"],
    limits: { "timeoutMs": 2000 },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use cnidaria_guest::IpConfig;
    use cnidaria_guest::testing::{Add, Node};

    use super::*;

    #[test]
    fn an_address_is_free_after_the_del() {
        let mut node = Node::<Described>::new(r#"{"code":150}"#).unwrap();
        let add = |pod: &str| {
            let outcome = Outcome::new().with_ips(vec![IpConfig::new("10.1.0.5/24")]);
            let attachment = Attachment::new("default/storage", "net1", r#"{"type":"macvlan"}"#);
            Add::new(Request::add("shop", pod))
                .attaching(attachment.with_ips(&["10.1.0.5/24"]), outcome)
        };
        node.add(add("web-1")).unwrap();
        let denied = node.add(add("web-2")).unwrap_err();
        assert_eq!(denied.hook, "before_add");
        assert_eq!(denied.denial.message, "10.1.0.5 is that of shop/web-1");
        node.del("web-1");
        node.add(add("web-2")).unwrap();
        assert_eq!(
            Node::<Described>::new("{}").unwrap_err(),
            "settings: missing field `code` at line 1 column 2"
        );
    }
}
