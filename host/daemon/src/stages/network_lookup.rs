//! Where a network's conf is: in a network attachment definition, in a file, or inline. Nothing of
//! a conf is changed here but that a NAD's conf without a name gets that of the NAD.

use std::path::Path;

use cni_types::conf::{self, NetworkConfList, PluginConf};
use cni_types::json::{self, RawObject};
use libcni::load::Files;
use serde_json::value::RawValue;

use super::resolve::Lookups;
use crate::config::conf_file;
use crate::config::net_conf::{DefaultNetwork, NetConf};
use crate::domain::attachment::Device;
use crate::domain::limits::{Exceeded, Limits};
use crate::domain::nad::{InvalidResource, Nad};
use crate::ports::ClusterError;

/// Why there is no conf of a network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster has none, or gave no answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Neither a NAD nor a file has this name.
    #[error(
        "neither a network attachment definition in namespace {namespace:?} nor a conf in {conf_dir:?} has this name"
    )]
    NoWhere {
        /// Namespace that was searched.
        namespace: String,
        /// Directory that was searched.
        conf_dir: String,
    },
    /// The NAD's `spec.config` cannot be used.
    #[error("spec.config of network attachment definition {nad}")]
    Nad {
        /// `namespace/name`.
        nad: String,
        /// What is wrong with it.
        #[source]
        source: conf::Error,
    },
    /// The NAD's `spec.config` is larger than confs of the cluster may be.
    #[error("spec.config of network attachment definition {nad}")]
    NadLimit {
        /// `namespace/name`.
        nad: String,
        /// Which limit.
        #[source]
        source: Exceeded,
    },
    /// The NAD does not name a resource where it should.
    #[error("network attachment definition {nad}")]
    Resource {
        /// `namespace/name`.
        nad: String,
        /// What is wrong with it.
        #[source]
        source: InvalidResource,
    },
    /// A conf that stands in the CNI conf cannot be used.
    #[error("conf")]
    Inline(#[source] conf::Error),
    /// The CNI conf has no delegates.
    #[error("the CNI conf has no delegates")]
    NoDelegates,
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] libcni::load::Error),
    /// The auxiliary chain has no directory to be in.
    #[error("clusterNetwork {0:?} is no path, and the chain is looked for beside that file")]
    NotAPath(String),
    /// The pod's `cni-args` do not fit the conf.
    #[error("cni-args")]
    CniArgs(#[source] conf::Error),
    /// The pod's `cni-args` add more to the conf than they may.
    #[error("cni-args")]
    CniArgsLimit(#[source] Exceeded),
}

/// A network that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What network-status calls it.
    pub name: String,
    /// Its conf.
    pub conf: NetworkConfList,
    /// The resource of which each attachment is given a device.
    pub resource_name: Option<String>,
    /// The device that this one was given; the conf has its id.
    pub device: Option<Device>,
}

/// Finds a network that the CNI conf refers to: the name of a NAD in the cluster's own namespace,
/// the name of a conf, a directory, or a file.
///
/// # Errors
/// [`Error`].
pub async fn by_reference(
    name: &str,
    conf: &NetConf,
    lookups: Lookups<'_>,
) -> Result<Found, Error> {
    if name.contains('/') {
        return at_path(Path::new(name), conf, lookups.files);
    }
    let namespace = &conf.multus_namespace;
    match lookups.cluster.nad_if_any(namespace, name).await? {
        Some(nad) => of_nad(&nad, &conf.conf_dir, lookups.limits),
        None => by_name(name, conf),
    }
}

/// The same for STATUS and GC, which need no answer of the cluster: what is in memory or on the node is
/// good enough. Only where neither has the name the cluster is asked, or the path looked at.
///
/// # Errors
/// [`Error`].
pub async fn known_by_reference(
    name: &str,
    conf: &NetConf,
    lookups: Lookups<'_>,
) -> Result<Found, Error> {
    if let Some(nad) = lookups.cluster.remembered_nad(&conf.multus_namespace, name) {
        return of_nad(&nad, &conf.conf_dir, lookups.limits);
    }
    match by_name(name, conf) {
        Err(Error::NoWhere { .. }) => by_reference(name, conf, lookups).await,
        found => found,
    }
}

fn by_name(name: &str, conf: &NetConf) -> Result<Found, Error> {
    match libcni::load::by_name(&conf.conf_dir, name) {
        Ok(conf) => Ok(named_by_itself(conf)),
        Err(libcni::load::Error::NotFound { broken, .. }) if broken.is_empty() => {
            Err(Error::NoWhere {
                namespace: conf.multus_namespace.clone(),
                conf_dir: conf.conf_dir.display().to_string(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn at_path(path: &Path, conf: &NetConf, files: &Files) -> Result<Found, Error> {
    // A conf that executes the shim is not a network, whatever its file is called.
    let is_network = |file: &Path| {
        let is_shim = |loaded| conf.shims.refuse_in(&loaded).is_err();
        !conf_file::is_own(file) && !libcni::load::file(file).is_ok_and(is_shim)
    };
    let conf = match files.file(path) {
        Err(_) if path.is_dir() => libcni::load::default_network(path, is_network)?.1,
        loaded => loaded?,
    };
    Ok(named_by_itself(conf))
}

fn named_by_itself(conf: NetworkConfList) -> Found {
    Found {
        name: conf.name().to_string(),
        conf,
        resource_name: None,
        device: None,
    }
}

/// Takes a conf that stands in the CNI conf itself.
///
/// # Errors
/// [`Error::Inline`].
pub fn inline(text: &RawValue) -> Result<Found, Error> {
    NetworkConfList::parse_any(text.get())
        .map(named_by_itself)
        .map_err(Error::Inline)
}

/// Finds a NAD. One without `spec.config` means the file that has its name.
///
/// # Errors
/// [`Error`].
pub async fn nad(
    lookups: Lookups<'_>,
    namespace: &str,
    name: &str,
    conf_dir: &Path,
) -> Result<Found, Error> {
    let nad = lookups.cluster.nad(namespace, name).await?;
    of_nad(&nad, conf_dir, lookups.limits)
}

fn of_nad(nad: &Nad, conf_dir: &Path, limits: &Limits) -> Result<Found, Error> {
    let resource_name = nad.resource_name().map_err(|source| Error::Resource {
        nad: format!("{}/{}", nad.namespace, nad.name),
        source,
    })?;
    let resource_name = resource_name.map(ToOwned::to_owned);
    let conf = match &nad.config {
        Some(text) => {
            let exceeded = |source| Error::NadLimit {
                nad: format!("{}/{}", nad.namespace, nad.name),
                source,
            };
            limits.check_conf(text).map_err(exceeded)?;
            let conf = conf_of_nad(nad, text)?;
            limits.check_plugins(&conf).map_err(exceeded)?;
            conf
        }
        None => libcni::load::by_name(conf_dir, &nad.name)?,
    };
    Ok(Found {
        name: format!("{}/{}", nad.namespace, nad.name),
        conf,
        resource_name,
        device: None,
    })
}

fn conf_of_nad(nad: &Nad, text: &str) -> Result<NetworkConfList, Error> {
    let error = |source| Error::Nad {
        nad: format!("{}/{}", nad.namespace, nad.name),
        source,
    };
    let has_name = |raw: &RawObject| {
        let name = raw.get_as::<String>("name").ok().flatten();
        name.is_some_and(|name| !name.is_empty())
    };
    let parsed = NetworkConfList::parse_any(text);
    if let Ok(conf) = parsed.as_ref()
        && has_name(conf.raw())
    {
        return parsed.map_err(error);
    }
    let mut raw = RawObject::parse(text).map_err(|source| error(conf::Error::Json(source)))?;
    if has_name(&raw)
        || raw
            .get("name")
            .is_some_and(|value| !value.get().starts_with('"'))
    {
        // Also a name of another type, which the parser refuses with the key and the value.
        return parsed.map_err(error);
    }
    raw.set("name", &nad.name)
        .map_err(|source| error(conf::Error::Json(source)))?;
    NetworkConfList::parse_any(raw.to_string()).map_err(error)
}

/// The auxiliary chain: the plugins of the directory that has its name, beside the file of the
/// cluster network. `None` where there are none, or nobody asks for it.
///
/// # Errors
/// [`Error`].
pub fn auxiliary_chain(conf: &NetConf) -> Result<Option<Found>, Error> {
    let Some(name) = &conf.auxiliary_chain else {
        return Ok(None);
    };
    let beside = match &conf.default_network {
        DefaultNetwork::Cluster(path) if path.contains('/') => Path::new(path).parent(),
        DefaultNetwork::Cluster(other) => return Err(Error::NotAPath(other.clone())),
        DefaultNetwork::Delegates(_) => return Err(Error::NotAPath(String::new())),
    };
    // The first plugin gives the others a result to begin with, as Multus' chain does.
    let text = serde_json::json!({
        "cniVersion": conf.cni_version.as_str(),
        "name": name,
        "plugins": [{ "type": "passthru", "name": "passthru-cni" }],
    });
    let bare = NetworkConfList::parse_list(text.to_string()).map_err(Error::Inline)?;
    let chain = libcni::load::with_plugins_beside(bare, beside.unwrap_or(Path::new("/")))?;
    let is_empty = chain.plugins().len() == 1;
    Ok((!is_empty).then(|| named_by_itself(chain)))
}

/// As [`with_cni_args`], for `args` of a tenant.
///
/// # Errors
/// [`Error::CniArgsLimit`], before anything is merged; [`Error::CniArgs`].
pub fn with_cni_args_within(
    limits: &Limits,
    conf: &NetworkConfList,
    args: &RawObject,
) -> Result<NetworkConfList, Error> {
    let checked = limits.check_cni_args(args, conf.plugins().len());
    checked.map_err(Error::CniArgsLimit)?;
    with_cni_args(conf, args)
}

/// The conf with `args` merged into `args.cni` of each plugin (CNI conventions, `args` in network
/// config).
///
/// # Errors
/// [`Error::CniArgs`] when `args` of the conf is no object.
pub fn with_cni_args(conf: &NetworkConfList, args: &RawObject) -> Result<NetworkConfList, Error> {
    let plugins = conf
        .plugins()
        .iter()
        .map(|plugin| {
            let raw = merge_cni_args(plugin.raw(), args).map_err(conf::Error::Json)?;
            PluginConf::from_raw(raw)
        })
        .collect::<Result<Vec<_>, conf::Error>>()
        .map_err(Error::CniArgs)?;
    conf.with_plugins(plugins).map_err(Error::CniArgs)
}

fn merge_cni_args(plugin: &RawObject, args: &RawObject) -> Result<RawObject, json::Error> {
    let mut outer: RawObject = plugin.get_as("args")?.unwrap_or_default();
    let mut inner: RawObject = outer.get_as("cni")?.unwrap_or_default();
    inner.extend(args.iter().map(|(key, value)| (key, value.to_owned())));
    outer.set("cni", &inner)?;
    let mut plugin = plugin.clone();
    plugin.set("args", &outer)?;
    Ok(plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nad_conf(text: &str) -> Result<NetworkConfList, Error> {
        conf_of_nad(
            &Nad {
                namespace: "default".into(),
                name: "n".into(),
                ..Nad::default()
            },
            text,
        )
    }

    #[test]
    fn a_conf_without_a_name_gets_that_of_its_nad_and_keeps_every_byte() {
        let conf =
            nad_conf(r#"{"cniVersion": "1.0.0",  "type":"t","big":12345678901234567890}"#).unwrap();
        assert_eq!(conf.name().as_str(), "n");
        assert!(conf.text().contains("12345678901234567890"));
        let text = r#"{ "cniVersion": "1.0.0", "name":"own", "type":"t" }"#;
        assert_eq!(nad_conf(text).unwrap().text(), text);
    }

    #[test]
    fn a_conf_that_is_wrong_is_named() {
        assert!(
            nad_conf("{not json")
                .unwrap_err()
                .to_string()
                .contains("default/n")
        );
        assert!(nad_conf(r#"{"name":"n"}"#).is_err());
        assert!(nad_conf(r#"{"name":7,"type":"t"}"#).is_err());
    }

    #[test]
    fn of_a_directory_the_first_conf_is_taken_but_never_our_own() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, network: &str| {
            let text = format!(r#"{{"cniVersion":"1.0.0","name":"{network}","type":"t"}}"#);
            std::fs::write(dir.path().join(name), text).unwrap();
        };
        let own = RawObject::parse(r#"{"type":"own"}"#).unwrap();
        let conf = NetConf::of_daemon(&own).unwrap();
        let name = || at_path(dir.path(), &conf, &Files::default()).unwrap().name;
        write("00-multus.conf", "ours");
        write("20-b.json", "b");
        assert_eq!(name(), "b");
        write("10-a.conf", "a");
        assert_eq!(name(), "a");
        std::fs::write(dir.path().join("05-broken.conflist"), "{").unwrap();
        assert_eq!(name(), "a");
        for (file, shim) in [("06-old.conf", "multus"), ("07-copy.conf", "own")] {
            let text = format!(r#"{{"cniVersion":"1.0.0","name":"x","type":"{shim}"}}"#);
            std::fs::write(dir.path().join(file), text).unwrap();
            assert_eq!(name(), "a");
        }
    }

    #[test]
    fn the_auxiliary_chain_is_the_directory_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let text = format!(
            r#"{{"cniVersion":"1.0.0","clusterNetwork":"{at}/10-a.conf","auxiliaryCNIChainName":"aux"}}"#
        );
        let conf = NetConf::of_daemon(&RawObject::parse(text).unwrap()).unwrap();
        assert!(auxiliary_chain(&conf).unwrap().is_none(), "without plugins");
        std::fs::create_dir(dir.path().join("aux")).unwrap();
        let plugin = r#"{"type":"tuning","sysctl":{"a":"1"}}"#;
        std::fs::write(dir.path().join("aux/10-tuning.conf"), plugin).unwrap();
        let found = auxiliary_chain(&conf).unwrap().unwrap();
        assert_eq!(found.name, "aux");
        let types: Vec<_> = found
            .conf
            .plugins()
            .iter()
            .map(|p| p.plugin_type().as_str())
            .collect();
        assert_eq!(types, ["passthru", "tuning"]);
        assert!(found.conf.text().contains(plugin), "{}", found.conf.text());
    }

    #[test]
    fn the_auxiliary_chain_needs_a_cluster_network_that_is_a_file() {
        let conf = r#"{"clusterNetwork":"nad","auxiliaryCNIChainName":"aux"}"#;
        let conf = NetConf::of_daemon(&RawObject::parse(conf).unwrap()).unwrap();
        assert!(matches!(auxiliary_chain(&conf), Err(Error::NotAPath(_))));
        let conf = r#"{"auxiliaryCNIChainName":"../aux"}"#;
        assert!(NetConf::of_daemon(&RawObject::parse(conf).unwrap()).is_err());
    }

    #[test]
    fn cni_args_are_merged_into_every_plugin() {
        let conf = nad_conf(
            r#"{"name":"n","plugins":[{"type":"a","args":{"cni":{"x":1,"y":2}}},{"type":"b"}]}"#,
        )
        .unwrap();
        let args = RawObject::parse(r#"{"y":12345678901234567890}"#).unwrap();
        let merged = with_cni_args(&conf, &args).unwrap();
        assert_eq!(
            merged.text(),
            r#"{"name":"n","plugins":[{"type":"a","args":{"cni":{"x":1,"y":12345678901234567890}}},{"type":"b","args":{"cni":{"y":12345678901234567890}}}]}"#
        );
    }
}
