//! C: bindings from the project's WIT, compiled with clang, wasm-ld and wasi-libc.

use std::fs;
use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;

use super::Error;
use super::tool::{Missing, Step, find_versioned, note, output_of};
use super::wit::Wit;

/// The directory of the generated bindings.
const BINDINGS: &str = "bindings";

/// Where Debian's wasi-libc is, and the target it is for.
const LIBC: [(&str, &str); 2] = [
    ("/usr/lib/wasm32-wasi/libc.a", "wasm32-wasi"),
    ("/usr/lib/wasm32-wasip1/libc.a", "wasm32-wasip1"),
];

/// Ways to install everything on Debian.
const INSTALL: [&str; 1] =
    ["apt-get install --no-install-recommends clang lld wasi-libc libclang-rt-14-dev-wasm32"];

/// Builds the project and returns its core module.
pub(super) fn build(dir: &Path) -> Result<PathBuf, Error> {
    let missing = |what: &str| Missing::new(what, &INSTALL);
    let clang = find_versioned("clang").ok_or_else(|| missing("clang is not installed"))?;
    find_versioned("wasm-ld").ok_or_else(|| missing("the linker wasm-ld is not installed"))?;
    let mut libraries = LIBC.into_iter();
    let target = libraries.find_map(|(path, target)| Path::new(path).is_file().then_some(target));
    let target = target.ok_or_else(|| missing("wasi-libc is not installed"))?;
    let version = output_of(&clang, &["--version"], dir).unwrap_or_default();
    note(&format!(
        "using {} with wasi-libc",
        version.lines().next().unwrap_or("clang")
    ));
    let sources = bindings(dir)?;
    let core = format!("{BINDINGS}/core.wasm");
    let program = clang
        .file_name()
        .map_or_else(|| clang.clone(), PathBuf::from);
    Step::new(program, dir)
        .args([
            &format!("--target={target}"),
            "-mexec-model=reactor",
            "-Os",
            "-Wall",
            "-Wextra",
            "-Wl,--strip-all",
        ])
        .args([format!("-I{BINDINGS}")])
        .args(own_sources(dir)?)
        .args(sources)
        .args(["-o", &core])
        .run()?;
    Ok(dir.join(core))
}

/// The project's own sources.
fn own_sources(dir: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::File {
        path: dir.to_owned(),
        source,
    };
    let mut sources = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".c") {
            sources.push(name);
        }
    }
    sources.sort();
    Ok(sources)
}

/// Writes the bindings and returns the files to compile and link.
fn bindings(dir: &Path) -> Result<Vec<String>, Error> {
    let Wit { mut resolve, world } = Wit::read(dir)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| Error::Wit {
            dir: dir.join("wit"),
            reason: format!("{error:#}"),
        })?;
    let target = dir.join(BINDINGS);
    fs::create_dir_all(&target).map_err(|source| Error::File {
        path: target.clone(),
        source,
    })?;
    let mut sources = Vec::new();
    for (name, bytes) in files.iter() {
        super::write(&target.join(name), bytes)?;
        if name.ends_with(".c") || name.ends_with(".o") {
            sources.push(format!("{BINDINGS}/{name}"));
        }
    }
    Ok(sources)
}
