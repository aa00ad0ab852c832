//! Which compiler builds for WebAssembly: the user's own if it has the target, otherwise Debian's.
//!
//! Both make core modules with `wasm-ld`, and `wasm-component-ld` turns these into components:
//! rustup's toolchains bring the two linkers along for every host.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::workspace;

/// The target of guests: a component that imports nothing but what it calls, no WASI at all.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler, of the package `rustc-web`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The compiler's sources below its sysroot, of the package `rust-web-src`.
const SOURCES: &str = "lib/rustlib/src/rust";

/// The oldest compiler that builds guests.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// How guests are compiled and linked.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    component_linker: PathBuf,
    core_linker: PathBuf,
}

#[derive(Debug)]
enum Compiler {
    /// The one that cargo uses has the target's standard library.
    Own,
    /// Debian's, at this path, whose standard library is built from source.
    Debian(String),
}

/// There is no way to build guests on this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "policy modules cannot be built here: {reason}.\n\
     Policy modules need a compiler for WebAssembly. Either of these helps:\n\
     \x20 rustup target add {TARGET}\n\
     \x20 apt-get update && apt-get install --no-install-recommends rustc-web rust-web-src\n\
     Debian 12 has rustc-web {OLDEST} or newer in bookworm-security, which apt's sources have to name."
)]
pub struct Missing {
    reason: String,
}

/// Bytes of heap that a guest has without growing: what its allocator takes at first.
const HEAP: usize = 64 << 10;

impl Toolchain {
    /// Looks at what is installed, by the same rules as `tests/setup/install`, whose tests choose
    /// another root for Debian's compiler.
    pub(crate) fn find() -> Result<Self, Missing> {
        let root = std::env::var("CNIDARIA_SETUP_ROOT").unwrap_or_default();
        let own = sysroot("rustc").ok_or_else(|| missing("there is no rustc"))?;
        let (component_linker, core_linker) = linkers(&own)
            .ok_or_else(|| missing("the toolchain lacks wasm-component-ld or wasm-ld"))?;
        let compiler = if has_target(&own) {
            Compiler::Own
        } else {
            let rustc = format!("{root}{DEBIAN_RUSTC}");
            if let Some(lacks) = debian_lacks(&rustc) {
                let own = version("rustc").unwrap_or_default();
                let reason = format!("the toolchain of rustc {own} has no {TARGET}, and {lacks}");
                return Err(missing(&reason));
            }
            Compiler::Debian(rustc)
        };
        Ok(Self {
            compiler,
            component_linker,
            core_linker,
        })
    }

    /// Which compiler this is, in the words of `tests/setup/install`.
    pub(crate) fn name(&self) -> String {
        match &self.compiler {
            Compiler::Own => format!(
                "rustc {}, which has {TARGET}",
                version("rustc").unwrap_or_default()
            ),
            Compiler::Debian(rustc) => {
                format!("Debian's rustc {}", version(rustc).unwrap_or_default())
            }
        }
    }

    /// What tells cargo to use it.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        let key = |key| {
            format!(
                "CARGO_TARGET_{}_{key}",
                TARGET.to_uppercase().replace('-', "_")
            )
        };
        let core = self.core_linker.display();
        cargo
            .args(["--target", TARGET])
            .env(key("LINKER"), &self.component_linker)
            .env(
                key("RUSTFLAGS"),
                format!(
                    "-Clink-arg=--wasi-adapter=none -Clink-arg=--wasm-ld-path={core} \
                     -Clink-arg=--initial-heap={HEAP}"
                ),
            );
        if let Compiler::Debian(rustc) = &self.compiler {
            // Debian ships no standard library for the target, but its sources; to build it is an
            // unstable feature of cargo, whose switch for stable compilers this is.
            cargo
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "1")
                .arg("-Zbuild-std=std,panic_abort");
        }
    }
}

fn missing(reason: &str) -> Missing {
    Missing {
        reason: reason.to_owned(),
    }
}

fn has_target(sysroot: &Path) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    std::fs::read_dir(libraries).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    })
}

/// Why Debian's compiler builds no guests; nothing if it does.
fn debian_lacks(rustc: &str) -> Option<String> {
    if !Path::new(rustc).is_file() {
        return Some(format!("there is no {rustc}"));
    }
    let version = version(rustc).unwrap_or_else(|| "unknown".to_owned());
    if minor(&version) < minor(OLDEST) {
        return Some(format!(
            "{rustc} is version {version}, needed is {OLDEST} or newer"
        ));
    }
    let sources = sysroot(rustc).unwrap_or_default().join(SOURCES);
    let std = sources.join("library/std");
    if !std.is_dir() {
        let std = std.display();
        return Some(format!(
            "{rustc} lacks the sources of its standard library, {std}"
        ));
    }
    let of = std::fs::read_to_string(sources.join("src/version"))
        .unwrap_or_else(|_| "unknown".to_owned());
    let of = of.trim();
    (of != version).then(|| {
        let sources = sources.display();
        format!("{rustc} is version {version}, and the sources in {sources} are version {of}")
    })
}

/// `1.95.0` of `rustc 1.95.0 (…)`.
fn version(rustc: &str) -> Option<String> {
    let text = said_by(rustc, &["--version"])?;
    text.strip_prefix("rustc ")?
        .split_whitespace()
        .next()
        .map(str::to_owned)
}

/// 95 of `1.95` or `1.95.0`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.split('.').next()?.parse().ok()
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    said_by(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

/// What a compiler prints, run where `rust-toolchain.toml` chooses it.
fn said_by(rustc: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(rustc)
        .args(arguments)
        .current_dir(workspace())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// `wasm-component-ld` and `wasm-ld` of a toolchain.
fn linkers(sysroot: &Path) -> Option<(PathBuf, PathBuf)> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts
        .filter_map(|host| Some(host.ok()?.path().join("bin")))
        .map(|bin| (bin.join("wasm-component-ld"), bin.join("gcc-ld/wasm-ld")))
        .find(|(component, core)| component.is_file() && core.is_file())
}
