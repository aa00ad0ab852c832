//! Invariants of the whole, checked after all policies: single edits were checked only against what
//! their policy saw. This checks the combined edits and finds who made them.
//!
//! Only policies' edits are rejected. The daemon judges what a pod asks for without them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use cni_types::result::{CniResult, Route};

use super::{
    AttachmentDraft, Claims, EditError, FinaleDraft, SelectionsDraft, conf, plugins, protected,
    validate,
};
use crate::model::grant::ConfGrant;
use crate::model::request::{PolicyAttachment, PortMapping, Selection};

/// A broken invariant, and the policies whose edits broke it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    /// At least one policy, in execution order.
    pub(crate) owners: BTreeSet<Arc<str>>,
}

impl Fault {
    /// A fault, if any policy is involved.
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

/// One attachment as offered to the policies, and who edited what.
#[derive(Debug)]
pub(crate) struct Offered {
    /// Before the first policy; `None` if no policy edited it.
    pub(crate) before: Option<Arc<AttachmentDraft>>,
    pub(crate) claims: Arc<Claims>,
    /// What the policies that edited it may change in its conf.
    pub(crate) grant: ConfGrant,
}

/// Checks the final plan: each attachment against how it was offered, and all of them together.
#[cfg(test)]
pub(crate) fn plan(offered: &[Offered], plan: &[PolicyAttachment]) -> Result<(), Fault> {
    let mut all = offered.iter().zip(plan);
    all.try_for_each(|(offered, after)| attachment(offered, after))?;
    together(offered, plan)
}

/// Checks an attachment of the final plan against how it was offered.
pub(crate) fn attachment(offered: &Offered, after: &PolicyAttachment) -> Result<(), Fault> {
    if offered.claims.is_empty() {
        return Ok(());
    }
    let fault = executed(offered, after).or_else(|| mtus(offered, after));
    fault.map_or(Ok(()), Err)
}

/// Checks the attachments of the final plan against each other.
pub(crate) fn together(offered: &[Offered], plan: &[PolicyAttachment]) -> Result<(), Fault> {
    let fault = names(offered, plan).or_else(|| ports(offered, plan));
    fault.map_or(Ok(()), Err)
}

/// Checks that an attachment's network is unchanged, and that the grants allow the conf's changes.
fn executed(
    Offered {
        before,
        claims,
        grant,
    }: &Offered,
    after: &PolicyAttachment,
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
    // A plugin moved within the conf has no owner at its new place.
    let owners = if owners.is_empty() {
        claims.owners("/conf")
    } else {
        owners
    };
    Fault::of(owners, || {
        format!("the conf of network {:?}: {error}", after.network)
    })
}

/// Checks the MTU of every plugin, including nested lists, against the requested addresses.
fn mtus(Offered { claims, before, .. }: &Offered, after: &PolicyAttachment) -> Option<Fault> {
    let was_single = before.as_ref().is_some_and(|before| {
        plugins::is_chain(&after.conf) && !plugins::is_chain(&before.attachment().conf)
    });
    let v6 = after.ips.iter().any(|ip| ip.contains(':'));
    let ips = if v6 {
        claims.owners("/runtimeConfig/ips")
    } else {
        BTreeSet::new()
    };
    conf::mtus(after.conf.root())
        .into_iter()
        .find_map(|(path, value)| {
            // Claims know the members of a single plugin as those of the conf.
            let place = path.strip_prefix("/plugins/0").filter(|_| was_single);
            let owners = claims.owners(&format!("/conf{}", place.unwrap_or(&path)));
            let error = validate::plugin_mtu(value, &after.ips).err()?;
            // An MTU that no policy set is wrong only for addresses that a policy set.
            if owners.is_empty() && validate::plugin_mtu(value, &[]).is_err() {
                return None;
            }
            Fault::of(owners.into_iter().chain(ips.iter().cloned()), || {
                format!("network {:?}, {path}: {error}", after.network)
            })
        })
}

/// Checks that no two attachments have the same interface name.
fn names(offered: &[Offered], plan: &[PolicyAttachment]) -> Option<Fault> {
    let mut known: HashMap<&str, (&Offered, &PolicyAttachment)> = HashMap::new();
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

/// Attachments that map a node port, by address; the empty address stands for all.
type Mapped<'a> = BTreeMap<&'a str, usize>;

/// Checks that each node port leads to one attachment.
fn ports(offered: &[Offered], plan: &[PolicyAttachment]) -> Option<Fault> {
    let mut known: HashMap<(u16, String), Mapped<'_>> = HashMap::new();
    for (index, (_, other)) in offered.iter().zip(plan).enumerate() {
        for mapping in &other.port_mappings {
            let port = (mapping.host_port, mapping.protocol().to_ascii_lowercase());
            let ip = mapping.host_ip.as_deref().unwrap_or_default();
            let mapped = known.entry(port).or_default();
            let one = match ip {
                // Already checked when this attachment first asked for all addresses.
                "" if mapped.get("") == Some(&index) => None,
                // All addresses conflict with any other attachment.
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
    plan: &[PolicyAttachment],
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
            one.network,
            other.network,
            mapping.protocol(),
            mapping.host_port
        )
    })
}

/// Checks the selections after all policies.
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

/// Checks a result after all policies; it is at `place` of the edited value.
pub(crate) fn result(result: &CniResult, claims: &Claims, place: &str) -> Result<(), Fault> {
    // The common case: no policy edited anything.
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

/// Checks the final result and the network-status entries.
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
    use cni_types::json::{Document, Limits, Node};

    fn attachment(network: &str, if_name: &str, conf: &str) -> PolicyAttachment {
        let conf = Document::parse(conf, Limits::default()).unwrap();
        PolicyAttachment::new(network, if_name, conf)
    }

    fn before_policies(conf: &str) -> AttachmentDraft {
        AttachmentDraft::new(attachment("net", "net1", conf), Arc::default())
    }

    fn wrapped(json: &str) -> Node {
        Node::parse(&format!(r#"{{"conf":{json}}}"#), Limits::default()).unwrap()
    }

    /// The fault if policy `a` turned the conf from `before` into `after`.
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
    fn nested_plugin_types_must_stay_unchanged() {
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
    fn unedited_values_are_not_rejected() {
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
