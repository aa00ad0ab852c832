//! Limits on what tenants may request: confs of the cluster and of hot-plug controllers, and pods'
//! annotations. Texts are measured before they are parsed. Conf files on the node belong to its
//! owner and have no limit.

use cni_types::conf::NetworkConfList;
use cni_types::json::{self, RawObject, Size};
use serde::{Deserialize, Serialize};

/// A limit was exceeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} {unit} exceed the limit of {limit} (cnidaria.limits.{setting})")]
pub struct Exceeded {
    /// The actual number.
    pub found: usize,
    /// What was counted.
    pub unit: &'static str,
    pub limit: usize,
    /// The setting of the limit.
    pub setting: &'static str,
}

/// The settings under `cnidaria.limits`. The defaults are far above real use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a conf.
    pub conf_bytes: usize,
    /// Nesting depth of a conf.
    pub conf_depth: usize,
    /// Members and elements of a conf, over all levels.
    pub conf_members: usize,
    /// Plugins of a conf.
    pub plugins: usize,
    /// Bytes of an annotation.
    pub annotation_bytes: usize,
    /// Networks that a pod selects.
    pub networks: usize,
    /// Addresses, and gateways, of a network.
    pub ips: usize,
    /// Port mappings of a network.
    pub port_mappings: usize,
    /// Members of `cni-args`.
    pub cni_args: usize,
    /// Bytes of the confs of all networks that a pod selects.
    pub request_conf_bytes: usize,
    /// Members and elements of the confs of all networks that a pod selects.
    pub request_conf_members: usize,
}

/// The size of a request's confs so far.
#[derive(Debug, Default)]
pub struct Total {
    bytes: usize,
    members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            conf_bytes: 256 << 10,
            conf_depth: 32,
            conf_members: 4096,
            plugins: 64,
            // The API server's limit for all annotations of an object together.
            annotation_bytes: 256 << 10,
            networks: 64,
            ips: 64,
            port_mappings: 256,
            cni_args: 256,
            // Four confs of maximum size; a real one has a few hundred bytes.
            request_conf_bytes: 1 << 20,
            request_conf_members: 16 << 10,
        }
    }
}

impl Limits {
    /// Measures a conf. Call it before parsing.
    ///
    /// # Errors
    /// [`Exceeded`] names the setting.
    pub(crate) fn check_conf(&self, text: impl AsRef<[u8]>) -> Result<(), Exceeded> {
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
    pub(crate) fn check_plugins(&self, conf: &NetworkConfList) -> Result<(), Exceeded> {
        let found = conf.plugins().len();
        within(found, "plugins", self.plugins, "plugins")
    }

    /// Measures what `args` add to a conf with this many plugins, each of which gets all of them.
    /// Call it before merging.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn check_cni_args(&self, args: &RawObject, plugins: usize) -> Result<(), Exceeded> {
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

    /// Adds a selected network's conf, with its `cni-args`, to the request's total. Call it before
    /// the next conf is read. A conf within its own limits is never too large alone.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn check_total(
        &self,
        total: &mut Total,
        conf: &NetworkConfList,
    ) -> Result<(), Exceeded> {
        let Size { bytes, members, .. } = json::measure(conf.text());
        total.bytes = total.bytes.saturating_add(bytes);
        total.members = total.members.saturating_add(members);
        within(
            total.bytes,
            "bytes of all confs of the pod",
            self.request_conf_bytes.max(self.conf_bytes),
            "requestConfBytes",
        )?;
        within(
            total.members,
            "members of all confs of the pod",
            self.request_conf_members.max(self.conf_members),
            "requestConfMembers",
        )
    }

    /// Measures an annotation. Call it before parsing.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn check_annotation(&self, text: &str) -> Result<(), Exceeded> {
        let limit = self.annotation_bytes;
        within(text.len(), "bytes", limit, "annotationBytes")
    }

    /// Counts the networks that a pod selects.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn check_networks(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "networks", self.networks, "networks")
    }

    /// Counts the addresses, or gateways, of a network.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn check_ips(&self, found: usize) -> Result<(), Exceeded> {
        within(found, "addresses", self.ips, "ips")
    }

    /// Counts the port mappings of a network.
    ///
    /// # Errors
    /// [`Exceeded`].
    pub(crate) fn check_port_mappings(&self, found: usize) -> Result<(), Exceeded> {
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
            // The parser drops duplicates, but they still cost time.
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
    fn confs_of_one_request_count_together() {
        let conf = |text| NetworkConfList::parse_any(text).unwrap();
        let text = r#"{"cniVersion":"1.0.0","name":"n","type":"t"}"#;
        let check = |limits: Limits, expected: &str| {
            let mut total = Total::default();
            for _ in 0..2 {
                assert_eq!(setting(limits.check_total(&mut total, &conf(text))), None);
            }
            let third = limits.check_total(&mut total, &conf(text));
            assert_eq!(setting(third), Some(expected));
        };
        let limits = Limits {
            conf_bytes: 0,
            conf_members: 0,
            ..Limits::default()
        };
        check(
            Limits {
                request_conf_bytes: 2 * text.len(),
                ..limits
            },
            "requestConfBytes",
        );
        check(
            Limits {
                request_conf_members: 6,
                ..limits
            },
            "requestConfMembers",
        );
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
