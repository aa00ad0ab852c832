//! Shows what a policy did in one ADD.

use std::fmt::Write as _;

use cnidaria_core::domain::entry::Entry;
use policy_engine::{Finding, Severity, Verdict};

use crate::node::{Answered, Denial, Edit, PolicyEvent};

/// Width of the first column, with the hooks' names.
const HOOK: usize = 12;

/// The hooks with their verdicts, edits, findings and lines of log, and what the pod got.
pub(super) fn text(answered: &Answered, entries: &[Entry], status: Option<&str>) -> String {
    let mut text = String::new();
    let mut log = Vec::new();
    let mut events = answered.events.iter().peekable();
    while let Some(event) = events.next() {
        match event {
            PolicyEvent::Logged { level, line } => log.push(format!("{}: {line}", level.as_str())),
            PolicyEvent::Called {
                hook,
                attachment,
                verdict,
                duration,
                memory,
                log_lines,
            } => {
                let subject = match attachment {
                    Some((network, if_name)) => format!("{if_name} {network}"),
                    None => String::new(),
                };
                let denial = events.clone().find_map(|next| match next {
                    PolicyEvent::Denied(denial) if denial.hook == *hook => Some(denial),
                    _ => None,
                });
                let verdict = shown(*verdict, denial);
                line(&mut text, hook.as_str(), &format!("{subject:<24}{verdict}"));
                for line_of_log in log.drain(..) {
                    line(&mut text, "", &line_of_log);
                }
                let cost = format!(
                    "{:.1} ms, {:.1} of {} MiB, {} of {} log lines",
                    duration.as_secs_f64() * 1e3,
                    memory.0 as f64 / 1_048_576.0,
                    memory.1 >> 20,
                    log_lines.0,
                    log_lines.1,
                );
                line(&mut text, "", &cost);
            }
            PolicyEvent::Edited { edits, .. } => {
                for edit in edits {
                    line(&mut text, "", &format!("edit: {}", edited(edit)));
                }
            }
            PolicyEvent::Finding(found) => line(&mut text, "", &finding(found)),
            PolicyEvent::Denied(_) | PolicyEvent::Used(_) => {}
        }
    }
    if text.is_empty() {
        text.push_str(
            "the policy was not called: it has no hook for this pod, or does not match it\n",
        );
    }
    text.push_str(&outcome(answered, entries, status));
    text
}

fn shown(verdict: Verdict, denial: Option<&Denial>) -> String {
    let reason = |what: &str| match denial {
        Some(Denial {
            code,
            message,
            is_enforced: true,
            ..
        }) => format!("{what} {code} {message}"),
        Some(Denial { code, message, .. }) => format!("would {what} {code} {message} (audit)"),
        None => what.to_owned(),
    };
    match verdict {
        Verdict::Accept if denial.is_some() => reason("DENY"),
        Verdict::Accept => "accept".to_owned(),
        Verdict::Deny => reason("DENY"),
        Verdict::Failed(cause) => match denial {
            Some(_) => reason(&format!("FAILED ({cause})")),
            None => format!("failed ({cause}), and the request went on without the policy"),
        },
    }
}

fn edited(edit: &Edit) -> String {
    match &edit.value {
        Some(value) => format!("{} = {value}", edit.path),
        None => format!("{} removed", edit.path),
    }
}

fn finding(found: &Finding) -> String {
    let severity = match found.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
    };
    format!("finding ({severity}) {}: {}", found.code, found.message)
}

fn outcome(answered: &Answered, entries: &[Entry], status: Option<&str>) -> String {
    match &answered.result {
        Ok(_) => {
            let mut text = "\nattached\n".to_owned();
            for entry in entries {
                let conf = entry.conf.text();
                line(
                    &mut text,
                    entry.if_name.as_str(),
                    &format!("{} {conf}", entry.network),
                );
            }
            if let Some(status) = status {
                line(&mut text, "status", status);
            }
            text
        }
        Err(error) => format!("\nnot attached: {}\n", cni_types::error::chain(error)),
    }
}

fn line(text: &mut String, first: &str, rest: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{first:<HOOK$}{}", crate::plain(rest.trim_end()));
}
