//! `cnidaria`: the operator's command line on a node. It queries the daemon over its socket, reads
//! the disk when the daemon is down, installs and uninstalls, and compiles policy modules. Only
//! `attachments forget`, `policy release`, `policy record`, `log` and `uninstall` change the daemon's
//! state.

mod args;
mod attachments;
mod bundle;
mod explain;
mod forget;
mod log;
mod manual;
mod output;
mod policy;
mod trace;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;

use node_cli::daemon;

use crate::args::{Args, AttachmentsCommand, Command, Format, PolicyCommand};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.output == Format::Json && !args.command.has_json() {
        output::note("cnidaria: this command has no JSON output: leave out `--output json`\n");
        return ExitCode::from(USAGE);
    }
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            output::note(&output::error(&*error));
            for advice in advice(&*error, &args) {
                output::note(&format!("{advice}\n"));
            }
            exit_code(&*error, &args)
        }
    }
}

/// Exit code of wrong usage, as the argument parser's.
const USAGE: u8 = 2;

/// The daemon's compiler has its own exit code for a module that does not compile.
fn exit_code(error: &(dyn Error + 'static), args: &Args) -> ExitCode {
    use policy_engine::compile;
    let command = &args.command;
    let is_child = matches!(
        command,
        Command::Policy(PolicyCommand::Compile { child: Some(_), .. })
    );
    if let Some(error) = error.downcast_ref::<policy_cli::NewError>()
        && error.is_usage()
    {
        return ExitCode::from(USAGE);
    }
    match error.downcast_ref::<compile::Error>() {
        Some(error) if is_child && error.is_refusal() => ExitCode::from(compile::REFUSED),
        _ => ExitCode::FAILURE,
    }
}

/// What the user can do about the error.
fn advice(error: &(dyn Error + 'static), args: &Args) -> Vec<&'static str> {
    let error = error.downcast_ref();
    let mut advice: Vec<_> = error.and_then(daemon::Error::advice).into_iter().collect();
    if let (Some(daemon::Error::Away { .. }), Command::Attachments { command: None, .. }) =
        (error, &args.command)
    {
        advice.push("With --cni-dir, attachments are read from disk while the daemon is away.");
    }
    advice
}

/// Runs the command and prints its output.
fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    if let Command::Policy(command) = &args.command
        && let Some(output) = author(command, args.output)
    {
        let policy_cli::Output { text, code } = output?;
        output::print(&text)?;
        return Ok(ExitCode::from(code));
    }
    if let Command::Explain(asked) = &args.command {
        let (text, code) = explain::explain(args, asked)?;
        output::print(&text)?;
        return Ok(ExitCode::from(code));
    }
    let text = match &args.command {
        Command::Policy(PolicyCommand::List) => policy::list(args)?,
        Command::Policy(PolicyCommand::Release { name }) => policy::release(args, name)?,
        Command::Policy(PolicyCommand::Record(command)) => policy::record::record(args, command)?,
        Command::Policy(PolicyCommand::Compile { module, out, child }) => {
            match (child, module, out) {
                (Some(confinement), ..) => policy_engine::compile::child(confinement)?,
                (None, Some(module), Some(out)) => policy::compile::compile(module, out)?,
                // The argument parser requires both.
                (None, ..) => {}
            }
            return Ok(ExitCode::SUCCESS);
        }
        // Handled above.
        Command::Policy(_) | Command::Explain(_) => String::new(),
        Command::Attachments {
            command:
                Some(AttachmentsCommand::Forget {
                    container,
                    if_name,
                    dir,
                    yes,
                }),
            ..
        } => forget::forget(args, container, if_name.as_deref(), dir.as_deref(), *yes)?,
        Command::Install(args) => return finished(node_cli::install(args)?),
        Command::Uninstall(command) => {
            return finished(node_cli::uninstall(command, args.given_socket_dir())?);
        }
        Command::Doctor(command) => {
            let as_json = args.output == Format::Json;
            let done = node_cli::doctor(command, args.given_socket_dir(), as_json)?;
            return finished(done);
        }
        Command::Ready(command) => {
            return finished(node_cli::ready(command, &args.socket_dir())?);
        }
        Command::Bundle(wanted) => bundle::bundle(args, wanted)?,
        Command::Trace { wanted } => trace::trace(args, wanted.as_deref())?,
        Command::Log { levels, reset } => {
            let reset = reset.then(Default::default);
            log::log(args, levels.as_ref().or(reset.as_ref()))?
        }
        Command::Completion { shell } => manual::completion(*shell),
        Command::Man { directory } => {
            manual::pages(directory)?;
            String::new()
        }
        Command::Attachments { cni_dir, .. } => attachments::list(args, cni_dir.as_deref())?,
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn finished(output: node_cli::Output) -> Result<ExitCode, Box<dyn Error>> {
    output::print(&output.text)?;
    Ok(ExitCode::from(output.code))
}

/// The commands for authors of policies; `None` for the others.
fn author(
    command: &PolicyCommand,
    format: Format,
) -> Option<Result<policy_cli::Output, Box<dyn Error>>> {
    Some(match command {
        PolicyCommand::New(args) => policy_cli::new(args).map_err(Into::into),
        PolicyCommand::Build(args) => policy_cli::build(args).map_err(Into::into),
        PolicyCommand::Check(args) => policy_cli::check(args).map_err(Into::into),
        PolicyCommand::Run(args) => policy_cli::run(args).map_err(Into::into),
        PolicyCommand::Test(args) => policy_cli::test(args).map_err(Into::into),
        PolicyCommand::Bench(args) => {
            policy_cli::bench(args, format == Format::Json).map_err(Into::into)
        }
        PolicyCommand::Inspect(args) => {
            policy_cli::inspect(args, format == Format::Json).map_err(Into::into)
        }
        PolicyCommand::Replay(args) => {
            policy_cli::replay(args, format == Format::Json).map_err(Into::into)
        }
        PolicyCommand::Explain(args) => Ok(policy_cli::explain(args)),
        _ => return None,
    })
}
