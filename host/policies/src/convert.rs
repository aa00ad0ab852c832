//! Converts between the daemon's types and the engine's. Members that policies cannot see are
//! carried over from the original, so that a round trip loses nothing.

use std::net::IpAddr;

use cni_types::address::{self, parse_cidr, parse_ip};
use cni_types::args::IfName;
use cni_types::capability::PortMapping;
use cni_types::conf::NetworkConfList;
use cni_types::json::{Document, RawObject};
use cni_types::result::CniResult;
use cni_types::version::Version;
use policy_engine as engine;

use super::confs::{Confs, document};
use cnidaria_core::domain::attachment::{Attachment, Device};
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::networks::{Networks, Wanted};
use cnidaria_core::domain::pod::PodIdentity;
use cnidaria_core::domain::runtime_config::{
    ArgRequest, RuntimeConfig, args_without_ips, args_without_mac,
};
use cnidaria_core::domain::selection::Selection;

fn selection(selection: &Selection) -> Result<engine::Selection, String> {
    Ok(engine::Selection {
        namespace: selection.namespace.clone(),
        name: selection.name.clone(),
        if_name: selection.interface.as_ref().map(IfName::to_string),
        ips: selection.ips.clone(),
        mac: selection.mac.clone(),
        infiniband_guid: selection.infiniband_guid.clone(),
        bandwidth: selection.bandwidth,
        port_mappings: selection.port_mappings.clone(),
        default_route: gateways(selection.default_route.as_deref()),
        cni_args: selection.cni_args.as_ref().map(document).transpose()?,
    })
}

/// The networks for the policies.
pub(super) fn networks(networks: &Networks) -> Result<engine::Networks, String> {
    let of_node = networks.others.iter().filter_map(|wanted| match wanted {
        Wanted::OfNode(name) => Some(name.clone()),
        Wanted::Selected(_) => None,
    });
    Ok(engine::Networks {
        default: networks.default.as_ref().map(selection).transpose()?,
        of_node: of_node.collect(),
        of_pod: networks
            .selections()
            .map(selection)
            .collect::<Result<_, _>>()?,
    })
}

/// The networks after the policies ran; `offered` are those that they were given.
pub(super) fn selected(
    offered: Networks,
    selected: Vec<engine::Chosen>,
    default: engine::ChosenDefault,
) -> Result<Networks, String> {
    let of_pod: Vec<&Selection> = offered.selections().collect();
    let others = selected.into_iter().map(|one| {
        Ok(match one.origin {
            // Its name is as it was.
            engine::Origin::Node(_) => Wanted::OfNode(one.selection.name),
            engine::Origin::Pod(index) => {
                let origin = of_pod.get(index).copied();
                Wanted::Selected(Box::new(chosen(origin, one.selection, one.named_by)?))
            }
            engine::Origin::Policy => {
                Wanted::Selected(Box::new(chosen(None, one.selection, one.named_by)?))
            }
        })
    });
    let others = others.collect::<Result<_, String>>()?;
    let default = match default {
        engine::ChosenDefault::Offered => offered.default,
        engine::ChosenDefault::Cluster => None,
        engine::ChosenDefault::Set(selection, named_by) => {
            let origin = offered.default.as_ref();
            Some(chosen(origin, *selection, named_by)?)
        }
    };
    Ok(Networks { default, others })
}

/// A selection after the policies ran. `origin` is the pod's own selection, if there was one.
fn chosen(
    origin: Option<&Selection>,
    chosen: engine::Selection,
    named_by: Option<String>,
) -> Result<Selection, String> {
    let gateways: Vec<_> = chosen
        .default_route
        .iter()
        .map(|gateway| {
            gateway
                .parse()
                .map_err(|error| format!("default-route {gateway}: {error}"))
        })
        .collect::<Result<_, _>>()?;
    // A policy that leaves the pod's network as it was does not name it.
    let is_asked =
        |asked: &Selection| asked.namespace == chosen.namespace && asked.name == chosen.name;
    let named_by = named_by.filter(|_| !origin.is_some_and(is_asked));
    let keeps_routes = origin.is_some_and(|origin| origin.default_route.is_some());
    Ok(Selection {
        namespace: chosen.namespace,
        name: chosen.name,
        interface: chosen.if_name.map(if_name).transpose()?,
        ips: chosen.ips,
        mac: chosen.mac,
        infiniband_guid: chosen.infiniband_guid,
        port_mappings: port_mappings(
            origin.map_or(&[], |o| &o.port_mappings),
            chosen.port_mappings,
        ),
        bandwidth: chosen.bandwidth,
        device_id: origin.and_then(|origin| origin.device_id.clone()),
        cni_args: chosen.cni_args.as_ref().map(object).transpose()?,
        // An empty list means something different from none.
        default_route: (keeps_routes || !gateways.is_empty()).then_some(gateways),
        ipam_claim_reference: origin.and_then(|origin| origin.ipam_claim_reference.clone()),
        named_by,
    })
}

pub(super) fn attachment(
    attachment: &Attachment,
    confs: &Confs,
) -> Result<engine::PolicyAttachment, String> {
    let device = attachment.device.as_ref();
    let arguments = &attachment.capability_args();
    let (name, if_name) = (&attachment.network, attachment.if_name.as_str());
    let network = engine::PolicyAttachment::new(name, if_name, confs.tree(&attachment.conf)?);
    let mut offered = with_request(network, given(attachment), device, arguments);
    offered.is_default = attachment.is_default;
    offered.selection = attachment.selection;
    offered.fixed.default_route = gateways(attachment.default_route.as_deref());
    Ok(offered)
}

/// The attachment with what was requested of its capabilities, and its device.
fn with_request(
    attachment: engine::PolicyAttachment,
    request: RuntimeConfig,
    device: Option<&Device>,
    arguments: &RawObject,
) -> engine::PolicyAttachment {
    engine::PolicyAttachment {
        ips: request.ips,
        mac: request.mac,
        bandwidth: request.bandwidth,
        port_mappings: request.port_mappings,
        infiniband_guid: request.infiniband_guid,
        fixed: engine::Fixed {
            resource_name: device.map(|device| device.resource_name.clone()),
            device_id: device.map(|device| device.id.clone()).or(request.device_id),
            default_route: Vec::new(),
            runtime_config: arguments.to_text(),
        },
        ..attachment
    }
}

/// What the delegate will get: the runtime's values, unless the pod has its own. Plugins prefer a
/// capability's MAC to that of `CNI_ARGS`, if they take it; IPAM plugins take the addresses of both.
fn given(attachment: &Attachment) -> RuntimeConfig {
    let Attachment {
        base,
        request,
        conf,
        args,
        ..
    } = attachment;
    let mut given = base.overridden_by(request);
    let asked = ArgRequest::of(args);
    let takes_mac = || {
        conf.plugins()
            .iter()
            .any(|plugin| plugin.has_capability("mac"))
    };
    if request.mac.is_none() && asked.mac.is_some() && !(base.mac.is_some() && takes_mac()) {
        given.mac = asked.mac;
    }
    if request.ips.is_empty() {
        let known: Vec<_> = given.ips.iter().map(|ip| canonical_ip(ip)).collect();
        let more = asked.ips.into_iter();
        given
            .ips
            .extend(more.filter(|ip| !known.contains(&canonical_ip(ip))));
    }
    given
}

/// An attachment that no policy edited, with its addresses in canonical form.
pub(super) fn unedited(origin: Attachment, shown: &engine::PolicyAttachment) -> Attachment {
    let mut request = origin.request;
    // The rest of what was shown is the runtime's, which stays as it is.
    if !request.ips.is_empty() {
        request.ips.clone_from(&shown.ips);
    }
    if request.mac.is_some() {
        request.mac.clone_from(&shown.mac);
    }
    if request.infiniband_guid.is_some() {
        request.infiniband_guid.clone_from(&shown.infiniband_guid);
    }
    Attachment { request, ..origin }
}

/// The runtime's values and the pod's, after policies edited what [`given`] showed of both. What
/// they set or removed takes effect on both; what they left keeps its origin.
fn capabilities(mut origin: Attachment, edited: &engine::PolicyAttachment) -> Attachment {
    let given = given(&origin);
    let Attachment {
        base,
        request,
        args,
        ..
    } = &mut origin;
    let ips: Vec<String> = given.ips.iter().map(|ip| canonical_ip(ip)).collect();
    if !request.ips.is_empty() || edited.ips != ips {
        base.ips.clear();
        *args = args_without_ips(args);
        request.ips.clone_from(&edited.ips);
    }
    let mac = given.mac.as_deref().map(canonical_mac);
    if request.mac.is_some() || edited.mac != mac {
        base.mac = None;
        *args = args_without_mac(args);
        request.mac.clone_from(&edited.mac);
    }
    let guid = given.infiniband_guid.as_deref().map(canonical_mac);
    if request.infiniband_guid.is_some() || edited.infiniband_guid != guid {
        base.infiniband_guid = None;
        request.infiniband_guid.clone_from(&edited.infiniband_guid);
    }
    if request.bandwidth.is_some() || edited.bandwidth != given.bandwidth {
        base.bandwidth = None;
        request.bandwidth = edited.bandwidth;
    }
    let mappings = port_mappings(&given.port_mappings, edited.port_mappings.clone());
    if !request.port_mappings.is_empty() || mappings != given.port_mappings {
        base.port_mappings.clear();
        request.port_mappings = mappings;
    }
    origin
}

/// An address or CIDR as policies see it.
fn canonical_ip(text: &str) -> String {
    let cidr = parse_cidr(text).map(|cidr| cidr.to_string());
    let canonical = cidr.or_else(|| Some(parse_ip(text)?.to_string()));
    canonical.unwrap_or_else(|| text.to_owned())
}

/// A hardware address as policies see it.
fn canonical_mac(text: &str) -> String {
    address::canonical_mac(text).unwrap_or_else(|| text.to_owned())
}

/// An attachment after policies edited it.
pub(super) fn edited(
    origin: Attachment,
    edited: engine::PolicyAttachment,
) -> Result<Attachment, String> {
    let origin = capabilities(origin, &edited);
    let conf = NetworkConfList::parse_any(edited.conf.to_string())
        .map_err(|error| cnidaria_core::report::chain(&error))?;
    let conf = match edited.cni_args {
        Some(args) => cnidaria_core::stages::network_lookup::with_cni_args(&conf, &object(&args)?)
            .map_err(|error| cnidaria_core::report::chain(&error))?,
        // An unedited conf keeps its author's bytes.
        None if conf.raw() == origin.conf.raw() => origin.conf,
        None => conf,
    };
    Ok(Attachment {
        if_name: if_name(edited.if_name)?,
        conf,
        ..origin
    })
}

/// A recorded attachment, as its delegates were called.
pub(super) fn entry(entry: &Entry, confs: &Confs) -> Result<engine::PolicyAttachment, String> {
    let arguments = &entry.capability_args;
    let request = RuntimeConfig::of_capability_args(arguments);
    let (name, if_name) = (&entry.network, entry.if_name.as_str());
    let network = engine::PolicyAttachment::new(name, if_name, confs.tree(&entry.conf)?);
    // Default routes are not recorded: they have taken effect.
    let mut offered = with_request(network, request, entry.device.as_ref(), arguments);
    offered.is_default = entry.is_default;
    Ok(offered)
}

fn gateways(gateways: Option<&[IpAddr]>) -> Vec<String> {
    let gateways = gateways.into_iter().flatten();
    gateways.map(ToString::to_string).collect()
}

/// Who a pod belongs to.
pub(super) fn pod_spec(identity: &PodIdentity) -> engine::PodSpec {
    engine::PodSpec {
        service_account: identity.service_account.as_deref().map(str::to_owned),
        owner: identity.owner.as_deref().map(|owner| engine::Owner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }),
        host_network: identity.host_network,
    }
}

/// What an entry's delegate answered, with the tags of policies.
pub(super) fn stored(entry: &Entry) -> engine::Outcome {
    let result = entry.result.clone();
    engine::Outcome {
        result: result.unwrap_or_else(|| CniResult::empty(Version::LATEST)),
        tags: entry.tags.clone(),
    }
}

fn if_name(name: String) -> Result<IfName, String> {
    IfName::new(name).map_err(|error| error.to_string())
}

fn object(document: &Document) -> Result<RawObject, String> {
    document.to_object().map_err(|error| error.to_string())
}

/// The edited port mappings. Mappings that map the same as before stay as they were, so that those
/// without a protocol stay without one.
fn port_mappings(origin: &[PortMapping], edited: Vec<PortMapping>) -> Vec<PortMapping> {
    let canonical = |mapping: &PortMapping| PortMapping {
        protocol: Some(mapping.protocol().to_owned()),
        ..mapping.clone()
    };
    match origin
        .iter()
        .map(canonical)
        .eq(edited.iter().map(canonical))
    {
        true => origin.to_vec(),
        false => edited,
    }
}

#[cfg(test)]
mod tests;
