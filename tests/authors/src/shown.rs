//! What both sides show of a value after edits.

use std::collections::BTreeMap;

use cnidaria_guest::prelude::*;
use policy_engine::record::Offered;
use serde_json::{Value, json};

use crate::guest::{attachment as attachment_of, parsed};

/// A value of the host; null if no policy can edit it.
pub(crate) fn offered(offered: &Offered) -> Value {
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
            let default = networks.default.as_ref();
            let default = default.map(|one| format!("{}/{}", one.namespace, one.name));
            json!({"default": default, "others": shown.collect::<Vec<_>>()})
        }
        Offered::BeforeAdd(attachment, ..) => json!({
            "ifName": attachment.if_name,
            "conf": parsed(&attachment.conf.to_string()),
            "ips": attachment.ips,
            "mac": attachment.mac,
            // With those of the conf, as the getter shows them.
            "cniArgs": attachment_of(attachment).cni_args().map(|args| parsed(&args)),
            "skipped": attachment.skipped,
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
            let tags = outcome.earlier.iter().chain(&outcome.tags);
            let tags: BTreeMap<&String, &String> = tags.collect();
            json!({"dns": dns, "ips": ips, "tags": tags})
        }
        _ => Value::Null,
    }
}

/// The pod's networks.
pub(crate) fn selections(selections: &Selections) -> Value {
    let all = selections.all();
    let shown = all.iter().map(|one| {
        json!({
            "network": format!("{}/{}", one.namespace, one.name),
            "ifName": one.if_name,
            "ips": one.ips,
            "mac": one.mac,
        })
    });
    let default = selections.default();
    let default = default.map(|one| format!("{}/{}", one.namespace, one.name));
    json!({"default": default, "others": shown.collect::<Vec<_>>()})
}

/// An attachment.
pub(crate) fn attachment(attachment: &Attachment) -> Value {
    json!({
        "ifName": attachment.if_name(),
        "conf": parsed(&attachment.conf()),
        "ips": attachment.ips(),
        "mac": attachment.mac(),
        "cniArgs": attachment.cni_args().map(|args| parsed(&args)),
        "skipped": attachment.is_skipped(),
    })
}

/// A result.
pub(crate) fn outcome(outcome: &Outcome) -> Value {
    let dns = outcome.dns();
    let dns = json!({
        "nameservers": dns.nameservers,
        "domain": dns.domain,
        "search": dns.search,
        "options": dns.options,
    });
    let ips: Vec<String> = outcome.ips().into_iter().map(|ip| ip.address).collect();
    let tags: BTreeMap<String, String> = outcome.tags().into_iter().collect();
    json!({"dns": dns, "ips": ips, "tags": tags})
}
