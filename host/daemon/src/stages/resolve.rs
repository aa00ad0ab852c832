//! Resolving: from what the conf and the pod name to a plan that says everything.

use libcni::load::Files;
use serde_json::value::RawValue;

use super::network_lookup::{self, Found};
use super::{checks, devices};
use crate::config::net_conf::{DefaultNetwork, NetConf};
use crate::domain::attachment::{Attachment, Plan, device_info_name, interface_at};
use crate::domain::limits::Limits;
use crate::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, Pod, PodRef};
use crate::domain::runtime_config::RuntimeConfig;
use crate::domain::sandbox::Sandbox;
use crate::domain::selection::{self, Selection};
use crate::ports::{Cluster, DeviceInfo, Devices};

/// Why there is no plan. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An annotation of the pod is not understood.
    #[error("annotation {annotation} of pod {pod}")]
    Annotation {
        /// Name of the annotation.
        annotation: &'static str,
        /// The pod.
        pod: PodRef,
        /// What is wrong with it.
        #[source]
        source: selection::Error,
    },
    /// The pod replaces the default network by several, or by none.
    #[error("annotation {DEFAULT_NETWORK_ANNOTATION} of pod {0}: it must name one network")]
    SeveralDefaults(PodRef),
    /// The pod may not use a network of that namespace.
    #[error(
        "annotation {annotation} of pod {pod}: network {network} is in another namespace, and namespaces are isolated"
    )]
    Isolated {
        /// Name of the annotation.
        annotation: &'static str,
        /// The pod.
        pod: PodRef,
        /// `namespace/name`.
        network: String,
    },
    /// A network that the pod asks for cannot be used.
    #[error("pod {pod}: network {network:?} (element {position} of its networks)")]
    Selected {
        /// The pod.
        pod: PodRef,
        /// `namespace/name`.
        network: String,
        /// Which element, from 1.
        position: usize,
        /// Why.
        #[source]
        source: network_lookup::Error,
    },
    /// A network that the CNI conf names cannot be used.
    #[error("{key} {network:?}")]
    Configured {
        /// `clusterNetwork`, `defaultNetworks` or `delegates`.
        key: &'static str,
        /// What the conf names.
        network: String,
        /// Why.
        #[source]
        source: network_lookup::Error,
    },
    /// A network needs a device and it is not known which.
    #[error("pod {pod}: device of network {network:?} (resource {resource:?})")]
    Device {
        /// The pod.
        pod: PodRef,
        /// As network-status calls it.
        network: String,
        /// The resource that its definition names.
        resource: String,
        /// Why.
        #[source]
        source: Box<devices::Error>,
    },
    /// The file of the attachment's result would have a name that is too long.
    #[error(
        "network {network:?}: name {name:?} of its conf is too long: the file of its result would have a name of {bytes} bytes, at most {} are possible",
        checks::MAX_FILE_NAME
    )]
    LongName {
        /// The network.
        network: String,
        /// `name` of its conf, shortened.
        name: String,
        /// Length of the file's name.
        bytes: usize,
    },
    /// Two attachments want one interface.
    #[error("pod {pod}: networks {first:?} and {second:?} both want interface {interface}")]
    SameInterface {
        /// The pod.
        pod: PodRef,
        /// The first network.
        first: String,
        /// The second one.
        second: String,
        /// The interface.
        interface: String,
    },
}

/// What the pod asks for beside the default network, checked against namespace isolation.
///
/// # Errors
/// [`Error`] names pod and element.
pub fn selections(pod: &Pod, limits: &Limits) -> Result<Vec<Selection>, Error> {
    let Some(annotation) = pod.networks_annotation() else {
        return Ok(Vec::new());
    };
    selection::parse(annotation, &pod.namespace, limits).map_err(|source| Error::Annotation {
        annotation: NETWORKS_ANNOTATION,
        pod: pod.reference(),
        source,
    })
}

/// Who is asked for what a plan is made of.
#[derive(Clone, Copy)]
pub struct Lookups<'a> {
    /// Pods and networks.
    pub cluster: &'a dyn Cluster,
    /// What was allocated to pods.
    pub devices: &'a dyn Devices,
    /// Where devices are described.
    pub device_info: &'a dyn DeviceInfo,
    /// Confs that are files of the node.
    pub files: &'a Files,
    /// How large the wishes of tenants may be.
    pub limits: &'a Limits,
}

/// Makes the plan: the default network, the networks that every pod gets, the pod's own, and the
/// auxiliary chain, in this order.
///
/// # Errors
/// [`Error`] names the network and where it is asked for.
pub async fn resolve(
    conf: &NetConf,
    sandbox: Sandbox,
    pod: &Pod,
    selections: Vec<Selection>,
    lookups: Lookups<'_>,
) -> Result<Plan, Error> {
    let mut found = default_networks(conf, pod, lookups).await?;
    for (index, selection) in selections.into_iter().enumerate() {
        let network = selected(conf, pod, index, &selection, lookups).await?;
        found.push((network, selection));
    }
    let auxiliary = network_lookup::auxiliary_chain(conf).map_err(|source| Error::Configured {
        key: "auxiliaryCNIChainName",
        network: conf
            .auxiliary_chain
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        source,
    })?;
    found.extend(auxiliary.map(|chain| (chain, Selection::default())));
    give_devices(&mut found, pod, &sandbox.pod, lookups).await?;
    let attachments = found
        .into_iter()
        .enumerate()
        .map(|(position, (network, selection))| {
            let attachment = attachment(conf, &sandbox, position, network, selection);
            with_device_info(attachment, &sandbox, lookups.device_info)
        })
        .collect();
    let plan = Plan {
        sandbox,
        attachments,
    };
    checks::check_interfaces(&plan)?;
    Ok(plan)
}

/// The default network of pods that name no other.
///
/// # Errors
/// [`Error::Configured`].
pub async fn cluster_network(conf: &NetConf, lookups: Lookups<'_>) -> Result<Found, Error> {
    match &conf.default_network {
        DefaultNetwork::Cluster(name) => configured(conf, "clusterNetwork", name, lookups).await,
        DefaultNetwork::Delegates(confs) => match confs.first() {
            Some(text) => inline(0, text),
            None => Err(Error::Configured {
                key: "delegates",
                network: String::new(),
                source: network_lookup::Error::NoDelegates,
            }),
        },
    }
}

/// The same for STATUS and GC: also while the cluster gives no answer, where a conf on the node has the
/// name.
///
/// # Errors
/// [`Error::Configured`].
pub async fn known_cluster_network(conf: &NetConf, lookups: Lookups<'_>) -> Result<Found, Error> {
    match &conf.default_network {
        DefaultNetwork::Cluster(name) => {
            let found = network_lookup::known_by_reference(name, conf, lookups).await;
            found.map_err(|source| Error::Configured {
                key: "clusterNetwork",
                network: name.clone(),
                source,
            })
        }
        DefaultNetwork::Delegates(_) => cluster_network(conf, lookups).await,
    }
}

pub(super) fn inline(index: usize, text: &RawValue) -> Result<Found, Error> {
    network_lookup::inline(text).map_err(|source| Error::Configured {
        key: "delegates",
        network: format!("element {}", index + 1),
        source,
    })
}

/// The attachment to the default network, whatever the pod asks for.
///
/// # Errors
/// As [`cluster_network`].
pub async fn default_attachment(
    conf: &NetConf,
    sandbox: &Sandbox,
    lookups: Lookups<'_>,
) -> Result<Attachment, Error> {
    let network = known_cluster_network(conf, lookups).await?;
    Ok(attachment(conf, sandbox, 0, network, Selection::default()))
}

/// The networks that the conf names, the pod's default network first.
async fn default_networks(
    conf: &NetConf,
    pod: &Pod,
    lookups: Lookups<'_>,
) -> Result<Vec<(Found, Selection)>, Error> {
    let mut networks = vec![cluster_network(conf, lookups).await?];
    if let DefaultNetwork::Delegates(confs) = &conf.default_network {
        for (index, text) in confs.iter().enumerate().skip(1) {
            networks.push(inline(index, text)?);
        }
    }
    if !conf.system_namespaces.contains(&pod.namespace) {
        for name in &conf.default_networks {
            networks.push(configured(conf, "defaultNetworks", name, lookups).await?);
        }
    }
    let mut networks: Vec<_> = networks
        .into_iter()
        .map(|network| (network, Selection::default()))
        .collect();
    if let Some(own) = own_default_network(conf, pod, lookups).await?
        && let Some(first) = networks.first_mut()
    {
        *first = own;
    }
    Ok(networks)
}

pub(super) async fn configured(
    conf: &NetConf,
    key: &'static str,
    name: &str,
    lookups: Lookups<'_>,
) -> Result<Found, Error> {
    network_lookup::by_reference(name, conf, lookups)
        .await
        .map_err(|source| Error::Configured {
            key,
            network: name.to_owned(),
            source,
        })
}

/// The network by which the pod's annotation replaces the cluster's default one. It must be in the
/// namespace of the cluster's own networks unless it says otherwise, and in one that the pod may use.
pub(super) async fn own_default_network(
    conf: &NetConf,
    pod: &Pod,
    lookups: Lookups<'_>,
) -> Result<Option<(Found, Selection)>, Error> {
    let Some(annotation) = pod.default_network_annotation() else {
        return Ok(None);
    };
    let mut selections = selection::parse(annotation, &conf.multus_namespace, lookups.limits)
        .map_err(|source| Error::Annotation {
            annotation: DEFAULT_NETWORK_ANNOTATION,
            pod: pod.reference(),
            source,
        })?;
    let (Some(selection), true) = (selections.pop(), selections.is_empty()) else {
        return Err(Error::SeveralDefaults(pod.reference()));
    };
    let only = std::slice::from_ref(&selection);
    checks::check_namespaces(DEFAULT_NETWORK_ANNOTATION, pod, only, conf)?;
    let found = selected(conf, pod, 0, &selection, lookups).await?;
    Ok(Some((found, selection)))
}

/// The network that a selection of the pod names, with the selection's arguments in its conf.
pub(super) async fn selected(
    conf: &NetConf,
    pod: &Pod,
    index: usize,
    selection: &Selection,
    lookups: Lookups<'_>,
) -> Result<Found, Error> {
    network_lookup::nad(
        lookups,
        &selection.namespace,
        &selection.name,
        &conf.conf_dir,
    )
    .await
    .and_then(|found| match &selection.cni_args {
        Some(args) => {
            let conf = network_lookup::with_cni_args_within(lookups.limits, &found.conf, args)?;
            Ok(Found { conf, ..found })
        }
        None => Ok(found),
    })
    .map_err(|source| Error::Selected {
        pod: pod.reference(),
        network: selection.network(),
        position: index + 1,
        source,
    })
}

/// Gives devices to the networks, in the order of the plan.
async fn give_devices(
    found: &mut [(Found, Selection)],
    pod: &Pod,
    pod_ref: &PodRef,
    lookups: Lookups<'_>,
) -> Result<(), Error> {
    let networks = found.iter_mut().map(|(network, _)| network).collect();
    let given = devices::assign(networks, pod, pod_ref, lookups.devices, lookups.cluster).await;
    given.map_err(|(position, source)| {
        let network = found.get(position).map(|(network, _)| network);
        Error::Device {
            pod: pod_ref.clone(),
            network: network.map(|one| one.name.clone()).unwrap_or_default(),
            resource: network
                .and_then(|one| one.resource_name.clone())
                .unwrap_or_default(),
            source: Box::new(source),
        }
    })
}

/// The attachment with the path at which its device is described, where something may be said of it.
pub fn with_device_info(
    attachment: Attachment,
    sandbox: &Sandbox,
    files: &dyn DeviceInfo,
) -> Attachment {
    if !attachment.describes_device() {
        return attachment;
    }
    let Attachment {
        network, if_name, ..
    } = &attachment;
    let name = device_info_name(network, &sandbox.container_id, if_name);
    Attachment {
        device_info_file: Some(files.path(&name)),
        ..attachment
    }
}

pub(super) fn attachment(
    conf: &NetConf,
    sandbox: &Sandbox,
    position: usize,
    network: Found,
    selection: Selection,
) -> Attachment {
    let is_default = position == 0;
    let if_name = match selection.interface {
        // The runtime's word on the pod's first interface is final.
        _ if is_default => sandbox.if_name.clone(),
        Some(name) => name,
        None => interface_at(position),
    };
    Attachment {
        network: network.name,
        if_name,
        is_default,
        conf: network.conf,
        base: match is_default {
            true => conf.runtime_config.clone(),
            false => conf.runtime_config.clone().of_known_capabilities(),
        },
        request: RuntimeConfig {
            port_mappings: selection.port_mappings,
            bandwidth: selection.bandwidth,
            ips: selection.ips,
            mac: selection.mac,
            infiniband_guid: selection.infiniband_guid,
            // What the kubelet allocated is what there is.
            device_id: match &network.device {
                Some(device) => Some(device.id.clone()),
                None => selection.device_id,
            },
            ..RuntimeConfig::default()
        },
        device: network.device,
        device_info_file: None,
        default_route: selection.default_route,
        ipam_claim_reference: selection.ipam_claim_reference,
    }
}
