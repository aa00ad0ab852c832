//! Rust: cargo, with the user's own toolchain if it has a WebAssembly target, otherwise Debian's.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;
use super::tool::{Missing, Step, find, find_versioned, note, output_of};

/// The target whose components import only what they call.
const PLAIN: &str = "wasm32-unknown-unknown";
/// The target whose components also import WASI, which the daemon provides without access.
const WASI: &str = "wasm32-wasip2";

/// Debian's compiler, from the package `rustc-web`, and the sources of its standard library below
/// its sysroot, from `rust-web-src`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const SOURCES: &str = "lib/rustlib/src/rust/library/std";

/// Linker flags for a module without WASI: the heap is as large as the allocator's first request, so
/// that memory need not grow.
const FLAGS: &str = "-Clink-arg=--initial-heap=65536";

/// How a project is compiled.
#[derive(Debug, PartialEq, Eq)]
enum Toolchain {
    /// cargo's own compiler, which has this target's standard library.
    Own(&'static str),
    /// Debian's compiler, which builds the standard library, and a linker.
    Debian(PathBuf),
}

/// Builds the project and returns the module that cargo wrote.
pub(super) fn build(dir: &Path) -> Result<PathBuf, Error> {
    let cargo = find("cargo").ok_or_else(missing_cargo)?;
    let toolchain = choose(dir)?;
    let (version, step) = step(&toolchain, &cargo, dir);
    note(&version);
    let step = step.args(["--message-format", "json-render-diagnostics"]);
    let messages = step.output()?;
    messages
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .find_map(Message::module)
        .ok_or_else(|| Error::NoModule {
            command: step.to_string(),
            expected: ".wasm file: has Cargo.toml `crate-type = [\"cdylib\"]` under [lib]?",
        })
}

fn choose(dir: &Path) -> Result<Toolchain, Missing> {
    let own = find("rustc").and_then(|rustc| sysroot(&rustc, dir));
    if let Some(own) = &own
        && let Some(target) = [PLAIN, WASI]
            .into_iter()
            .find(|target| has_target(own, target))
    {
        return Ok(Toolchain::Own(target));
    }
    let debian = Path::new(DEBIAN_RUSTC);
    let has_sources = sysroot(debian, dir).is_some_and(|root| root.join(SOURCES).is_dir());
    if has_sources {
        let linker = find_versioned("wasm-ld").or_else(|| own.as_deref().and_then(rustup_linker));
        let linker = linker.ok_or_else(|| {
            let what = "Debian's rustc needs the linker wasm-ld";
            Missing::new(what, &["apt-get install --no-install-recommends lld"])
        })?;
        return Ok(Toolchain::Debian(linker));
    }
    let what = match own {
        Some(_) => format!("rustc has neither the target {PLAIN} nor {WASI}"),
        None => "rustc is not installed".to_owned(),
    };
    Err(Missing::new(
        what,
        &[
            "rustup target add wasm32-unknown-unknown",
            "rustup target add wasm32-wasip2",
            "apt-get install --no-install-recommends cargo-web rustc-web rust-web-src lld",
        ],
    ))
}

/// The toolchain's name and the command that builds with it.
fn step(toolchain: &Toolchain, cargo: &Path, dir: &Path) -> (String, Step) {
    let build = |target: &str| {
        Step::new(program(cargo), dir).args(["build", "--release", "--target", target])
    };
    match toolchain {
        Toolchain::Own(WASI) => (
            format!("using {} with {WASI}", version(Path::new("rustc"), dir)),
            build(WASI),
        ),
        Toolchain::Own(target) => (
            format!("using {} with {target}", version(Path::new("rustc"), dir)),
            build(target).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", FLAGS),
        ),
        Toolchain::Debian(linker) => (
            format!("using Debian's {}", version(Path::new(DEBIAN_RUSTC), dir)),
            build(PLAIN)
                .args(["-Zbuild-std=std,panic_abort"])
                .env("RUSTC", DEBIAN_RUSTC)
                // `build-std` is unstable, and this allows it on a stable compiler.
                .env("RUSTC_BOOTSTRAP", "1")
                .env(
                    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
                    linker.display().to_string(),
                )
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", FLAGS),
        ),
    }
}

/// Shown and run by name, as a user would.
fn program(cargo: &Path) -> PathBuf {
    cargo
        .file_name()
        .map_or_else(|| cargo.to_owned(), PathBuf::from)
}

fn version(rustc: &Path, dir: &Path) -> String {
    let version = output_of(rustc, &["--version"], dir).unwrap_or_else(|| "rustc".to_owned());
    version.split(" (").next().unwrap_or_default().to_owned()
}

fn sysroot(rustc: &Path, dir: &Path) -> Option<PathBuf> {
    output_of(rustc, &["--print", "sysroot"], dir).map(PathBuf::from)
}

fn has_target(sysroot: &Path, target: &str) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    std::fs::read_dir(libraries).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    })
}

/// The linker that every toolchain of rustup has.
fn rustup_linker(sysroot: &Path) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts
        .flatten()
        .map(|host| host.path().join("bin/gcc-ld/wasm-ld"))
        .find(|linker| linker.is_file())
}

fn missing_cargo() -> Missing {
    Missing::new(
        "cargo is not installed",
        &[
            "curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- --target wasm32-unknown-unknown",
            "apt-get install --no-install-recommends cargo-web rustc-web rust-web-src lld",
        ],
    )
}

/// A message of cargo about one artifact.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    kind: Vec<String>,
}

impl Message {
    /// The component or core module, if the message is about one.
    fn module(self) -> Option<PathBuf> {
        let is_module = self.reason == "compiler-artifact"
            && self
                .target
                .is_some_and(|target| target.kind.iter().any(|kind| kind == "cdylib"));
        let mut files = self.filenames.into_iter();
        files.find(|file| is_module && file.extension().is_some_and(|e| e == "wasm"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_in_cargos_messages() {
        let found = |text| serde_json::from_str::<Message>(text).ok()?.module();
        let artifact = r#"{"reason":"compiler-artifact","target":{"kind":["cdylib","rlib"]},
            "filenames":["/t/x.wasm","/t/libx.rlib"]}"#;
        assert_eq!(found(artifact), Some(PathBuf::from("/t/x.wasm")));
        assert_eq!(found(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn wasip2_needs_no_variables() {
        let dir = Path::new(".");
        let (_, step) = step(&Toolchain::Own(WASI), Path::new("/bin/cargo"), dir);
        assert_eq!(
            step.to_string(),
            "cargo build --release --target wasm32-wasip2"
        );
    }
}
