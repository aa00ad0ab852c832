//! How large the wishes of tenants may be: confs of the cluster and of hot-plug controllers, and what
//! pods ask for. The daemon measures a text before it makes anything of it. Confs in files of the node
//! are the owner's and have no limit.

use cni_types::conf::NetworkConfList;
use cni_types::json::{self, RawObject, Size};
use serde::{Deserialize, Serialize};

/// Something is larger than its limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} {unit} exceed the limit of {limit} (cnidaria.limits.{setting})")]
pub struct Exceeded {
    /// How many there are.
    pub found: usize,
    /// What they are.
    pub unit: &'static str,
    /// How many there may be.
    pub limit: usize,
    /// The setting.
    pub setting: &'static str,
}

/// The settings under `cnidaria.limits`. The defaults are far above real use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a conf.
    pub conf_bytes: usize,
    /// Levels of objects and lists in a conf.
    pub conf_depth: usize,
    /// Members and elements of a conf, at all levels together.
    pub conf_members: usize,
    /// Plugins of a conf.
    pub plugins: usize,
    /// Bytes of an annotation.
    pub annotation_bytes: usize,
    /// Networks that a pod asks for.
    pub networks: usize,
    /// Addresses of a network, and gateways.
    pub ips: usize,
    /// Port mappings of a network.
    pub port_mappings: usize,
    /// Members of `cni-args`.
    pub cni_args: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            conf_bytes: 256 << 10,
            conf_depth: 32,
            conf_members: 4096,
            plugins: 64,
            // The API server takes as much of all annotations of an object together.
            annotation_bytes: 256 << 10,
            networks: 64,
            ips: 64,
            port_mappings: 256,
            cni_args: 256,
        }
    }
}

impl Limits {
    /// Measures a conf. Called before it is parsed.
    ///
    /// # Errors
    /// [`Exceeded`] names the setting.
    pub fn check_conf(&self, text: impl AsRef<[u8]>) -> Result<(), Exceeded> {
        let text = text.as_ref();
        self.conf_bytes(text.len())?;
        let Size { depth, members, .. } = json::measure(text);
        self.conf_depth(depth)?;
        self.conf_members(members)
    }

    /// Counts the plugins of a conf.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn check_plugins(&self, conf: &NetworkConfList) -> Result<(), Exceeded> {
        let found = conf.plugins().len();
        within(found, "plugins", self.plugins, "plugins")
    }

    /// Measures what `args` add to a conf with so many plugins, each of which gets all of them.
    /// Called before they are merged.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn check_cni_args(&self, args: &RawObject, plugins: usize) -> Result<(), Exceeded> {
        within(args.len(), "members of cni-args", self.cni_args, "cniArgs")?;
        let Size {
            bytes,
            depth,
            members,
        } = json::measure(args.to_text());
        self.conf_bytes(bytes.saturating_mul(plugins))?;
        self.conf_depth(depth)?;
        self.conf_members(members.saturating_mul(plugins))
    }

    /// Measures an annotation. Called before it is parsed.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn check_annotation(&self, text: &str) -> Result<(), Exceeded> {
        let limit = self.annotation_bytes;
        within(text.len(), "bytes", limit, "annotationBytes")
    }

    /// Counts the networks that a pod asks for.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn check_networks(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "networks", self.networks, "networks")
    }

    /// Counts addresses, or gateways, of a network.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn check_ips(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "addresses", self.ips, "ips")
    }

    /// Counts port mappings of a network.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub fn check_port_mappings(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "port mappings", self.port_mappings, "portMappings")
    }

    fn conf_bytes(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "bytes of conf", self.conf_bytes, "confBytes")
    }

    fn conf_depth(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "levels of conf", self.conf_depth, "confDepth")
    }

    fn conf_members(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "members of conf", self.conf_members, "confMembers")
    }
}

fn within(
    found: usize,
    unit: &'static str,
    limit: usize,
    setting: &'static str,
) -> Result<(), Exceeded> {
    if found <= limit {
        return Ok(());
    }
    Err(Exceeded {
        found,
        unit,
        limit,
        setting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(checked: Result<(), Exceeded>) -> Option<&'static str> {
        checked.err().map(|exceeded| exceeded.setting)
    }

    #[test]
    fn a_conf_beyond_a_limit_names_its_setting() {
        let limits = Limits {
            conf_bytes: 40,
            conf_depth: 2,
            conf_members: 4,
            ..Limits::default()
        };
        for (conf, expected) in [
            (r#"{"type":"t","a":[1,2]}"#, None),
            (r#"{"type":"t","a":[[]]}"#, Some("confDepth")),
            (r#"{"type":"t","a":[1,2,3]}"#, Some("confMembers")),
            // The parser drops duplicates; they cost all the same.
            (r#"{"a":1,"a":1,"a":1,"a":1,"a":1}"#, Some("confMembers")),
            (
                r#"{"type":"t","a":"a rather long text to read"}"#,
                Some("confBytes"),
            ),
        ] {
            assert_eq!(setting(limits.check_conf(conf)), expected, "{conf}");
        }
    }

    #[test]
    fn cni_args_count_once_for_each_plugin() {
        let limits = Limits {
            conf_bytes: 100,
            ..Limits::default()
        };
        let args = RawObject::parse(r#"{"a":"0123456789"}"#).unwrap();
        assert_eq!(setting(limits.check_cni_args(&args, 5)), None);
        let exceeded = limits.check_cni_args(&args, 6);
        assert_eq!(setting(exceeded), Some("confBytes"));
        let few = Limits {
            cni_args: 0,
            ..Limits::default()
        };
        assert_eq!(setting(few.check_cni_args(&args, 1)), Some("cniArgs"));
    }
}
