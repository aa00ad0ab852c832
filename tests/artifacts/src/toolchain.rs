//! Which compiler builds for WebAssembly: the user's own if it has the target, otherwise Debian's.
//!
//! Both make core modules with `wasm-ld`, and `wasm-component-ld` turns these into components:
//! rustup's toolchains bring the two linkers along for every host.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of guests: a component that imports nothing but what it calls, no WASI at all.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler, of the package `rustc-web`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The standard library's sources, of the package `rust-web-src`, below a sysroot.
const STD_SOURCE: &str = "lib/rustlib/src/rust/library/std";

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
    /// Debian's, whose standard library is built from source.
    Debian,
}

/// There is no way to build guests on this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "policy modules cannot be built here: {reason}. Either of these helps:\n\
     \x20 rustup target add {TARGET}\n\
     \x20 apt-get install --no-install-recommends rustc-web rust-web-src"
)]
pub struct Missing {
    reason: String,
}

/// Bytes of heap that a guest has without growing: what its allocator takes at first.
const HEAP: usize = 64 << 10;

impl Toolchain {
    /// Looks at what is installed.
    pub(crate) fn find() -> Result<Self, Missing> {
        let own = sysroot("rustc").ok_or_else(|| missing("there is no rustc"))?;
        let (component_linker, core_linker) = linkers(&own)
            .ok_or_else(|| missing("the toolchain lacks wasm-component-ld or wasm-ld"))?;
        let compiler = if own.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            Compiler::Own
        } else if sysroot(DEBIAN_RUSTC).is_some_and(|debian| debian.join(STD_SOURCE).is_dir()) {
            Compiler::Debian
        } else {
            return Err(missing("neither the toolchain nor Debian's has the target"));
        };
        Ok(Self {
            compiler,
            component_linker,
            core_linker,
        })
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
        if matches!(self.compiler, Compiler::Debian) {
            // Debian ships no standard library for the target, but its sources; to build it is an
            // unstable feature of cargo, whose switch for stable compilers this is.
            cargo
                .env("RUSTC", DEBIAN_RUSTC)
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

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

/// `wasm-component-ld` and `wasm-ld` of a toolchain.
fn linkers(sysroot: &Path) -> Option<(PathBuf, PathBuf)> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts
        .filter_map(|host| Some(host.ok()?.path().join("bin")))
        .map(|bin| (bin.join("wasm-component-ld"), bin.join("gcc-ld/wasm-ld")))
        .find(|(component, core)| component.is_file() && core.is_file())
}
