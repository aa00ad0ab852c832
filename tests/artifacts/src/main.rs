//! `test-artifacts build [--out DIR] plugins|hostile|all` builds policy modules and prints their
//! paths. `test-artifacts build-languages DIR` builds the examples in other languages into DIR,
//! each named after its language. `test-artifacts compiler` prints the compiler it would use.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use test_artifacts::{Set, build};

const USAGE: &str = "usage: test-artifacts build [--out DIR] plugins|hostile|all
       test-artifacts build-languages DIR
       test-artifacts compiler";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [command, out] = words.as_slice()
        && command == "build-languages"
    {
        return ended(languages(Path::new(out)));
    }
    if words == ["compiler"] {
        return ended(
            test_artifacts::compiler()
                .map(|name| vec![name.into()])
                .map_err(Into::into),
        );
    }
    let Some((out, set)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let built = build(set).map_err(Into::into);
    ended(built.and_then(|paths| deliver(paths, out.as_deref())))
}

/// Prints the modules' paths, or why the build failed.
fn ended(built: Result<Vec<PathBuf>, Box<dyn std::error::Error>>) -> ExitCode {
    match built {
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

/// Builds the examples in languages other than Rust.
fn languages(out: &Path) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    std::fs::create_dir_all(out)?;
    let built = [
        ("javascript", test_artifacts::javascript()),
        ("python", test_artifacts::python()),
    ];
    let mut copies = Vec::new();
    for (name, path) in built {
        let copy = out.join(name).with_extension("wasm");
        std::fs::copy(path, &copy)?;
        copies.push(copy);
    }
    Ok(copies)
}

/// Copies modules to a directory, named after their packages.
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
