//! Shows what a policy did in one ADD.

use std::fmt::Write as _;

use cnidaria_core::domain::entry::Entry;
use policy_engine::{Finding, Severity, Verdict};

use crate::node::{Answered, Denial, Edit, PolicyEvent};

/// Least width of the first column, with the hooks' names.
const HOOK: usize = 12;

/// The hooks with their verdicts, edits, findings and lines of log, and what the pod got. `ignored`
/// is what the daemon would warn about.
pub(super) fn text(
    answered: &Answered,
    entries: &[Entry],
    status: Option<&str>,
    ignored: &[String],
) -> String {
    let mut text = Lines::of(&answered.events);
    let mut log = Vec::new();
    let mut events = answered.events.iter();
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
                // A call's denial comes before the next call.
                let own = events.clone();
                let mut own = own.take_while(|next| !matches!(next, PolicyEvent::Called { .. }));
                let denial = own.find_map(|next| match next {
                    PolicyEvent::Denied(denial) => Some(denial),
                    _ => None,
                });
                let verdict = shown(*verdict, denial);
                text.line(hook.as_str(), &format!("{subject:<24}{verdict}"));
                for line_of_log in log.drain(..) {
                    text.line("", &line_of_log);
                }
                let cost = format!(
                    "{:.1} ms, {:.1} of {} MiB, {} of {} log lines",
                    duration.as_secs_f64() * 1e3,
                    memory.0 as f64 / 1_048_576.0,
                    memory.1 >> 20,
                    log_lines.0,
                    log_lines.1,
                );
                text.line("", &cost);
            }
            PolicyEvent::Edited { edits, .. } => {
                for edit in edits {
                    text.line("", &format!("edit: {}", edited(edit)));
                }
            }
            PolicyEvent::Finding(found) => text.line("", &finding(found)),
            PolicyEvent::Denied(_) | PolicyEvent::Used(_) => {}
        }
    }
    if text.text.is_empty() {
        text.text.push_str(
            "the policy was not called: it has no hook for this pod, or does not match it\n",
        );
    }
    outcome(answered, entries, status, &mut text);
    for ignored in ignored {
        let _ = writeln!(text.text, "warning: {}", crate::plain(ignored));
    }
    text.text
}

/// Lines of two columns.
struct Lines {
    text: String,
    width: usize,
}

impl Lines {
    /// The first column has room for the hooks that were called.
    fn of(events: &[PolicyEvent]) -> Self {
        let hooks = events.iter().filter_map(|event| match event {
            PolicyEvent::Called { hook, .. } => Some(hook.as_str().len() + 2),
            _ => None,
        });
        Self {
            text: String::new(),
            width: hooks.max().unwrap_or_default().max(HOOK),
        }
    }

    fn line(&mut self, first: &str, rest: &str) {
        let (width, rest) = (self.width, crate::plain(rest.trim_end()));
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{first:<width$}{rest}");
    }
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
    let fields = found.fields.iter();
    let fields = fields.map(|(name, value)| format!(" {name}={value:?}"));
    let fields: String = fields.collect();
    format!(
        "finding ({severity}) {}: {}{fields}",
        found.code, found.message
    )
}

fn outcome(answered: &Answered, entries: &[Entry], status: Option<&str>, text: &mut Lines) {
    match &answered.result {
        Ok(_) => {
            text.text.push_str("\nattached\n");
            for entry in entries {
                let conf = entry.conf.text();
                text.line(entry.if_name.as_str(), &format!("{} {conf}", entry.network));
            }
            if let Some(status) = status {
                text.line("status", status);
            }
        }
        Err(error) => {
            let reason = cni_types::error::chain(error);
            // Writing to a string cannot fail.
            let _ = writeln!(text.text, "\nnot attached: {reason}");
        }
    }
}
