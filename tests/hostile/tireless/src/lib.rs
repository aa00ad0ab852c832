//! Calls one function of the host without end, or hands it as much as it takes.

use std::hint::black_box;

use cnidaria_guest::prelude::*;
use cnidaria_guest::{IfInfo, IpConfig, Route, attachments, metrics, namespaces, random, state};
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
    /// Moves selections, as many as there may be.
    MoveSelections,
    /// Makes edits as deep and as wide as they may be.
    WideEdits,
    /// Writes values as large as they may be into its state.
    FillState,
    /// Lists and reads its state, which has as many keys as it may have.
    ReadState,
    /// Logs lines as long as a call may have, of characters that deceive.
    LogLong,
    /// Counts with names as long as they may be, each another one.
    CountNames,
    /// Draws random bytes.
    DrawRandom,
    /// Looks up labels of namespaces with names as long as a call may have.
    LookUpLong,
    /// Rewrites the result, with lists as long as they may be.
    RewriteResult,
    /// Sets tags and name servers, as many as there may be.
    TagResult,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 23] = [
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
        Self::MoveSelections,
        Self::WideEdits,
        Self::FillState,
        Self::ReadState,
        Self::LogLong,
        Self::CountNames,
        Self::DrawRandom,
        Self::LookUpLong,
        Self::RewriteResult,
        Self::TagResult,
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
        if self.0 == Task::MoveSelections {
            while networks
                .insert(0, &Selection::new("default", "large"))
                .is_ok()
            {}
            loop {
                let last = networks.length().saturating_sub(1);
                let _ = black_box((networks.move_(0, last), networks.all()));
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
            Task::WideEdits => {
                let wide = format!("[{}0]", "0,".repeat(2_000));
                let deep = format!("{}{wide}{}", "[".repeat(29), "]".repeat(29));
                loop {
                    for key in ["/deep", "/DEEP", "/Deep"] {
                        let _ = black_box(attachment.conf_set(key, &deep));
                        let _ = black_box(attachment.conf_remove(key));
                    }
                }
            }
            Task::FillState => {
                let value = vec![0; 64 << 10];
                loop {
                    for key in ["a", "b", "c"] {
                        let before = state::get(key);
                        let _ = black_box(state::swap(key, before.as_deref(), Some(&value), true));
                    }
                }
            }
            Task::ReadState => {
                for number in 0..64 {
                    let key = format!("{number}{}", "k".repeat(200));
                    let _ = state::swap(&key, None, Some(&[0; 1024]), true);
                }
                loop {
                    for key in state::keys("") {
                        black_box(state::get(&key));
                    }
                }
            }
            Task::LogLong => {
                let line = "\u{202e}\u{1b}[31m\n".repeat(20 << 10);
                loop {
                    error!("{line}");
                }
            }
            Task::CountNames => {
                let mut number = 0_u64;
                loop {
                    metrics::add(&format!("n{number:063}"), 1.0);
                    metrics::observe(&format!("n{number:063}"), 1.0);
                    number += 1;
                }
            }
            Task::DrawRandom => loop {
                black_box(random::bytes(4096));
            },
            Task::LookUpLong => {
                let long = "x".repeat(100 << 10);
                loop {
                    black_box((namespaces::labels(&long), namespaces::label(&long, &long)));
                }
            }
            _ => Ok(()),
        }
    }
}

impl AfterAdd for Tireless {
    fn after_add(&self, _: &Request, _: &Attachment, outcome: &Outcome) -> Verdict {
        match self.0 {
            Task::RewriteResult => loop {
                rewrite(outcome);
            },
            Task::TagResult => loop {
                tag(outcome);
            },
            _ => Ok(()),
        }
    }
}

/// Sets lists of the greatest length.
fn rewrite(outcome: &Outcome) {
    let interfaces: Vec<IfInfo> = (0..128)
        .map(|number| IfInfo {
            name: format!("v{number}"),
            mac: None,
            mtu: None,
            sandbox: None,
            socket_path: Some("s".repeat(1024)),
            pci_id: None,
        })
        .collect();
    let ips: Vec<IpConfig> = (0..128)
        .map(|number| IpConfig::new(&format!("fd00::{number:x}/64")))
        .collect();
    let routes: Vec<Route> = (0..128)
        .map(|number| Route::new(&format!("fd00:{number:x}::/64"), Some("fd00::1")))
        .collect();
    let _ = black_box(outcome.set_interfaces(&interfaces));
    let _ = black_box(outcome.set_ips(&ips));
    let _ = black_box(outcome.set_routes(&routes));
}

/// Sets as many tags, name servers and domains as there may be.
fn tag(outcome: &Outcome) {
    for number in 0..32 {
        let _ = black_box(outcome.tag(&format!("tag-{number}"), &"v".repeat(253)));
    }
    let dns = Dns {
        nameservers: vec!["fd00::1".to_owned(); 16],
        search: (0..128)
            .map(|number| format!("d{number}.example"))
            .collect(),
        options: (0..128).map(|number| format!("o{number}")).collect(),
        ..Dns::EMPTY
    };
    let _ = black_box(outcome.set_dns(&dns));
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
    Tireless: select, validate_selections, before_add, validate_plan, after_add, validate_result,
    add_failed
);
