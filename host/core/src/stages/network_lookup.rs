//! Finds a network's conf: in a NAD, in a file, or inline. Does not change confs, except that a
//! NAD's conf without a name gets the NAD's name.

use std::path::Path;

use cni_types::args::NetworkName;
use cni_types::conf::{self, NetworkConfList, PluginConf};
use cni_types::json::keys::folded;
use cni_types::json::{self, RawObject};
use serde_json::value::RawValue;

use super::lookups::Lookups;
use super::tenant_conf;
use crate::conf::net_conf::{DefaultNetwork, NetConf};
use crate::domain::attachment::Device;
use crate::domain::limits::{Exceeded, Limits};
use crate::domain::nad::{InvalidResource, Nad};
use crate::domain::shim;
use crate::ports::{ClusterError, NodeFiles, NodeFilesError};

/// Why a network's conf could not be found or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster does not have it, or did not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Neither a NAD nor a file has this name.
    #[error(
        "neither a network attachment definition in namespace {namespace:?} nor a conf in {conf_dir:?} has this name"
    )]
    NoWhere {
        /// The namespace searched.
        namespace: String,
        /// The directory searched.
        conf_dir: String,
    },
    /// The NAD's `spec.config` is malformed.
    #[error("spec.config of network attachment definition {nad}")]
    Nad {
        /// `namespace/name`.
        nad: String,
        /// What is wrong with it.
        #[source]
        source: conf::Error,
    },
    /// The NAD's `spec.config` is not a string.
    #[error(
        "spec.config of network attachment definition {nad}: expected a string with JSON, found {found}"
    )]
    NadType {
        /// `namespace/name`.
        nad: String,
        /// Its type.
        found: String,
    },
    /// The NAD's `spec.config` exceeds the limits for confs of the cluster, or is not read alike by
    /// all plugins.
    #[error("spec.config of network attachment definition {nad}")]
    NadLimit {
        /// `namespace/name`.
        nad: String,
        /// What is wrong with it.
        #[source]
        source: tenant_conf::Error,
    },
    /// The NAD's resource annotation is malformed.
    #[error("network attachment definition {nad}")]
    Resource {
        /// `namespace/name`.
        nad: String,
        /// What is wrong with it.
        #[source]
        source: InvalidResource,
    },
    /// A conf inside the CNI conf is malformed.
    #[error("conf")]
    Inline(#[source] conf::Error),
    /// The CNI conf has no delegates.
    #[error("the CNI conf has no delegates")]
    NoDelegates,
    /// A conf file cannot be used.
    #[error(transparent)]
    File(#[from] NodeFilesError),
    /// The auxiliary chain's directory cannot be located.
    #[error("clusterNetwork {0:?} is not a path, and the chain is in the directory of that file")]
    NotAPath(String),
    /// The pod's `cni-args` do not fit the conf.
    #[error("cni-args")]
    CniArgs(#[source] conf::Error),
    /// The pod's `cni-args` exceed the limits, or are not read alike by all plugins.
    #[error("cni-args")]
    CniArgsLimit(#[source] tenant_conf::Error),
    /// The confs of the pod's networks together exceed the limits.
    #[error("the conf, with those of the pod's networks before it")]
    RequestLimit(#[source] Exceeded),
}

/// A network and its conf.
#[derive(Debug, Clone)]
pub struct Network {
    /// The name for network-status.
    pub name: String,
    /// The network's conf.
    pub conf: NetworkConfList,
    /// The resource of which each attachment gets a device.
    pub resource_name: Option<String>,
    /// The device assigned to this attachment; its id is also in the conf.
    pub device: Option<Device>,
}

/// Finds a network referenced by the CNI conf: a NAD in the cluster's own namespace, a conf by
/// name, a directory, or a file.
///
/// # Errors
/// [`Error`].
pub async fn by_reference(
    name: &str,
    conf: &NetConf,
    lookups: Lookups<'_>,
) -> Result<Network, Error> {
    if name.contains('/') {
        return at_path(Path::new(name), conf, lookups.files);
    }
    let namespace = &conf.multus_namespace;
    match lookups.cluster.nad_if_any(namespace, name).await? {
        Some(nad) => of_nad(&nad, &conf.conf_dir, lookups),
        None => by_name(name, conf, lookups.files),
    }
}

/// Like [`by_reference`], for STATUS and GC, for which cached NADs and files on the node suffice.
/// Queries the cluster, or tries the path, only if neither has the name.
///
/// # Errors
/// [`Error`].
pub(crate) async fn known_by_reference(
    name: &str,
    conf: &NetConf,
    lookups: Lookups<'_>,
) -> Result<Network, Error> {
    if let Some(nad) = lookups.cluster.remembered_nad(&conf.multus_namespace, name) {
        return of_nad(&nad, &conf.conf_dir, lookups);
    }
    match by_name(name, conf, lookups.files) {
        Err(Error::NoWhere { .. }) => by_reference(name, conf, lookups).await,
        found => found,
    }
}

fn by_name(name: &str, conf: &NetConf, files: &dyn NodeFiles) -> Result<Network, Error> {
    match files.by_name(&conf.conf_dir, name) {
        Ok(conf) => Ok(named_by_itself(conf)),
        Err(NodeFilesError::NotFound { .. }) => Err(Error::NoWhere {
            namespace: conf.multus_namespace.clone(),
            conf_dir: conf.conf_dir.display().to_string(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Loads a conf file, or the first conf of a directory.
///
/// # Errors
/// [`Error::File`].
pub fn at_path(path: &Path, conf: &NetConf, files: &dyn NodeFiles) -> Result<Network, Error> {
    // A conf that executes the shim is not a network, whatever its file is called.
    let is_network = |file: &Path| {
        let is_shim = |loaded| conf.shims.refuse_in(&loaded).is_err();
        !shim::is_own_conf(file) && !files.file(file).is_ok_and(is_shim)
    };
    let conf = match files.file(path) {
        Err(_) if files.is_dir(path) => files.first(path, &is_network)?,
        loaded => loaded?,
    };
    Ok(named_by_itself(conf))
}

fn named_by_itself(conf: NetworkConfList) -> Network {
    Network {
        name: conf.name().to_string(),
        conf,
        resource_name: None,
        device: None,
    }
}

/// Parses a conf inside the CNI conf.
///
/// # Errors
/// [`Error::Inline`].
pub fn inline(text: &RawValue) -> Result<Network, Error> {
    NetworkConfList::parse_any(text.get())
        .map(named_by_itself)
        .map_err(Error::Inline)
}

/// Finds a NAD. Without `spec.config`, the conf file with the NAD's name is used.
///
/// # Errors
/// [`Error`].
pub async fn nad(
    lookups: Lookups<'_>,
    namespace: &str,
    name: &str,
    conf_dir: &Path,
) -> Result<Network, Error> {
    let nad = lookups.cluster.nad(namespace, name).await?;
    of_nad(&nad, conf_dir, lookups)
}

fn of_nad(nad: &Nad, conf_dir: &Path, lookups: Lookups<'_>) -> Result<Network, Error> {
    let resource_name = nad.resource_name().map_err(|source| Error::Resource {
        nad: format!("{}/{}", nad.namespace, nad.name),
        source,
    })?;
    let resource_name = resource_name.map(ToOwned::to_owned);
    check_type(nad)?;
    let conf = match &nad.config {
        Some(text) => {
            let exceeded = |source| Error::NadLimit {
                nad: format!("{}/{}", nad.namespace, nad.name),
                source,
            };
            let limits = lookups.limits;
            tenant_conf::check(limits, text.as_bytes()).map_err(exceeded)?;
            let conf = conf_of_nad(nad, text)?;
            let checked = limits.check_plugins(&conf);
            checked
                .map_err(tenant_conf::Error::from)
                .map_err(exceeded)?;
            tenant_conf::canonical(conf).map_err(|source| Error::Nad {
                nad: format!("{}/{}", nad.namespace, nad.name),
                source,
            })?
        }
        None => lookups.files.by_name(conf_dir, &nad.name)?,
    };
    Ok(Network {
        name: format!("{}/{}", nad.namespace, nad.name),
        conf,
        resource_name,
        device: None,
    })
}

fn check_type(nad: &Nad) -> Result<(), Error> {
    match &nad.mistyped_config {
        Some(found) => Err(Error::NadType {
            nad: format!("{}/{}", nad.namespace, nad.name),
            found: found.clone(),
        }),
        None => Ok(()),
    }
}

/// The conf in a NAD, if it is one that a pod could be attached with.
pub(crate) fn usable_conf(nad: &Nad, limits: &Limits) -> Option<NetworkConfList> {
    let text = nad.config.as_deref()?;
    limits.check_conf(text).ok()?;
    conf_of_nad(nad, text).ok()
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
        // Includes a name of the wrong type, which the parser rejects with key and value.
        return parsed.map_err(error);
    }
    raw.set("name", &nad.name)
        .map_err(|source| error(conf::Error::Json(source)))?;
    NetworkConfList::parse_any(raw.to_string()).map_err(error)
}

/// The auxiliary chain: the plugins in the directory of its name, next to the cluster network's
/// file. `None` if there are none, or no chain is configured.
///
/// # Errors
/// [`Error`].
pub fn auxiliary_chain(conf: &NetConf, files: &dyn NodeFiles) -> Result<Option<Network>, Error> {
    let Some(name) = &conf.auxiliary_chain else {
        return Ok(None);
    };
    let dir = auxiliary_dir(conf)?;
    // The first plugin gives the others an initial result, as in Multus' chain.
    let bare = passthru_list(conf, name).map_err(Error::Inline)?;
    let chain = files.with_plugins_beside(bare, dir)?;
    let is_empty = chain.plugins().len() == 1;
    Ok((!is_empty).then(|| named_by_itself(chain)))
}

fn passthru_list(conf: &NetConf, name: &NetworkName) -> Result<NetworkConfList, conf::Error> {
    let mut passthru = RawObject::new();
    let mut list = RawObject::new();
    let filled = passthru
        .set("type", "passthru")
        .and_then(|()| passthru.set("name", "passthru-cni"))
        .and_then(|()| list.set("cniVersion", conf.cni_version.as_str()))
        .and_then(|()| list.set("name", name.as_str()))
        .and_then(|()| list.set("plugins", &[&passthru]));
    filled.map_err(conf::Error::Json)?;
    NetworkConfList::list_of(list)
}

/// The directory of the cluster network's file.
fn auxiliary_dir(conf: &NetConf) -> Result<&Path, Error> {
    match &conf.default_network {
        DefaultNetwork::Cluster(path) if path.contains('/') => {
            Ok(Path::new(path).parent().unwrap_or(Path::new("/")))
        }
        DefaultNetwork::Cluster(other) => Err(Error::NotAPath(other.clone())),
        DefaultNetwork::Delegates(_) => Err(Error::NotAPath(String::new())),
    }
}

/// Like [`with_cni_args`], for a tenant's `args`.
///
/// # Errors
/// [`Error::CniArgsLimit`], before anything is merged; [`Error::CniArgs`].
pub(crate) fn with_cni_args_within(
    limits: &Limits,
    conf: &NetworkConfList,
    args: &RawObject,
) -> Result<NetworkConfList, Error> {
    let checked = tenant_conf::check_args(limits, args, conf.plugins().len());
    checked.map_err(Error::CniArgsLimit)?;
    with_cni_args(conf, args)
}

/// Merges `args` into `args.cni` of each plugin (CNI conventions, `args` in network config).
///
/// # Errors
/// [`Error::CniArgs`] if `args` in the conf is not an object.
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
    let same: Vec<String> = (inner.iter().map(|(key, _)| key))
        .filter(|key| {
            args.iter()
                .any(|(arg, _)| arg != *key && folded(arg) == folded(key))
        })
        .map(ToOwned::to_owned)
        .collect();
    for key in &same {
        inner.remove(key);
    }
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
    fn nameless_conf_gets_the_nad_name() {
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
    fn a_conf_that_is_not_a_string_is_refused() {
        let nad = Nad {
            namespace: "default".into(),
            name: "n".into(),
            mistyped_config: Some("an object".into()),
            ..Nad::default()
        };
        let error = check_type(&nad).unwrap_err().to_string();
        assert_eq!(
            error,
            "spec.config of network attachment definition default/n: expected a string with JSON, found an object"
        );
        check_type(&Nad::default()).unwrap();
    }

    #[test]
    fn auxiliary_chain_needs_cluster_network_path() {
        let conf = r#"{"clusterNetwork":"nad","auxiliaryCNIChainName":"aux"}"#;
        let conf = NetConf::of_daemon(&RawObject::parse(conf).unwrap()).unwrap();
        assert!(matches!(auxiliary_dir(&conf), Err(Error::NotAPath(_))));
        let conf = r#"{"auxiliaryCNIChainName":"../aux"}"#;
        assert!(NetConf::of_daemon(&RawObject::parse(conf).unwrap()).is_err());
    }

    #[test]
    fn cni_args_are_merged_into_every_plugin() {
        let conf = nad_conf(
            r#"{"name":"n","plugins":[{"type":"a","args":{"cni":{"x":1,"y":2}}},{"type":"b"}]}"#,
        )
        .unwrap();
        let other_case = RawObject::parse(r#"{"Y":3}"#).unwrap();
        let merged = with_cni_args(&conf, &other_case).unwrap();
        assert!(merged.text().contains(r#"{"cni":{"x":1,"Y":3}}"#));
        let args = RawObject::parse(r#"{"y":12345678901234567890}"#).unwrap();
        let merged = with_cni_args(&conf, &args).unwrap();
        assert_eq!(
            merged.text(),
            r#"{"name":"n","plugins":[{"type":"a","args":{"cni":{"x":1,"y":12345678901234567890}}},{"type":"b","args":{"cni":{"y":12345678901234567890}}}]}"#
        );
    }
}
