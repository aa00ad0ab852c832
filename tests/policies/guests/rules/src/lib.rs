//! Rules that operators ask for. The settings name one; each is as short as a policy of its own.

use cnidaria_guest::json_state::{self, Life};
use cnidaria_guest::namespaces;
use cnidaria_guest::prelude::*;
use serde::Deserialize;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// Pods of namespaces with the label `tier=fast` get this default network.
    DefaultNetwork(String),
    /// Pods with the annotation `example.com/no-backup` do not get the network `backup` of the node.
    OptOut,
    /// Networks of pods without their own service account are left out.
    SkipUnlessAccount,
    /// A pod has no two networks with the same VLAN.
    VlanOnce,
    /// A pod with a device of a resource has to be controlled by a virtual machine.
    DevicesForMachines(String),
    /// The default route leads through a network that can limit bandwidth.
    RouteIsLimited,
    /// No attachment asks for more host ports than this, whether pod or policy sets them.
    HostPorts(usize),
    /// The namespace's labels become CNI args.
    LabelsAsArgs,
    /// Each chain ends with the plugin `tuning` and a sysctl.
    Tuned,
    /// The node's total of addresses is counted, and DEL takes back what ADD has counted.
    CountAddresses,
    /// A failed ADD is reported with its reason.
    ReportFailures,
    /// Pods on the node's network have no other networks.
    NoHostNetwork,
    /// No selection leaves the pod's namespace, whether pod or policy names it.
    OwnNamespace,
    /// The result has a nameserver, whatever other policies do.
    KeepNameserver,
}

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    rule: Rule,
}

/// The policy that has the rule.
#[derive(Debug)]
pub struct Rules(Rule);

impl Policy for Rules {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings.rule))
    }
}

impl Select for Rules {
    fn select(&self, request: &Request, networks: &Selections) -> Verdict {
        match &self.0 {
            Rule::DefaultNetwork(name) => {
                let labels = namespaces::labels(&request.namespace());
                let is_fast = labels
                    .iter()
                    .any(|(key, value)| key == "tier" && value == "fast");
                if is_fast && networks.default().is_none() {
                    networks.set_default(Some(&Selection::new("networks", name)))?;
                }
            }
            Rule::OptOut if request.annotation("example.com/no-backup").is_some() => {
                let found = networks.iter().find(|(index, selection)| {
                    selection.name == "backup" && networks.origin(*index) == Some(Origin::Node)
                });
                if let Some((index, _)) = found {
                    networks.remove(index)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl ValidateSelections for Rules {
    fn validate_selections(&self, request: &Request, networks: &Selections) -> Verdict {
        match &self.0 {
            Rule::NoHostNetwork if request.host_network() && networks.length() > 0 => Err(
                Denial::new(140, "a pod on the node's network has no other networks"),
            ),
            Rule::OwnNamespace => {
                let own = request.namespace();
                let foreign = networks.iter().find(|(index, selection)| {
                    networks.origin(*index) != Some(Origin::Node) && selection.namespace != own
                });
                match foreign {
                    Some((_, selection)) => {
                        let name = format!("{}/{}", selection.namespace, selection.name);
                        Err(Denial::new(141, format!("network {name} is not {own}'s")))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl BeforeAdd for Rules {
    fn before_add(&self, request: &Request, attachment: &Attachment, plan: &Plan) -> Verdict {
        match &self.0 {
            Rule::SkipUnlessAccount if !attachment.is_default() => {
                let account = request.service_account().unwrap_or_default();
                if matches!(account.as_str(), "" | "default") {
                    attachment.skip()?;
                }
            }
            Rule::VlanOnce => {
                let vlan: Option<u16> = attachment.conf_as("/vlan")?;
                let (network, if_name) = (attachment.network(), attachment.if_name());
                for other in plan.iter().filter(|other| other.if_name() != if_name) {
                    if vlan.is_some() && other.conf_as("/vlan")? == vlan {
                        let other = other.network();
                        let message = format!("{network} and {other} have one VLAN");
                        return Err(Denial::new(142, message));
                    }
                }
            }
            Rule::DevicesForMachines(resource) => {
                let owner = request.owner().map(|owner| owner.kind);
                if attachment.resource_name().as_ref() == Some(resource)
                    && owner.as_deref() != Some("VirtualMachineInstance")
                {
                    let device = attachment.device_id().unwrap_or_default();
                    return Err(Denial::new(
                        143,
                        format!("{device} is for virtual machines"),
                    ));
                }
            }
            Rule::RouteIsLimited => {
                let leads = !attachment.default_route().is_empty();
                if leads && !attachment.has_capability("bandwidth") {
                    return Err(Denial::new(144, "the default route has no limit"));
                }
            }
            Rule::LabelsAsArgs => {
                for (key, value) in namespaces::labels(&request.namespace()) {
                    attachment.set_cni_arg(&key, &format!("{value:?}"))?;
                }
            }
            Rule::Tuned => {
                attachment.append_plugin(
                    r#"{"type":"tuning","sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1"}}"#,
                )?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The part of the arguments of capabilities that a rule reads.
#[derive(Deserialize)]
struct Arguments {
    #[serde(default, rename = "portMappings")]
    port_mappings: Vec<serde::de::IgnoredAny>,
}

impl ValidatePlan for Rules {
    fn validate_plan(&self, _: &Request, plan: &Plan) -> Verdict {
        let Rule::HostPorts(most) = &self.0 else {
            return Ok(());
        };
        for attachment in plan.iter() {
            let arguments: Arguments = attachment.runtime_config_as()?;
            if arguments.port_mappings.len() > *most {
                let message = format!("{} has too many host ports", attachment.network());
                return Err(Denial::new(145, message));
            }
        }
        Ok(())
    }
}

impl AfterAdd for Rules {
    fn after_add(&self, _: &Request, _: &Attachment, outcome: &Outcome) -> Verdict {
        if self.0 == Rule::CountAddresses {
            let count = u32::try_from(outcome.ips().len()).unwrap_or_default();
            add(count)?;
            outcome.tag("counted", &count.to_string())?;
        }
        Ok(())
    }
}

impl ValidateResult for Rules {
    fn validate_result(&self, _: &Request, _: &Plan, outcome: &Outcome) -> Verdict {
        match &self.0 {
            Rule::KeepNameserver if outcome.dns().nameservers.is_empty() => {
                Err(Denial::new(146, "the pod would have no nameserver"))
            }
            _ => Ok(()),
        }
    }
}

impl AddFailed for Rules {
    fn add_failed(&self, request: &Request, plan: &Plan, failure: &Failure) -> Vec<Finding> {
        match &self.0 {
            Rule::ReportFailures => {
                let networks: Vec<String> = plan.iter().map(|one| one.network()).collect();
                let finding = Finding::warning("add-failed", failure.message.as_str());
                vec![
                    finding
                        .with("pod", request.pod_name())
                        .with("networks", networks.join(","))
                        .with("policy", failure.policy.as_deref().unwrap_or("none")),
                ]
            }
            _ => Vec::new(),
        }
    }
}

impl Del for Rules {
    fn del(&self, _: &Request, _: &Attachment, stored: &Outcome) -> Vec<Finding> {
        let tags = stored.tags();
        let counted = tags.iter().find(|(key, _)| key == "counted");
        let Some(counted) = counted.and_then(|(_, value)| value.parse::<u32>().ok()) else {
            return Vec::new();
        };
        let left = json_state::update("addresses", Life::Policy, |present: Option<u32>| {
            Some(present.unwrap_or_default().saturating_sub(counted))
        });
        let left = left.ok().flatten().unwrap_or_default();
        vec![Finding::info("left", format!("{left} addresses")).with("addresses", left)]
    }
}

fn add(count: u32) -> Verdict {
    json_state::update("addresses", Life::Policy, |present: Option<u32>| {
        Some(present.unwrap_or_default() + count)
    })?;
    Ok(())
}

cnidaria_guest::export!(
    Rules: select, validate_selections, before_add, validate_plan, after_add, validate_result,
    add_failed, del
);
