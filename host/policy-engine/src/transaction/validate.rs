//! Validates and canonicalises the single values that a guest sets.

use cni_types::address::{canonical_mac, parse_cidr, parse_ip};
use cni_types::args::IfName;
use cni_types::json::{Document, Limits, Node};
use cni_types::text::deceives;

use super::EditError;
use crate::model::request::{Bandwidth, PortMapping, Selection};

/// Maximum elements of one list.
const MAX_ELEMENTS: usize = 128;

/// Limits on cni-args, far above any real use.
pub(super) const JSON_LIMITS: Limits = Limits {
    max_bytes: 256 << 10,
    max_depth: 32,
};

pub(super) fn invalid(reason: impl Into<String>) -> EditError {
    EditError::Invalid(reason.into())
}

/// Rejects lists longer than any request needs.
pub(super) fn at_most<T>(what: &str, list: &[T], max: usize) -> Result<(), EditError> {
    if list.len() > max {
        return Err(EditError::TooLarge(format!(
            "{} {what}, at most {max}",
            list.len()
        )));
    }
    Ok(())
}

pub(super) fn if_name(name: &str) -> Result<(), EditError> {
    IfName::to_make(name)
        .map(|_| ())
        .map_err(|error| invalid(error.to_string()))
}

/// A CIDR or an address, canonical.
pub(super) fn ip(text: &str) -> Result<String, EditError> {
    canonical_ip(text).ok_or_else(|| invalid(format!("{text:?} is not an address or CIDR")))
}

/// A canonical CIDR or address, as guests see it; `None` for other text.
pub(super) fn canonical_ip(text: &str) -> Option<String> {
    parse_cidr(text)
        .map(|cidr| cidr.to_string())
        .or_else(|| Some(parse_ip(text)?.to_string()))
}

pub(super) fn ips(texts: &[String]) -> Result<Vec<String>, EditError> {
    at_most("addresses", texts, MAX_ELEMENTS)?;
    texts.iter().map(|text| ip(text)).collect()
}

/// The MAC of one network card, canonical.
pub(super) fn mac(text: &str) -> Result<String, EditError> {
    let canonical = canonical_mac(text)
        .filter(|mac| mac.len() == "00:00:00:00:00:00".len())
        .ok_or_else(|| invalid(format!("{text:?} is not a MAC address")))?;
    let first = u8::from_str_radix(canonical.get(..2).unwrap_or_default(), 16).unwrap_or(1);
    if first & 1 == 1 {
        return Err(invalid(format!("{text:?} is a group address")));
    }
    if canonical == "00:00:00:00:00:00" {
        return Err(invalid("a MAC address of zeros"));
    }
    Ok(canonical)
}

/// The GUID of an InfiniBand interface: eight bytes, canonical.
pub(super) fn guid(text: &str) -> Result<String, EditError> {
    canonical_mac(text)
        .filter(|guid| guid.len() == "00:00:00:00:00:00:00:00".len())
        .ok_or_else(|| invalid(format!("{text:?} is not an InfiniBand GUID")))
}

/// RFC 791 requires 68 bytes, RFC 8200 1280; the kernel allows up to 65535.
pub(super) fn mtu(mtu: u32, ips: &[String]) -> Result<(), EditError> {
    let min = if ips.iter().any(|ip| ip.contains(':')) {
        1280
    } else {
        68
    };
    if (min..=65535).contains(&mtu) {
        return Ok(());
    }
    Err(invalid(format!("MTU {mtu} is not within {min} to 65535")))
}

/// Checks one plugin's MTU against the requested addresses.
pub(super) fn plugin_mtu(value: &Node, ips: &[String]) -> Result<(), EditError> {
    match value.get_as::<u32>() {
        // Plugins treat 0 as unset.
        Ok(0) => Ok(()),
        Ok(number) => mtu(number, ips),
        Err(_) => Err(invalid(format!("{value} is not an MTU"))),
    }
}

/// Checks rates and bursts: the bandwidth plugin rejects one without the other.
pub(super) fn bandwidth(bandwidth: &Bandwidth) -> Result<(), EditError> {
    for (what, rate, burst) in [
        ("ingress", bandwidth.ingress_rate, bandwidth.ingress_burst),
        ("egress", bandwidth.egress_rate, bandwidth.egress_burst),
    ] {
        if (rate == 0) != (burst == 0) {
            return Err(invalid(format!("{what}: rate and burst go together")));
        }
        // The plugin computes the burst's bytes in 32 bits.
        if burst / 8 > u64::from(u32::MAX) {
            return Err(invalid(format!("{what}: burst {burst} is too large")));
        }
    }
    Ok(())
}

pub(super) fn port_mappings(mappings: &[PortMapping]) -> Result<Vec<PortMapping>, EditError> {
    at_most("port mappings", mappings, MAX_ELEMENTS)?;
    mappings.iter().map(port_mapping).collect()
}

fn port_mapping(mapping: &PortMapping) -> Result<PortMapping, EditError> {
    if mapping.host_port == 0 || mapping.container_port == 0 {
        return Err(invalid("a port mapping with port 0"));
    }
    let protocol = mapping.protocol().to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(invalid(format!(
            "protocol {:?} is not tcp, udp or sctp",
            mapping.protocol()
        )));
    }
    let host_ip = match mapping.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
        None => None,
        Some(ip) => Some(address(ip)?),
    };
    Ok(PortMapping {
        protocol: Some(protocol),
        host_ip,
        ..*mapping
    })
}

/// An address without prefix length, canonical.
pub(super) fn address(text: &str) -> Result<String, EditError> {
    parse_ip(text)
        .map(|ip| ip.to_string())
        .ok_or_else(|| invalid(format!("{text:?} is not an IP address")))
}

/// Parses a JSON object within limits.
pub(crate) fn json_object(json: &str) -> Result<Document, EditError> {
    let document =
        Document::parse(json, JSON_LIMITS).map_err(|error| invalid(error.to_string()))?;
    match document.root() {
        Node::Object(_) => {
            numbers(document.root())?;
            Ok(document)
        }
        _ => Err(invalid("cni-args is not a JSON object")),
    }
}

/// Rejects numbers that plugins and the daemon cannot read: they become 64-bit floats at most.
pub(super) fn numbers(value: &Node) -> Result<(), EditError> {
    match value {
        Node::Array(elements) => elements.iter().try_for_each(numbers),
        Node::Object(members) => members.iter().try_for_each(|(_, value)| numbers(value)),
        Node::Scalar(text) => {
            let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
            match !is_number || text.parse::<f64>().is_ok_and(f64::is_finite) {
                true => Ok(()),
                false => Err(invalid("a number is out of range")),
            }
        }
    }
}

/// A selection that a policy sets, canonical.
pub(super) fn selection(selection: &Selection) -> Result<Selection, EditError> {
    dns_label("namespace", &selection.namespace, 63, false)?;
    dns_label("name", &selection.name, 253, true)?;
    if let Some(name) = &selection.if_name {
        if_name(name)?;
    }
    if let Some(value) = &selection.bandwidth {
        bandwidth(value)?;
    }
    at_most("default routes", &selection.default_route, MAX_ELEMENTS)?;
    Ok(Selection {
        namespace: selection.namespace.clone(),
        name: selection.name.clone(),
        if_name: selection.if_name.clone(),
        ips: ips(&selection.ips)?,
        mac: selection.mac.as_deref().map(mac).transpose()?,
        infiniband_guid: selection.infiniband_guid.as_deref().map(guid).transpose()?,
        bandwidth: selection.bandwidth,
        port_mappings: port_mappings(&selection.port_mappings)?,
        default_route: selection
            .default_route
            .iter()
            .map(|gateway| address(gateway))
            .collect::<Result<_, _>>()?,
        cni_args: selection.cni_args.clone(),
    })
}

/// Checks a Kubernetes name: an RFC 1123 label, or several joined by dots.
fn dns_label(what: &str, text: &str, max: usize, dots: bool) -> Result<(), EditError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| inner(*b) || *b == b'-')
            && bytes.first().is_some_and(|b| inner(*b))
            && bytes.last().is_some_and(|b| inner(*b))
    };
    let valid = text.len() <= max
        && if dots {
            text.split('.').all(label)
        } else {
            label(text)
        };
    if valid {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} {text:?} is not a valid Kubernetes name"
    )))
}

/// Checks text: no blanks or control characters, bounded length.
pub(super) fn word(what: &str, text: &str, max: usize) -> Result<(), EditError> {
    if text.is_empty()
        || text.len() > max
        || text.contains(|c: char| deceives(c) || c.is_whitespace())
    {
        return Err(invalid(format!(
            "{what} {text:?} is empty, longer than {max} bytes or has blanks"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multicast_and_zero_macs_are_rejected() {
        assert_eq!(mac("0A-BB-CC-00-00-01").unwrap(), "0a:bb:cc:00:00:01");
        for text in [
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "0a:bb",
            "",
            "x",
        ] {
            mac(text).unwrap_err();
        }
    }

    #[test]
    fn addresses_become_canonical() {
        assert_eq!(ip("::ffff:10.0.0.1").unwrap(), "10.0.0.1");
        assert_eq!(ip("2001:DB8::0001/64").unwrap(), "2001:db8::1/64");
        assert_eq!(ip("10.0.0.1/24").unwrap(), "10.0.0.1/24");
        for text in ["10.0.0.1/33", "10.0.0", "fe80::1%eth0", "", "10.0.0.1/+8"] {
            ip(text).unwrap_err();
        }
    }

    #[test]
    fn an_mtu_fits_the_family() {
        let v6 = ["fd00::1/64".to_owned()];
        mtu(68, &[]).unwrap();
        mtu(65535, &v6).unwrap();
        mtu(1280, &v6).unwrap();
        mtu(67, &[]).unwrap_err();
        mtu(1279, &v6).unwrap_err();
        mtu(65536, &[]).unwrap_err();
    }

    #[test]
    fn selections_name_objects_of_kubernetes() {
        let check = |namespace: &str, name: &str, valid: bool| {
            let wanted = Selection {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                ..Selection::default()
            };
            assert_eq!(selection(&wanted).is_ok(), valid, "{namespace}/{name}");
        };
        check("default", "net-a.v1", true);
        check("default", "Net", false);
        check("", "net", false);
        check("../x", "net", false);
        check("default", "a..b", false);
        check("a.b", "net", false);
    }
}
