//! The interface attributes of a `/delegate` request. Member names are case-insensitive, as in Go;
//! unknown ones are skipped but their names are kept.

use std::collections::BTreeMap;

use cni_types::json::RawObject;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Names of the known members.
pub const MEMBERS: [&str; 3] = [IPS, MAC, CNI_ARGS];

pub(crate) const IPS: &str = "ips";
pub(crate) const MAC: &str = "mac";
pub(crate) const CNI_ARGS: &str = "cni-args";

/// Maximum number of unknown members kept.
const MAX_UNKNOWN: usize = 8;

/// The interface attributes of a `/delegate` request, as in an element of the networks annotation.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InterfaceAttributes {
    /// Addresses in CIDR notation, not validated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// MAC address, not validated; empty if unset.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// CNI arguments; the values are JSON, kept byte for byte.
    #[serde(rename = "cni-args")]
    pub cni_args: Option<BTreeMap<String, Box<RawValue>>>,
    /// Names of the first unknown members.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

impl<'de> Deserialize<'de> for InterfaceAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut read = Self::default();
        for (key, value) in RawObject::deserialize(deserializer)?.iter() {
            match MEMBERS.iter().find(|name| name.eq_ignore_ascii_case(key)) {
                Some(&IPS) => read.ips = filled::<D, _>(IPS, value)?.unwrap_or_default(),
                Some(&MAC) => read.mac = filled::<D, _>(MAC, value)?.unwrap_or_default(),
                Some(_) => read.cni_args = filled::<D, _>(CNI_ARGS, value)?,
                None if read.unknown.len() < MAX_UNKNOWN => read.unknown.push(key.to_owned()),
                None => {}
            }
        }
        Ok(read)
    }
}

/// Reads a member; `None` for `null`, which Go writes for empty values.
fn filled<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    name: &'static str,
    value: &RawValue,
) -> Result<Option<T>, D::Error> {
    serde_json::from_str(value.get())
        .map_err(|_| D::Error::custom(format_args!("interfaceAttributes: {name}: wrong type")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> InterfaceAttributes {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn members_are_read_in_any_case() {
        let read = parse(r#"{"IPs":["10.0.0.9/24"],"Mac":"a","MAC":"b","Cni-Args":{"x":1}}"#);
        assert_eq!(read.ips, ["10.0.0.9/24"]);
        assert_eq!(read.mac, "b", "the last one counts");
        assert_eq!(read.cni_args.unwrap()["x"].get(), "1");
        assert!(read.unknown.is_empty());
    }

    #[test]
    fn unknown_members_are_skipped_and_named() {
        let read = parse(r#"{"ip":["10.0.0.9/24"],"mac":null,"macRequest":"a"}"#);
        assert_eq!(read.unknown, ["ip", "macRequest"]);
        let many: Vec<String> = (0..99).map(|at| format!(r#""k{at}":1"#)).collect();
        let read = parse(&format!("{{{}}}", many.join(",")));
        assert_eq!(read.unknown.len(), MAX_UNKNOWN);
    }

    #[test]
    fn a_value_of_another_type_is_not_quoted() {
        let text = r#"{"mac":["correct-horse"]}"#;
        let error = serde_json::from_str::<InterfaceAttributes>(text).unwrap_err();
        assert!(!error.to_string().contains("horse"), "{error}");
    }
}
