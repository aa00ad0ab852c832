//! What must hold for a whole, after all policies: each edit was checked by itself, against what its
//! policy saw. Here is checked what the edits come to together, and whose they are.
//!
//! Only what policies edited is refused. What a pod asks for without them is for the daemon to judge.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use cni_types::json::Node;
use cni_types::result::{CniResult, Route};

use super::conf::{self, TypeGrant};
use super::{AttachmentDraft, Claims, EditError, FinaleDraft, SelectionsDraft, validate};
use crate::request::{Attachment, PortMapping};

/// What does not hold, and the policies whose edits made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// For people.
    pub(crate) reason: String,
    /// At least one, in the order in which they run.
    pub(crate) owners: BTreeSet<Arc<str>>,
}

impl Fault {
    /// A fault, where policies have to do with it.
    fn of(
        owners: impl IntoIterator<Item = Arc<str>>,
        reason: impl FnOnce() -> String,
    ) -> Option<Self> {
        let owners: BTreeSet<Arc<str>> = owners.into_iter().collect();
        (!owners.is_empty()).then(|| Self {
            reason: reason(),
            owners,
        })
    }
}

/// One attachment that was offered to the policies: how it was, and who edited what of it.
#[derive(Debug)]
pub(crate) struct Offered {
    /// Before the first policy; none where no policy edited it.
    pub(crate) before: Option<Arc<AttachmentDraft>>,
    /// What policies own of it.
    pub(crate) claims: Arc<Claims>,
    /// The plugins that the policies which edited it may bring in.
    pub(crate) types: TypeGrant,
}

/// Checks the final plan: each attachment against how it was offered, and all of them together.
pub(crate) fn plan(offered: &[Offered], plan: &[Attachment]) -> Result<(), Fault> {
    let all = || offered.iter().zip(plan);
    let faults = all()
        .filter(|(offered, _)| !offered.claims.is_empty())
        .find_map(|(offered, after)| executed(offered, after).or_else(|| mtus(offered, after)));
    let between = || {
        all().enumerate().find_map(|(index, one)| {
            all()
                .skip(index + 1)
                .find_map(|other| names(one, other).or_else(|| ports(one, other)))
        })
    };
    match faults.or_else(between) {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// What is executed, for which network, and in what interface of the default network.
fn executed(
    Offered {
        before,
        claims,
        types,
    }: &Offered,
    after: &Attachment,
) -> Option<Fault> {
    let before = before.as_ref()?.attachment();
    let moved = before.network != after.network
        || before.is_default != after.is_default
        || before.is_default && before.if_name != after.if_name;
    if moved {
        return Fault::of(claims.owners(""), || {
            format!("network {:?} is not what it was", before.network)
        });
    }
    let error = conf::check(&before.conf, &after.conf, types).err()?;
    let owners = match &error {
        EditError::Immutable(path) => {
            let path = path.split(' ').next().unwrap_or_default();
            claims.owners(&format!("/conf{path}"))
        }
        _ => BTreeSet::new(),
    };
    // What was moved within the conf has no owner at its place.
    let owners = if owners.is_empty() {
        claims.owners("/conf")
    } else {
        owners
    };
    Fault::of(owners, || {
        format!("the conf of network {:?}: {error}", after.network)
    })
}

/// The MTU of every plugin, those of lists within lists too, with the addresses that were asked for.
fn mtus(Offered { claims, .. }: &Offered, after: &Attachment) -> Option<Fault> {
    let v6 = after.ips.iter().any(|ip| ip.contains(':'));
    let ips = if v6 {
        claims.owners("/runtimeConfig/ips")
    } else {
        BTreeSet::new()
    };
    conf::mtus(after.conf.root())
        .into_iter()
        .find_map(|(path, value)| {
            let owners = claims.owners(&format!("/conf{path}"));
            let error = mtu(value, &after.ips).err()?;
            // An MTU that nobody set is wrong only for addresses that somebody set.
            if owners.is_empty() && mtu(value, &[]).is_err() {
                return None;
            }
            Fault::of(owners.into_iter().chain(ips.iter().cloned()), || {
                format!("network {:?}, {path}: {error}", after.network)
            })
        })
}

fn mtu(value: &Node, ips: &[String]) -> Result<(), EditError> {
    match value.get_as::<u32>() {
        // To plugins, the same as none.
        Ok(0) => Ok(()),
        Ok(number) => validate::mtu(number, ips),
        Err(_) => Err(validate::invalid(format!("{value} is no MTU"))),
    }
}

type Pair<'a> = (&'a Offered, &'a Attachment);

/// Two attachments have interfaces of two names.
fn names((offered, one): Pair<'_>, (other_offered, other): Pair<'_>) -> Option<Fault> {
    if one.if_name != other.if_name {
        return None;
    }
    let owners = [offered, other_offered].map(|offered| offered.claims.owners("/ifName"));
    Fault::of(owners.into_iter().flatten(), || {
        format!(
            "networks {:?} and {:?} both get interface {:?}",
            one.network, other.network, one.if_name
        )
    })
}

/// A port of the node leads to one attachment.
fn ports((offered, one): Pair<'_>, (other_offered, other): Pair<'_>) -> Option<Fault> {
    let same = one.port_mappings.iter().find(|mapping| {
        other
            .port_mappings
            .iter()
            .any(|other| collide(mapping, other))
    })?;
    let owners = [offered, other_offered]
        .map(|offered| offered.claims.owners("/runtimeConfig/portMappings"));
    Fault::of(owners.into_iter().flatten(), || {
        format!(
            "networks {:?} and {:?} both get {} port {} of the node",
            one.network, other.network, same.protocol, same.host_port
        )
    })
}

/// Whether two mappings are about one port of one address of the node; one without address is about
/// all of them.
fn collide(one: &PortMapping, other: &PortMapping) -> bool {
    let anywhere = |mapping: &PortMapping| mapping.host_ip.as_deref().is_none_or(str::is_empty);
    one.host_port == other.host_port
        && one.protocol.eq_ignore_ascii_case(&other.protocol)
        && (anywhere(one) || anywhere(other) || one.host_ip == other.host_ip)
}

/// Checks the selections that all policies left.
pub(crate) fn selections(draft: &SelectionsDraft, claims: &Claims) -> Result<(), Fault> {
    if claims.is_empty() {
        return Ok(());
    }
    let all: Vec<_> = draft.identified().collect();
    for (index, (id, one)) in all.iter().enumerate() {
        for (other_id, other) in all.iter().skip(index + 1) {
            let owners = |key: &str| {
                [id, other_id]
                    .map(|id| claims.owners(&format!("/{id}/{key}")))
                    .into_iter()
                    .flatten()
            };
            let named = |what: &str| {
                format!(
                    "networks {}/{} and {}/{} both {what}",
                    one.namespace, one.name, other.namespace, other.name
                )
            };
            let same_name = one.if_name.is_some() && one.if_name == other.if_name;
            let fault = same_name
                .then(|| {
                    let name = one.if_name.as_deref().unwrap_or_default();
                    Fault::of(owners("interface"), || {
                        named(&format!("ask for interface {name:?}"))
                    })
                })
                .flatten()
                .or_else(|| {
                    let families = |gateways: &[String]| -> BTreeSet<bool> {
                        gateways
                            .iter()
                            .map(|gateway| gateway.contains(':'))
                            .collect()
                    };
                    let both = families(&one.default_route)
                        .intersection(&families(&other.default_route))
                        .next()
                        .is_some();
                    both.then(|| {
                        Fault::of(owners("default-route"), || {
                            named("ask for the default route")
                        })
                    })
                    .flatten()
                });
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
    }
    Ok(())
}

/// Checks a result that all policies left; it lies at `place` of what they edited.
pub(crate) fn result(result: &CniResult, claims: &Claims, place: &str) -> Result<(), Fault> {
    // Policies that edit nothing are the most.
    if claims.is_empty() {
        return Ok(());
    }
    let owners = claims.owners(&format!("{place}/result/routes"));
    if owners.is_empty() {
        return Ok(());
    }
    let defaults: Vec<&Route> = result
        .routes
        .iter()
        .filter(|route| is_default(route))
        .collect();
    let twice = defaults.iter().enumerate().any(|(index, one)| {
        let same = |other: &&&Route| {
            let place = |route: &Route| {
                (
                    route.dst.addr().is_ipv4(),
                    route.table,
                    route.priority,
                    route.scope,
                )
            };
            place(one) == place(other)
        };
        defaults.iter().skip(index + 1).any(|other| same(&other))
    });
    match Fault::of(owners, || {
        "the result has two default routes of one family".to_owned()
    }) {
        Some(fault) if twice => Err(fault),
        _ => Ok(()),
    }
}

/// Checks the final result and the entries of network-status.
pub(crate) fn finale(draft: &FinaleDraft, claims: &Claims) -> Result<(), Fault> {
    result(draft.result.result(), claims, "/final")?;
    let mut statuses = draft.statuses.iter().enumerate();
    statuses.try_for_each(|(index, status)| {
        result(status.result(), claims, &format!("/status/{index}"))
    })
}

fn is_default(route: &Route) -> bool {
    route.dst.prefix_len() == 0
        && match route.dst.addr() {
            IpAddr::V4(address) => address.is_unspecified(),
            IpAddr::V6(address) => address.is_unspecified(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::json::{Document, Limits};

    fn attachment(network: &str, if_name: &str, conf: &str) -> Attachment {
        Attachment {
            network: network.to_owned(),
            if_name: if_name.to_owned(),
            is_default: false,
            conf: Document::parse(conf, Limits::default()).unwrap(),
            ips: Vec::new(),
            mac: None,
            bandwidth: None,
            port_mappings: Vec::new(),
            infiniband_guid: None,
            cni_args: None,
        }
    }

    fn before_policies(conf: &str) -> AttachmentDraft {
        AttachmentDraft::new(attachment("net", "net1", conf), Arc::default())
    }

    /// Policy `a` turned the conf from `before` into `after`, by whatever way.
    fn conf_fault(before: &str, after: &str, types: &[&str]) -> Option<String> {
        let node = |json: &str| Node::parse(json, Limits::default()).unwrap();
        let wrapped = |json: &str| node(&format!(r#"{{"conf":{json}}}"#));
        let mut claims = Claims::default();
        claims.record(&"a".into(), &wrapped(before), &wrapped(after));
        let offered = Offered {
            before: Some(Arc::new(before_policies(before))),
            claims: Arc::new(claims),
            types: TypeGrant(types.iter().map(|name| (*name).to_owned()).collect()),
        };
        let fault = plan(&[offered], &[attachment("net", "net1", after)]).err()?;
        assert_eq!(fault.owners.into_iter().collect::<Vec<_>>(), ["a".into()]);
        Some(fault.reason)
    }

    #[test]
    fn what_is_executed_is_compared_with_what_was_offered_at_any_depth() {
        let before =
            r#"{"plugins":[{"type":"bridge","plugins":[{"type":"tuning","x":[{"type":"in"}]}]}]}"#;
        for (part, other) in [
            (r#""type":"tuning""#, r#""type":"evil""#),
            (r#""type":"in""#, r#""Type":"evil""#),
            (
                r#"{"type":"in"}"#,
                r#"{"type":"in","delegate":{"type":"evil"}}"#,
            ),
            (r#""type":"bridge","#, r#""type":"bridge","prevResult":{},"#),
        ] {
            let after = before.replace(part, other);
            assert_ne!(after, before);
            let reason = conf_fault(before, &after, &[]).unwrap_or_else(|| panic!("{after}"));
            assert!(reason.contains("/plugins/0/"), "{reason}");
        }
        assert_eq!(
            conf_fault(before, &before.replace(r#""in""#, r#""ptp""#), &["ptp"]),
            None
        );
        assert_eq!(
            conf_fault(before, &before.replace(r#""x":"#, r#""z":1,"x":"#), &[]),
            None
        );
    }

    #[test]
    fn every_mtu_at_any_depth_is_one() {
        let check = |mtu: &str, fault: bool| {
            let before = r#"{"plugins":[{"type":"bridge","plugins":[{"type":"tuning"}]}]}"#;
            let after = before.replace(r#""tuning""#, &format!(r#""tuning","MTU":{mtu}"#));
            assert_eq!(conf_fault(before, &after, &[]).is_some(), fault, "{mtu}");
        };
        check("1400", false);
        check("0", false);
        check("12", true);
        check("70000", true);
        check("-1", true);
        check("\"1400\"", true);
        check("{}", true);
    }

    #[test]
    fn what_no_policy_edited_is_not_refused() {
        let offered = || Offered {
            before: None,
            claims: Arc::default(),
            types: TypeGrant::default(),
        };
        let after =
            ["a", "b"].map(|network| attachment(network, "net1", r#"{"type":"x","mtu":12}"#));
        assert_eq!(plan(&[offered(), offered()], &after), Ok(()));
    }
}
