//! Records how this binary was called: one JSON file per call, with names that sort by time.

use std::env;
use std::fs;
use std::path::Path;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::call::Call;

/// Writes one file into `directory`, which must exist.
///
/// # Errors
/// A message with the path that could not be written.
#[expect(
    clippy::disallowed_methods,
    reason = "the order of records across processes"
)]
pub(crate) fn write(directory: &Path, call: &Call) -> Result<(), String> {
    let environment: Map<String, Value> = env::vars_os()
        .map(|(name, value)| {
            let value = value.to_string_lossy().into_owned();
            (name.to_string_lossy().into_owned(), Value::from(value))
        })
        .collect();
    let record = json!({
        "argv0": call.argv0,
        "cwd": env::current_dir().unwrap_or_default().to_string_lossy(),
        "env": environment,
        "stdin": String::from_utf8_lossy(&call.stdin),
    });
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(
        "{:020}-{}-{}",
        since_epoch.as_nanos(),
        process::id(),
        call.command
    );
    // Written to a temporary name and renamed, so that tests never read a partial record.
    let aside = directory.join(format!(".{name}"));
    let path = directory.join(format!("{name}.json"));
    fs::write(&aside, record.to_string())
        .and_then(|()| fs::rename(&aside, &path))
        .map_err(|source| {
            format!(
                "the call cannot be recorded in {}: {source}",
                path.display()
            )
        })
}
