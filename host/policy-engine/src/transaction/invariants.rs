//! What must hold for a whole, after all policies: each edit was checked by itself, against what its
//! policy saw. Here is checked what the edits come to together, and whose they are.
//!
//! Only what policies edited is refused. What a pod asks for without them is for the daemon to judge.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use cni_types::json::Node;
use cni_types::result::{CniResult, Route};

use super::conf;
use super::protected;
use super::{
    AttachmentDraft, Claims, ConfGrant, EditError, FinaleDraft, SelectionsDraft, validate,
};
use crate::request::{Attachment, PortMapping, Selection};

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
    /// What the policies which edited it may change of its conf.
    pub(crate) grant: ConfGrant,
}

/// Checks the final plan: each attachment against how it was offered, and all of them together.
pub(crate) fn plan(offered: &[Offered], plan: &[Attachment]) -> Result<(), Fault> {
    let all = || offered.iter().zip(plan);
    let faults = all()
        .filter(|(offered, _)| !offered.claims.is_empty())
        .find_map(|(offered, after)| executed(offered, after).or_else(|| mtus(offered, after)));
    match faults
        .or_else(|| names(offered, plan))
        .or_else(|| ports(offered, plan))
    {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

/// What is executed, for which network, and in what interface of the default network.
fn executed(
    Offered {
        before,
        claims,
        grant,
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
    let error = protected::check(&before.conf, &after.conf, grant).err()?;
    let owners = match &error {
        EditError::Immutable(path) | EditError::NeedsGrant { path, .. } => {
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

/// Two attachments have interfaces of two names.
fn names(offered: &[Offered], plan: &[Attachment]) -> Option<Fault> {
    let mut known: HashMap<&str, (&Offered, &Attachment)> = HashMap::new();
    offered.iter().zip(plan).find_map(|(offered, other)| {
        let Some((earlier, one)) = known.get(&*other.if_name) else {
            known.insert(&other.if_name, (offered, other));
            return None;
        };
        let owners = [*earlier, offered].map(|offered| offered.claims.owners("/ifName"));
        Fault::of(owners.into_iter().flatten(), || {
            format!(
                "networks {:?} and {:?} both get interface {:?}",
                one.network, other.network, one.if_name
            )
        })
    })
}

/// Attachments that map a port of the node: by address, the empty one for all addresses.
type Mapped<'a> = BTreeMap<&'a str, usize>;

/// A port of the node leads to one attachment.
fn ports(offered: &[Offered], plan: &[Attachment]) -> Option<Fault> {
    let mut known: HashMap<(u16, String), Mapped<'_>> = HashMap::new();
    for (index, (_, other)) in offered.iter().zip(plan).enumerate() {
        for mapping in &other.port_mappings {
            let port = (mapping.host_port, mapping.protocol.to_ascii_lowercase());
            let ip = mapping.host_ip.as_deref().unwrap_or_default();
            let mapped = known.entry(port).or_default();
            let one = match ip {
                // This one's were all seen when it first asked for all addresses.
                "" if mapped.get("") == Some(&index) => None,
                // All addresses: any other attachment's.
                "" => mapped.values().find(|one| **one != index),
                ip => [ip, ""]
                    .iter()
                    .filter_map(|ip| mapped.get(ip))
                    .find(|one| **one != index),
            };
            let fault = one.and_then(|one| both(offered, plan, *one, index, mapping));
            if fault.is_some() {
                return fault;
            }
            mapped.entry(ip).or_insert(index);
        }
    }
    None
}

fn both(
    offered: &[Offered],
    plan: &[Attachment],
    one: usize,
    other: usize,
    mapping: &PortMapping,
) -> Option<Fault> {
    let place = "/runtimeConfig/portMappings";
    let owners = [one, other].map(|index| offered.get(index));
    let owners = owners.into_iter().flatten();
    let owners = owners.flat_map(|offered| offered.claims.owners(place));
    let (one, other) = (plan.get(one)?, plan.get(other)?);
    Fault::of(owners, || {
        format!(
            "networks {:?} and {:?} both get {} port {} of the node",
            one.network, other.network, mapping.protocol, mapping.host_port
        )
    })
}

/// Checks the selections that all policies left.
pub(crate) fn selections(draft: &SelectionsDraft, claims: &Claims) -> Result<(), Fault> {
    if claims.is_empty() {
        return Ok(());
    }
    let mut names: HashMap<&str, (usize, &Selection)> = HashMap::new();
    let mut defaults: [Option<(usize, &Selection)>; 2] = [None, None];
    for (id, other) in draft.identified() {
        let fault = |key: &str, (known, one): (usize, &Selection), what: &str| {
            let owners = [known, id].map(|id| claims.owners(&format!("/{id}/{key}")));
            Fault::of(owners.into_iter().flatten(), || {
                format!(
                    "networks {}/{} and {}/{} both {what}",
                    one.namespace, one.name, other.namespace, other.name
                )
            })
        };
        if let Some(name) = other.if_name.as_deref() {
            let known = *names.entry(name).or_insert((id, other));
            let what = format!("ask for interface {name:?}");
            if known.0 != id
                && let Some(fault) = fault("interface", known, &what)
            {
                return Err(fault);
            }
        }
        let is_v6 = |gateway: &String| gateway.contains(':');
        let families = [
            other.default_route.iter().any(|gateway| !is_v6(gateway)),
            other.default_route.iter().any(is_v6),
        ];
        for (place, _) in defaults.iter_mut().zip(families).filter(|(_, asks)| *asks) {
            let known = *place.get_or_insert((id, other));
            if known.0 != id
                && let Some(fault) = fault("default-route", known, "ask for the default route")
            {
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
    let mut known = HashSet::new();
    let mut defaults = result.routes.iter().filter(|route| is_default(route));
    let twice = defaults.any(|route| {
        let family = route.dst.addr().is_ipv4();
        !known.insert((family, route.table, route.priority, route.scope))
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

    fn wrapped(json: &str) -> Node {
        Node::parse(&format!(r#"{{"conf":{json}}}"#), Limits::default()).unwrap()
    }

    /// Policy `a` turned the conf from `before` into `after`, by whatever way.
    fn conf_fault(before: &str, after: &str, types: &[&str]) -> Option<String> {
        let claims = Claims::of("a", &wrapped(before), &wrapped(after));
        let offered = Offered {
            before: Some(Arc::new(before_policies(before))),
            claims: Arc::new(claims),
            grant: ConfGrant::of(types, &[]),
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
            grant: ConfGrant::default(),
        };
        let after =
            ["a", "b"].map(|network| attachment(network, "net1", r#"{"type":"x","mtu":12}"#));
        assert_eq!(plan(&[offered(), offered()], &after), Ok(()));
    }
}
