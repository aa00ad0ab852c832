//! The JSON form of the annotation: a list of objects with the specification's keys and the older
//! `interfaceRequest`. Keys match in any case, as in Go.

use cni_types::capability::PortMapping;
use cni_types::json::{self, RawObject};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::limits::Limits;
use super::super::members;
use super::super::runtime_config::{BANDWIDTH_MEMBERS, PORT_MAPPING_MEMBERS};
use super::super::shape::{self, Shape};
use super::{
    ElementError, Error, Selection, canonical_address, check_object_name, non_empty_or,
    parse_gateways, parse_interface, parse_mac,
};

const NAME: &str = "name";
const NAMESPACE: &str = "namespace";
const INTERFACE: &str = "interface";
const INTERFACE_REQUEST: &str = "interfaceRequest";
const IPS: &str = "ips";
const MAC: &str = "mac";
const INFINIBAND_GUID: &str = "infiniband-guid";
pub(super) const PORT_MAPPINGS: &str = "portMappings";
pub(super) const BANDWIDTH: &str = "bandwidth";
const DEVICE_ID: &str = "deviceID";
const CNI_ARGS: &str = "cni-args";
const DEFAULT_ROUTE: &str = "default-route";
const CLAIM: &str = "ipam-claim-reference";

pub(super) const MEMBERS: [&str; 13] = [
    NAME,
    NAMESPACE,
    INTERFACE,
    INTERFACE_REQUEST,
    IPS,
    MAC,
    INFINIBAND_GUID,
    PORT_MAPPINGS,
    BANDWIDTH,
    DEVICE_ID,
    CNI_ARGS,
    DEFAULT_ROUTE,
    CLAIM,
];

pub(super) fn parse(
    annotation: &str,
    default_namespace: &str,
    limits: &Limits,
) -> Result<Vec<Selection>, Error> {
    let value: &RawValue =
        serde_json::from_str(annotation).map_err(|error| Error::Json(error.into()))?;
    let elements: Vec<&RawValue> =
        serde_json::from_str(value.get()).map_err(|_| Error::NotAList {
            found: json::kind(value),
        })?;
    limits.check_networks(elements.len())?;
    elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| {
            parse_element(element, default_namespace, limits).map_err(|source| Error::Element {
                position: index + 1,
                element: label(element),
                source,
            })
        })
        .collect()
}

/// The label of an element in errors.
pub(super) fn label(element: &RawValue) -> String {
    let name: Option<String> = members(element)
        .ok()
        .and_then(|members| members.get_as(NAME).ok().flatten());
    match name.filter(|name| !name.is_empty()) {
        Some(name) => name.chars().take(80).collect(),
        None => "without a name".to_owned(),
    }
}

/// The known members, under their canonical names.
fn members(element: &RawValue) -> Result<RawObject, ElementError> {
    let object = RawObject::from_value(element)
        .map_err(|_| mistyped("element", "an object", Some(element)))?;
    let mut members = members::folded(&object, &MEMBERS);
    if let Some(mappings) = members.get(PORT_MAPPINGS) {
        let folded = members::folded_elements(mappings, &PORT_MAPPING_MEMBERS);
        members.set_raw(PORT_MAPPINGS, folded);
    }
    if let Some(limits) = members.get(BANDWIDTH) {
        let folded = members::folded_value(limits, &BANDWIDTH_MEMBERS);
        members.set_raw(BANDWIDTH, folded);
    }
    Ok(members)
}

fn parse_element(
    element: &RawValue,
    default_namespace: &str,
    limits: &Limits,
) -> Result<Selection, ElementError> {
    let members = Members(members(element)?);
    let name = members.text(NAME)?;
    check_object_name("name", &name)?;
    let namespace = non_empty_or(&members.text(NAMESPACE)?, default_namespace);
    check_object_name("namespace", &namespace)?;
    let interface = members.text(INTERFACE)?;
    let older = members.text(INTERFACE_REQUEST)?;
    let interface = non_empty_or(&interface, &older);
    let ips: Option<Vec<String>> = members.shaped(IPS, "a list of addresses", &shape::TEXTS)?;
    let ips = ips.unwrap_or_default();
    limits.check_ips(ips.len())?;
    let claim = Some(members.text(CLAIM)?).filter(|name| !name.is_empty());
    if claim.is_some() && !ips.is_empty() {
        return Err(ElementError::IpsAndClaim);
    }
    let gateways: Option<Vec<String>> =
        members.shaped(DEFAULT_ROUTE, "a list of addresses", &shape::TEXTS)?;
    limits.check_ips(gateways.iter().flatten().count())?;
    let port_mappings: Vec<PortMapping> = members
        .shaped(
            PORT_MAPPINGS,
            "a list of objects with hostPort, containerPort, protocol and hostIP",
            &shape::PORT_MAPPINGS,
        )?
        .unwrap_or_default();
    limits.check_port_mappings(port_mappings.len())?;
    let cni_args: Option<RawObject> = members.get(CNI_ARGS, "an object")?;
    if let Some(args) = &cni_args {
        limits.check_cni_args(args, 1)?;
    }
    Ok(Selection {
        namespace,
        name,
        interface: parse_interface(&interface)?,
        ips: ips
            .iter()
            .map(|ip| canonical_address(ip))
            .collect::<Result<_, _>>()?,
        mac: parse_mac(MAC, Some(members.text(MAC)?))?,
        infiniband_guid: parse_mac(INFINIBAND_GUID, Some(members.text(INFINIBAND_GUID)?))?,
        port_mappings,
        bandwidth: members.shaped(
            BANDWIDTH,
            "an object with ingressRate, ingressBurst, egressRate and egressBurst",
            &shape::BANDWIDTH,
        )?,
        device_id: Some(members.text(DEVICE_ID)?).filter(|id| !id.is_empty()),
        cni_args,
        default_route: gateways
            .map(|gateways| parse_gateways(&gateways))
            .transpose()?,
        ipam_claim_reference: claim,
        named_by: None,
    })
}

struct Members(RawObject);

impl Members {
    /// Like [`Self::get`], for a value with members: the error names the one of a wrong type.
    fn shaped<T: DeserializeOwned>(
        &self,
        field: &'static str,
        expected: &'static str,
        shape: &'static Shape,
    ) -> Result<Option<T>, ElementError> {
        let given = self.0.get(field).filter(|value| value.get() != "null");
        match given.and_then(|value| shape.mismatch(value)) {
            Some(found) if !found.path.is_empty() => Err(ElementError::Type {
                field: format!("{field}{}", found.path),
                expected: found.expected,
                found: found.found,
            }),
            Some(_) => Err(mistyped(field, expected, given)),
            None => self.get(field, expected),
        }
    }

    /// A member; `None` if it is absent or `null`.
    fn get<T: DeserializeOwned>(
        &self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, ElementError> {
        self.0
            .get_as(field)
            .map_err(|_| mistyped(field, expected, self.0.get(field)))
    }

    /// A string; empty if absent, as Go does not distinguish the two.
    fn text(&self, field: &'static str) -> Result<String, ElementError> {
        Ok(self.get(field, "a string")?.unwrap_or_default())
    }
}

fn mistyped(field: &'static str, expected: &'static str, found: Option<&RawValue>) -> ElementError {
    ElementError::Type {
        field: field.to_owned(),
        expected,
        found: found.map(json::kind).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::super::super::limits::Limits;
    use super::super::{Error, Selection};

    fn parse(annotation: &str, namespace: &str) -> Result<Vec<Selection>, Error> {
        super::super::parse(annotation, namespace, &Limits::default())
    }

    fn error(annotation: &str) -> String {
        let error = parse(annotation, "here").unwrap_err();
        match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn json_elements_carry_every_wish() {
        let parsed = parse(
            r#"[{"name":"n","namespace":"ns","interface":"sec7","ips":["10.81.0.7/24","FD00::1"],
                "mac":"02-11-22-33-44-5A","infiniband-guid":"C2:11:22:33:44:55:66:77",
                "portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],
                "bandwidth":{"ingressRate":1,"ingressBurst":2,"egressRate":3,"egressBurst":4},
                "deviceID":"0000:03:02.0","cni-args":{"n":12345678901234567890},
                "default-route":["10.81.0.1"],"unknown":1},
                {"name":"n","ipam-claim-reference":"claim"}]"#,
            "here",
        )
        .unwrap();
        let one = &parsed[0];
        assert_eq!(one.network(), "ns/n");
        assert_eq!(one.interface.as_ref().unwrap().as_str(), "sec7");
        assert_eq!(one.ips, ["10.81.0.7/24", "fd00::1"]);
        assert_eq!(one.mac.as_deref(), Some("02:11:22:33:44:5a"));
        assert_eq!(
            one.infiniband_guid.as_deref(),
            Some("c2:11:22:33:44:55:66:77")
        );
        assert_eq!(one.port_mappings[0].host_port, 8080);
        assert_eq!(one.bandwidth.as_ref().unwrap().egress_burst, 4);
        assert_eq!(one.device_id.as_deref(), Some("0000:03:02.0"));
        assert!(
            one.cni_args
                .as_ref()
                .unwrap()
                .to_string()
                .contains("12345678901234567890")
        );
        assert_eq!(
            one.default_route.as_deref(),
            Some(&["10.81.0.1".parse().unwrap()][..])
        );
        assert_eq!(parsed[1].ipam_claim_reference.as_deref(), Some("claim"));
    }

    #[test]
    fn interface_request_is_the_fallback_key() {
        for (element, expected) in [
            (r#"[{"name":"n","interfaceRequest":"old0"}]"#, "old0"),
            (
                r#"[{"name":"n","interface":"new0","interfaceRequest":"old0"}]"#,
                "new0",
            ),
        ] {
            let parsed = parse(element, "here").unwrap();
            assert_eq!(parsed[0].interface.as_ref().unwrap().as_str(), expected);
        }
    }

    #[test]
    fn an_empty_default_route_differs_from_none() {
        assert_eq!(
            parse(r#"[{"name":"n","default-route":[]}]"#, "here").unwrap()[0].default_route,
            Some(vec![])
        );
        assert_eq!(
            parse(r#"[{"name":"n"}]"#, "here").unwrap()[0].default_route,
            None
        );
    }

    #[test]
    fn wrong_values_are_named() {
        assert!(error(r#"[{"name":"n",]"#).starts_with("not a JSON list of network selections"));
        assert_eq!(
            error(r#"[{"name":"n","mac":"zz:zz"}]"#),
            r#"element 1 (n): mac "zz:zz" is not a hardware address"#
        );
        assert_eq!(
            error(r#"[{"name":"n","ips":["300.1.1.1"]}]"#),
            r#"element 1 (n): ips "300.1.1.1" is not an IP address or CIDR"#
        );
        assert_eq!(
            error(r#"[{"name":"n","default-route":["x"]}]"#),
            r#"element 1 (n): default-route "x" is not an IP address"#
        );
        assert!(error(r#"[{"name":"../../etc/passwd"}]"#).contains("must consist of"));
        assert!(error(r#"[{"namespace":"x"}]"#).contains("a network needs a name"));
    }

    #[test]
    fn members_are_case_insensitive() {
        let parsed = parse(
            r#"[{"Name":"n","NAMESPACE":"ns","Interface":"a0","IPs":["10.0.0.1"],"Default-Route":[],"DeviceId":"d"}]"#,
            "here",
        )
        .unwrap();
        let one = &parsed[0];
        assert_eq!(one.network(), "ns/n");
        assert_eq!(one.interface.as_ref().unwrap().as_str(), "a0");
        assert_eq!(one.ips, ["10.0.0.1"]);
        assert_eq!(one.default_route, Some(vec![]));
        assert_eq!(one.device_id.as_deref(), Some("d"));
    }

    #[test]
    fn nested_members_are_taken_in_any_case() {
        let parsed = parse(
            r#"[{"name":"n","portMappings":[{"hostport":1,"HostPort":2,"CONTAINERPORT":80,"HostIp":"10.0.0.1"}],
                "Bandwidth":{"ingressrate":5,"EGRESSBURST":6}}]"#,
            "here",
        )
        .unwrap();
        let mapping = &parsed[0].port_mappings[0];
        assert_eq!((mapping.host_port, mapping.container_port), (2, 80));
        assert_eq!(mapping.host_ip.as_deref(), Some("10.0.0.1"));
        let limits = parsed[0].bandwidth.as_ref().unwrap();
        assert_eq!((limits.ingress_rate, limits.egress_burst), (5, 6));
    }

    #[test]
    fn names_that_the_kernel_changes_are_refused() {
        for name in ["net%d", "all", "default", "lo", "\u{e0}"] {
            let element = format!(r#"[{{"name":"n","interface":"{name}"}}]"#);
            assert!(error(&element).contains("interface name"), "{name}");
        }
    }

    #[test]
    fn null_and_empty_members_ask_for_nothing() {
        let all = super::MEMBERS
            .iter()
            .filter(|name| **name != super::NAME)
            .map(|name| format!(r#","{name}":null"#))
            .collect::<String>();
        let parsed = parse(&format!(r#"[{{"name":"n"{all}}}]"#), "here").unwrap();
        assert_eq!(parsed, parse("n", "here").unwrap());
        let empty = r#"[{"name":"n","namespace":"","interface":"","ips":[],"mac":"","portMappings":[],"deviceID":""}]"#;
        assert_eq!(parse(empty, "here").unwrap(), parsed);
    }

    #[test]
    fn a_port_mapping_need_not_say_everything() {
        let parsed = parse(
            r#"[{"name":"n","portMappings":[{"containerPort":80}]}]"#,
            "here",
        );
        let mapping = &parsed.unwrap()[0].port_mappings[0];
        assert_eq!((mapping.host_port, mapping.container_port), (0, 80));
    }

    #[test]
    fn a_member_of_another_type_is_named() {
        for (member, expected) in [
            (r#""interface":7"#, r"interface: expected a string, found 7"),
            (
                r#""namespace":["a"]"#,
                "namespace: expected a string, found a list",
            ),
            (
                r#""ips":"10.0.0.1""#,
                "ips: expected a list of addresses, found a string",
            ),
            (r#""ips":[7]"#, "ips[0]: expected a string, found 7"),
            (r#""mac":{}"#, "mac: expected a string, found an object"),
            (
                r#""infiniband-guid":1"#,
                "infiniband-guid: expected a string, found 1",
            ),
            (
                r#""portMappings":[{"hostPort":"80"}]"#,
                "portMappings[0].hostPort: expected a port number up to 65535, found a string",
            ),
            (
                r#""portMappings":[{"hostPort":65536}]"#,
                "portMappings[0].hostPort: expected a port number up to 65535, found 65536",
            ),
            (
                r#""portMappings":[{},[8080,80]]"#,
                "portMappings[1]: expected an object, found a list",
            ),
            (
                r#""portMappings":{}"#,
                "portMappings: expected a list of objects with hostPort",
            ),
            (
                r#""bandwidth":{"ingressRate":-1}"#,
                "bandwidth.ingressRate: expected a whole number that is not negative, found -1",
            ),
            (r#""bandwidth":[1,2,3,4]"#, "bandwidth: expected an object"),
            (
                r#""deviceID":true"#,
                "deviceID: expected a string, found true",
            ),
            (
                r#""cni-args":[]"#,
                "cni-args: expected an object, found a list",
            ),
            (
                r#""default-route":"10.0.0.1""#,
                "default-route: expected a list of addresses, found a string",
            ),
            (
                r#""ipam-claim-reference":{}"#,
                "ipam-claim-reference: expected a string, found an object",
            ),
            (
                r#""ips":["10.0.0.1"],"ipam-claim-reference":"c""#,
                "ips and ipam-claim-reference exclude each other",
            ),
        ] {
            let shown = error(&format!(r#"[{{"name":"a"}},{{"name":"n",{member}}}]"#));
            let wanted = format!("element 2 (n): {expected}");
            assert!(shown.starts_with(&wanted), "{member}: {shown}");
        }
        assert_eq!(
            error(r#"["a"]"#),
            r#"element 1 (without a name): element: expected an object, found a string"#
        );
        assert_eq!(
            error("[null]"),
            "element 1 (without a name): element: expected an object, found null"
        );
        assert_eq!(
            error(r#"{"name":"n"}"#),
            "expected a list of objects with the name of a network each, found an object"
        );
        assert!(error(r#"[{"name":7}]"#).contains("name: expected a string, found 7"));
    }
}
