//! `cnidaria-daemon`: arguments, log, runtime, and the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use daemon::app;
use daemon::config::daemon::{DEFAULT_PATH, DaemonConfig};
use daemon::{log, report};

const USAGE: &str = "\
Answers the CNI requests of a node on a unix socket.

Usage: cnidaria-daemon [--config FILE]

Options:
  --config FILE, -config FILE  the daemon's configuration, as Multus' thick plugin has it
                               [default: /etc/cni/net.d/multus.d/daemon-config.json]
  --version, -version          print the version
  --help                       print this help
";

enum Arguments {
    Serve(PathBuf),
    Print(String),
}

fn main() -> ExitCode {
    let config = match parse(std::env::args().skip(1)) {
        Ok(Arguments::Serve(path)) => path,
        Ok(Arguments::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("cnidaria-daemon: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("cnidaria-daemon: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut path = PathBuf::from(DEFAULT_PATH);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        // Go's flag package, which Multus uses, takes one dash for two.
        match name.trim_start_matches('-') {
            "config" if name.starts_with('-') => {
                let value = value.or_else(|| arguments.next());
                path = value.ok_or("--config needs a file")?.into();
            }
            "version" if name.starts_with('-') => {
                return Ok(Arguments::Print(format!(
                    "cnidaria-daemon {}\n",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            "help" | "h" if name.starts_with('-') => return Ok(Arguments::Print(USAGE.to_owned())),
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(Arguments::Serve(path))
}

fn serve(path: PathBuf) -> Result<(), String> {
    let config = DaemonConfig::load(&path)
        .map_err(|error| format!("{}: {}", path.display(), report::chain(&error)))?;
    log::start(config.log_level, config.own.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime
        .block_on(app::run(config))
        .map_err(|error| report::chain(&error))
}
