//! The network selection annotations: what a pod asks for, parsed and checked but not yet resolved
//! (multi-network specification 1.3, section 4.1). Refuses to know which networks exist.

mod json;
mod unknown;

use std::net::IpAddr;

use cni_types::address::{canonical_mac, parse_cidr, parse_ip};
use cni_types::args::IfName;
use cni_types::json::{Cause, RawObject};

use super::limits::{Exceeded, Limits};
use super::runtime_config::{Bandwidth, PortMapping};

pub use unknown::unknown_members;

/// One element of a network selection annotation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Namespace of the NAD; the pod's own where the element names none.
    pub namespace: String,
    /// Name of the NAD.
    pub name: String,
    /// Interface name in the pod; `netN` by position where absent.
    pub interface: Option<IfName>,
    /// Addresses, canonical, with a prefix length where the pod gave one.
    pub ips: Vec<String>,
    /// Hardware address: lower case, separated by colons.
    pub mac: Option<String>,
    /// InfiniBand GUID: lower case, separated by colons.
    pub infiniband_guid: Option<String>,
    /// Port mappings.
    pub port_mappings: Vec<PortMapping>,
    /// Bandwidth limits.
    pub bandwidth: Option<Bandwidth>,
    /// Device to use where no device plugin allocated one.
    pub device_id: Option<String>,
    /// Put into `args.cni` of the conf of each plugin.
    pub cni_args: Option<RawObject>,
    /// Gateways of the default route through this network. `Some` and empty: keep the default
    /// route that the delegate makes, and remove those of the other networks.
    pub default_route: Option<Vec<IpAddr>>,
    /// IPAM claim that the attachment takes its addresses from.
    pub ipam_claim_reference: Option<String>,
}

impl Selection {
    /// `namespace/name` of the NAD.
    pub fn network(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Why an annotation is not understood. Elements count from 1, as people do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The annotation looks like JSON and is none, or not of the annotation's form.
    #[error("not a JSON list of network selections")]
    Json(#[source] Cause),
    /// More than a pod may ask for.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// One element is wrong.
    #[error("element {position} ({element})")]
    Element {
        /// Which element, from 1.
        position: usize,
        /// The element as the pod wrote it, or its network's name.
        element: String,
        /// What is wrong with it.
        #[source]
        source: ElementError,
    },
}

/// What is wrong with one element.
#[derive(Debug, thiserror::Error)]
pub enum ElementError {
    /// More than one slash or at sign.
    #[error("not of the form [namespace/]name[@interface]")]
    Form,
    /// No name.
    #[error("a network needs a name")]
    NoName,
    /// Not a DNS label.
    #[error(
        "{field} {value:?} must consist of lower case letters, digits and '-', and start and end with a letter or digit"
    )]
    Label {
        /// `name` or `namespace`.
        field: &'static str,
        /// The value that the pod gave.
        value: String,
    },
    /// Not usable as the name of an interface.
    #[error(transparent)]
    Interface(cni_types::args::Error),
    /// Not a hardware address.
    #[error("{field} {value:?} is not a hardware address")]
    Mac {
        /// `mac` or `infiniband-guid`.
        field: &'static str,
        /// The value that the pod gave.
        value: String,
    },
    /// Not an address.
    #[error("{field} {value:?} is not an IP address{}", if *field == "ips" { " or CIDR" } else { "" })]
    Address {
        /// `ips` or `default-route`.
        field: &'static str,
        /// The value that the pod gave.
        value: String,
    },
    /// Not a JSON object, or a member of another type.
    #[error("{field}: expected {expected}, found {found}")]
    Type {
        /// The member; `element` for the element itself.
        field: &'static str,
        /// What would be right, in words.
        expected: &'static str,
        /// The type of what the pod gave; a number or a truth value itself.
        found: String,
    },
    /// More than a pod may ask of one network.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// Addresses are named, and taken from a claim as well.
    #[error("ips and ipam-claim-reference exclude each other")]
    IpsAndClaim,
}

/// Parses a selection annotation, a comma list or JSON. `default_namespace` is where elements look
/// that name no namespace of their own. Empty elements of a comma list are skipped, as Multus skips
/// them.
///
/// # Errors
/// [`Error`] names the element and the value that is wrong.
pub fn parse(
    annotation: &str,
    default_namespace: &str,
    limits: &Limits,
) -> Result<Vec<Selection>, Error> {
    limits.check_annotation(annotation)?;
    // Multus takes any of these three characters for a sign of JSON; none can occur in a comma list.
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

/// A DNS-1123 label, the rule of the comma list.
fn check_label(field: &'static str, value: &str) -> Result<(), ElementError> {
    if field == "name" && value.is_empty() {
        return Err(ElementError::NoName);
    }
    check_characters(field, value, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })
}

/// A DNS-1123 subdomain: what the API server lets objects be named. In the JSON form it is all that
/// keeps a name from being a path.
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

/// An address or CIDR in its canonical form, host bits kept.
///
/// # Errors
/// [`ElementError::Address`] where it is neither.
pub fn canonical_address(text: &str) -> Result<String, ElementError> {
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
