//! One hook call: what the component did with it, and what the same policy does natively.

use std::collections::BTreeMap;

use cnidaria_guest::prelude::*;
use cnidaria_guest::{Bandwidth, Command, EditErrorKind, IfInfo, IpConfig, PortMapping, Route};
use policy_engine::record::{Answer, Call, Offered, Turn};
use policy_engine::{RequestFacts, Severity};
use serde_json::{Value, json};

/// What a policy did in one call, in a form that both sides have.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The code and message of its denial.
    pub denial: Option<(u32, String)>,
    /// The value after its edits; null if it denies.
    pub value: Value,
    /// Severity, code and message of its findings.
    pub findings: Vec<(bool, String, String)>,
}

/// A before-add hook.
type BeforeAddHook<P> = fn(&P, &Request, &Attachment, &Plan) -> Verdict;
/// An after-add hook.
type AfterAddHook<P> = fn(&P, &Request, &Attachment, &Outcome) -> Verdict;

/// Calls a policy's hooks. A hook that the policy does not have is `None`.
#[derive(Debug)]
pub struct Hooks<P> {
    /// The select hook.
    pub select: Option<fn(&P, &Request, &Selections) -> Verdict>,
    /// The before-add hook.
    pub before_add: Option<BeforeAddHook<P>>,
    /// The after-add hook.
    pub after_add: Option<AfterAddHook<P>>,
}

/// What the component did.
pub fn component(call: &Call, turn: &Turn) -> Done {
    let after = call.left.as_ref().unwrap_or(&call.offered);
    let denial = match &turn.answer {
        Answer::Accept => None,
        Answer::Deny { code, message } => Some((*code, message.clone())),
        Answer::Failed { reason, .. } => Some((0, reason.clone())),
    };
    let findings = turn.findings.iter().map(|finding| {
        let is_warning = finding.severity == Severity::Warning;
        (is_warning, finding.code.clone(), finding.message.clone())
    });
    Done {
        value: match denial {
            Some(_) => Value::Null,
            None => value(after),
        },
        denial,
        findings: findings.collect(),
    }
}

/// What the policy does natively, where the host refuses edits for this reason, if one is given; `None`
/// for a hook that is not one of [`Hooks`].
pub fn native<P>(
    policy: &P,
    hooks: &Hooks<P>,
    (facts, call): (&RequestFacts, &Call),
    refusal: Option<&str>,
) -> Option<Done> {
    let refusal = refusal.map(|reason| EditError::new(EditErrorKind::Invalid, reason));
    let request = request(facts);
    let (verdict, value) = match &call.offered {
        Offered::Select(networks) => {
            let selections = networks.others.iter();
            let selections = selections.map(|slot| selection(&slot.selection));
            let mut selections = Selections::new(selections.collect());
            if let Some(default) = &networks.default {
                selections = selections.with_default(selection(default));
            }
            let verdict = hooks.select?(policy, &request, &selections);
            let all = selections.all();
            let shown = all.iter().map(|one| {
                json!({
                    "network": format!("{}/{}", one.namespace, one.name),
                    "ifName": one.if_name,
                    "ips": one.ips,
                    "mac": one.mac,
                })
            });
            (verdict, Value::Array(shown.collect()))
        }
        Offered::BeforeAdd(offered, ..) => {
            let mut attachment = attachment(offered);
            if let Some(refusal) = refusal {
                attachment = attachment.refusing(refusal);
            }
            let plan = Plan::new(vec![(attachment.clone(), Outcome::new())]);
            let verdict = hooks.before_add?(policy, &request, &attachment, &plan);
            let value = json!({
                "ifName": attachment.if_name(),
                "conf": parsed(&attachment.conf()),
                "ips": attachment.ips(),
                "mac": attachment.mac(),
                "cniArgs": attachment.cni_args().map(|args| parsed(&args)),
            });
            (verdict, value)
        }
        Offered::AfterAdd(offered, result) => {
            let mut outcome = outcome(&parsed(result.result.get()));
            if let Some(refusal) = refusal {
                outcome = outcome.refusing(refusal);
            }
            let verdict = hooks.after_add?(policy, &request, &attachment(offered), &outcome);
            let dns = outcome.dns();
            let dns = json!({
                "nameservers": dns.nameservers,
                "domain": dns.domain,
                "search": dns.search,
                "options": dns.options,
            });
            let ips: Vec<String> = outcome.ips().into_iter().map(|ip| ip.address).collect();
            let tags: BTreeMap<String, String> = outcome.tags().into_iter().collect();
            (verdict, json!({"dns": dns, "ips": ips, "tags": tags}))
        }
        _ => return None,
    };
    let denial = verdict.err().map(|denial| (denial.code, denial.message));
    let findings = request.findings().into_iter().map(|finding| {
        let is_warning = matches!(finding.severity, cnidaria_guest::Severity::Warning);
        (is_warning, finding.code, finding.message)
    });
    Some(Done {
        value: match denial {
            Some(_) => Value::Null,
            None => value,
        },
        denial,
        findings: findings.collect(),
    })
}

/// What [`native`] shows of a value.
fn value(offered: &Offered) -> Value {
    match offered {
        Offered::Select(networks) => {
            let shown = networks.others.iter().map(|slot| {
                let one = &slot.selection;
                json!({
                    "network": format!("{}/{}", one.namespace, one.name),
                    "ifName": one.if_name,
                    "ips": one.ips,
                    "mac": one.mac,
                })
            });
            Value::Array(shown.collect())
        }
        Offered::BeforeAdd(attachment, ..) => json!({
            "ifName": attachment.if_name,
            "conf": parsed(&attachment.conf.to_string()),
            "ips": attachment.ips,
            "mac": attachment.mac,
            "cniArgs": attachment.cni_args.as_ref().map(|args| parsed(&args.to_string())),
        }),
        Offered::AfterAdd(_, outcome) => {
            let result = parsed(outcome.result.get());
            let list = |key: &str| {
                let value = result.pointer(key).cloned();
                value.unwrap_or_else(|| json!([]))
            };
            let ips = result.pointer("/ips").and_then(Value::as_array);
            let ips: Vec<&Value> = ips
                .into_iter()
                .flatten()
                .filter_map(|ip| ip.get("address"))
                .collect();
            let dns = json!({
                "nameservers": list("/dns/nameservers"),
                "domain": result.pointer("/dns/domain"),
                "search": list("/dns/search"),
                "options": list("/dns/options"),
            });
            json!({"dns": dns, "ips": ips, "tags": outcome.tags})
        }
        _ => Value::Null,
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn request(facts: &RequestFacts) -> Request {
    let pod = facts.pod.as_ref();
    let namespace = pod.map(|pod| pod.namespace.as_str()).unwrap_or_default();
    let name = pod.map(|pod| pod.name.as_str()).unwrap_or_default();
    let command = match facts.command {
        policy_engine::Command::Add => Command::Add,
        policy_engine::Command::Del => Command::Del,
        policy_engine::Command::Check => Command::Check,
        policy_engine::Command::Gc => Command::Gc,
        policy_engine::Command::Status | policy_engine::Command::Version => Command::Status,
    };
    let mut request = Request::new(command, namespace, name).with_node_name(&facts.node_name);
    for (key, value) in &facts.annotations {
        request = request.with_annotation(key, value);
    }
    for (key, value) in &facts.labels {
        request = request.with_label(key, value);
    }
    request
}

fn selection(given: &policy_engine::Selection) -> Selection {
    Selection {
        if_name: given.if_name.clone(),
        ips: given.ips.clone(),
        mac: given.mac.clone(),
        infiniband_guid: given.infiniband_guid.clone(),
        bandwidth: given.bandwidth.map(|given| Bandwidth {
            ingress_rate: given.ingress_rate,
            ingress_burst: given.ingress_burst,
            egress_rate: given.egress_rate,
            egress_burst: given.egress_burst,
        }),
        port_mappings: given
            .port_mappings
            .iter()
            .map(|given| PortMapping {
                host_port: given.host_port,
                container_port: given.container_port,
                protocol: given.protocol().to_owned(),
                host_ip: given.host_ip.clone(),
            })
            .collect(),
        default_route: given.default_route.clone(),
        cni_args: given.cni_args.as_ref().map(ToString::to_string),
        ..Selection::new(&given.namespace, &given.name)
    }
}

fn attachment(given: &policy_engine::PolicyAttachment) -> Attachment {
    let ips: Vec<&str> = given.ips.iter().map(String::as_str).collect();
    let conf = given.conf.to_string();
    let mut attachment = Attachment::new(&given.network, &given.if_name, &conf).with_ips(&ips);
    if given.is_default {
        attachment = attachment.as_default();
    }
    if let Some(mac) = &given.mac {
        attachment = attachment.with_mac(mac);
    }
    if let Some(args) = &given.cni_args {
        attachment = attachment.with_cni_args(&args.to_string());
    }
    attachment
}

fn outcome(result: &Value) -> Outcome {
    let list = |pointer: &str| {
        let list = result.pointer(pointer).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |value: &Value, key: &str| {
        let number = value.get(key).and_then(Value::as_u64);
        number.and_then(|number| u32::try_from(number).ok())
    };
    let texts = |pointer: &str| {
        let list = list(pointer).into_iter();
        list.filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    };
    let interfaces = list("/interfaces").into_iter().map(|value| IfInfo {
        name: text(&value, "name").unwrap_or_default(),
        mac: text(&value, "mac"),
        mtu: number(&value, "mtu"),
        sandbox: text(&value, "sandbox"),
        socket_path: text(&value, "socketPath"),
        pci_id: text(&value, "pciID"),
    });
    let ips = list("/ips").into_iter().map(|value| IpConfig {
        address: text(&value, "address").unwrap_or_default(),
        gateway: text(&value, "gateway"),
        if_index: number(&value, "interface"),
    });
    let routes = list("/routes").into_iter().map(|value| Route {
        dst: text(&value, "dst").unwrap_or_default(),
        gw: text(&value, "gw"),
        mtu: number(&value, "mtu"),
        adv_mss: number(&value, "advmss"),
        priority: number(&value, "priority"),
        table: number(&value, "table"),
        scope: number(&value, "scope"),
    });
    let domain = result.pointer("/dns/domain").and_then(Value::as_str);
    Outcome::new()
        .with_interfaces(interfaces.collect())
        .with_ips(ips.collect())
        .with_routes(routes.collect())
        .with_dns(Dns {
            nameservers: texts("/dns/nameservers"),
            domain: domain.map(str::to_owned),
            search: texts("/dns/search"),
            options: texts("/dns/options"),
        })
}
