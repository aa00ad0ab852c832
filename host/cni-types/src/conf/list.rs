//! The configuration of one network: a chain of plugins.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::plugin::{filled, found, member, spelling};
use super::{Error, PluginConf};
use crate::args::NetworkName;
use crate::json::RawObject;
use crate::version::{self, ConfVersion, Version};

/// The form of a network configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfKind {
    /// One plugin: the only form before 0.3.0, and still that of most NADs.
    Single,
    /// A list of plugins under `plugins`.
    List,
}

/// The configuration of one network (specification, section 1): a list of plugins, or one plugin
/// as a list of one. Immutable; clones share memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfList(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    kind: ConfKind,
    name: NetworkName,
    cni_version: ConfVersion,
    disable_check: bool,
    disable_gc: bool,
    load_only_inlined_plugins: bool,
    plugins: Vec<PluginConf>,
    raw: RawObject,
    text: String,
}

impl NetworkConfList {
    /// Parses either form: `plugins` makes it a list, `type` a single plugin.
    ///
    /// # Errors
    /// [`Error`]; [`Error::NoPlugin`] when both members are missing.
    pub fn parse_any(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        let (raw, text) = read(text.as_ref())?;
        if raw.contains_key("plugins") {
            let list = list(raw, text)?;
            if list.0.plugins.is_empty() {
                return Err(Error::Missing {
                    key: "plugins".to_owned(),
                });
            }
            Ok(list)
        } else if raw.contains_key(spelling(&raw, "type")) {
            single(raw, text)
        } else {
            Err(Error::NoPlugin)
        }
    }

    /// Parses a list. Without `loadOnlyInlinedPlugins`, `plugins` may be absent: they are then
    /// loaded from the directory beside the file.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse_list(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        let (raw, text) = read(text.as_ref())?;
        list(raw, text)
    }

    /// A list with these members; the text is their compact form.
    ///
    /// # Errors
    /// [`Error`].
    pub fn list_of(raw: RawObject) -> Result<Self, Error> {
        let text = raw.to_string();
        list(raw, text)
    }

    /// Parses the configuration of a single plugin.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse_single(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        let (raw, text) = read(text.as_ref())?;
        single(raw, text)
    }

    /// The form in which it was written.
    pub fn kind(&self) -> ConfKind {
        self.0.kind
    }

    /// `name`.
    pub fn name(&self) -> &NetworkName {
        &self.0.name
    }

    /// The version sent to plugins: `cniVersion`, or the newest supported one of `cniVersion` and
    /// `cniVersions`.
    pub fn cni_version(&self) -> ConfVersion {
        self.0.cni_version
    }

    /// `disableCheck`: CHECK does nothing and succeeds.
    pub fn disable_check(&self) -> bool {
        self.0.disable_check
    }

    /// `disableGC`: GC does nothing and succeeds.
    pub fn disable_gc(&self) -> bool {
        self.0.disable_gc
    }

    /// `loadOnlyInlinedPlugins`: ignore the directory of plugins beside the file.
    pub fn load_only_inlined_plugins(&self) -> bool {
        self.0.load_only_inlined_plugins
    }

    /// The plugins, in ADD order.
    pub fn plugins(&self) -> &[PluginConf] {
        &self.0.plugins
    }

    /// The whole object.
    pub fn raw(&self) -> &RawObject {
        &self.0.raw
    }

    /// Text from which this configuration can be parsed again: the original bytes unless plugins
    /// were replaced.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The same network with other plugins, after an edit or from the directory beside the file.
    /// The text contains them inline.
    ///
    /// # Errors
    /// [`Error::Missing`] without plugins; [`Error::Value`] when a single configuration gets more
    /// than one plugin, or an edit changes its name or version.
    pub fn with_plugins(&self, plugins: Vec<PluginConf>) -> Result<Self, Error> {
        match self.0.kind {
            ConfKind::List => {
                let mut raw = self.0.raw.clone();
                raw.set("plugins", &plugins).map_err(Error::Json)?;
                let text = raw.to_string();
                list(raw, text)
            }
            ConfKind::Single => {
                let count = plugins.len();
                let mut plugins = plugins.into_iter();
                let (Some(plugin), None) = (plugins.next(), plugins.next()) else {
                    return Err(Error::value(
                        "plugins",
                        format_args!("{count} elements in a configuration of a single plugin"),
                    ));
                };
                let raw = plugin.into_raw();
                let text = raw.to_string();
                let edited = single(raw, text)?;
                for (key, old, new) in [
                    ("name", self.0.name.as_str(), edited.0.name.as_str()),
                    (
                        "cniVersion",
                        self.0.cni_version.as_str(),
                        edited.0.cni_version.as_str(),
                    ),
                ] {
                    if old != new {
                        return Err(Error::value(
                            key,
                            format_args!("it must not be changed to {new:?}"),
                        ));
                    }
                }
                Ok(edited)
            }
        }
    }
}

fn read(text: &[u8]) -> Result<(RawObject, String), Error> {
    let raw = RawObject::parse(text).map_err(Error::Json)?;
    // serde_json accepts only UTF-8.
    Ok((raw, String::from_utf8_lossy(text).into_owned()))
}

fn list(raw: RawObject, text: String) -> Result<NetworkConfList, Error> {
    let load_only_inlined_plugins = flag(&raw, "loadOnlyInlinedPlugins")?;
    let given: Option<Vec<Box<RawValue>>> = member(&raw, "plugins", "plugins")?;
    if given.as_ref().is_some_and(Vec::is_empty) || (given.is_none() && load_only_inlined_plugins) {
        return Err(Error::Missing {
            key: "plugins".to_owned(),
        });
    }
    let mut plugins = Vec::new();
    for (at, value) in given.iter().flatten().enumerate() {
        let path = format!("plugins[{at}]");
        let plugin = RawObject::from_value(value)
            .map_err(|error| Error::value(&path, found(error, value)))?;
        plugins.push(PluginConf::from_raw(plugin).map_err(|error| error.within(&path))?);
    }
    Ok(NetworkConfList(Arc::new(Parts {
        kind: ConfKind::List,
        name: name(&raw, "name")?,
        cni_version: negotiated(&raw)?,
        disable_check: flag(&raw, "disableCheck")?,
        disable_gc: flag(&raw, "disableGC")?,
        load_only_inlined_plugins,
        plugins,
        raw,
        text,
    })))
}

fn single(raw: RawObject, text: String) -> Result<NetworkConfList, Error> {
    Ok(NetworkConfList(Arc::new(Parts {
        kind: ConfKind::Single,
        name: name(&raw, spelling(&raw, "name"))?,
        cni_version: declared(&raw, spelling(&raw, "cniVersion"))?,
        disable_check: false,
        disable_gc: false,
        load_only_inlined_plugins: true,
        plugins: vec![PluginConf::from_raw(raw.clone())?],
        raw,
        text,
    })))
}

fn name(raw: &RawObject, key: &str) -> Result<NetworkName, Error> {
    let text = filled(raw, key, "name")?.ok_or_else(|| Error::Missing {
        key: "name".to_owned(),
    })?;
    NetworkName::new(text.as_str()).map_err(|reason| Error::value("name", reason))
}

fn declared(raw: &RawObject, key: &str) -> Result<ConfVersion, Error> {
    let text = filled(raw, key, "cniVersion")?.unwrap_or_default();
    ConfVersion::parse(&text).map_err(Error::Version)
}

/// The newest version that both sides support. A runtime ignores unsupported entries of
/// `cniVersions`; without that list, `cniVersion` applies.
fn negotiated(raw: &RawObject) -> Result<ConfVersion, Error> {
    let Some(offered): Option<Vec<String>> = member(raw, "cniVersions", "cniVersions")? else {
        return declared(raw, "cniVersion");
    };
    let mut known: Vec<Version> = Vec::new();
    for text in &offered {
        match text.parse() {
            Ok(version) => known.push(version),
            Err(version::Error::Unsupported { .. }) => {}
            Err(error @ version::Error::Malformed { .. }) => {
                return Err(Error::value("cniVersions", error));
            }
        }
    }
    match declared(raw, "cniVersion") {
        Ok(version) => known.extend(version.declared()),
        Err(Error::Version(version::Error::Unsupported { .. })) if !known.is_empty() => {}
        Err(error) => return Err(error),
    }
    match known.into_iter().max() {
        Some(version) => Ok(version.into()),
        None if offered.is_empty() => Ok(ConfVersion::MISSING),
        None => Err(Error::Version(version::Error::Unsupported {
            version: offered.join(", "),
            newer: true,
        })),
    }
}

/// A boolean, or its string form in any case.
fn flag(raw: &RawObject, key: &str) -> Result<bool, Error> {
    let Some(value) = raw.get(key) else {
        return Ok(false);
    };
    match value.get().to_ascii_lowercase().as_str() {
        "true" | "\"true\"" => Ok(true),
        "false" | "\"false\"" => Ok(false),
        _ => Err(Error::value(key, found("it must be true or false", value))),
    }
}
