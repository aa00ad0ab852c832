//! The shim alone: time from start to exit, memory and size.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::Error;
use crate::process::Process;
use crate::program::{Program, size};
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Target;
use crate::yardstick::Yardsticks;

pub(crate) fn run(
    report: &mut Report,
    yardsticks: &Yardsticks,
    target: &Target,
    rounds: usize,
    scratch: &Path,
) -> Result<(), Error> {
    let command = |name: &str| Program {
        env: vec![("CNI_COMMAND".to_owned(), name.to_owned())],
        stdin: target.conf.clone(),
        ..Program::new(&target.shim)
    };
    // Without the other variables, the shim itself rejects ADD.
    let (version, wrong) = (command("VERSION"), command("ADD"));
    let [mut t, mut y, mut versions, mut wrongs] =
        [const { Vec::new() }; 4].map(Samples::from_iter);
    for _ in 0..rounds {
        t.push_time(yardsticks.t()?);
        versions.push_time(version.succeed()?.took);
        wrongs.push_time(wrong.run()?.took);
        y.push_time(yardsticks.y()?);
    }
    report.measure("t", "T: start and end of /bin/true", "ms", &t);
    let in_t = y.pairs(&t, |y, t| y / t).median();
    report.scored("y", "Y: start and end of a no-op delegate", "ms", &y, in_t);
    for (name, what, samples) in [
        ("shim.version", "shim, VERSION", &versions),
        ("shim.wrong", "shim, ADD that fails at once", &wrongs),
    ] {
        let ratio = samples.pairs(&t, |shim, t| shim / t).median();
        report.scored(name, what, "ms", samples, ratio);
        report.goal(what, "≤ 1.15 T", format!("{ratio:.2} T"), ratio, 1.15);
    }
    let peak = peak(target, scratch)?;
    report.number("shim.peak", "shim, peak resident memory", "MiB", peak);
    report.goal(
        "shim, peak memory",
        "≤ 2 MiB",
        format!("{peak:.2} MiB"),
        peak,
        2.0,
    );
    let size = size(&target.shim)? / 1e6;
    report.number("shim.size", "shim, size of its file", "MB", size);
    report.goal("shim, size", "≤ 1.2 MB", format!("{size:.2} MB"), size, 1.2);
    Ok(())
}

/// Peak memory of an ADD up to waiting for the daemon, played by this process. The peak that the
/// kernel reports after exit would include the parent's.
fn peak(target: &Target, scratch: &Path) -> Result<f64, Error> {
    fs::create_dir_all(scratch).map_err(Error::file(scratch))?;
    let socket = shim_api::endpoint::socket_path(scratch);
    let listener = UnixListener::bind(&socket).map_err(Error::file(&socket))?;
    let mut conf: Value = serde_json::from_slice(&target.conf).unwrap_or_default();
    conf["daemonSocketDir"] = scratch.display().to_string().into();
    let failed = |source| Error::Start {
        program: target.shim.display().to_string(),
        source,
    };
    let mut child = Command::new(&target.shim)
        .env_clear()
        .envs(target.variables("ADD", "peak", "peak"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(conf.to_string().as_bytes())
            .map_err(failed)?;
    }
    let (mut connection, _) = listener.accept().map_err(Error::file(&socket))?;
    let mut some = [0; 64];
    let _ = connection.read(&mut some).map_err(Error::file(&socket))?;
    let peak = Process(child.id()).peak();
    // Without an answer it would retry.
    child.kill().map_err(failed)?;
    child.wait().map_err(failed)?;
    fs::remove_file(&socket).map_err(Error::file(&socket))?;
    peak
}
