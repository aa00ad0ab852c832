//! Resolves the networks named by conf and pod into a complete plan.

pub(super) mod error;

use cni_types::args::CniArgs;
use serde_json::value::RawValue;

pub use error::Error;

use super::lookups::Lookups;
use super::network_lookup::{self, Network};
use super::{checks, devices};
use crate::conf::net_conf::{DefaultNetwork, NetConf};
use crate::domain::attachment::{Attachment, Plan, device_info_name, interface_at};
use crate::domain::limits::{Limits, Total};
use crate::domain::networks::{Networks, Wanted};
use crate::domain::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, Pod, PodRef};
use crate::domain::runtime_config::RuntimeConfig;
use crate::domain::sandbox::Sandbox;
use crate::domain::selection::{self, Selection};
use crate::ports::DeviceInfo;

/// What node and pod ask for, for the policies.
///
/// # Errors
/// [`Error`] names the pod and what is wrong with its annotations.
pub fn networks(conf: &NetConf, pod: &Pod, limits: &Limits) -> Result<Networks, Error> {
    let selections = selections(pod, limits)?.into_iter();
    let default = own_default_selection(conf, pod, limits)?;
    let of_node = match conf.system_namespaces.contains(&pod.namespace) {
        true => &[],
        false => conf.default_networks.as_slice(),
    };
    let of_node = of_node.iter().cloned().map(Wanted::OfNode);
    let of_pod = selections.map(|selection| Wanted::Selected(Box::new(selection)));
    Ok(Networks {
        default,
        others: of_node.chain(of_pod).collect(),
    })
}

/// The pod's selections, checked against the limits.
///
/// # Errors
/// [`Error`] names the pod and the element.
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

/// Makes the plan: the default network, the others in their order, and the auxiliary chain.
///
/// # Errors
/// [`Error`] names the network and where it was requested.
pub async fn resolve(
    conf: &NetConf,
    sandbox: Sandbox,
    pod: &Pod,
    networks: Networks,
    lookups: Lookups<'_>,
) -> Result<Plan, Error> {
    let Networks { default, others } = networks;
    let mut found = default_networks(conf, pod, default, lookups).await?;
    let first = found.len();
    let selected_positions = first..first + others.len();
    let mut total = Total::default();
    let mut index = 0;
    for wanted in others {
        let selection = match wanted {
            Wanted::Selected(selection) => *selection,
            Wanted::OfNode(name) => {
                let network = configured(conf, "defaultNetworks", &name, lookups).await?;
                found.push((network, Selection::default()));
                continue;
            }
        };
        let network = selected(conf, pod, index, &selection, lookups).await?;
        let checked = lookups.limits.check_total(&mut total, &network.conf);
        checked.map_err(|exceeded| Error::Selected {
            pod: pod.reference(),
            network: selection.network(),
            position: index + 1,
            named_by: selection.named_by.clone(),
            source: network_lookup::Error::RequestLimit(exceeded),
        })?;
        found.push((network, selection));
        index += 1;
        // Reading a conf takes a while; other requests go on between two.
        tokio::task::yield_now().await;
    }
    let auxiliary = network_lookup::auxiliary_chain(conf, lookups.files).map_err(|source| {
        Error::Configured {
            key: "auxiliaryCNIChainName",
            network: conf
                .auxiliary_chain
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            source,
        }
    })?;
    found.extend(auxiliary.map(|chain| (chain, Selection::default())));
    give_devices(&mut found, pod, &sandbox.pod, lookups).await?;
    let attachments = found
        .into_iter()
        .enumerate()
        .map(|(position, (network, selection))| {
            let is_selected = selected_positions.contains(&position);
            let attachment = Attachment {
                selection: is_selected.then(|| position - first),
                ..attachment(conf, &sandbox, position, network, selection)
            };
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

/// The default network of pods that do not replace it.
///
/// # Errors
/// [`Error::Configured`].
pub async fn cluster_network(conf: &NetConf, lookups: Lookups<'_>) -> Result<Network, Error> {
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

/// Like [`cluster_network`], for STATUS and GC: also works while the cluster is unavailable, if a
/// conf on the node has the name.
///
/// # Errors
/// [`Error::Configured`].
pub(crate) async fn known_cluster_network(
    conf: &NetConf,
    lookups: Lookups<'_>,
) -> Result<Network, Error> {
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

pub(super) fn inline(index: usize, text: &RawValue) -> Result<Network, Error> {
    network_lookup::inline(text).map_err(|source| Error::Configured {
        key: "delegates",
        network: format!("element {}", index + 1),
        source,
    })
}

/// The attachment to the cluster's default network, regardless of the pod's annotations.
///
/// # Errors
/// As [`cluster_network`].
pub(crate) async fn default_attachment(
    conf: &NetConf,
    sandbox: &Sandbox,
    lookups: Lookups<'_>,
) -> Result<Attachment, Error> {
    let network = known_cluster_network(conf, lookups).await?;
    Ok(attachment(conf, sandbox, 0, network, Selection::default()))
}

/// The default network and, if the conf has `delegates`, the others of them.
async fn default_networks(
    conf: &NetConf,
    pod: &Pod,
    own: Option<Selection>,
    lookups: Lookups<'_>,
) -> Result<Vec<(Network, Selection)>, Error> {
    let mut networks = vec![cluster_network(conf, lookups).await?];
    if let DefaultNetwork::Delegates(confs) = &conf.default_network {
        for (index, text) in confs.iter().enumerate().skip(1) {
            networks.push(inline(index, text)?);
        }
    }
    let mut networks: Vec<_> = networks
        .into_iter()
        .map(|network| (network, Selection::default()))
        .collect();
    if let Some(own) = own
        && let Some(first) = networks.first_mut()
    {
        *first = default_network(conf, pod, own, lookups).await?;
    }
    Ok(networks)
}

pub(super) async fn configured(
    conf: &NetConf,
    key: &'static str,
    name: &str,
    lookups: Lookups<'_>,
) -> Result<Network, Error> {
    network_lookup::by_reference(name, conf, lookups)
        .await
        .map_err(|source| Error::Configured {
            key,
            network: name.to_owned(),
            source,
        })
}

/// The network that replaces the default one by annotation.
pub(super) async fn own_default_network(
    conf: &NetConf,
    pod: &Pod,
    lookups: Lookups<'_>,
) -> Result<Option<(Network, Selection)>, Error> {
    match own_default_selection(conf, pod, lookups.limits)? {
        Some(selection) => {
            let found = default_network(conf, pod, selection, lookups).await?;
            Ok(Some(found))
        }
        None => Ok(None),
    }
}

/// The annotation that replaces the default network. Its namespace defaults to that of the cluster's
/// own networks.
fn own_default_selection(
    conf: &NetConf,
    pod: &Pod,
    limits: &Limits,
) -> Result<Option<Selection>, Error> {
    let Some(annotation) = pod.default_network_annotation() else {
        return Ok(None);
    };
    let mut selections =
        selection::parse(annotation, &conf.multus_namespace, limits).map_err(|source| {
            Error::Annotation {
                annotation: DEFAULT_NETWORK_ANNOTATION,
                pod: pod.reference(),
                source,
            }
        })?;
    let (Some(selection), true) = (selections.pop(), selections.is_empty()) else {
        return Err(Error::SeveralDefaults(pod.reference()));
    };
    Ok(Some(selection))
}

/// The network that replaces the default one. Its namespace must be one the pod may use.
async fn default_network(
    conf: &NetConf,
    pod: &Pod,
    selection: Selection,
    lookups: Lookups<'_>,
) -> Result<(Network, Selection), Error> {
    let only = std::slice::from_ref(&selection);
    checks::check_namespaces(DEFAULT_NETWORK_ANNOTATION, pod, only, conf)?;
    let found = selected(conf, pod, 0, &selection, lookups).await?;
    Ok((found, selection))
}

/// The network of a selection, with the selection's arguments in its conf.
pub(super) async fn selected(
    conf: &NetConf,
    pod: &Pod,
    index: usize,
    selection: &Selection,
    lookups: Lookups<'_>,
) -> Result<Network, Error> {
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
            Ok(Network { conf, ..found })
        }
        None => Ok(found),
    })
    .map_err(|source| Error::Selected {
        pod: pod.reference(),
        network: selection.network(),
        position: index + 1,
        named_by: selection.named_by.clone(),
        source,
    })
}

/// Assigns devices to the networks, in plan order.
async fn give_devices(
    found: &mut [(Network, Selection)],
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

/// Adds the path of the device-info file, if the attachment may describe a device.
pub(crate) fn with_device_info(
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
    network: Network,
    selection: Selection,
) -> Attachment {
    let is_default = position == 0;
    let if_name = match selection.interface {
        // The runtime decides the name of the pod's first interface.
        _ if is_default => sandbox.if_name.clone(),
        Some(name) => name,
        None => interface_at(position),
    };
    Attachment {
        network: network.name,
        if_name,
        is_default,
        // The cluster's default network is not selected by name.
        is_chosen: is_default && !selection.name.is_empty(),
        selection: None,
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
            // An allocated device overrides the requested one.
            device_id: match &network.device {
                Some(device) => Some(device.id.clone()),
                None => selection.device_id,
            },
            ..RuntimeConfig::default()
        },
        // They describe the pod's first interface.
        args: match is_default {
            true => sandbox.args.clone(),
            false => CniArgs::new(),
        },
        device: network.device,
        device_info_file: None,
        default_route: selection.default_route,
        ipam_claim_reference: selection.ipam_claim_reference,
    }
}
