//! The runtime's conf, `00-multus.conf`: whether the daemon provides it, and from which source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cni_types::json::RawObject;
use cni_types::version::ConfVersion;

use cnidaria_core::conf::net_conf::DEFAULT_NAME;
use cnidaria_core::conf::value;
use cnidaria_core::domain::shim::{Shims, is_own_conf};

/// Name of the generated conf. Files with this prefix are never a primary network.
pub const FILE_NAME: &str = "00-multus.conf";
/// Value of `multusConfigFile` that asks for a generated conf.
const AUTO: &str = "auto";
pub(super) const DEFAULT_TARGET_DIR: &str = "/etc/cni/net.d";
pub(super) const DEFAULT_TYPE: &str = "multus-shim";

/// Keys of the daemon's file that the generated conf repeats, in Multus' order. `capabilities`,
/// `name` and `clusterNetwork` stand between the two groups.
const REPEATED_FIRST: [&str; 1] = ["binDir"];
const REPEATED_LOG: [&str; 4] = ["logFile", "logLevel", "logToStderr", "logOptions"];
const REPEATED_NAMESPACES: [&str; 2] = ["namespaceIsolation", "globalNamespaces"];
const REPEATED_LAST: [&str; 3] = ["cniDir", "auxiliaryCNIChainName", "daemonSocketDir"];

/// Why the conf cannot be provided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key has a wrong value.
    #[error(transparent)]
    Value(#[from] value::Error),
    /// `cniVersion` is missing, which the generated conf requires.
    #[error("cniVersion: missing, and multusConfigFile {AUTO:?} needs it")]
    NoVersion,
    /// `cniVersion` is not a version.
    #[error("cniVersion")]
    Version(#[source] cni_types::version::Error),
    /// The conf would be generated from itself.
    #[error("multusMasterCNI: {0:?} is what this daemon writes, and cannot be the primary network")]
    Recursive(String),
}

/// What the daemon provides for the runtime.
#[derive(Debug, Clone, Default)]
pub enum ConfFile {
    /// Nothing: the conf has another author.
    #[default]
    Absent,
    /// A copy of a file, under the same name.
    Copied {
        /// The source (`multusConfigFile`).
        from: PathBuf,
        /// The target directory (`cniConfigDir`).
        to_dir: PathBuf,
    },
    /// A conf generated from that of the primary network.
    Generated(Box<Generated>),
}

/// The settings for a generated conf.
#[derive(Debug, Clone)]
pub struct Generated {
    /// Directory of the primary network's conf (`multusAutoconfigDir`).
    pub primary_dir: PathBuf,
    /// The primary network's file (`multusMasterCNI`); the directory's first conf if absent.
    pub primary: Option<String>,
    /// The conf's target directory (`cniConfigDir`).
    pub target_dir: PathBuf,
    /// The conf's version (`cniVersion`).
    pub cni_version: ConfVersion,
    /// Whether to give the primary network's own conf this version, too (`forceCNIVersion`).
    pub force_version: bool,
    /// Whether to name the conf after the primary network (`overrideNetworkName`).
    pub override_name: bool,
    /// `capabilities` in addition to those of the primary network.
    capabilities: BTreeMap<String, bool>,
    /// The daemon's file.
    keys: RawObject,
}

impl ConfFile {
    /// Parses the keys that concern the conf.
    ///
    /// # Errors
    /// [`Error`] names the key.
    pub fn parse(keys: &RawObject) -> Result<Self, Error> {
        let text = |key| {
            value::optional::<String>(keys, key, "a string").map(|v| v.filter(|v| !v.is_empty()))
        };
        let flag = |key| value::optional::<bool>(keys, key, "true or false");
        let target_dir =
            text("cniConfigDir")?.map_or_else(|| DEFAULT_TARGET_DIR.into(), PathBuf::from);
        let primary_dir = text("multusAutoconfigDir")?.map(PathBuf::from);
        let primary_dir = match (text("multusConfigFile")?.as_deref(), primary_dir) {
            (Some(AUTO), dir) => dir.unwrap_or_else(|| DEFAULT_TARGET_DIR.into()),
            (None, Some(dir)) => dir,
            (None, None) => return Ok(Self::Absent),
            (Some(path), _) => {
                return Ok(Self::Copied {
                    from: path.into(),
                    to_dir: target_dir,
                });
            }
        };
        let primary = text("multusMasterCNI")?.map(|name| below(&primary_dir, &name));
        if let Some(name) = primary.as_ref().filter(|name| is_own_conf(Path::new(name))) {
            return Err(Error::Recursive(name.clone()));
        }
        Ok(Self::Generated(Box::new(Generated {
            primary_dir,
            primary,
            target_dir,
            cni_version: version(text("cniVersion")?)?,
            force_version: flag("forceCNIVersion")?.unwrap_or(false),
            override_name: flag("overrideNetworkName")?.unwrap_or(false),
            capabilities: value::optional(keys, "capabilities", "an object of true and false")?
                .unwrap_or_default(),
            keys: keys.clone(),
        })))
    }
}

impl ConfFile {
    /// Path of the conf that the daemon provides; `None` if it provides none.
    pub fn target(&self) -> Option<PathBuf> {
        match self {
            Self::Absent => None,
            Self::Copied { from, to_dir } => from.file_name().map(|name| to_dir.join(name)),
            Self::Generated(generated) => Some(generated.target_dir.join(FILE_NAME)),
        }
    }

    /// The names of the shim, including the conf's `type`.
    pub fn shims(&self) -> Shims {
        match self {
            Self::Generated(generated) => generated.shims(),
            Self::Absent | Self::Copied { .. } => Shims::default(),
        }
    }
}

/// The name of a file in `dir`, which may be given as a full path.
fn below(dir: &Path, name: &str) -> String {
    let below = Path::new(name)
        .strip_prefix(dir)
        .ok()
        .and_then(Path::to_str);
    below.unwrap_or(name).trim_start_matches('/').to_owned()
}

fn version(text: Option<String>) -> Result<ConfVersion, Error> {
    let text = text.ok_or(Error::NoVersion)?;
    ConfVersion::parse(&text).map_err(Error::Version)
}

/// What the generated conf needs from the primary network's conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Path of the file, as the daemon reaches it.
    pub path: PathBuf,
    /// Name of the network.
    pub name: String,
    /// Capabilities of any of its plugins.
    pub capabilities: Vec<String>,
}

impl Generated {
    /// The names of the shim, including the conf's `type`.
    pub fn shims(&self) -> Shims {
        Shims::default().and_type_of(&self.keys)
    }

    /// The text of the conf, with keys in Multus' order.
    ///
    /// # Errors
    /// If a path or key cannot be expressed in JSON.
    pub fn text(&self, primary: &Primary) -> Result<String, cni_types::json::Error> {
        let mut conf = RawObject::new();
        self.repeat(&mut conf, &REPEATED_FIRST);
        let mut capabilities = self.capabilities.clone();
        capabilities.extend(primary.capabilities.iter().map(|name| (name.clone(), true)));
        if !capabilities.is_empty() {
            conf.set("capabilities", &capabilities)?;
        }
        conf.set("cniVersion", self.cni_version.as_str())?;
        self.repeat(&mut conf, &REPEATED_LOG);
        let name = if self.override_name {
            primary.name.as_str()
        } else {
            DEFAULT_NAME
        };
        conf.set("name", name)?;
        conf.set("clusterNetwork", &primary.path)?;
        self.repeat(&mut conf, &REPEATED_NAMESPACES);
        conf.set("type", DEFAULT_TYPE)?;
        self.repeat(&mut conf, &["type"]);
        self.repeat(&mut conf, &REPEATED_LAST);
        Ok(conf.to_string())
    }

    /// Copies keys that are not empty, which Go would omit.
    fn repeat(&self, conf: &mut RawObject, keys: &[&str]) {
        for key in keys {
            if let Some(value) = self.keys.get(key)
                && !matches!(value.get(), "null" | "\"\"" | "false")
            {
                conf.set_raw(key, value.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfFile, Error> {
        ConfFile::parse(&RawObject::parse(text).unwrap())
    }

    fn generated(text: &str) -> String {
        let ConfFile::Generated(generated) = parse(text).unwrap() else {
            panic!("nothing is generated from {text}");
        };
        let primary = Primary {
            path: "/autoconf/10-bridge.conflist".into(),
            name: "cbr0".into(),
            capabilities: vec!["mac".into()],
        };
        generated.text(&primary).unwrap()
    }

    #[test]
    fn the_conf_is_that_of_multus_byte_for_byte() {
        // As Multus 4.3.0 logged it for this file.
        assert_eq!(
            generated(
                r#"{"cniVersion":"1.1.0","logLevel":"verbose","logToStderr":true,"cniConfigDir":"/cni.d",
                    "multusAutoconfigDir":"/autoconf","multusConfigFile":"auto","socketDir":"/run/",
                    "daemonSocketDir":"/run/","binDir":"/cnibin","cniDir":"/cnidir","metricsPort":29091}"#
            ),
            r#"{"binDir":"/cnibin","capabilities":{"mac":true},"cniVersion":"1.1.0","logLevel":"verbose","logToStderr":true,"name":"multus-cni-network","clusterNetwork":"/autoconf/10-bridge.conflist","type":"multus-shim","cniDir":"/cnidir","daemonSocketDir":"/run/"}"#
        );
    }

    #[test]
    fn conf_keeps_primary_name_and_capabilities() {
        let conf = generated(
            r#"{"cniVersion":"0.4.0","multusAutoconfigDir":"/autoconf","overrideNetworkName":true,
                "capabilities":{"portMappings":true},"type":"shim","namespaceIsolation":true,
                "globalNamespaces":"a,b","readinessindicatorfile":"/ready","auxiliaryCNIChainName":"aux"}"#,
        );
        assert_eq!(
            conf,
            r#"{"capabilities":{"mac":true,"portMappings":true},"cniVersion":"0.4.0","name":"cbr0","clusterNetwork":"/autoconf/10-bridge.conflist","namespaceIsolation":true,"globalNamespaces":"a,b","type":"shim","auxiliaryCNIChainName":"aux"}"#
        );
    }

    #[test]
    fn the_primary_file_can_have_its_whole_path() {
        for name in [
            "20-a.conf",
            "/20-a.conf",
            "/auto/20-a.conf",
            "/auto//20-a.conf",
        ] {
            let keys = format!(
                r#"{{"cniVersion":"1.0.0","multusAutoconfigDir":"/auto/","multusMasterCNI":"{name}"}}"#
            );
            let ConfFile::Generated(generated) = parse(&keys).unwrap() else {
                panic!("not generated");
            };
            assert_eq!(generated.primary.as_deref(), Some("20-a.conf"), "{name}");
        }
    }

    #[test]
    fn conf_file_is_copied_only_if_configured() {
        assert!(matches!(parse("{}").unwrap(), ConfFile::Absent));
        let ConfFile::Copied { from, to_dir } =
            parse(r#"{"multusConfigFile":"/my/00.conf","multusAutoconfigDir":"/x"}"#).unwrap()
        else {
            panic!("not copied");
        };
        assert_eq!(
            (from, to_dir),
            ("/my/00.conf".into(), DEFAULT_TARGET_DIR.into())
        );
    }

    #[test]
    fn impossible_settings_are_rejected_by_key() {
        for (text, expected) in [
            (r#"{"multusConfigFile":"auto"}"#, "cniVersion"),
            (
                r#"{"multusConfigFile":"auto","cniVersion":"x"}"#,
                "cniVersion",
            ),
            (
                r#"{"multusConfigFile":"auto","cniVersion":"1.0.0","multusMasterCNI":"00-multus.conf"}"#,
                "multusMasterCNI",
            ),
            (r#"{"multusConfigFile":7}"#, "multusConfigFile"),
            (
                r#"{"multusConfigFile":"auto","cniVersion":"1.0.0","forceCNIVersion":"yes"}"#,
                "forceCNIVersion",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
