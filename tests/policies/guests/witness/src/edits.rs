//! Performs the actions that edit.

use cnidaria_guest::prelude::*;
use cnidaria_guest::{Bandwidth, IpConfig, PortMapping, Route};

use crate::Action;

pub(crate) fn edit_selections(selections: &Selections, action: &Action) -> Result<(), EditError> {
    match action {
        Action::Insert(index, name) => selections.insert(*index, &Selection::new("default", name)),
        Action::Remove(index) => selections.remove(*index),
        Action::Move(source, target) => selections.move_(*source, *target),
        Action::SelectIps(index, ips) => replace(selections, *index, |selection| {
            selection.ips.clone_from(ips);
        }),
        Action::SelectInterface(index, name) => replace(selections, *index, |selection| {
            selection.if_name = Some(name.clone());
        }),
        Action::SetDefault(namespace, name) => {
            selections.set_default(Some(&Selection::new(namespace, name)))
        }
        Action::ClusterDefault => selections.set_default(None),
        Action::SelectDefault(index, gateway) => replace(selections, *index, |selection| {
            selection.default_route = vec![gateway.clone()];
        }),
        _ => Ok(()),
    }
}

fn replace(
    selections: &Selections,
    index: u32,
    change: impl FnOnce(&mut Selection),
) -> Result<(), EditError> {
    let Some(mut selection) = selections.at(index) else {
        return Err(EditError::new(EditErrorKind::Invalid, "no such selection"));
    };
    change(&mut selection);
    selections.replace(index, &selection)
}

pub(crate) fn edit_attachment(attachment: &Attachment, action: &Action) -> Result<(), EditError> {
    match action {
        Action::SetMtu(mtu) => attachment.set_mtu(*mtu),
        Action::ConfSet(pointer, json) => attachment.conf_set(pointer, json),
        Action::ConfRemove(pointer) => attachment.conf_remove(pointer),
        Action::SetIfName(name) => attachment.set_if_name(name),
        Action::SetIps(ips) => attachment.set_ips(ips),
        Action::SetMac(mac) => attachment.set_mac(Some(mac)),
        Action::SetGuid(guid) => attachment.set_infiniband_guid(Some(guid)),
        Action::SetBandwidth(rate, burst) => attachment.set_bandwidth(Some(Bandwidth {
            ingress_rate: *rate,
            ingress_burst: *burst,
            egress_rate: *rate,
            egress_burst: *burst,
        })),
        Action::SetPort(host_port, container_port) => {
            attachment.set_port_mappings(&[PortMapping {
                protocol: "TCP".to_owned(),
                ..PortMapping::tcp(*host_port, *container_port)
            }])
        }
        Action::SetArg(key, json) => attachment.set_cni_arg(key, json),
        Action::Append(json) => attachment.append_plugin(json),
        Action::Skip => attachment.skip(),
        _ => Ok(()),
    }
}

pub(crate) fn edit_outcome(outcome: &Outcome, action: &Action) -> Result<(), EditError> {
    match action {
        Action::AddNameserver(server) => {
            let mut dns = outcome.dns();
            dns.nameservers.push(server.clone());
            outcome.set_dns(&dns)
        }
        Action::SetNameservers(servers) => {
            let mut dns = outcome.dns();
            dns.nameservers.clone_from(servers);
            outcome.set_dns(&dns)
        }
        Action::ResultIps(ips) => {
            let ips: Vec<_> = ips.iter().map(|ip| IpConfig::new(ip)).collect();
            outcome.set_ips(&ips)
        }
        Action::ResultRoutes(routes) => {
            let routes: Vec<_> = routes.iter().map(|dst| Route::new(dst, None)).collect();
            outcome.set_routes(&routes)
        }
        Action::AddRoute(dst, gateway) => {
            let mut routes = outcome.routes();
            routes.push(Route::new(dst, Some(gateway)));
            outcome.set_routes(&routes)
        }
        Action::NoInterfaces => outcome.set_interfaces(&[]),
        Action::Tag(key, value) => outcome.tag(key, value),
        _ => Ok(()),
    }
}
