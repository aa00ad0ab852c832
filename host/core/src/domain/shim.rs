//! Detects confs that would execute the daemon's own shim, which would make the daemon wait for
//! itself.

use std::fmt;
use std::path::{Component, Path};

use cni_types::conf::NetworkConfList;
use cni_types::json::RawObject;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Names under which shims are installed, including Multus'.
const NAMES: [&str; 3] = ["cnidaria-shim", "multus", "multus-shim"];

/// Whether a conf file is one that this daemon or Multus writes for the runtime: never a network.
pub fn is_own_conf(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("00-multus"))
}

/// Why a conf must not be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The conf has the shim as one of its plugins.
    #[error("type {0:?} is the daemon's own shim, which cannot be a delegate")]
    Delegate(String),
    /// The conf cannot be searched for shims, for example because it is nested too deeply.
    #[error("plugin {plugin:?}: cannot look for delegates in {key:?}: {reason}")]
    Unreadable {
        /// The plugin's `type`.
        plugin: String,
        /// The plugin's key with the unsearchable value.
        key: String,
        /// Why it cannot be searched.
        reason: String,
    },
}

/// The names of the shim on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shims {
    /// Additional names beside [`NAMES`].
    others: Vec<String>,
}

impl Shims {
    /// Adds the `type` of the conf with which the runtime executes the shim.
    #[must_use]
    pub fn and_type_of(mut self, conf: &RawObject) -> Self {
        for (key, value) in conf.iter() {
            if is_type(key)
                && let Ok(name) = serde_json::from_str::<String>(value.get())
                && !name.is_empty()
                && !self.are(&name)
            {
                self.others.push(name);
            }
        }
        self
    }

    /// Whether a plugin of this name is the shim.
    pub fn are(&self, name: &str) -> bool {
        NAMES.contains(&name) || self.others.iter().any(|other| other == name)
    }

    /// Rejects a conf with the shim as the `type` of a plugin, of its IPAM or of any other
    /// delegate. Plugins keep nested delegates in different places, so every `type` counts: at any
    /// depth, in any case (as in Go), duplicates included.
    ///
    /// # Errors
    /// [`Error`].
    pub fn refuse_in(&self, conf: &NetworkConfList) -> Result<(), Error> {
        for plugin in conf.plugins() {
            for (key, value) in plugin.raw().iter() {
                let walk = Walk {
                    shims: self,
                    is_type: is_type(key),
                };
                let mut json = serde_json::Deserializer::from_str(value.get());
                match walk.deserialize(&mut json) {
                    Ok(None) => {}
                    Ok(Some(name)) => return Err(Error::Delegate(name)),
                    Err(error) => {
                        return Err(Error::Unreadable {
                            plugin: plugin.plugin_type().to_string(),
                            key: key.to_owned(),
                            reason: error.to_string(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The shim's name if a value of `type` leads to it; some plugins accept paths.
    fn named_by(&self, value: &str) -> Option<String> {
        let mut names = Vec::new();
        for component in Path::new(value).components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::ParentDir => drop(names.pop()),
                _ => {}
            }
        }
        let name = names.last()?.to_str()?;
        self.are(name).then(|| name.to_owned())
    }
}

fn is_type(key: &str) -> bool {
    key.eq_ignore_ascii_case("type")
}

/// Reads a whole JSON value and finds the first shim in it.
#[derive(Clone, Copy)]
struct Walk<'a> {
    shims: &'a Shims,
    /// Whether the value belongs to a key `type`.
    is_type: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            let is_type = is_type(&key);
            let inner = map.next_value_seed(Walk { is_type, ..self })?;
            found = found.or(inner);
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let element = Walk {
            is_type: false,
            ..self
        };
        while let Some(inner) = seq.next_element_seed(element)? {
            found = found.or(inner);
        }
        Ok(found)
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(if self.is_type {
            self.shims.named_by(value)
        } else {
            None
        })
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(members: &str) -> Result<(), Error> {
        let own = RawObject::parse(r#"{"Type":"our-shim","cniVersion":"1.0.0"}"#).unwrap();
        let conf = format!(r#"{{"cniVersion":"1.0.0","name":"n",{members}}}"#);
        let conf = NetworkConfList::parse_any(conf).unwrap();
        Shims::default().and_type_of(&own).refuse_in(&conf)
    }

    #[test]
    fn the_shim_is_found_by_all_its_names() {
        for name in ["cnidaria-shim", "multus", "multus-shim", "our-shim"] {
            let refused = check(&format!(r#""type":"{name}""#));
            assert_eq!(refused, Err(Error::Delegate(name.to_owned())));
        }
    }

    #[test]
    fn the_shim_is_found_wherever_a_plugin_is_named() {
        for members in [
            r#""plugins":[{"type":"bridge"},{"type":"multus"}]"#,
            r#""type":"bridge","ipam":{"type":"multus"}"#,
            r#""type":"flannel","delegate":{"type":"multus"}"#,
            r#""type":"m","delegates":[{"type":"a"},{"plugins":[{"ipam":{"type":"multus"}}]}]"#,
            r#""type":"m","x":{"TYPE":"multus"}"#,
            r#""type":"m","x":{"t\u0079pe":"m\u0075ltus"}"#,
            r#""type":"m","Type":"multus""#,
            r#""type":"m","x":{"type":"a","type":"multus"}"#,
            r#""type":"m","x":{"type":"multus","type":"a"}"#,
            r#""type":"m","x":{"type":"../bin/multus"}"#,
            r#""type":"m","x":{"type":"/opt/cni/bin/multus/"}"#,
            r#""type":"m","x":{"type":"multus/x/.."}"#,
        ] {
            let refused = check(members);
            assert_eq!(refused, Err(Error::Delegate("multus".into())), "{members}");
        }
    }

    #[test]
    fn other_confs_pass() {
        for members in [
            r#""type":"multus-like","master":"multus""#,
            r#""type":"m","x":[1,-1,1.5,12345678901234567890123,true,null,"multus"]"#,
            r#""type":"m","x":{"type":["multus"],"types":"multus","y":{"type":"multus-"}}"#,
            r#""type":"m","x":{"type":""},"y":{"type":".."},"z":{"type":"multus/x"}"#,
        ] {
            assert_eq!(check(members), Ok(()), "{members}");
        }
    }

    #[test]
    fn a_conf_too_deep_to_search_is_refused() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let refused = check(&format!(r#""type":"m","x":{deep}"#));
        assert!(matches!(refused, Err(Error::Unreadable { .. })));
    }
}
