//! `cnidaria log`: how much the daemon logs, and changing that until it restarts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use node_cli::daemon;
use shim_api::endpoint;
use shim_api::log::{LogChange, LogLevels};

use crate::args::{Args, Format};
use crate::output;

/// Shows the levels, after changing them to `wanted`, if given.
pub(crate) fn log(args: &Args, wanted: Option<&LogChange>) -> Result<String, Box<dyn Error>> {
    let socket_dir = args.socket_dir();
    let levels: LogLevels = match wanted {
        Some(change) => daemon::post(&socket_dir, endpoint::LOG, change)?,
        None => daemon::get(&socket_dir, endpoint::LOG)?,
    };
    Ok(match args.output {
        Format::Json => output::json(&levels)?,
        Format::Table => shown(&levels),
    })
}

fn shown(levels: &LogLevels) -> String {
    let LogLevels {
        configured,
        level,
        modules,
    } = levels;
    let mut text = output::plain(level) + "\n";
    for (module, level) in modules {
        let _ = writeln!(text, "{}={}", output::plain(module), output::plain(level));
    }
    if level != configured || !modules.is_empty() {
        let configured = output::plain(configured);
        let _ = writeln!(
            text,
            "until the daemon restarts; configured is {configured}"
        );
    }
    text
}

/// Parses `debug`, `cnidaria_kube=debug`, or both and more, separated by commas. The daemon checks
/// levels and modules.
///
/// # Errors
/// More than one level for all modules, or for one.
pub(crate) fn parse(text: &str) -> Result<LogChange, String> {
    let mut change = LogChange::default();
    for part in text.split(',').map(str::trim) {
        let before = match part.split_once('=') {
            Some((module, level)) => set(&mut change.modules, module, level),
            None if part.is_empty() => return Err("a level is empty".to_owned()),
            None => change.level.replace(part.to_owned()),
        };
        if before.is_some() {
            return Err(format!("{part} is a second level for the same"));
        }
    }
    Ok(change)
}

fn set(modules: &mut BTreeMap<String, String>, module: &str, level: &str) -> Option<String> {
    modules.insert(module.trim().to_owned(), level.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_parsed() {
        let change = parse("warning, cnidaria_kube=debug,libcni=error").unwrap();
        assert_eq!(change.level.as_deref(), Some("warning"));
        assert_eq!(change.modules["cnidaria_kube"], "debug");
        assert_eq!(change.modules["libcni"], "error");
        assert_eq!(parse("libcni=debug").unwrap().level, None);
        for wrong in ["", "debug,error", "a=debug,a=error", "debug,"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
