//! Chooses the compiler for WebAssembly: the user's own if it has the target, otherwise Debian's.
//!
//! Both produce core modules with `wasm-ld`, which `wasm-component-ld` turns into components.
//! rustup's toolchains include both linkers on every host.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::workspace;

/// The guests' target: a component imports only what it calls, and no WASI at all.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler, from the package `rustc-web`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The standard library's sources below the sysroot, from the package `rust-web-src`.
const SOURCES: &str = "lib/rustlib/src/rust";

/// The minimum compiler version for guests.
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
    /// cargo's own compiler, which has the target's standard library.
    Own,
    /// Debian's compiler at this path; its standard library is built from source.
    Debian(String),
}

/// This machine has no way to build guests.
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

/// Between the flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";

/// A guest's initial heap in bytes: its allocator's first request, so that memory need not grow.
const HEAP: usize = 64 << 10;

impl Toolchain {
    /// Detects what is installed, by the same rules as `tests/setup/install`, whose tests set
    /// another root for Debian's compiler.
    pub(crate) fn find() -> Result<Self, Missing> {
        let root = std::env::var("CNIDARIA_SETUP_ROOT").unwrap_or_default();
        let own = sysroot("rustc").ok_or_else(|| missing("rustc is not installed"))?;
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

    /// The compiler's name, as `tests/setup/install` prints it.
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

    /// Makes cargo use this toolchain.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        let key = |key| {
            format!(
                "CARGO_TARGET_{}_{key}",
                TARGET.to_uppercase().replace('-', "_")
            )
        };
        let core = self.core_linker.display();
        let mut flags = vec![
            "-Clink-arg=--wasi-adapter=none".to_owned(),
            format!("-Clink-arg=--wasm-ld-path={core}"),
            format!("-Clink-arg=--initial-heap={HEAP}"),
        ];
        flags.extend(without_paths(&workspace()));
        cargo
            .args(["--target", TARGET])
            .env(key("LINKER"), &self.component_linker)
            // Unlike RUSTFLAGS, it allows spaces in paths.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR));
        if let Compiler::Debian(rustc) = &self.compiler {
            // Debian ships the standard library for the target only as source. Building it needs an
            // unstable feature of cargo, which this variable enables on stable compilers.
            cargo
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "1")
                .arg("-Zbuild-std=std,panic_abort");
        }
    }
}

/// The flags that keep this machine's directories out of modules, as `deploy/release/flags` does.
fn without_paths(workspace: &Path) -> Vec<String> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let directories = [(cargo, "/cargo"), (Some(workspace.to_owned()), "/cnidaria")];
    let directories = directories.into_iter();
    directories
        .filter_map(|(directory, name)| Some((directory?.canonicalize().ok()?, name)))
        .map(|(directory, name)| format!("--remap-path-prefix={}={name}", directory.display()))
        .collect()
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

/// Why Debian's compiler cannot build guests; `None` if it can.
fn debian_lacks(rustc: &str) -> Option<String> {
    if !Path::new(rustc).is_file() {
        return Some(format!("{rustc} does not exist"));
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

/// Extracts `1.95.0` from `rustc 1.95.0 (…)`.
fn version(rustc: &str) -> Option<String> {
    let text = output_of(rustc, &["--version"])?;
    text.strip_prefix("rustc ")?
        .split_whitespace()
        .next()
        .map(str::to_owned)
}

/// Extracts 95 from `1.95` or `1.95.0`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.split('.').next()?.parse().ok()
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    output_of(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

/// A compiler's output, run where `rust-toolchain.toml` applies.
fn output_of(rustc: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(rustc)
        .args(arguments)
        .current_dir(workspace())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The paths of a toolchain's `wasm-component-ld` and `wasm-ld`.
fn linkers(sysroot: &Path) -> Option<(PathBuf, PathBuf)> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts
        .filter_map(|host| Some(host.ok()?.path().join("bin")))
        .map(|bin| (bin.join("wasm-component-ld"), bin.join("gcc-ld/wasm-ld")))
        .find(|(component, core)| component.is_file() && core.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_space_is_in_one_flag() {
        let toolchain = Toolchain {
            compiler: Compiler::Own,
            component_linker: "/a b/wasm-component-ld".into(),
            core_linker: "/a b/wasm-ld".into(),
        };
        let mut cargo = Command::new("cargo");
        toolchain.apply(&mut cargo);
        let flags = cargo
            .get_envs()
            .filter(|(key, _)| key.to_string_lossy().ends_with("RUSTFLAGS"))
            .map(|(key, value)| (key.to_string_lossy(), value.unwrap_or_default()));
        let flags: Vec<_> = flags.collect();
        let [(key, flags)] = flags.as_slice() else {
            panic!("one variable has the flags: {flags:?}");
        };
        assert_eq!(key, "CARGO_ENCODED_RUSTFLAGS");
        let flags = flags.to_string_lossy();
        let core = "-Clink-arg=--wasm-ld-path=/a b/wasm-ld";
        assert!(flags.split(SEPARATOR).any(|flag| flag == core), "{flags}");
        assert!(flags.split(SEPARATOR).all(|flag| flag.starts_with('-')));
    }

    #[test]
    fn paths_of_the_workspace_are_left_out() {
        let dir = std::env::temp_dir().join(format!("with a space {}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let flags = without_paths(&dir);
        std::fs::remove_dir(&dir).unwrap();
        let flag = flags.last().unwrap();
        assert!(flag.ends_with(&format!("with a space {}=/cnidaria", std::process::id())));
    }
}
