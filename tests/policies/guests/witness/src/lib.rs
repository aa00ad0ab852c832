//! Has all hooks and performs in each the actions in its settings, so that a host test is a list of
//! actions and their effects.

use std::collections::BTreeMap;

use cnidaria_guest::prelude::*;
use cnidaria_guest::{ValidAttachment, state};

pub use action::Action;
use edits::{edit_attachment, edit_outcome, edit_selections};

mod action;
mod edits;

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
