//! Converts between the daemon's types and the engine's. Members that policies cannot see are
//! carried over from the original, so that a round trip loses nothing.

use cni_types::args::IfName;
use cni_types::capability::PortMapping;
use cni_types::conf::NetworkConfList;
use cni_types::json::{Document, Limits, RawObject};
use policy_engine as engine;

use super::confs::Confs;
use cnidaria_core::domain::attachment::Attachment;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::runtime_config::RuntimeConfig;
use cnidaria_core::domain::selection::Selection;

pub(super) fn selection(selection: &Selection) -> Result<engine::Selection, String> {
    Ok(engine::Selection {
        namespace: selection.namespace.clone(),
        name: selection.name.clone(),
        if_name: selection.interface.as_ref().map(IfName::to_string),
        ips: selection.ips.clone(),
        mac: selection.mac.clone(),
        infiniband_guid: selection.infiniband_guid.clone(),
        bandwidth: selection.bandwidth,
        port_mappings: selection.port_mappings.clone(),
        default_route: selection
            .default_route
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        cni_args: selection.cni_args.as_ref().map(document).transpose()?,
    })
}

/// A selection after the policies ran. `origin` is the pod's own selection, if there was one.
pub(super) fn chosen(
    origin: Option<&Selection>,
    chosen: engine::Selection,
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
    })
}

pub(super) fn attachment(
    attachment: &Attachment,
    confs: &Confs,
) -> Result<engine::Attachment, String> {
    let request = &attachment.request;
    Ok(engine::Attachment {
        network: attachment.network.clone(),
        if_name: attachment.if_name.to_string(),
        is_default: attachment.is_default,
        selection: attachment.selection,
        conf: confs.tree(&attachment.conf)?,
        ips: request.ips.clone(),
        mac: request.mac.clone(),
        bandwidth: request.bandwidth,
        port_mappings: request.port_mappings.clone(),
        infiniband_guid: request.infiniband_guid.clone(),
        cni_args: None,
    })
}

/// An attachment that no policy edited, with its addresses in canonical form.
pub(super) fn unedited(origin: Attachment, shown: &engine::Attachment) -> Attachment {
    Attachment {
        request: RuntimeConfig {
            ips: shown.ips.clone(),
            mac: shown.mac.clone(),
            infiniband_guid: shown.infiniband_guid.clone(),
            ..origin.request
        },
        ..origin
    }
}

/// An attachment after policies edited it.
pub(super) fn edited(origin: Attachment, edited: engine::Attachment) -> Result<Attachment, String> {
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
        request: RuntimeConfig {
            port_mappings: port_mappings(&origin.request.port_mappings, edited.port_mappings),
            bandwidth: edited.bandwidth,
            ips: edited.ips,
            mac: edited.mac,
            infiniband_guid: edited.infiniband_guid,
            ..origin.request
        },
        ..origin
    })
}

/// A recorded attachment, as its delegates were called.
pub(super) fn entry(entry: &Entry, confs: &Confs) -> Result<engine::Attachment, String> {
    let request = RuntimeConfig::of_capability_args(&entry.capability_args);
    Ok(engine::Attachment {
        network: entry.network.clone(),
        if_name: entry.if_name.to_string(),
        is_default: entry.is_default,
        selection: None,
        conf: confs.tree(&entry.conf)?,
        ips: request.ips,
        mac: request.mac,
        bandwidth: request.bandwidth,
        port_mappings: request.port_mappings,
        infiniband_guid: request.infiniband_guid,
        cni_args: None,
    })
}

fn if_name(name: String) -> Result<IfName, String> {
    IfName::new(name).map_err(|error| error.to_string())
}

pub(super) fn document(object: &RawObject) -> Result<Document, String> {
    Document::parse(&object.to_text(), Limits::default()).map_err(|error| error.to_string())
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
mod tests {
    use super::*;

    #[test]
    fn unedited_port_mappings_keep_their_bytes() {
        let mapping = |host_port, protocol: Option<&str>| PortMapping {
            host_port,
            container_port: 80,
            protocol: protocol.map(ToOwned::to_owned),
            host_ip: None,
        };
        let origin = [mapping(8080, None)];
        let same = vec![mapping(8080, Some("tcp"))];
        assert_eq!(port_mappings(&origin, same), origin);
        for other in [mapping(8081, Some("tcp")), mapping(8080, Some("udp"))] {
            let edited = vec![other];
            assert_eq!(port_mappings(&origin, edited.clone()), edited);
        }
    }
}
