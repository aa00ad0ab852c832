//! `cnidaria-daemon`: arguments, log, runtime, and exit codes.

mod allocator;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use cnidaria_core::report;
use daemon::app::{self, Role};
use daemon::config::conf_file;
use daemon::config::daemon::{self as config, DEFAULT_PATH, DaemonConfig};
use daemon::config::mistakes;
use daemon::config::places;
use daemon::log;
use daemon::trace::{self, Begun};
use tokio::runtime::{Builder, Runtime};

const USAGE: &str = "\
Answers the CNI requests of a node on a unix socket.

Usage: cnidaria-daemon [--config FILE] [--check-config | --leave]

Options:
  --config FILE, -config FILE  the daemon's configuration, as Multus' thick plugin has it
                               [default: /etc/cni/net.d/multus.d/daemon-config.json]
  --check-config               check the file, and whether what it names exists; start nothing
  --leave                      do not provide the conf for the runtime, and remove an earlier one:
                               finishes what is recorded before an uninstallation
  --version, -version          print the version
  --help                       print this help
";

// Multus' exit codes, for compatible monitoring.
const BAD_CONFIGURATION: u8 = 1;
const BAD_ARGUMENTS: u8 = 2;
const NO_CONF_FOR_RUNTIME: u8 = 2;
const CANNOT_SERVE: u8 = 3;
const VERSION_PRINTED: u8 = 4;

/// Blocking threads end after this idle time, so that their memory can be freed.
const IDLE_THREAD: Duration = Duration::from_millis(500);

/// How long the exit waits for blocking work: of a disk that hangs, or a policy module that takes
/// long to load. The next daemon serves no connection before.
const LAST_WORK: Duration = Duration::from_secs(5);

enum Arguments {
    Serve(PathBuf, Role),
    Check(PathBuf),
    Version,
    Help,
}

/// Why the daemon exits, and with which code.
struct Failure {
    code: u8,
    problem: String,
}

fn main() -> ExitCode {
    let config = match parse(std::env::args_os().skip(1)) {
        Ok(Arguments::Serve(path, role)) => (path, role),
        Ok(Arguments::Check(path)) => return check(&path),
        Ok(Arguments::Version) => {
            let version = format!("cnidaria-daemon {}\n", env!("CARGO_PKG_VERSION"));
            return printed(&version, VERSION_PRINTED);
        }
        Ok(Arguments::Help) => {
            return printed(USAGE, 0);
        }
        Err(problem) => {
            complain(&format!("{problem}\n\n{USAGE}"));
            return ExitCode::from(BAD_ARGUMENTS);
        }
    };
    let (config, role) = config;
    match serve(config, role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, problem }) => {
            complain(&format!("{problem}\n"));
            ExitCode::from(code)
        }
    }
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let mut path = PathBuf::from(DEFAULT_PATH);
    let mut role = Role::Serve;
    let mut only_checks = false;
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let (name, value) = split(&argument);
        // Go's flag package, which Multus uses, accepts one dash or two.
        match name.trim_start_matches('-') {
            "config" if name.starts_with('-') => {
                let value = value.or_else(|| arguments.next());
                path = value.ok_or("--config needs a file")?.into();
            }
            "check-config" if name.starts_with('-') => only_checks = true,
            "leave" if argument == "--leave" => role = Role::Leave,
            "version" if name.starts_with('-') => return Ok(Arguments::Version),
            "help" | "h" if name.starts_with('-') => return Ok(Arguments::Help),
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(match only_checks {
        true => Arguments::Check(path),
        false => Arguments::Serve(path, role),
    })
}

/// The name of an argument, and what follows `=`. A name that is not UTF-8 is empty.
fn split(argument: &OsStr) -> (&str, Option<OsString>) {
    let bytes = argument.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let (name, value) = match at.and_then(|at| bytes.split_at_checked(at)) {
        Some((name, value)) => (name, value.get(1..)),
        None => (bytes, None),
    };
    let value = value.map(|value| OsStr::from_bytes(value).to_owned());
    (str::from_utf8(name).unwrap_or_default(), value)
}

fn serve(path: PathBuf, role: Role) -> Result<(), Failure> {
    let config = DaemonConfig::load(&path).map_err(|error| Failure {
        code: config_code(&error),
        problem: problem(&path, &error),
    })?;
    let begun = trace::begin(&config.own.trace, &app::node_name(&config.own));
    let (collector, traces, exporting, problem) = match begun {
        Some(Begun {
            collector,
            traces,
            exporting,
            problem,
        }) => (Some(collector), Some(traces), exporting, problem),
        None => (None, None, None, None),
    };
    log::start(&config.logging, config.own.log_format, collector);
    if let Some(error) = problem {
        tracing::error!(error, "cannot export traces to trace.otlpEndpoint");
    }
    for warning in &config.warnings {
        tracing::warn!(file = %path.display(), "{warning}");
    }
    let runtime = runtime(config.own.threads).map_err(|error| Failure {
        code: CANNOT_SERVE,
        problem: format!("cannot start: {error}"),
    })?;
    if let Some(exporting) = exporting {
        runtime.spawn(exporting);
    }
    let served = runtime.block_on(app::run(config, role, traces, allocator::return_memory));
    end(runtime, LAST_WORK);
    served.map_err(|error| Failure {
        code: match error {
            app::Error::Conf(_) => NO_CONF_FOR_RUNTIME,
            _ => CANNOT_SERVE,
        },
        problem: report::chain(&error),
    })
}

/// Prints every mistake of a configuration file.
fn check(path: &Path) -> ExitCode {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("cannot read {}: {error}\n", path.display()));
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let mut found = mistakes::find(&text);
    if let Ok(config) = DaemonConfig::parse(&text) {
        found.extend(places::find(&text, &config));
    }
    let lines = found
        .iter()
        .map(|mistake| format!("{}:{mistake}\n", path.display()));
    let code = match found.iter().any(|mistake| mistake.is_error) {
        true => BAD_CONFIGURATION,
        false => 0,
    };
    printed(&lines.collect::<String>(), code)
}

/// Writes to standard output; returns `code`, or 1 if that failed. A closed pipe is not a failure.
fn printed(text: &str, code: u8) -> ExitCode {
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_bytes());
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {error}\n"));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(code),
    }
}

/// Writes to standard error, which may be closed.
fn complain(problem: &str) {
    let _lost = write!(io::stderr(), "cnidaria-daemon: {problem}");
}

/// The mistake of a file that cannot be used, with its line.
fn problem(path: &Path, error: &config::Error) -> String {
    match std::fs::read(path) {
        Ok(text) => format!("{}:{}", path.display(), mistakes::locate(&text, error)),
        Err(_) => format!("{}: {}", path.display(), report::chain(error)),
    }
}

/// A single thread serves all requests unless configured otherwise. Requests are short and mostly
/// system calls; threads that wake each other and steal work cost about a tenth more CPU time.
fn runtime(threads: NonZeroUsize) -> io::Result<Runtime> {
    let mut builder = match threads.get() {
        1 => Builder::new_current_thread(),
        threads => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    builder.enable_all().thread_keep_alive(IDLE_THREAD).build()
}

/// Ends the runtime's tasks and waits a while for its blocking work.
fn end(runtime: Runtime, patience: Duration) {
    runtime.shutdown_timeout(patience);
}

fn config_code(error: &config::Error) -> u8 {
    match error {
        config::Error::ConfFile(conf_file::Error::Value(_)) => BAD_CONFIGURATION,
        config::Error::ConfFile(_) => NO_CONF_FOR_RUNTIME,
        config::Error::ConnectionLimit(_) => CANNOT_SERVE,
        _ => BAD_CONFIGURATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_hangs_does_not_prevent_the_exit() {
        let runtime = runtime(NonZeroUsize::MIN).unwrap();
        let (sender, hanging) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || hanging.recv());
        end(runtime, Duration::from_millis(10));
        // It hung until now.
        sender.send(()).unwrap();
    }
}
