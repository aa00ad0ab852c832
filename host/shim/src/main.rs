//! `cnidaria-shim`: the CNI plugin that a container runtime executes. It checks what it was given,
//! forwards it over the unix socket, and prints what the daemon answers in the version that was
//! asked for. It decides nothing about networks and keeps nothing.
//!
//! ```text
//! call ─▶ conf ─▶ forward ═══ daemon ═══▶ answer
//! ```

mod answer;
mod call;
mod conf;
mod forward;

use std::io::{Read, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

use cni_types::args::Command;
use cni_types::version::Version;

use crate::answer::Failure;
use crate::call::Environment;
use crate::conf::Conf;

/// What a wrong command line exits with; CNI knows no command line.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
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
                ExitCode::from(EXIT_USAGE)
            }
        },
    }
}

/// Answers one call of a container runtime.
fn plugin() -> ExitCode {
    let environment = Environment::of_process();
    if environment.get("CNI_COMMAND").is_none() {
        // Most likely a person; a runtime reads standard output alone.
        let _ = stderr().write_all(about().as_bytes());
    }
    let mut version = Version::LATEST;
    match answer(&environment, stdin().lock(), &mut version) {
        Ok(output) => print(&output),
        Err(failure) => {
            print(&failure.to_cni_error().with_version(version).to_json());
            ExitCode::FAILURE
        }
    }
}

/// What to print for the call; `version` becomes that of the configuration as soon as it is known.
fn answer(
    environment: &Environment,
    stdin: impl Read,
    version: &mut Version,
) -> Result<String, Failure> {
    let parameters = environment.parameters()?;
    if parameters.command == Command::Version {
        return Ok(answer::versions());
    }
    let config = call::read_config(stdin)?;
    let conf = Conf::parse(&config, version)?;
    conf.allows(parameters.command)?;
    call::check_netns(&parameters, environment)?;
    let command = parameters.command;
    let result = forward::forward(command, &environment.to_request(config), &conf)
        .map_err(|source| Failure::Forward { command, source })?;
    match command {
        Command::Add => answer::result(result, *version),
        _ => Ok(String::new()),
    }
}

fn print(text: &str) -> ExitCode {
    let mut stdout = stdout();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads: there is no way left to say so but the exit code.
        Err(_) => ExitCode::FAILURE,
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
