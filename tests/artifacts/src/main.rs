//! `test-artifacts build [--out DIR] plugins|hostile|all`: builds policy modules and says where
//! they are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use test_artifacts::{Set, build};

const USAGE: &str = "usage: test-artifacts build [--out DIR] plugins|hostile|all";

fn main() -> ExitCode {
    let Some((out, set)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match build(set)
        .map_err(Into::into)
        .and_then(|paths| deliver(paths, out.as_deref()))
    {
        Ok(paths) => {
            for path in paths {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            if let Some(source) = error.source() {
                eprintln!("  {source}");
            }
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut arguments: impl Iterator<Item = String>) -> Option<(Option<PathBuf>, Set)> {
    let mut out = None;
    let mut set = None;
    if arguments.next()? != "build" {
        return None;
    }
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => out = Some(arguments.next()?.into()),
            "plugins" => set = Some(Set::Plugins),
            "hostile" => set = Some(Set::Hostile),
            "all" => set = Some(Set::All),
            _ => return None,
        }
    }
    Some((out, set?))
}

/// Copies modules to a directory under the names of their packages.
fn deliver(
    paths: Vec<PathBuf>,
    out: Option<&Path>,
) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let Some(out) = out else {
        return Ok(paths);
    };
    std::fs::create_dir_all(out)?;
    let mut copies = Vec::new();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace('_', "-");
        let copy = out.join(name);
        std::fs::copy(&path, &copy)?;
        copies.push(copy);
    }
    Ok(copies)
}
