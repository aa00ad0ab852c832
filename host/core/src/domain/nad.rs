//! The `NetworkAttachmentDefinition`, reduced to what resolving a network needs.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The annotation that names the resource from which each attachment gets a device.
const RESOURCE_NAME_ANNOTATION: &str = "k8s.v1.cni.cncf.io/resourceName";

/// The longest resource name: a domain, a slash and a name.
const MAX_RESOURCE_NAME: usize = 253 + 1 + 63;

/// A network attachment definition (`k8s.cni.cncf.io/v1`, multi-network specification 1.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nad {
    /// The definition's namespace.
    pub namespace: String,
    /// The definition's name; also that of the conf file if `config` is empty.
    pub name: String,
    /// `spec.config`: JSON text of a CNI conf or conflist.
    pub config: Option<String>,
    /// The type of `spec.config` if it is not a string; `config` is then `None`.
    pub mistyped_config: Option<String>,
    /// Annotations, for `k8s.v1.cni.cncf.io/resourceName` and for policies.
    pub annotations: BTreeMap<String, String>,
}

/// `spec.config` of a manifest or an API object. The CRD says that it is a string, but not every
/// cluster enforces that, and a directory of manifests does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// As it should be; may be empty.
    Text(String),
    /// Another type, for messages.
    Mistyped(String),
}

impl Config {
    /// The values of [`Nad::config`] and [`Nad::mistyped_config`].
    pub fn split(config: Option<Self>) -> (Option<String>, Option<String>) {
        match config {
            Some(Self::Text(text)) => (Some(text).filter(|text| !text.is_empty()), None),
            Some(Self::Mistyped(found)) => (None, Some(found)),
            None => (None, None),
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyType;
        impl<'de> Visitor<'de> for AnyType {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Config, E> {
                Ok(Config::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Config, E> {
                Ok(Config::Text(text))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Config, E> {
                Ok(Config::Mistyped(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Config, E> {
                Ok(Config::Mistyped(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Config, E> {
                Ok(Config::Mistyped(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Config, E> {
                Ok(Config::Mistyped("a number".to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Config, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Config::Mistyped("a list".to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Config, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Config::Mistyped("an object".to_owned()))
            }
        }
        deserializer.deserialize_any(AnyType)
    }
}

impl Nad {
    /// The resource from which each attachment to this network gets a device.
    ///
    /// # Errors
    /// [`InvalidResource`] if no resource can have this name.
    pub fn resource_name(&self) -> Result<Option<&str>, InvalidResource> {
        let name = self.annotations.get(RESOURCE_NAME_ANNOTATION);
        match name.map(String::as_str).filter(|name| !name.is_empty()) {
            Some(name) if !is_resource(name) => Err(InvalidResource {
                name: name.chars().take(80).collect(),
                bytes: name.len(),
            }),
            name => Ok(name),
        }
    }
}

/// Kubernetes' rule for qualified names, except that it allows any number of slashes.
fn is_resource(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    let is_edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    name.len() <= MAX_RESOURCE_NAME
        && name.bytes().all(is_inner)
        && is_edge(name.bytes().next())
        && is_edge(name.bytes().last())
}

/// The annotation's value is not a resource name.
#[derive(Debug, thiserror::Error)]
#[error(
    "annotation {RESOURCE_NAME_ANNOTATION} has {name:?} of {bytes} bytes, but a resource has letters, digits, '.', '_', '-' and '/', at most {MAX_RESOURCE_NAME}"
)]
pub struct InvalidResource {
    /// The value, shortened.
    pub name: String,
    /// The value's length.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_resources_are_taken() {
        let found = |name: &str| {
            let mut nad = Nad::default();
            let annotations = &mut nad.annotations;
            annotations.insert(RESOURCE_NAME_ANNOTATION.into(), name.into());
            nad.resource_name().map(|name| name.map(ToOwned::to_owned))
        };
        assert_eq!(found("").unwrap(), None);
        for name in [
            "intel.com/sriov_net-A",
            "a",
            "deviceclass.resource.kubernetes.io/x",
        ] {
            assert_eq!(found(name).unwrap().as_deref(), Some(name));
        }
        let long = format!("a/{}", "x".repeat(MAX_RESOURCE_NAME));
        for name in [
            "../x",
            "a/..",
            "a b",
            "a\n",
            "a/\u{e9}x",
            " ",
            long.as_str(),
        ] {
            let error = found(name).unwrap_err().to_string();
            assert!(error.len() < 400, "{error}");
        }
    }
}
