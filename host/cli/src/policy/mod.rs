//! `cnidaria policy`: the policies of the daemon, and policy modules as files.

pub(crate) mod compile;
pub(crate) mod inspect;

use std::error::Error;

use shim_api::admin::{Policy, PolicyList, PolicyMode, PolicyState};
use shim_api::endpoint;

use crate::args::{Args, Format};
use crate::{daemon, output};

/// Hexadecimal digits of a digest in the table; enough to tell builds of one module apart.
const DIGEST_DIGITS: usize = 12;

/// The daemon's policies.
pub(crate) fn list(args: &Args) -> Result<String, Box<dyn Error>> {
    let list: PolicyList = daemon::get(&args.socket_dir, endpoint::POLICIES)?;
    match args.output {
        Format::Json => Ok(output::json(&list)?),
        Format::Table if list.policies.is_empty() => Ok("no policies\n".to_owned()),
        Format::Table => Ok(table(&list)),
    }
}

fn table(list: &PolicyList) -> String {
    let rows = list.policies.iter().map(|policy| {
        vec![
            policy.name.clone(),
            state(policy.state).to_owned(),
            mode(policy.mode).to_owned(),
            words(&policy.hooks),
            words(&policy.grants_given),
            policy.counts.evaluations.to_string(),
            policy.counts.denials.to_string(),
            policy.counts.failures.to_string(),
            digest(policy.digest.as_deref()),
        ]
    });
    let columns = [
        "NAME", "STATE", "MODE", "HOOKS", "GRANTS", "CALLS", "DENIED", "FAILED", "DIGEST",
    ];
    let notes: String = list.policies.iter().map(notes).collect();
    let table = output::table(&columns, rows);
    if notes.is_empty() {
        table
    } else {
        format!("{table}\n{notes}")
    }
}

/// What is wrong with the policy.
fn notes(policy: &Policy) -> String {
    let missing: Vec<_> = policy
        .grants_asked
        .iter()
        .filter(|grant| !policy.grants_given.contains(grant))
        .cloned()
        .collect();
    let mut notes = String::new();
    if let Some(error) = &policy.last_error {
        notes += &format!("{} ({}): {error}\n", policy.name, policy.file);
    }
    if !missing.is_empty() {
        let missing = words(&missing);
        notes += &format!(
            "{} ({}): asks for {missing}, which its configuration does not grant\n",
            policy.name, policy.file
        );
    }
    notes
}

fn state(state: PolicyState) -> &'static str {
    match state {
        PolicyState::Loaded => "loaded",
        PolicyState::Stale => "stale",
        PolicyState::Broken => "broken",
        PolicyState::Off => "off",
        PolicyState::Unknown => "?",
    }
}

fn mode(mode: PolicyMode) -> &'static str {
    match mode {
        PolicyMode::Enforce => "enforce",
        PolicyMode::Audit => "audit",
        PolicyMode::Off => "off",
        PolicyMode::Unknown => "?",
    }
}

fn words(words: &[String]) -> String {
    if words.is_empty() {
        return "-".to_owned();
    }
    words.join(", ")
}

fn digest(digest: Option<&str>) -> String {
    let Some(digest) = digest else {
        return "-".to_owned();
    };
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.chars().take(DIGEST_DIGITS).collect()
}
