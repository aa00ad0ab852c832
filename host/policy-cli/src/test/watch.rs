//! Tests again whenever a file changes, until the process is interrupted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Error, TestArgs, find, once};
use crate::Output;

/// Poll interval, too short for a person to notice.
const POLL: Duration = Duration::from_millis(300);

/// Clears the terminal and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Tests again whenever a file changes. Returns only if standard output is closed.
///
/// # Errors
/// Only errors that no change of a file can fix; the others are shown.
pub(super) fn watch(args: &TestArgs) -> Result<Output, Error> {
    use std::io::{IsTerminal as _, Write as _};
    let mut stdout = std::io::stdout();
    let clear = if stdout.is_terminal() { CLEAR } else { "" };
    let mut last = None;
    loop {
        let now = state(args);
        if last.as_ref() != Some(&now) {
            let text = match once(args) {
                Ok(output) => output.text,
                Err(error) => format!("{}\n", cni_types::error::chain(&error)),
            };
            let shown = stdout
                .write_all(format!("{clear}{text}").as_bytes())
                .and_then(|()| stdout.flush());
            if shown.is_err() {
                return Ok(Output::success(String::new()));
            }
            last = Some(now);
        }
        std::thread::sleep(POLL);
    }
}

/// When each file was last changed.
fn state(args: &TestArgs) -> BTreeMap<PathBuf, Option<SystemTime>> {
    let Ok(files) = find::files(args) else {
        return BTreeMap::new();
    };
    let all = files
        .cases
        .into_iter()
        .chain(files.config)
        .chain([files.module]);
    all.map(|path| {
        let changed = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok();
        (path, changed)
    })
    .collect()
}
