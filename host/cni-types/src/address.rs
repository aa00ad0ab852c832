//! Strict parsing of the addresses in results, annotations and policies.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses an address with prefix length, such as `10.1.2.3/24`, keeping the host part.
///
/// An IPv4-mapped IPv6 address with a prefix of at least 96 bits becomes IPv4, so that each address
/// has one form.
pub fn parse_cidr(text: &str) -> Option<IpNet> {
    let (ip, prefix) = text.split_once('/')?;
    let plain = prefix == "0" || !prefix.starts_with(['0', '+']);
    let ip: IpAddr = ip.parse().ok()?;
    let prefix: u8 = prefix.parse().ok().filter(|_| plain)?;
    match (ip, ip.to_canonical(), prefix.checked_sub(96)) {
        (IpAddr::V6(_), IpAddr::V4(v4), Some(prefix)) => IpNet::new(v4.into(), prefix).ok(),
        _ => IpNet::new(ip, prefix).ok(),
    }
}

/// Parses an address without prefix length; an IPv4-mapped IPv6 address becomes IPv4.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// A hardware address in canonical form: lower-case pairs of digits separated by `:`.
///
/// Accepts what the Go libraries accept: 6, 8 or 20 bytes, as pairs separated by `:` or `-`, or as
/// groups of four digits separated by `.`.
pub fn canonical_mac(text: &str) -> Option<String> {
    let (separator, width) = match text.find([':', '-', '.']) {
        Some(2) if text.get(2..3) == Some(":") => (':', 2),
        Some(2) if text.get(2..3) == Some("-") => ('-', 2),
        Some(4) if text.get(4..5) == Some(".") => ('.', 4),
        _ => return None,
    };
    let group = |group: &str| group.len() == width && group.bytes().all(|b| b.is_ascii_hexdigit());
    if !text.split(separator).all(group) {
        return None;
    }
    let digits: Vec<char> = text
        .chars()
        .filter(|c| *c != separator)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    matches!(pairs.len(), 6 | 8 | 20).then(|| pairs.join(":"))
}
