//! `cnidaria policy record`: the daemon's recording of the requests that policies see.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use shim_api::admin::{Record, Recording};
use shim_api::endpoint;

use crate::args::{Args, Format, RecordCommand};
use crate::{daemon, output};

/// Changes or shows the recording, or copies it.
pub(crate) fn record(args: &Args, command: &RecordCommand) -> Result<String, Box<dyn Error>> {
    let ask = |action| daemon::post::<Recording>(&args.socket_dir(), endpoint::RECORD, &action);
    let recording = match command {
        RecordCommand::Start => ask(Record::Start)?,
        RecordCommand::Stop => ask(Record::Stop)?,
        RecordCommand::Status => ask(Record::Flush)?,
        RecordCommand::Export { file, directory } => {
            let files = match directory {
                Some(directory) => files(directory)?,
                None => ask(Record::Flush)?
                    .files
                    .into_iter()
                    .map(PathBuf::from)
                    .collect(),
            };
            return export(&files, file);
        }
    };
    match args.output {
        Format::Json => Ok(output::json(&recording)?),
        Format::Table => Ok(describe(&recording)),
    }
}

fn describe(recording: &Recording) -> String {
    let state = if recording.recording { "on" } else { "off" };
    let mut rows = vec![
        ("recording", state.to_owned()),
        ("directory", recording.directory.clone()),
        (
            "files",
            format!("{}, {} bytes", recording.files.len(), recording.bytes),
        ),
        (
            "requests",
            format!(
                "{} since the daemon started, {} lost",
                recording.requests, recording.lost
            ),
        ),
    ];
    if let Some(error) = &recording.last_error {
        rows.push(("last error", error.clone()));
    }
    let line = |(key, value): &(&str, String)| format!("{key:<11}{}\n", output::plain(value));
    rows.iter().map(line).collect()
}

/// The files of a recording, in order.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "rec") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Copies the files one after another.
fn export(files: &[PathBuf], out: &Path) -> Result<String, Box<dyn Error>> {
    if files.is_empty() {
        return Err("nothing is recorded yet: start with `cnidaria policy record start`".into());
    }
    let failed = |error: io::Error| format!("cannot write {}: {error}", out.display());
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut copy = options.open(out).map_err(failed)?;
    let mut bytes = 0;
    for path in files {
        match File::open(path) {
            Ok(mut file) => bytes += io::copy(&mut file, &mut copy).map_err(failed)?,
            // The daemon has removed its oldest file for a new one.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
        }
    }
    Ok(format!("{}: {bytes} bytes\n", out.display()))
}
