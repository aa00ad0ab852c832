//! The configuration of one plugin.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Error;
use crate::args::PluginType;
use crate::json::{self, RawObject};

/// The configuration of one plugin (specification, section 1, plugin configuration objects): the
/// original object and the members that a runtime must understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConf {
    raw: RawObject,
    plugin_type: PluginType,
    ipam_type: Option<PluginType>,
    capabilities: BTreeMap<String, bool>,
}

impl PluginConf {
    /// Parses one plugin configuration.
    ///
    /// # Errors
    /// As [`from_raw`](Self::from_raw), and [`Error::Json`].
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::from_raw(RawObject::parse(text).map_err(Error::Json)?)
    }

    /// Validates one plugin configuration.
    ///
    /// # Errors
    /// [`Error::Missing`] without `type`; [`Error::Value`] when `type` or `ipam.type` is not a
    /// plain file name, or `capabilities` is not a map to booleans.
    pub fn from_raw(raw: RawObject) -> Result<Self, Error> {
        let plugin_type = match filled(&raw, spelling(&raw, "type"), "type")? {
            Some(text) => plugin_name("type", &text)?,
            None => {
                return Err(Error::Missing {
                    key: "type".to_owned(),
                });
            }
        };
        let ipam: Option<RawObject> = member(&raw, spelling(&raw, "ipam"), "ipam")?;
        let ipam_type = match &ipam {
            Some(ipam) => filled(ipam, spelling(ipam, "type"), "ipam.type")?
                .map(|text| plugin_name("ipam.type", &text))
                .transpose()?,
            None => None,
        };
        let capabilities: Option<BTreeMap<String, bool>> =
            member(&raw, spelling(&raw, "capabilities"), "capabilities")?;
        Ok(Self {
            raw,
            plugin_type,
            ipam_type,
            capabilities: capabilities.unwrap_or_default(),
        })
    }

    /// The original object.
    pub fn raw(&self) -> &RawObject {
        &self.raw
    }

    /// The object, for editing and another [`from_raw`](Self::from_raw).
    pub fn into_raw(self) -> RawObject {
        self.raw
    }

    /// `type`: the plugin's binary.
    pub fn plugin_type(&self) -> &PluginType {
        &self.plugin_type
    }

    /// `ipam.type`: the binary of the plugin's IPAM plugin.
    pub fn ipam_type(&self) -> Option<&PluginType> {
        self.ipam_type.as_ref()
    }

    /// `capabilities`: the `runtimeConfig` keys the plugin accepts (`true`) or declines.
    pub fn capabilities(&self) -> &BTreeMap<String, bool> {
        &self.capabilities
    }

    /// Whether the plugin declares the capability `name`.
    pub fn has_capability(&self, name: &str) -> bool {
        self.capabilities.get(name) == Some(&true)
    }

    /// `name`: present in single configurations, optional in plugins of a list.
    pub fn name(&self) -> Option<String> {
        self.raw.get_as("name").ok().flatten()
    }

    /// `dns`, unparsed.
    pub fn dns(&self) -> Option<&RawValue> {
        self.raw.get("dns")
    }
}

impl Serialize for PluginConf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

/// How `raw` spells `key`. Go's decoder ignores case in a plugin's configuration, so `cniversion`
/// and `Type` work everywhere; the exact spelling takes precedence.
pub(super) fn spelling<'a>(raw: &'a RawObject, key: &'a str) -> &'a str {
    if raw.contains_key(key) {
        return key;
    }
    let similar = raw.iter().map(|(name, _)| name);
    similar
        .filter(|name| name.eq_ignore_ascii_case(key))
        .last()
        .unwrap_or(key)
}

/// The member `key` of `raw`, called `path` in errors.
pub(super) fn member<T: DeserializeOwned>(
    raw: &RawObject,
    key: &str,
    path: &str,
) -> Result<Option<T>, Error> {
    raw.get_as(key).map_err(|error| match error {
        json::Error::Member { source, .. } => Error::value(path, source),
        other => Error::value(path, other),
    })
}

/// The string at `key`, if not empty.
pub(super) fn filled(raw: &RawObject, key: &str, path: &str) -> Result<Option<String>, Error> {
    let text: Option<String> = member(raw, key, path)?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn plugin_name(path: &str, text: &str) -> Result<PluginType, Error> {
    PluginType::new(text).map_err(|reason| Error::value(path, reason))
}

/// Appends the type of the wrong value to a reason.
pub(super) fn found(reason: impl Display, value: &RawValue) -> String {
    format!("{reason}, found {}", json::kind(value))
}
