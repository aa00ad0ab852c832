//! `cnidaria policy`: the policies of the daemon, and policy modules as files.

pub(crate) mod compile;
pub(crate) mod record;

use std::error::Error;
use std::time::SystemTime;

use shim_api::admin::{LastFailure, Policy, PolicyList, PolicyMode, PolicyState, Release};
use shim_api::endpoint;

use crate::args::{Args, Format};
use crate::output;
use crate::output::Column;
use node_cli::daemon;

/// Hexadecimal digits of a digest in the table: enough to distinguish builds of a module.
const DIGEST_DIGITS: usize = 12;

/// Lists the daemon's policies.
pub(crate) fn list(args: &Args) -> Result<String, Box<dyn Error>> {
    let list: PolicyList = daemon::get(&args.socket_dir(), endpoint::POLICIES)?;
    print(args, &list)
}

/// Makes the daemon reload a quarantined module, and lists the policies afterwards.
pub(crate) fn release(args: &Args, name: &str) -> Result<String, Box<dyn Error>> {
    let request = Release {
        name: name.to_owned(),
    };
    let list: PolicyList = daemon::post(&args.socket_dir(), endpoint::RELEASE, &request)?;
    print(args, &list)
}

fn print(args: &Args, list: &PolicyList) -> Result<String, Box<dyn Error>> {
    match args.output {
        Format::Json => Ok(output::json(list)?),
        Format::Table if list.policies.is_empty() => Ok("no policies\n".to_owned()),
        #[expect(clippy::disallowed_methods, reason = "an age, as it is shown")]
        Format::Table => Ok(table(list, SystemTime::now())),
    }
}

fn table(list: &PolicyList, now: SystemTime) -> String {
    let is_described = list
        .policies
        .iter()
        .any(|policy| policy.description.is_some());
    let rows = list.policies.iter().map(|policy| {
        let mut row = vec![
            policy.name.clone(),
            state(policy.state).to_owned(),
            mode(policy.mode).to_owned(),
            words(&policy.hooks),
            words(&policy.grants_asked),
            words(&policy.grants_given),
            policy.counts.evaluations.to_string(),
            policy.counts.denials.to_string(),
            policy.counts.failures.to_string(),
            digest(policy.digest.as_deref()),
        ];
        if is_described {
            row.push(title(policy));
        }
        row
    });
    let mut columns = vec![
        Column::Whole("NAME"),
        Column::Whole("STATE"),
        Column::Whole("MODE"),
        Column::Broken("HOOKS"),
        Column::Broken("ASKED"),
        Column::Broken("GRANTED"),
        Column::Whole("CALLS"),
        Column::Whole("DENIED"),
        Column::Whole("FAILED"),
        Column::Whole("DIGEST"),
    ];
    if is_described {
        columns.push(Column::Broken("MODULE"));
    }
    let notes: String = list
        .policies
        .iter()
        .flat_map(|policy| notes(policy, now))
        .collect();
    let table = output::table(&columns, rows.collect());
    if notes.is_empty() {
        table
    } else {
        format!("{table}\n{notes}")
    }
}

/// The last failed call: how long ago, and whether the policy has other files since.
fn failure(policy: &Policy, last: &LastFailure, now: SystemTime) -> String {
    let age = output::age(Some(last.at_unix_seconds), now);
    let since = policy.load.saturating_sub(last.load);
    let which = match (since, &last.digest) {
        (0, _) => String::new(),
        (_, digest) if *digest == policy.digest => ", with an earlier configuration".to_owned(),
        (_, digest) => format!(
            ", of the earlier module {}",
            self::digest(digest.as_deref())
        ),
    };
    format!("failed {age} ago{which}: {}", last.error)
}

/// Problems of the policy, one per line.
fn notes(policy: &Policy, now: SystemTime) -> Vec<String> {
    let mut notes = Vec::new();
    let last = policy.last_failure.as_ref();
    // The last error is the last failure, unless the newest files did not load.
    let is_shown = last.is_some_and(|last| policy.last_error.as_ref() == Some(&last.error));
    notes.extend(policy.last_error.clone().filter(|_| !is_shown));
    notes.extend(last.map(|last| failure(policy, last, now)));
    notes.extend(policy.state_error.clone());
    let missing: Vec<_> = policy
        .grants_asked
        .iter()
        .filter(|grant| !policy.grants_given.contains(grant))
        .cloned()
        .collect();
    if !missing.is_empty() {
        let missing = words(&missing);
        notes.push(format!(
            "asks for {missing}, which its configuration does not grant"
        ));
    }
    let wanted: Vec<_> = policy
        .description
        .iter()
        .flat_map(|said| &said.grants)
        .filter(|grant| !policy.grants_given.contains(grant) && !missing.contains(grant))
        .cloned()
        .collect();
    if !wanted.is_empty() {
        let wanted = words(&wanted);
        notes.push(format!(
            "wants {wanted}, which its configuration does not grant"
        ));
    }
    let Policy { name, file, .. } = policy;
    let line = |note| output::plain(&format!("{name} ({file}): {note}")) + "\n";
    notes.into_iter().map(line).collect()
}

/// Name and version, as the module says.
fn title(policy: &Policy) -> String {
    match &policy.description {
        Some(said) => output::plain(&format!("{} {}", said.name, said.version)),
        None => "-".to_owned(),
    }
}

fn state(state: PolicyState) -> &'static str {
    match state {
        PolicyState::Loaded => "loaded",
        PolicyState::Stale => "stale",
        PolicyState::Loading => "loading",
        PolicyState::Broken => "broken",
        PolicyState::Quarantined => "quarantined",
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
