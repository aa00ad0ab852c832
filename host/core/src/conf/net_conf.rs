//! The CNI conf of a request: the runtime's, overlaid with the daemon's file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cni_types::args::NetworkName;
use cni_types::json::RawObject;
use cni_types::version::{ConfVersion, Version};
use serde_json::value::RawValue;

use super::logging::Logging;
use super::value;
use crate::domain::runtime_config::RuntimeConfig;
use crate::domain::shape;
use crate::domain::shim::Shims;

/// Name of the conf that the daemon writes for the runtime, as Multus names it.
pub const DEFAULT_NAME: &str = "multus-cni-network";
/// Multus' default directory for the ledger.
pub const DEFAULT_CNI_DIR: &str = "/var/lib/cni/multus";
/// Default directory of the delegates.
pub const DEFAULT_BIN_DIR: &str = "/opt/cni/bin";
/// Multus' default directory of confs that are referenced by name.
pub const DEFAULT_CONF_DIR: &str = "/etc/cni/multus/net.d";
/// Default namespace of the cluster's own NADs.
pub const DEFAULT_MULTUS_NAMESPACE: &str = "kube-system";
/// Default namespace whose NADs every pod may use.
pub const DEFAULT_GLOBAL_NAMESPACE: &str = "default";

/// The keys of a conf that the daemon reads, in their documented spelling.
pub(crate) const KEYS: [&str; 21] = [
    "auxiliaryCNIChainName",
    "binDir",
    "capabilities",
    "clusterNetwork",
    "cniDir",
    "cniVersion",
    "confDir",
    "defaultNetworks",
    "delegates",
    "globalNamespaces",
    "kubeconfig",
    "logFile",
    "logLevel",
    "logOptions",
    "logToStderr",
    "multusNamespace",
    "namespaceIsolation",
    "readinessindicatorfile",
    "retryDeleteOnError",
    "runtimeConfig",
    "systemNamespaces",
];

/// Why a conf cannot be used. Mapped to code 7, or 6 if it is not JSON.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a JSON object.
    #[error("the CNI conf is not a JSON object")]
    Json(#[source] cni_types::json::Error),
    /// A key has a wrong value.
    #[error("CNI conf: {0}")]
    Value(#[from] value::Error),
    /// The conf does not name a default network.
    #[error("CNI conf: neither clusterNetwork nor delegates names the default network")]
    NoDefaultNetwork,
}

/// Where the default network is defined.
#[derive(Debug, Clone)]
pub enum DefaultNetwork {
    /// `clusterNetwork`: the name of a NAD or conf, or the path of a directory or file.
    Cluster(String),
    /// `delegates`: the confs themselves, starting with the default network.
    Delegates(Vec<Box<RawValue>>),
}

/// The settings of one request.
#[derive(Debug, Clone)]
pub struct NetConf {
    /// `name` of the runtime's conf, whatever the daemon's file says: a GC speaks for it alone.
    pub name: Option<NetworkName>,
    /// Where the default network is defined.
    pub default_network: DefaultNetwork,
    /// Networks that every pod outside the system namespaces also gets (`defaultNetworks`). Empty
    /// with `delegates`.
    pub default_networks: Vec<String>,
    /// Directories to search for delegates.
    pub bin_dirs: Vec<PathBuf>,
    /// The ledger's directory.
    pub cni_dir: PathBuf,
    /// Directory to search for confs by name.
    pub conf_dir: PathBuf,
    /// Namespace of the NADs for the cluster network and the default networks.
    pub multus_namespace: String,
    /// Namespaces whose pods do not get the default networks.
    pub system_namespaces: Vec<String>,
    /// Whether pods may use only NADs of their own and of the global namespaces.
    pub namespace_isolation: bool,
    /// Namespaces whose NADs every pod may use.
    pub global_namespaces: Vec<String>,
    /// Capability arguments for every attachment.
    pub runtime_config: RuntimeConfig,
    /// The default network is not ready while this file is missing (`readinessindicatorfile`).
    pub readiness_indicator: Option<PathBuf>,
    /// A directory of plugins that every pod gets as a further attachment
    /// (`auxiliaryCNIChainName`).
    pub auxiliary_chain: Option<NetworkName>,
    /// `cniVersion` for confs that the daemon creates.
    pub cni_version: ConfVersion,
    /// Names under which the runtime or another conf would execute the shim, including `type` of
    /// the conf and of the daemon's file.
    pub shims: Shims,
}

impl NetConf {
    /// Parses the conf of a request, overridden by the daemon's file.
    ///
    /// # Errors
    /// [`Error`] names the key and the value.
    pub fn parse(conf: &[u8], overrides: &RawObject) -> Result<Self, Error> {
        let conf = RawObject::parse(conf).map_err(Error::Json)?;
        Self::from_object(&merged(&conf, overrides), shims(&conf, overrides))
            .map(|parsed| parsed.named_as(&conf))
    }

    /// Like [`Self::parse`], for requests that remove: the ledger knows what was attached, so a
    /// mistake in any other member of the conf must not keep it. Such a member has its default.
    /// Also returns what is wrong.
    ///
    /// # Errors
    /// [`Error`] if the conf is not JSON, or does not tell where the ledger is (`cniDir`).
    pub fn parse_for_removal(
        conf: &[u8],
        overrides: &RawObject,
    ) -> Result<(Self, Vec<Error>), Error> {
        let conf = RawObject::parse(conf).map_err(Error::Json)?;
        let mut keys = merged(&conf, overrides);
        let mut wrong = Vec::new();
        loop {
            match Self::from_object(&keys, shims(&conf, overrides)) {
                Ok(parsed) => return Ok((parsed.named_as(&conf), wrong)),
                Err(error @ Error::NoDefaultNetwork) => {
                    set_placeholder(&mut keys)?;
                    wrong.push(error);
                }
                Err(Error::Value(error)) if error.key != "cniDir" => {
                    // The path of a member begins with its key.
                    let key = error.key.split(['.', '[']).next().unwrap_or_default();
                    if keys.remove(key).is_none() {
                        return Err(error.into());
                    }
                    wrong.push(error.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The settings from the daemon's file alone, for requests that carry the conf of a single
    /// network. At start, also checks that the file does not make every request fail.
    ///
    /// # Errors
    /// [`Error`] names the key and the value.
    pub fn of_daemon(overrides: &RawObject) -> Result<Self, Error> {
        let mut conf = overrides.clone();
        if !conf.contains_key("delegates") && !conf.contains_key("clusterNetwork") {
            set_placeholder(&mut conf)?;
        }
        Self::from_object(&conf, Shims::default().and_type_of(overrides))
    }

    /// Takes the name of the runtime's conf. It is not required here: the shim refuses a conf
    /// without a name.
    fn named_as(mut self, conf: &RawObject) -> Self {
        self.name = conf.get_as("name").ok().flatten();
        self
    }

    fn from_object(conf: &RawObject, shims: Shims) -> Result<Self, Error> {
        let text = |key| {
            value::optional::<String>(conf, key, "a string").map(|v| v.filter(|v| !v.is_empty()))
        };
        let names = |key| value::shaped::<Vec<String>>(conf, key, "a list of names", &shape::TEXTS);
        let path = |key, default: &str| -> Result<PathBuf, value::Error> {
            Ok(PathBuf::from(
                text(key)?.unwrap_or_else(|| default.to_owned()),
            ))
        };
        let delegates: Option<Vec<Box<RawValue>>> =
            value::optional(conf, "delegates", "a list of confs")?;
        let default_network = match (text("clusterNetwork")?, delegates) {
            (Some(name), _) => DefaultNetwork::Cluster(name),
            (None, Some(confs)) if !confs.is_empty() => DefaultNetwork::Delegates(confs),
            (None, _) => return Err(Error::NoDefaultNetwork),
        };
        // As in Multus: they complement `clusterNetwork`, and have no effect with `delegates`.
        let default_networks = match default_network {
            DefaultNetwork::Cluster(_) => names("defaultNetworks")?.unwrap_or_default(),
            DefaultNetwork::Delegates(_) => Vec::new(),
        };
        check_unused(conf)?;
        Ok(Self {
            name: None,
            default_network,
            default_networks,
            bin_dirs: vec![path("binDir", DEFAULT_BIN_DIR)?],
            cni_dir: path("cniDir", DEFAULT_CNI_DIR)?,
            conf_dir: path("confDir", DEFAULT_CONF_DIR)?,
            multus_namespace: text("multusNamespace")?
                .unwrap_or_else(|| DEFAULT_MULTUS_NAMESPACE.to_owned()),
            system_namespaces: names("systemNamespaces")?
                .unwrap_or_else(|| vec![DEFAULT_MULTUS_NAMESPACE.to_owned()]),
            namespace_isolation: value::optional(conf, "namespaceIsolation", "true or false")?
                .unwrap_or(false),
            global_namespaces: match text("globalNamespaces")? {
                Some(list) => list.split(',').map(|name| name.trim().to_owned()).collect(),
                None => vec![DEFAULT_GLOBAL_NAMESPACE.to_owned()],
            },
            runtime_config: runtime_config(conf)?,
            readiness_indicator: text("readinessindicatorfile")?.map(PathBuf::from),
            auxiliary_chain: value::optional(
                conf,
                "auxiliaryCNIChainName",
                "the name of a network",
            )?,
            cni_version: match text("cniVersion")? {
                // An unknown version need not affect the delegates' own.
                Some(version) => ConfVersion::parse(&version).unwrap_or(Version::LATEST.into()),
                None => ConfVersion::MISSING,
            },
            shims,
        })
    }
}

/// The runtime's conf overlaid with the daemon's file, by the keys' documented spelling.
fn merged(conf: &RawObject, overrides: &RawObject) -> RawObject {
    let mut merged = RawObject::new();
    let given = conf.iter().map(|(key, value)| (folded(key), value));
    let all = given.chain(overrides.iter());
    merged.extend(all.map(|(key, value)| (key, value.to_owned())));
    merged
}

fn shims(conf: &RawObject, overrides: &RawObject) -> Shims {
    Shims::default().and_type_of(conf).and_type_of(overrides)
}

/// For requests that use no default network.
fn set_placeholder(conf: &mut RawObject) -> Result<(), Error> {
    conf.set("clusterNetwork", "none").map_err(Error::Json)
}

/// The documented spelling of a key. Go's decoder matches known keys case-insensitively.
fn folded(key: &str) -> &str {
    match KEYS.iter().find(|known| known.eq_ignore_ascii_case(key)) {
        Some(known) => known,
        None => key,
    }
}

fn runtime_config(conf: &RawObject) -> Result<RuntimeConfig, value::Error> {
    const KEY: &str = "runtimeConfig";
    const EXPECTED: &str = "the arguments of capabilities";
    let object = value::shaped::<RawObject>(conf, KEY, EXPECTED, &shape::RUNTIME_CONFIG)?;
    let Some(object) = object else {
        return Ok(RuntimeConfig::default());
    };
    RuntimeConfig::parse(&object).map_err(|_| value::Error {
        key: KEY.to_owned(),
        expected: EXPECTED,
        found: "an object".to_owned(),
    })
}

/// Checks keys that have no effect on requests, so that a wrong value of theirs is reported, too.
fn check_unused(conf: &RawObject) -> Result<(), value::Error> {
    Logging::parse(conf, &mut Vec::new())?;
    value::optional::<bool>(conf, "retryDeleteOnError", "true or false")?;
    value::optional::<String>(conf, "kubeconfig", "a path")?;
    let capabilities = "an object of true and false";
    value::shaped::<BTreeMap<String, bool>>(conf, "capabilities", capabilities, &shape::FLAGS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(conf: &str, overrides: &str) -> Result<NetConf, Error> {
        NetConf::parse(
            conf.as_bytes(),
            &RawObject::parse(overrides.as_bytes()).unwrap(),
        )
    }

    #[test]
    fn the_daemons_file_wins_over_the_conf() {
        let conf = parse(
            r#"{"clusterNetwork":"/a","binDir":"/theirs","cniDir":"/x"}"#,
            r#"{"binDir":"/ours"}"#,
        )
        .unwrap();
        assert_eq!(conf.bin_dirs[0], PathBuf::from("/ours"));
        assert_eq!(conf.cni_dir, PathBuf::from("/x"));
        assert!(matches!(conf.default_network, DefaultNetwork::Cluster(name) if name == "/a"));
    }

    #[test]
    fn defaults_are_those_of_multus() {
        let conf = parse(r#"{"clusterNetwork":"x"}"#, "{}").unwrap();
        assert_eq!(conf.bin_dirs[0], PathBuf::from("/opt/cni/bin"));
        assert_eq!(conf.cni_dir, PathBuf::from("/var/lib/cni/multus"));
        assert_eq!(conf.multus_namespace, "kube-system");
        assert_eq!(conf.system_namespaces, ["kube-system"]);
        assert_eq!(conf.global_namespaces, ["default"]);
    }

    #[test]
    fn keys_are_case_insensitive() {
        let conf = parse(
            r#"{"ClusterNetwork":"x","readinessIndicatorFile":"/ready","CNIDir":"/theirs"}"#,
            r#"{"cniDir":"/ours"}"#,
        )
        .unwrap();
        assert_eq!(conf.readiness_indicator.as_deref(), Some("/ready".as_ref()));
        assert_eq!(conf.cni_dir, PathBuf::from("/ours"));
    }

    #[test]
    fn default_networks_belong_to_a_cluster_network() {
        let conf = |text: &str| parse(text, r#"{"defaultNetworks":["a"]}"#).unwrap();
        assert_eq!(conf(r#"{"clusterNetwork":"x"}"#).default_networks, ["a"]);
        let both = r#"{"clusterNetwork":"x","delegates":[{"type":"t"}]}"#;
        assert_eq!(conf(both).default_networks, ["a"]);
        let delegates = r#"{"delegates":[{"type":"t"}]}"#;
        assert!(conf(delegates).default_networks.is_empty());
    }

    #[test]
    fn a_conf_needs_a_default_network() {
        assert!(matches!(parse("{}", "{}"), Err(Error::NoDefaultNetwork)));
        assert!(matches!(
            parse(r#"{"delegates":[]}"#, "{}"),
            Err(Error::NoDefaultNetwork)
        ));
    }

    #[test]
    fn a_removal_needs_only_the_ledger() {
        let parse = |conf: &str| NetConf::parse_for_removal(conf.as_bytes(), &RawObject::new());
        let wrong = r#"{"name":"n","delegates":"x","cniDir":"/c","LogOptions":"x","binDir":7,
            "capabilities":{"mac":"yes"},"namespaceIsolation":"yes","runtimeConfig":[]}"#;
        let (conf, wrong) = parse(wrong).unwrap();
        assert_eq!(conf.name.unwrap().as_str(), "n");
        assert_eq!(conf.cni_dir, PathBuf::from("/c"));
        assert_eq!(conf.bin_dirs, [PathBuf::from(DEFAULT_BIN_DIR)]);
        assert_eq!(wrong.len(), 7, "{wrong:?}");
        let below = r#"{"clusterNetwork":"a","cniDir":"/c","logoptions":{"maxSize":"x"},
            "runtimeConfig":{"ips":[7]},"systemNamespaces":[7]}"#;
        let (conf, wrong) = parse(below).unwrap();
        assert_eq!(conf.cni_dir, PathBuf::from("/c"));
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        let (conf, wrong) = parse(r#"{"clusterNetwork":"a"}"#).unwrap();
        assert!(matches!(conf.default_network, DefaultNetwork::Cluster(name) if name == "a"));
        assert!(wrong.is_empty());
        assert!(parse(r#"{"clusterNetwork":"a","cniDir":7}"#).is_err());
        assert!(parse("[]").is_err());
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (key, value, expected) in [
            ("clusterNetwork", r#"["a"]"#, "a string"),
            ("delegates", r#"{"type":"t"}"#, "a list of confs"),
            ("defaultNetworks", r#""a""#, "a list of names"),
            ("systemNamespaces", r#""a""#, "a list of names"),
            ("multusNamespace", "7", "a string"),
            ("namespaceIsolation", r#""yes""#, "true or false"),
            ("globalNamespaces", r#"["a"]"#, "a string"),
            ("readinessindicatorfile", "true", "a string"),
            ("binDir", "7", "a string"),
            ("cniDir", "{}", "a string"),
            ("confDir", "[]", "a string"),
            ("capabilities", r#""ips""#, "an object of true and false"),
            ("runtimeConfig", "[]", "the arguments of capabilities"),
            ("retryDeleteOnError", r#""x""#, "true or false"),
            (
                "auxiliaryCNIChainName",
                r#""../x""#,
                "the name of a network",
            ),
            ("kubeconfig", "7", "a path"),
            ("logFile", "7", "a path"),
            ("logLevel", "7", "a log level"),
            ("logToStderr", r#""x""#, "true or false"),
        ] {
            let conf = format!(r#"{{"clusterNetwork":"a","{key}":{value}}}"#);
            let error = parse(&conf, "{}").unwrap_err().to_string();
            // The values themselves may be credentials.
            let found = match value.chars().next() {
                Some('"') => "a string",
                Some('{') => "an object",
                Some('[') => "a list",
                _ => value,
            };
            let wanted = format!("CNI conf: {key}: expected {expected}, found {found}");
            assert_eq!(error, wanted);
        }
    }

    #[test]
    fn a_wrong_member_of_a_value_is_named() {
        for (key, value, expected) in [
            (
                "capabilities",
                r#"{"mac":true,"ips":1}"#,
                ".ips: expected true or false, found 1",
            ),
            (
                "defaultNetworks",
                r#"["a",7]"#,
                "[1]: expected a string, found 7",
            ),
            (
                "runtimeConfig",
                r#"{"ips":"x"}"#,
                ".ips: expected a list, found a string",
            ),
            (
                "runtimeConfig",
                r#"{"bandwidth":[1,2,3,4]}"#,
                ".bandwidth: expected an object, found a list",
            ),
            (
                "runtimeConfig",
                r#"{"portMappings":[{"hostPort":80},{"hostPort":70000}]}"#,
                ".portMappings[1].hostPort: expected a port number up to 65535, found 70000",
            ),
        ] {
            let conf = format!(r#"{{"clusterNetwork":"a","{key}":{value}}}"#);
            let error = parse(&conf, "{}").unwrap_err().to_string();
            assert_eq!(error, format!("CNI conf: {key}{expected}"));
        }
    }
}
