//! `cnidaria-shim`: the CNI plugin that a container runtime executes. It validates the call,
//! forwards it over the unix socket, and prints the daemon's response in the requested version. It
//! makes no network decisions, and stores only a DEL that finds no daemon.
//!
//! ```text
//! call ─▶ conf ─▶ forward ═══ daemon ═══▶ answer
//!                    └──▶ defer ─▶ cniDir
//! ```

#![no_main]

mod answer;
mod call;
mod conf;
mod defer;
mod forward;
mod netns;

use std::ffi::{c_char, c_int};
use std::io::{ErrorKind, Stdin, Write as _, stderr, stdin, stdout};

use cni_types::args::Command;
use cni_types::version::Version;
use shim_api::exchange::ConnectError;

use crate::answer::Failure;
use crate::call::Environment;
use crate::conf::Conf;

const EXIT_SUCCESS: u8 = 0;
const EXIT_FAILURE: u8 = 1;
/// Exit code for a wrong command line, which CNI does not define.
const EXIT_USAGE: u8 = 2;

/// The C entry point instead of Rust's: the standard library's start-up installs a stack overflow
/// handler, which parses `/proc/self/maps` and links a good part of the C library. Without it the
/// binary is an eighth smaller and makes half the system calls.
// SAFETY: the only symbol with this name, with the signature that C defines. `std::env` works
// without Rust's start-up; SIGPIPE keeps its default and ends the process when the reader is gone.
#[expect(unsafe_code, reason = "an entry point has to have its name")]
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    run().into()
}

/// Runs the command; returns the exit code.
fn run() -> u8 {
    match std::env::args_os().nth(1) {
        None => plugin(),
        Some(argument) => match argument.to_str() {
            Some("--version" | "-version" | "-v") => {
                print(&format!("cnidaria-shim {}\n", env!("CARGO_PKG_VERSION")))
            }
            Some("--help" | "-help" | "-h") => print(&help()),
            _ => {
                let argument = argument.display();
                let _ = write!(stderr(), "unknown argument {argument}\n\n{}", help());
                EXIT_USAGE
            }
        },
    }
}

/// Handles one call of a container runtime.
fn plugin() -> u8 {
    let environment = Environment::of_process();
    if environment.get("CNI_COMMAND").is_none() {
        // Run by a person: every runtime sets it. Plugins built with the CNI library for Go do the
        // same.
        let _ = stderr().write_all(about().as_bytes());
        return EXIT_SUCCESS;
    }
    let mut version = Version::LATEST;
    match answer(&environment, &stdin(), &mut version) {
        Ok(output) => print(&output),
        Err(failure) => {
            print(&failure.to_cni_error().with_version(version).to_json());
            EXIT_FAILURE
        }
    }
}

/// Handles the call; sets `version` to that of the configuration as soon as it is known.
fn answer(
    environment: &Environment,
    stdin: &Stdin,
    version: &mut Version,
) -> Result<String, Failure> {
    let parameters = environment.parameters()?;
    if parameters.command == Command::Version {
        return Ok(answer::versions(call::asked_version(stdin)));
    }
    let config = call::read_config(stdin.lock())?;
    let conf = Conf::parse(&config, parameters.command, version)?;
    conf.allows(parameters.command)?;
    call::check_netns(&parameters, environment)?;
    let command = parameters.command;
    let request = environment.to_request(config);
    let forward = || forward::forward(command, &request, &conf);
    let result = match forward() {
        Err(source @ forward::Error::Unreachable { .. })
            if command == Command::Del && conf.defer_del =>
        {
            if let Err(why) = defer::record(&request, &parameters, &conf) {
                return Err(Failure::NotDeferred { source, why });
            }
            // Try again: a daemon that started meanwhile may have read the records before this one
            // was written; one that starts later will find it.
            match forward() {
                Err(forward::Error::Unreachable { source, .. }) if is_absent_daemon(&source) => {
                    Ok(None)
                }
                answer => answer,
            }
        }
        answer => answer,
    };
    let result = result.map_err(|source| Failure::Forward { command, source })?;
    match command {
        Command::Add => answer::result(result, *version),
        _ => Ok(String::new()),
    }
}

/// Whether no daemon serves the socket. A full queue means that one does.
fn is_absent_daemon(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Unreachable(source) if source.kind() != ErrorKind::WouldBlock)
}

fn print(text: &str) -> u8 {
    let mut stdout = stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => EXIT_SUCCESS,
        // The reader is gone; only the exit code is left.
        Err(_) => EXIT_FAILURE,
    }
}

fn about() -> String {
    format!(
        "CNI plugin cnidaria-shim v{}: forwards CNI calls to the Cnidaria daemon of this node\n\
         CNI protocol versions supported: {}\n\
         A container runtime executes it with CNI_COMMAND set; see --help\n",
        env!("CARGO_PKG_VERSION"),
        Version::ALL.map(Version::as_str).join(", ")
    )
}

fn help() -> String {
    format!(include_str!("help.txt"), env!("CARGO_PKG_VERSION"))
}
