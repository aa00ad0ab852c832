//! Denies pods the addresses that their namespace may not use.
//!
//! README.md of this crate describes the settings.

mod block;

use std::collections::BTreeMap;
use std::net::IpAddr;

use cnidaria_guest::prelude::*;
use serde::Deserialize;

use block::Block;

/// Denial codes of this policy.
pub mod code {
    /// The namespace may not use the address.
    pub const NOT_ALLOWED: u32 = 120;
    /// The requested address is malformed.
    pub const MALFORMED: u32 = 121;
}

/// The JSON settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address blocks that each namespace may request; `*` matches all other namespaces.
    namespaces: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
pub struct AddressGuard {
    namespaces: BTreeMap<String, Vec<Block>>,
}

impl Policy for AddressGuard {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        let blocks = |(namespace, blocks): (String, Vec<String>)| {
            let blocks: Result<Vec<Block>, _> = blocks.iter().map(|block| block.parse()).collect();
            match blocks {
                Ok(blocks) => Ok((namespace, blocks)),
                Err(error) => Err(format!("settings: namespaces: {namespace}: {error}")),
            }
        };
        Ok(Self {
            namespaces: settings
                .namespaces
                .into_iter()
                .map(blocks)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Sees the addresses that pod and policies ask for, before a network is looked up.
impl ValidateSelections for AddressGuard {
    fn validate_selections(&self, request: &Request, networks: &Selections) -> Verdict {
        for selection in networks.default().into_iter().chain(networks.all()) {
            let network = format!("{}/{}", selection.namespace, selection.name);
            self.check(request, &network, &selection.ips)?;
            self.check_args(request, &network, selection.cni_args.as_deref())?;
        }
        Ok(())
    }
}

/// Checked again: a policy may have requested an address since, a network's own conf may have
/// cni-args, and a network that is attached to a running pod has no selection.
impl ValidatePlan for AddressGuard {
    fn validate_plan(&self, request: &Request, plan: &Plan) -> Verdict {
        plan.iter()
            .try_for_each(|attachment| self.check_attachment(request, &attachment))
    }
}

impl AddressGuard {
    fn check_attachment(&self, request: &Request, attachment: &Attachment) -> Verdict {
        let network = attachment.network();
        self.check(request, &network, &attachment.ips())?;
        self.check_args(request, &network, attachment.cni_args().as_deref())
    }

    fn check_args(&self, request: &Request, network: &str, args: Option<&str>) -> Verdict {
        let Some(args) = args else {
            return Ok(());
        };
        let malformed = |error| {
            Denial::new(
                code::MALFORMED,
                format!("network {network}: cni-args: {error}"),
            )
        };
        let args: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(args).map_err(|error| malformed(error.to_string()))?;
        for (key, value) in args.into_iter().filter(|(key, _)| is_ips(key)) {
            let ips: Option<Vec<String>> = serde_json::from_value(value)
                .map_err(|error| malformed(format!("{key}: {error}")))?;
            self.check(request, network, &ips.unwrap_or_default())?;
        }
        Ok(())
    }

    fn check(&self, request: &Request, network: &str, ips: &[String]) -> Verdict {
        let namespace = request.pod().map(|pod| pod.namespace).unwrap_or_default();
        let allowed = self
            .namespaces
            .get(&namespace)
            .or_else(|| self.namespaces.get("*"));
        for text in ips {
            let ip = address(text).ok_or_else(|| {
                Denial::new(
                    code::MALFORMED,
                    format!("network {network}: {text:?} is not an address"),
                )
            })?;
            let blocks = allowed.map(Vec::as_slice).unwrap_or_default();
            if !blocks.iter().any(|block| block.contains(ip)) {
                let message = format!(
                    "namespace {namespace} may not have address {text} on network {network}"
                );
                return Err(Denial::new(code::NOT_ALLOWED, message).with_details(may_have(blocks)));
            }
        }
        Ok(())
    }
}

/// Whether an IPAM plugin reads addresses from this member of cni-args. Go's JSON decoder folds
/// case, and folds the long s to s.
fn is_ips(key: &str) -> bool {
    key.replace('\u{17f}', "s").eq_ignore_ascii_case("ips")
}

fn may_have(blocks: &[Block]) -> String {
    if blocks.is_empty() {
        return "it may ask for no address at all".to_owned();
    }
    let blocks: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    format!("it may have {}", blocks.join(", "))
}

/// Parses the address of `10.1.2.3/24` or `10.1.2.3`.
fn address(text: &str) -> Option<IpAddr> {
    let ip = text.split_once('/').map_or(text, |(ip, _)| ip);
    ip.parse().ok()
}

cnidaria_guest::export!(AddressGuard: validate_selections, validate_plan);
