//! Calls one function of the host without end, or hands it as much as it takes.

use std::hint::black_box;

use cnidaria_guest::attachments;
use cnidaria_guest::prelude::*;
use serde::{Deserialize, Serialize};

/// What the guest does without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Reads the selections while it validates them.
    ReadSelections,
    /// Sets the default network, with a selection as large as a call may be.
    SetDefault,
    /// Appends plugins, each as large as an edit may be.
    AppendPlugin,
    /// Appends a plugin with more members than an edit may have.
    AppendMembers,
    /// Sets a list of as many empty addresses as a call may have.
    EmptyAddresses,
    /// Keeps each handle that the host gives.
    KeepHandles,
    /// Reads the runtime configuration and the cni-args of all attachments.
    ReadArguments,
    /// Reads all confs while it validates the plan.
    ReadPlan,
    /// Reads all results while it validates them.
    ReadResult,
    /// Looks for attachments of the node that do not exist.
    FindNothing,
    /// Looks for attachments of the node with an address of 200 KiB.
    FindLong,
    /// Reports findings with as many fields as a call may have.
    ReportFields,
    /// Reads the failure's plan after the ADD failed.
    ReadFailure,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 13] = [
        Self::ReadSelections,
        Self::SetDefault,
        Self::AppendPlugin,
        Self::AppendMembers,
        Self::EmptyAddresses,
        Self::KeepHandles,
        Self::ReadArguments,
        Self::ReadPlan,
        Self::ReadResult,
        Self::FindNothing,
        Self::FindLong,
        Self::ReportFields,
        Self::ReadFailure,
    ];
}

/// The settings as JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What to do without end.
    #[serde(rename = "do")]
    pub task: Task,
}

/// A policy that never returns.
#[derive(Debug)]
pub struct Tireless(Task);

impl Policy for Tireless {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings.task))
    }
}

impl Select for Tireless {
    fn select(&self, _: &Request, networks: &Selections) -> Verdict {
        if self.0 == Task::SetDefault {
            let mut large = Selection::new("default", "large");
            large.cni_args = Some(format!("{{\"x\":\"{}\"}}", "x".repeat(200 << 10)));
            loop {
                let _ = black_box(networks.set_default(Some(&large)));
            }
        }
        Ok(())
    }
}

impl ValidateSelections for Tireless {
    fn validate_selections(&self, _: &Request, networks: &Selections) -> Verdict {
        if self.0 == Task::ReadSelections {
            loop {
                black_box((networks.all(), networks.default(), networks.origin(0)));
            }
        }
        Ok(())
    }
}

impl BeforeAdd for Tireless {
    fn before_add(&self, request: &Request, attachment: &Attachment, plan: &Plan) -> Verdict {
        match self.0 {
            Task::AppendPlugin => {
                let plugin = format!(r#"{{"type":"noop","x":"{}"}}"#, "x".repeat(60 << 10));
                loop {
                    let _ = black_box(attachment.append_plugin(&plugin));
                }
            }
            Task::AppendMembers => {
                let members: String = (0..30_000).map(|n| format!(r#","{n}":1"#)).collect();
                let plugin = format!(r#"{{"type":"noop"{members}}}"#);
                loop {
                    let _ = black_box(attachment.append_plugin(&plugin));
                }
            }
            Task::EmptyAddresses => {
                let empty = vec![String::new(); 10_000];
                loop {
                    let _ = black_box(attachment.set_ips(&empty));
                }
            }
            Task::KeepHandles => loop {
                std::mem::forget(black_box(plan.at(0)));
            },
            Task::ReadArguments => loop {
                for one in plan.iter() {
                    black_box((one.runtime_config(), one.cni_args(), one.capabilities()));
                }
            },
            Task::FindNothing => {
                let filter = attachments::Filter {
                    namespace: Some("nowhere".to_owned()),
                    ..attachments::Filter::ALL
                };
                loop {
                    let _ = black_box(attachments::find(&filter, None));
                }
            }
            Task::FindLong => {
                let filter = attachments::Filter::ip("x".repeat(200 << 10));
                loop {
                    let _ = black_box(attachments::find(&filter, None));
                }
            }
            Task::ReportFields => {
                let field = (String::new(), String::new());
                let finding = Finding {
                    fields: vec![field; 5_000],
                    ..Finding::warning("fields", "many")
                };
                loop {
                    request.report(&finding);
                }
            }
            Task::ReadFailure => Err(Denial::new(210, "so that the ADD fails")),
            _ => Ok(()),
        }
    }
}

impl ValidatePlan for Tireless {
    fn validate_plan(&self, _: &Request, plan: &Plan) -> Verdict {
        if self.0 == Task::ReadPlan {
            loop {
                for one in plan.iter() {
                    black_box((one.conf(), one.plugin_types(), one.default_route()));
                }
            }
        }
        Ok(())
    }
}

impl ValidateResult for Tireless {
    fn validate_result(&self, _: &Request, plan: &Plan, outcome: &Outcome) -> Verdict {
        if self.0 == Task::ReadResult {
            loop {
                black_box((outcome.json(), outcome.tags(), plan.status(0)));
            }
        }
        Ok(())
    }
}

impl AddFailed for Tireless {
    fn add_failed(&self, _: &Request, plan: &Plan, _: &Failure) -> Vec<Finding> {
        if self.0 == Task::ReadFailure {
            loop {
                for one in plan.iter() {
                    black_box(one.conf());
                }
                black_box(plan.length());
            }
        }
        Vec::new()
    }
}

cnidaria_guest::export!(
    Tireless: select, validate_selections, before_add, validate_plan, validate_result, add_failed
);
