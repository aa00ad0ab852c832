//! Address blocks such as `10.20.0.0/16`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address block of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    base: IpAddr,
    prefix: u32,
}

impl Block {
    /// Whether the block contains the address. IPv4-mapped IPv6 addresses count as IPv4.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => same(
                u128::from(base.to_bits()),
                u128::from(ip.to_bits()),
                32 - self.prefix,
            ),
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                same(base.to_bits(), ip.to_bits(), 128 - self.prefix)
            }
            _ => false,
        }
    }
}

/// Whether two numbers are equal except for the lowest `free` bits.
fn same(a: u128, b: u128, free: u32) -> bool {
    (a ^ b).checked_shr(free).unwrap_or(0) == 0
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |reason| format!("{text:?} {reason}");
        let (base, prefix) = text
            .split_once('/')
            .ok_or_else(|| wrong("has no prefix length"))?;
        let base: IpAddr = base
            .parse()
            .map_err(|_| wrong("does not begin with an address"))?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= bits)
            .ok_or_else(|| wrong("has a wrong prefix length"))?;
        let block = Self { base, prefix };
        let host_bits = match base {
            IpAddr::V4(base) => u128::from(base.to_bits()) & mask(32 - prefix),
            IpAddr::V6(base) => base.to_bits() & mask(128 - prefix),
        };
        if host_bits != 0 {
            return Err(wrong("has bits set after its prefix"));
        }
        Ok(block)
    }
}

/// A mask of the lowest `bits` bits.
fn mask(bits: u32) -> u128 {
    1_u128.checked_shl(bits).map_or(u128::MAX, |bit| bit - 1)
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_addresses_and_no_others() {
        let check = |block: &str, ip: &str, expected: bool| {
            let block: Block = block.parse().unwrap();
            assert_eq!(
                block.contains(ip.parse().unwrap()),
                expected,
                "{block} {ip}"
            );
        };
        check("10.20.0.0/16", "10.20.0.0", true);
        check("10.20.0.0/16", "10.20.255.255", true);
        check("10.20.0.0/16", "10.21.0.0", false);
        check("10.20.0.0/16", "::ffff:10.20.1.1", true);
        check("10.20.0.7/32", "10.20.0.7", true);
        check("10.20.0.7/32", "10.20.0.8", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "fd00::1", false);
        check("::/0", "fd00::1", true);
        check("fd00:a::/64", "fd00:a::1", true);
        check("fd00:a::/64", "fd00:a:0:1::1", false);
    }

    #[test]
    fn crooked_blocks_are_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "x/8",
            "10.0.0.1/24",
            "10.0.0.0/-1",
            "fd00::1/64",
        ] {
            text.parse::<Block>().unwrap_err();
        }
    }
}
