//! Replaces what differs between runs by fixed names: hardware addresses, veth names, addresses
//! from host-local.

use std::net::Ipv4Addr;

use serde_json::Value;

/// Prefixes of hardware addresses that cases chose.
const CHOSEN: [&str; 4] = [
    "00:00:00:00:00:00",
    "02:00:00:00:00:",
    "02:11:22:33:44:",
    "02:aa:bb:cc:dd:",
];

/// Normalises every string in a value, but no keys.
pub fn value(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(&string)),
        Value::Array(elements) => elements.into_iter().map(self::value).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, member)| (key, self::value(member)))
            .collect(),
        other => other,
    }
}

/// Normalises the words of a text; separators stay.
pub fn text(text: &str) -> String {
    let mut normal = String::new();
    let mut word = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || character == ':' || character == '.' {
            word.push(character);
            continue;
        }
        normal.push_str(&normal_word(&word));
        normal.push(character);
        word.clear();
    }
    normal.push_str(&normal_word(&word));
    normal
}

/// `CNI_ARGS` for CHECK and DEL, as in Multus' own DEL: without ADD's requested addresses.
pub fn without_addresses(arguments: &str) -> String {
    let is_address = |pair: &&str| pair.starts_with("IP=") || pair.starts_with("MAC=");
    let pairs: Vec<&str> = arguments
        .split(';')
        .filter(|pair| !is_address(pair))
        .collect();
    pairs.join(";")
}

fn normal_word(word: &str) -> String {
    if is_mac(word) && !CHOSEN.iter().any(|chosen| word.starts_with(chosen)) {
        return "(mac)".to_owned();
    }
    if word
        .strip_prefix("veth")
        .is_some_and(|rest| rest.len() == 8 && rest.chars().all(|c| c.is_ascii_hexdigit()))
    {
        return "(veth)".to_owned();
    }
    match word.parse::<Ipv4Addr>().map(|address| address.octets()) {
        Ok([10, network @ 77..=80, 0, last]) if last > 1 => format!("10.{network}.0.(given)"),
        _ => word.to_owned(),
    }
}

fn is_mac(word: &str) -> bool {
    let mut parts = word.split(':');
    let hex = |part: &str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
    parts.clone().count() == 6 && parts.all(hex)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn what_varies_is_named_and_all_else_stays() {
        assert_eq!(
            text("Add eth0 [10.77.0.3/16] from cbr0"),
            "Add eth0 [10.77.0.(given)/16] from cbr0"
        );
        assert_eq!(text("veth87d221bb"), "(veth)");
        assert_eq!(text("52:58:fd:3c:a5:b3"), "(mac)");
        for kept in [
            "02:11:22:33:44:55",
            "10.77.0.1",
            "10.77.0.0/16",
            "vethernet",
            "fd00::2/64",
        ] {
            assert_eq!(text(kept), kept);
        }
    }
}
