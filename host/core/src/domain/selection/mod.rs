//! The network selection annotations, parsed and checked but not yet resolved (multi-network
//! specification 1.3, section 4.1). Does not know which networks exist.

mod json;
mod unknown;

use std::net::IpAddr;

use cni_types::address::{canonical_mac, parse_cidr, parse_ip};
use cni_types::args::IfName;
use cni_types::capability::{Bandwidth, PortMapping};
use cni_types::json::{Cause, RawObject};

use super::limits::{Exceeded, Limits};

pub(crate) use unknown::unknown_members;

/// One element of a network selection annotation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// The NAD's namespace; defaults to the pod's.
    pub namespace: String,
    /// The NAD's name.
    pub name: String,
    /// Interface name in the pod; defaults to `netN` by position.
    pub interface: Option<IfName>,
    /// Canonical addresses, with a prefix length if the pod gave one.
    pub ips: Vec<String>,
    /// MAC address in lower case with colons.
    pub mac: Option<String>,
    /// InfiniBand GUID in lower case with colons.
    pub infiniband_guid: Option<String>,
    pub port_mappings: Vec<PortMapping>,
    /// Bandwidth limits.
    pub bandwidth: Option<Bandwidth>,
    /// Device to use if no device plugin allocated one.
    pub device_id: Option<String>,
    /// Merged into `args.cni` of each plugin's conf.
    pub cni_args: Option<RawObject>,
    /// Gateways of the default routes through this network. `Some` and empty keeps the delegate's
    /// default route and removes those of other networks.
    pub default_route: Option<Vec<IpAddr>>,
    /// The IPAM claim that the attachment takes its addresses from.
    pub ipam_claim_reference: Option<String>,
    /// The policy that named the network; `None` if the pod did.
    pub named_by: Option<String>,
}

impl Selection {
    /// `namespace/name` of the NAD.
    pub fn network(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Why an annotation is malformed. Elements count from 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The annotation looks like JSON, but is malformed.
    #[error("not a JSON list of network selections")]
    Json(#[source] Cause),
    /// The annotation is JSON, but not a list.
    #[error("expected a list of objects with the name of a network each, found {found}")]
    NotAList {
        /// Its type.
        found: String,
    },
    /// The pod requests more than the limits allow.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// One element is malformed.
    #[error("element {position} ({element})")]
    Element {
        /// The element's position, from 1.
        position: usize,
        /// The element's text, or its network's name.
        element: String,
        /// What is wrong with it.
        #[source]
        source: ElementError,
    },
}

/// Why one element is malformed.
#[derive(Debug, thiserror::Error)]
pub enum ElementError {
    /// More than one slash or at sign.
    #[error("not of the form [namespace/]name[@interface]")]
    Form,
    /// The name is missing.
    #[error("a network needs a name")]
    NoName,
    /// The value is not a DNS label.
    #[error(
        "{field} {value:?} must consist of lower case letters, digits and '-', and start and end with a letter or digit"
    )]
    Label {
        /// `name` or `namespace`.
        field: &'static str,
        /// The pod's value.
        value: String,
    },
    /// The value is not a valid interface name.
    #[error(transparent)]
    Interface(cni_types::args::Error),
    /// The value is not a MAC address.
    #[error("{field} {value:?} is not a hardware address")]
    Mac {
        /// `mac` or `infiniband-guid`.
        field: &'static str,
        /// The pod's value.
        value: String,
    },
    /// The value is not an IP address.
    #[error("{field} {value:?} is not an IP address{}", if *field == "ips" { " or CIDR" } else { "" })]
    Address {
        /// `ips` or `default-route`.
        field: &'static str,
        /// The pod's value.
        value: String,
    },
    /// The element is not a JSON object, or a member has the wrong type.
    #[error("{field}: expected {expected}, found {found}")]
    Type {
        /// The member's key, or the path of one below it; `element` for the element itself.
        field: String,
        /// The expected type, in words.
        expected: &'static str,
        /// The type found; for a number or a boolean, its value.
        found: String,
    },
    /// The pod requests more of one network than the limits allow.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// Both addresses and a claim for addresses are given.
    #[error("ips and ipam-claim-reference exclude each other")]
    IpsAndClaim,
}

/// Parses a selection annotation, a comma list or JSON. `default_namespace` applies to elements
/// without a namespace. Like Multus, skips empty elements of a comma list.
///
/// # Errors
/// [`Error`] names the malformed element and value.
pub fn parse(
    annotation: &str,
    default_namespace: &str,
    limits: &Limits,
) -> Result<Vec<Selection>, Error> {
    limits.check_annotation(annotation)?;
    // As in Multus, any of these characters indicates JSON; none can occur in a comma list.
    if annotation.contains(['[', '{', '"']) {
        json::parse(annotation, default_namespace, limits)
    } else {
        parse_list(annotation, default_namespace, limits)
    }
}

fn parse_list(
    annotation: &str,
    default_namespace: &str,
    limits: &Limits,
) -> Result<Vec<Selection>, Error> {
    let items = || {
        let items = annotation.split(',').map(str::trim);
        items.filter(|item| !item.is_empty())
    };
    limits.check_networks(items().count())?;
    items()
        .enumerate()
        .map(|(index, item)| {
            parse_item(item, default_namespace).map_err(|source| Error::Element {
                position: index + 1,
                element: item.chars().take(80).collect(),
                source,
            })
        })
        .collect()
}

fn parse_item(item: &str, default_namespace: &str) -> Result<Selection, ElementError> {
    let (namespace, rest) = match item.split_once('/') {
        Some((_, rest)) if rest.contains('/') => return Err(ElementError::Form),
        Some((namespace, rest)) => (namespace.trim(), rest),
        None => ("", item),
    };
    let (name, interface) = match rest.split_once('@') {
        Some((_, interface)) if interface.contains('@') => return Err(ElementError::Form),
        Some((name, interface)) => (name.trim(), interface.trim()),
        None => (rest.trim(), ""),
    };
    check_label("name", name)?;
    if !namespace.is_empty() {
        check_label("namespace", namespace)?;
    }
    Ok(Selection {
        namespace: non_empty_or(namespace, default_namespace),
        name: name.to_owned(),
        interface: parse_interface(interface)?,
        ..Selection::default()
    })
}

fn non_empty_or(value: &str, default: &str) -> String {
    if value.is_empty() {
        default.to_owned()
    } else {
        value.to_owned()
    }
}

fn parse_interface(name: &str) -> Result<Option<IfName>, ElementError> {
    if name.is_empty() {
        return Ok(None);
    }
    IfName::to_make(name)
        .map(Some)
        .map_err(ElementError::Interface)
}

/// Checks for a DNS-1123 label, as the comma list requires.
fn check_label(field: &'static str, value: &str) -> Result<(), ElementError> {
    if field == "name" && value.is_empty() {
        return Err(ElementError::NoName);
    }
    check_characters(field, value, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })
}

/// Checks for a DNS-1123 subdomain, as the API server requires of names. In the JSON form, this is
/// all that prevents a name from being a path.
fn check_object_name(field: &'static str, value: &str) -> Result<(), ElementError> {
    if field == "name" && value.is_empty() {
        return Err(ElementError::NoName);
    }
    check_characters(field, value, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.'
    })
}

fn check_characters(
    field: &'static str,
    value: &str,
    allowed: impl Fn(char) -> bool,
) -> Result<(), ElementError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = value.len() <= 253
        && value.chars().all(allowed)
        && edge(value.chars().next())
        && edge(value.chars().last());
    if fits {
        return Ok(());
    }
    Err(ElementError::Label {
        field,
        value: value.chars().take(80).collect(),
    })
}

/// Canonicalises an address or CIDR; host bits are kept.
///
/// # Errors
/// [`ElementError::Address`] if it is neither.
pub(crate) fn canonical_address(text: &str) -> Result<String, ElementError> {
    let error = || ElementError::Address {
        field: "ips",
        value: text.chars().take(80).collect(),
    };
    if text.contains('/') {
        parse_cidr(text)
            .map(|net| net.to_string())
            .ok_or_else(error)
    } else {
        parse_ip(text).map(|ip| ip.to_string()).ok_or_else(error)
    }
}

fn parse_gateways(gateways: &[String]) -> Result<Vec<IpAddr>, ElementError> {
    gateways
        .iter()
        .map(|gateway| {
            parse_ip(gateway).ok_or_else(|| ElementError::Address {
                field: "default-route",
                value: gateway.chars().take(80).collect(),
            })
        })
        .collect()
}

fn parse_mac(field: &'static str, value: Option<String>) -> Result<Option<String>, ElementError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    canonical_mac(&value)
        .map(Some)
        .ok_or_else(|| ElementError::Mac {
            field,
            value: value.chars().take(80).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn names(annotation: &str) -> Vec<String> {
        parse(annotation, "here", &Limits::default())
            .unwrap()
            .iter()
            .map(|s| {
                let interface = s
                    .interface
                    .as_ref()
                    .map(|i| format!("@{i}"))
                    .unwrap_or_default();
                format!("{}{interface}", s.network())
            })
            .collect()
    }

    fn error(annotation: &str) -> String {
        let error = parse(annotation, "here", &Limits::default()).unwrap_err();
        match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn a_comma_list_is_a_list_of_names() {
        assert_eq!(names("a"), ["here/a"]);
        assert_eq!(
            names(" a , other/b@data0,c "),
            ["here/a", "other/b@data0", "here/c"]
        );
    }

    #[test]
    fn empty_elements_of_a_list_are_skipped() {
        for list in ["a,b,", ",a,,b", " a\t,\n, ,b , ", "a,b,,,"] {
            assert_eq!(names(list), ["here/a", "here/b"], "{list:?}");
        }
        for list in ["", " ", "\t\n", ",", " , ,"] {
            assert!(names(list).is_empty(), "{list:?}");
        }
    }

    #[test]
    fn a_malformed_item_is_named_with_its_position() {
        assert_eq!(
            error("a,a/b/c"),
            "element 2 (a/b/c): not of the form [namespace/]name[@interface]"
        );
        assert!(
            error("Bad_Name").starts_with("element 1 (Bad_Name): name \"Bad_Name\" must consist")
        );
        assert!(error("a@b@c").contains("not of the form"));
        assert!(error("a,here/").contains("element 2 (here/): a network needs a name"));
        assert!(error("a,,@net1").contains("element 2 (@net1): a network needs a name"));
        assert!(
            error("br@averyveryverylongname")
                .contains("interface name \"averyveryverylongname\" has 21 bytes")
        );
    }

    #[test]
    fn a_pod_cannot_ask_for_more_than_its_limits() {
        let limits = Limits {
            annotation_bytes: 200,
            networks: 2,
            ips: 1,
            port_mappings: 1,
            cni_args: 1,
            conf_depth: 2,
            ..Limits::default()
        };
        for (annotation, setting) in [
            ("a,,b,", None),
            ("a,b,c", Some("networks")),
            (
                r#"[{"name":"a"},{"name":"b"},{"name":"c"}]"#,
                Some("networks"),
            ),
            (r#"[{"name":"a","ips":["10.0.0.1"]}]"#, None),
            (r#"[{"name":"a","ips":["10.0.0.1","x"]}]"#, Some("ips")),
            (r#"[{"name":"a","default-route":["x","y"]}]"#, Some("ips")),
            (
                r#"[{"name":"a","portMappings":[{"hostPort":1},{"hostPort":2}]}]"#,
                Some("portMappings"),
            ),
            (r#"[{"name":"a","cni-args":{"x":[1]}}]"#, None),
            (
                r#"[{"name":"a","cni-args":{"x":1,"y":1}}]"#,
                Some("cniArgs"),
            ),
            (
                r#"[{"name":"a","cni-args":{"x":[[1]]}}]"#,
                Some("confDepth"),
            ),
            (&format!("{}a", " ".repeat(200)), Some("annotationBytes")),
        ] {
            let found = match parse(annotation, "here", &limits) {
                Ok(_) => None,
                Err(Error::Exceeded(exceeded))
                | Err(Error::Element {
                    source: ElementError::Exceeded(exceeded),
                    ..
                }) => Some(exceeded.setting),
                Err(error) => panic!("{annotation}: {error}"),
            };
            assert_eq!(found, setting, "{annotation}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_annotation_panics(text in "\\PC{0,200}") {
            let _ = parse(&text, "here", &Limits::default());
        }
    }
}
