//! Has all hooks and performs in each the actions in its settings, so that a host test is a list of
//! actions and their effects.

use std::collections::BTreeMap;

use cnidaria_guest::prelude::*;
use cnidaria_guest::{Bandwidth, IpConfig, PortMapping, Route, ValidAttachment, state};
use serde::Deserialize;

/// One action. An edit that the host rejects denies the request, unless it is in [`Action::Try`].
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Performs an action, reporting a rejection as a finding.
    Try(Box<Action>),
    /// Denies with a code and a message.
    Deny(u32, String),
    /// Reports a warning with a code and a message.
    Report(String, String),
    /// Logs a line.
    Log(String),
    /// Panics.
    Panic(String),
    /// Reports what the hook sees, as findings.
    Describe,
    /// Increments a state counter under this key, bound to the hook's object.
    Count(String),

    /// Selections: inserts a network of namespace `default` at an index.
    Insert(u32, String),
    /// Selections: removes one.
    Remove(u32),
    /// Selections: moves one.
    Move(u32, u32),
    /// Selections: sets the addresses of one.
    SelectIps(u32, Vec<String>),
    /// Selections: sets the interface of one.
    SelectInterface(u32, String),
    /// Selections: makes one the default route, through a gateway.
    SelectDefault(u32, String),
    /// Selections: sets the default network to one of a namespace.
    SetDefault(String, String),
    /// Selections: goes back to the cluster's default network.
    ClusterDefault,

    /// Attachment: sets the MTU.
    SetMtu(u32),
    /// Attachment: sets JSON at a pointer.
    ConfSet(String, String),
    /// Attachment: removes the value at a pointer.
    ConfRemove(String),
    /// Attachment: renames the interface.
    SetIfName(String),
    /// Attachment: sets addresses.
    SetIps(Vec<String>),
    /// Attachment: sets the MAC.
    SetMac(String),
    /// Attachment: sets the GUID.
    SetGuid(String),
    /// Attachment: sets rate and burst of both directions.
    SetBandwidth(u64, u64),
    /// Attachment: maps a port of the node to one of the pod.
    SetPort(u16, u16),
    /// Attachment: sets a CNI arg to JSON.
    SetArg(String, String),
    /// Attachment: appends a plugin.
    Append(String),
    /// Attachment: leaves the network out.
    Skip,
    /// Plan: performs an action on the attachment with this index.
    On(u32, Box<Action>),
    /// Reports an action's refusal with all its fields.
    Refused(Box<Action>),

    /// Result: adds a nameserver.
    AddNameserver(String),
    /// Result: replaces the nameservers.
    SetNameservers(Vec<String>),
    /// Result: sets addresses, without interface or gateway.
    ResultIps(Vec<String>),
    /// Result: sets the routes' destinations.
    ResultRoutes(Vec<String>),
    /// Result: adds a route to a destination through a gateway.
    AddRoute(String, String),
    /// Result: removes all interfaces.
    NoInterfaces,
    /// Result: sets a tag.
    Tag(String, String),
    /// Network-status: performs an action on the element of the attachment with this index.
    Status(u32, Box<Action>),
}

/// The actions of each hook, by its name.
pub type Settings = BTreeMap<String, Vec<Action>>;

/// The policy that performs the actions.
#[derive(Debug)]
pub struct Witness {
    actions: Settings,
}

/// The resources that a hook passes.
#[derive(Default, Clone, Copy)]
struct Stage<'a> {
    request: Option<&'a Request>,
    selections: Option<&'a Selections>,
    attachment: Option<&'a Attachment>,
    outcome: Option<&'a Outcome>,
    plan: Option<&'a Plan>,
}

impl Policy for Witness {
    type Settings = Settings;

    fn new(actions: Settings) -> Result<Self, String> {
        if let Some(Action::Deny(_, reason)) =
            actions.get("configure").and_then(|actions| actions.first())
        {
            return Err(reason.clone());
        }
        Ok(Self { actions })
    }
}

impl Witness {
    fn run(&self, hook: &str, stage: Stage<'_>) -> Verdict {
        let actions = self
            .actions
            .get(hook)
            .map(Vec::as_slice)
            .unwrap_or_default();
        actions.iter().try_for_each(|action| stage.run(action))
    }
}

impl Stage<'_> {
    fn run(self, action: &Action) -> Verdict {
        match action {
            Action::Try(action) => {
                if let Err(denial) = self.run(action) {
                    self.report("refused", &denial.message);
                }
            }
            Action::Deny(code, message) => return Err(Denial::new(*code, message.as_str())),
            Action::Report(code, message) => self.report(code, message),
            Action::Log(line) => info!("{line}"),
            #[expect(clippy::panic, reason = "a test asks for it")]
            Action::Panic(message) => panic!("{message}"),
            Action::Describe => self.describe(),
            Action::Count(key) => self.count(key)?,
            Action::Insert(..)
            | Action::Remove(_)
            | Action::Move(..)
            | Action::SelectIps(..)
            | Action::SelectInterface(..)
            | Action::SelectDefault(..)
            | Action::SetDefault(..)
            | Action::ClusterDefault => {
                let selections = self.selections.ok_or("no selections in this hook")?;
                edit_selections(selections, action)?;
            }
            Action::AddNameserver(_)
            | Action::SetNameservers(_)
            | Action::ResultIps(_)
            | Action::ResultRoutes(_)
            | Action::AddRoute(..)
            | Action::NoInterfaces
            | Action::Tag(..) => {
                edit_outcome(self.outcome.ok_or("no result in this hook")?, action)?
            }
            Action::Status(index, action) => {
                let plan = self.plan.ok_or("no plan in this hook")?;
                let status = plan.status(*index).ok_or("no such attachment")?;
                edit_outcome(&status, action)?;
            }
            Action::On(index, action) => {
                let plan = self.plan.ok_or("no plan in this hook")?;
                let attachment = plan.at(*index).ok_or("no such attachment")?;
                edit_attachment(&attachment, action)?;
            }
            Action::Refused(action) => {
                let error = match self.attachment {
                    Some(attachment) => edit_attachment(attachment, action).err(),
                    None => None,
                };
                self.report("error", &format!("{error:?}"));
            }
            action => {
                edit_attachment(self.attachment.ok_or("no attachment in this hook")?, action)?
            }
        }
        Ok(())
    }

    fn report(self, code: &str, message: &str) {
        if let Some(request) = self.request {
            request.report(&Finding::warning(code, message));
        }
    }

    fn describe(self) {
        if let Some(request) = self.request {
            let pod = request
                .pod()
                .map(|pod| format!("{}/{}/{}", pod.namespace, pod.name, pod.uid));
            self.report(
                "request",
                &format!(
                    "{:?} {} {pod:?} {:?} {:?} {}",
                    request.command(),
                    request.container_id(),
                    request.labels(),
                    request.annotations(),
                    request.node_name()
                ),
            );
        }
        if let Some(selections) = self.selections {
            let names: Vec<String> = selections
                .all()
                .into_iter()
                .map(|selection| selection.name)
                .collect();
            self.report("selections", &names.join(","));
            if let Some(default) = selections.default() {
                self.report(
                    "default",
                    &format!("{}/{}", default.namespace, default.name),
                );
            }
        }
        if let Some(attachment) = self.attachment {
            self.report(
                "attachment",
                &format!(
                    "{} {} {:?} {:?} {:?} {:?} {:?}",
                    attachment.network(),
                    attachment.if_name(),
                    attachment.plugin_types(),
                    attachment.ips(),
                    attachment.mac(),
                    attachment.cni_args(),
                    attachment.conf_get("/mtu"),
                ),
            );
        }
        if let Some(outcome) = self.outcome {
            let ips: Vec<String> = outcome.ips().into_iter().map(|ip| ip.address).collect();
            let routes: Vec<String> = outcome
                .routes()
                .into_iter()
                .map(|route| route.dst)
                .collect();
            let interfaces: Vec<String> = outcome
                .interfaces()
                .into_iter()
                .map(|info| info.name)
                .collect();
            let servers = outcome.dns().nameservers;
            self.report(
                "outcome",
                &format!("{ips:?} {routes:?} {interfaces:?} {servers:?}"),
            );
        }
        if let Some(plan) = self.plan {
            let networks: Vec<String> = (0..plan.length())
                .filter_map(|index| plan.at(index))
                .map(|attachment| attachment.network())
                .collect();
            self.report("plan", &networks.join(","));
        }
    }

    fn count(self, key: &str) -> Verdict {
        let before = state::get(key);
        let count = before
            .as_ref()
            .and_then(|bytes| bytes.first())
            .copied()
            .unwrap_or(0);
        state::swap(key, before.as_deref(), Some(&[count + 1]), true)
            .map_err(|error| format!("state: {error:?}"))?;
        self.report("count", &format!("{key}={}", count + 1));
        Ok(())
    }
}

fn edit_selections(selections: &Selections, action: &Action) -> Result<(), EditError> {
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

fn edit_attachment(attachment: &Attachment, action: &Action) -> Result<(), EditError> {
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

fn edit_outcome(outcome: &Outcome, action: &Action) -> Result<(), EditError> {
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

impl ValidateSelections for Witness {
    fn validate_selections(&self, request: &Request, networks: &Selections) -> Verdict {
        let stage = Stage {
            request: Some(request),
            selections: Some(networks),
            ..Stage::default()
        };
        self.run("validate-selections", stage)
    }
}

impl ValidatePlan for Witness {
    fn validate_plan(&self, request: &Request, plan: &Plan) -> Verdict {
        let first = plan.at(0);
        let stage = Stage {
            request: Some(request),
            attachment: first.as_ref(),
            plan: Some(plan),
            ..Stage::default()
        };
        self.run("validate-plan", stage)
    }
}

impl ValidateResult for Witness {
    fn validate_result(&self, request: &Request, plan: &Plan, outcome: &Outcome) -> Verdict {
        let stage = Stage {
            request: Some(request),
            outcome: Some(outcome),
            plan: Some(plan),
            ..Stage::default()
        };
        self.run("validate-result", stage)
    }
}

impl AddFailed for Witness {
    fn add_failed(&self, request: &Request, plan: &Plan, failure: &Failure) -> Vec<Finding> {
        let stage = Stage {
            request: Some(request),
            plan: Some(plan),
            ..Stage::default()
        };
        let text = format!("{:?} {} {:?}", failure.code, plan.length(), failure.policy);
        match self.run("add-failed", stage) {
            Ok(()) => vec![Finding::info("add-failed", text).with("message", &failure.message)],
            Err(denial) => vec![Finding::warning("denied", denial.message)],
        }
    }
}

impl Select for Witness {
    fn select(&self, request: &Request, networks: &Selections) -> Verdict {
        let stage = Stage {
            request: Some(request),
            selections: Some(networks),
            ..Stage::default()
        };
        self.run("select", stage)
    }
}

impl BeforeAdd for Witness {
    fn before_add(&self, request: &Request, attachment: &Attachment, plan: &Plan) -> Verdict {
        let stage = Stage {
            request: Some(request),
            attachment: Some(attachment),
            plan: Some(plan),
            ..Stage::default()
        };
        self.run("before-add", stage)
    }
}

impl AfterAdd for Witness {
    fn after_add(&self, request: &Request, attachment: &Attachment, outcome: &Outcome) -> Verdict {
        let stage = Stage {
            request: Some(request),
            attachment: Some(attachment),
            outcome: Some(outcome),
            ..Stage::default()
        };
        self.run("after-add", stage)
    }
}

impl Finalize for Witness {
    fn finalize(&self, request: &Request, plan: &Plan, outcome: &Outcome) -> Verdict {
        let first = plan.at(0);
        let stage = Stage {
            request: Some(request),
            attachment: first.as_ref(),
            outcome: Some(outcome),
            plan: Some(plan),
            ..Stage::default()
        };
        self.run("finalize", stage)
    }
}

impl Check for Witness {
    fn check(&self, request: &Request, attachment: &Attachment, stored: &Outcome) -> Verdict {
        let stage = Stage {
            request: Some(request),
            attachment: Some(attachment),
            outcome: Some(stored),
            ..Stage::default()
        };
        self.run("check", stage)
    }
}

impl Status for Witness {
    fn status(&self) -> Result<(), String> {
        self.run("status", Stage::default())
            .map_err(|denial| denial.message)
    }
}

impl Del for Witness {
    fn del(&self, request: &Request, attachment: &Attachment, stored: &Outcome) -> Vec<Finding> {
        let stage = Stage {
            request: Some(request),
            attachment: Some(attachment),
            outcome: Some(stored),
            ..Stage::default()
        };
        match self.run("del", stage) {
            Ok(()) => vec![Finding::info("gone", attachment.network())],
            Err(denial) => vec![Finding::warning("denied", denial.message)],
        }
    }
}

impl Gc for Witness {
    fn gc(&self, valid: &[ValidAttachment]) -> Vec<Finding> {
        valid
            .iter()
            .map(|valid| {
                Finding::info("valid", format!("{} {}", valid.container_id, valid.if_name))
            })
            .collect()
    }
}

cnidaria_guest::export!(
    Witness: select, validate_selections, before_add, validate_plan, after_add, finalize,
    validate_result, add_failed, check, status, del, gc
);
