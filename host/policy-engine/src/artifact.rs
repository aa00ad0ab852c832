//! Compiled modules on disk: a cache that only root or this user can write, filled by a child
//! process, mapped read-only.

mod unused;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::{COMPATIBILITY, Engines};
use crate::quarantine::Trials;
use crate::report::{Hook, clean};

/// Wall clock of one compilation. The child bounds its own processor time and memory.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a compiler's error message that are read.
const MAX_MESSAGE: u64 = 16 << 10;

/// What the compiler exits with when it is the module that is wrong, as sysexits.h has it for data:
/// to compile that once more would end the same way.
pub(crate) const REFUSED: u8 = 65;
/// Modules of which is remembered that they do not compile.
const MAX_REFUSED: usize = 256;

/// Tells the compilations of this process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Where artefacts are, and who makes them.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    compiler: PathBuf,
    /// What the compiler said of modules that it refuses, by digest, as long as this process lives.
    refused: BTreeMap<String, String>,
}

/// Why there is no artefact.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The directory or a file of the cache cannot be used.
    #[error("cannot use {path} of the artefact cache", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could have written what would be executed.
    #[error("{path} of the artefact cache is not safe: {reason}", path = path.display())]
    Unsafe {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The compiler cannot be started.
    #[error("cannot run the compiler {compiler}", compiler = compiler.display())]
    Spawn {
        /// The compiler.
        compiler: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The compiler refuses the module.
    #[error("does not compile: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The compiler crashed, or failed for a reason that is not the module's.
    #[error("does not compile: {reason}")]
    Compile {
        /// What it said, or how it ended.
        reason: String,
    },
    /// The module is not what it was.
    #[error("it changed while it was compiled")]
    Changed,
    /// The artefact that was just made does not load.
    #[error("the compiled module does not load")]
    Load {
        /// Why.
        source: wasmtime::Error,
    },
}

impl Cache {
    /// A cache in `dir`, filled by `compiler`.
    pub(crate) fn new(dir: PathBuf, compiler: PathBuf) -> Self {
        Self {
            dir,
            compiler,
            refused: BTreeMap::new(),
        }
    }

    /// The component of a module, compiled if there is no artefact that fits; not once more if the
    /// compiler has refused it.
    pub(crate) async fn component(
        &mut self,
        engines: &Engines,
        module: &Path,
        digest: &str,
        trials: &Trials,
    ) -> Result<Component, Error> {
        self.prepare()?;
        let load = |artefact: &Path| {
            let _mark = trials.begin(Hook::Configure);
            load(engines, artefact)
        };
        let hex = digest.trim_start_matches("sha256:");
        let artefact = self.dir.join(format!("{hex}-{COMPATIBILITY}.cwasm"));
        if artefact.exists() {
            check(&artefact, &read_metadata(&artefact)?, 0o600)?;
            match load(&artefact) {
                Ok(component) => {
                    unused::touch(&artefact);
                    return Ok(component);
                }
                // Of another version of wasmtime, or of another processor.
                Err(error) => tracing::info!(
                    target: "cnidaria::policy",
                    artefact = %artefact.display(),
                    error = %format!("{error:#}"),
                    "recompiling: the artefact does not fit this engine",
                ),
            }
        }
        if let Some(reason) = self.refused.get(digest) {
            let reason = reason.clone();
            return Err(Error::Refused { reason });
        }
        let compiled = self.compile(module, digest, &artefact).await;
        if let Err(Error::Refused { reason }) = &compiled {
            if self.refused.len() >= MAX_REFUSED {
                self.refused.clear();
            }
            self.refused.insert(digest.to_owned(), reason.clone());
        }
        compiled?;
        load(&artefact).map_err(|source| Error::Load { source })
    }

    /// Removes what none of the modules in `needed` has use for.
    pub(crate) fn sweep(&self, needed: &BTreeSet<&str>) {
        unused::sweep(&self.dir, needed);
    }

    fn prepare(&self) -> Result<(), Error> {
        private(&self.dir)
    }

    async fn compile(&self, module: &Path, digest: &str, artefact: &Path) -> Result<(), Error> {
        // In the cache itself, so that the rename is atomic.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let unfinished = artefact.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let ran = self.run(module, &unfinished).await;
        // The compiler read the module once more; neither its artefact nor what it says of it must
        // be taken for this one's.
        let about_it = matches!(ran, Ok(()) | Err(Error::Refused { .. }));
        let changed = about_it && crate::digest::of_file(module).ok().as_deref() != Some(digest);
        let ran = if changed { Err(Error::Changed) } else { ran };
        let result = ran.and_then(|()| {
            let failed = |source| Error::Io {
                path: unfinished.clone(),
                source,
            };
            let file = File::open(&unfinished).map_err(failed)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .map_err(failed)?;
            // An artefact is machine code that is executed as it is on disk: no half of one may
            // ever be there under its final name, not even after a power cut.
            file.sync_all().map_err(failed)?;
            fs::rename(&unfinished, artefact).map_err(failed)
        });
        if result.is_err() {
            // Nothing is there when the compiler failed early.
            let _ = fs::remove_file(&unfinished);
        }
        result
    }

    async fn run(&self, module: &Path, output: &Path) -> Result<(), Error> {
        let spawn = |source| Error::Spawn {
            compiler: self.compiler.clone(),
            source,
        };
        let mut child = tokio::process::Command::new(&self.compiler)
            .args(["policy", "compile"])
            .arg(module)
            .arg("-o")
            .arg(output)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(spawn)?;
        let mut message = Vec::new();
        let stderr = child.stderr.take();
        let end = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(MAX_MESSAGE).read_to_end(&mut message).await;
            }
            child.wait().await
        };
        let status = match tokio::time::timeout(COMPILE_TIMEOUT, end).await {
            Ok(status) => status.map_err(spawn)?,
            Err(_) => {
                let reason = format!(
                    "the compiler did not end within {} s",
                    COMPILE_TIMEOUT.as_secs()
                );
                return Err(Error::Compile { reason });
            }
        };
        if status.success() {
            return Ok(());
        }
        let said = clean(&String::from_utf8_lossy(&message), 2048);
        let reason = match status.code() {
            Some(code) if code == i32::from(REFUSED) && !said.is_empty() => {
                return Err(Error::Refused { reason: said });
            }
            Some(_) if !said.is_empty() => said,
            _ => format!("the compiler ended with {status}: {said}"),
        };
        Err(Error::Compile { reason })
    }
}

/// Makes a directory, or checks that it is this user's alone.
pub(crate) fn private(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Error::Io {
            path: dir.to_owned(),
            source,
        })?;
    check(dir, &read_metadata(dir)?, 0o700)
}

fn read_metadata(path: &Path) -> Result<Metadata, Error> {
    fs::symlink_metadata(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

/// Whether root or this user alone can write what would be executed.
fn check(path: &Path, metadata: &Metadata, mode: u32) -> Result<(), Error> {
    let refused = |reason| Error::Unsafe {
        path: path.to_owned(),
        reason,
    };
    let user = rustix::process::geteuid().as_raw();
    if metadata.file_type().is_symlink() {
        return Err(refused("it is a symbolic link".to_owned()));
    }
    if metadata.uid() != 0 && metadata.uid() != user {
        return Err(refused(format!(
            "it belongs to user {}, not to root or {user}",
            metadata.uid()
        )));
    }
    let actual = metadata.permissions().mode() & 0o777;
    if actual & !mode != 0 {
        return Err(refused(format!(
            "its mode is {actual:o}, at most {mode:o} is safe"
        )));
    }
    Ok(())
}

/// Loads an artefact for instances in slots, or, where the module has no room in one, for plain ones.
fn load(engines: &Engines, artefact: &Path) -> wasmtime::Result<Component> {
    let slots = engines.slots.as_ref();
    match slots.and_then(|engine| map(engine, artefact).ok()) {
        Some(component) => Ok(component),
        None => map(&engines.plain, artefact),
    }
}

#[expect(
    unsafe_code,
    reason = "maps machine code that was compiled from a module"
)]
fn map(engine: &Engine, artefact: &Path) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime executes what the file has, so it must be what this engine's compiler
    // wrote, and it must not change while it is mapped. The contract that makes it so:
    // - `check` has found directory and file to be writable by root or this user alone, and the
    //   directory to be searchable by nobody else;
    // - nothing but `Cache::compile` writes in the directory: into another name, synced, and
    //   renamed when the compiler succeeded; a file that has its final name is never written to;
    // - wasmtime refuses files of another version, configuration or processor.
    unsafe { Component::deserialize_file(engine, artefact) }
}

/// A component once more, for another engine of the same configuration.
#[expect(
    unsafe_code,
    reason = "copies machine code that was compiled from a module"
)]
pub(crate) fn copy(component: &Component, engine: &Engine) -> wasmtime::Result<Component> {
    let bytes = component.serialize()?;
    // SAFETY: the bytes are those of a component that `map` has loaded, unchanged.
    unsafe { Component::deserialize(engine, bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is marked.
    fn trials() -> Trials {
        let quarantine = std::sync::Arc::new(crate::quarantine::Quarantine::new(None));
        Trials::new(&quarantine, "", "")
    }

    const COMPILER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/compiler");

    fn cache(dir: &Path, compiler: &str) -> Cache {
        Cache::new(dir.join("cache"), compiler.into())
    }

    /// A compiler in `dir` that is this shell script.
    fn compiler(dir: &Path, script: &str) -> String {
        let link = dir.join("compiler");
        if !link.exists() {
            std::os::unix::fs::symlink(COMPILER, &link).unwrap();
        }
        fs::write(dir.join("does"), script).unwrap();
        link.to_str().unwrap().to_owned()
    }

    /// The artefact of the module that [`error`] asks for.
    fn artefact(cache: &Cache) -> PathBuf {
        let hex = "0".repeat(64);
        cache.dir.join(format!("{hex}-{COMPATIBILITY}.cwasm"))
    }

    async fn error(cache: &mut Cache) -> String {
        let engines = Engines {
            slots: None,
            plain: crate::engine::engine().unwrap(),
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        let error = cache
            .component(&engines, Path::new("/module.wasm"), &digest, &trials())
            .await
            .unwrap_err();
        let source = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{error}: {source}")
    }

    #[tokio::test]
    async fn a_compiler_that_crashes_is_an_error_message() {
        let dir = tempfile::tempdir().unwrap();
        let crashing = compiler(dir.path(), "kill -SEGV $$");
        let message = error(&mut cache(dir.path(), &crashing)).await;
        assert!(message.contains("signal: 11"), "{message}");
        let left: Vec<_> = fs::read_dir(dir.path().join("cache")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test]
    async fn what_the_compiler_says_is_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let refusing = compiler(dir.path(), "echo \"no component: $1 $2 $3\" >&2; exit 1");
        let message = error(&mut cache(dir.path(), &refusing)).await;
        assert!(
            message.contains("does not compile: no component: policy compile /module.wasm"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn what_the_compiler_refuses_is_not_compiled_again_and_what_failed_otherwise_is() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("module.wasm");
        fs::write(&module, "no component").unwrap();
        let engines = Engines {
            slots: None,
            plain: crate::engine::engine().unwrap(),
        };
        let runs = dir.path().join("runs");
        let mut cache = cache(dir.path(), &compiler(dir.path(), ""));
        let mut check = async |code: u8, digest: &str, expected: usize| {
            let count = format!("echo run >> {}", runs.display());
            compiler(dir.path(), &format!("{count}; echo no >&2; exit {code}"));
            let error = cache
                .component(&engines, &module, digest, &trials())
                .await
                .unwrap_err();
            assert!(!error.to_string().is_empty());
            let runs = fs::read_to_string(&runs).unwrap().lines().count();
            assert_eq!(runs, expected, "{code} {error}");
        };
        let digest = crate::digest::of_file(&module).unwrap();
        check(1, &digest, 1).await;
        check(1, &digest, 2).await;
        check(REFUSED, &digest, 3).await;
        check(REFUSED, &digest, 3).await;
        // What was refused is not what this digest is of.
        let other = format!("sha256:{}", "0".repeat(64));
        check(REFUSED, &other, 4).await;
        check(REFUSED, &other, 5).await;
    }

    #[tokio::test]
    async fn a_missing_compiler_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = error(&mut cache(dir.path(), "/does/not/exist")).await;
        assert!(
            message.contains("cannot run the compiler /does/not/exist"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_cache_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = cache(dir.path(), "/bin/false");
        fs::create_dir(&cache.dir).unwrap();
        fs::set_permissions(&cache.dir, fs::Permissions::from_mode(0o777)).unwrap();
        let message = error(&mut cache).await;
        assert!(message.contains("its mode is 777"), "{message}");
    }

    #[tokio::test]
    async fn a_cache_that_is_a_link_or_another_users_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = cache(dir.path(), "/bin/false");
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &cache.dir).unwrap();
        let message = error(&mut cache).await;
        assert!(message.contains("it is a symbolic link"), "{message}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&elsewhere, Some(65534), None).unwrap();
            cache.dir = elsewhere;
            let message = error(&mut cache).await;
            assert!(message.contains("it belongs to user 65534"), "{message}");
        }
    }

    #[tokio::test]
    async fn an_artefact_that_is_a_link_or_that_others_can_write_is_not_executed() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = cache(dir.path(), "/bin/false");
        cache.prepare().unwrap();
        let artefact = artefact(&cache);
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "machine code").unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &artefact).unwrap();
        let message = error(&mut cache).await;
        assert!(message.contains("it is a symbolic link"), "{message}");
        fs::rename(&elsewhere, &artefact).unwrap();
        fs::set_permissions(&artefact, fs::Permissions::from_mode(0o622)).unwrap();
        let message = error(&mut cache).await;
        assert!(message.contains("its mode is 622"), "{message}");
    }

    #[tokio::test]
    async fn an_artefact_that_is_garbage_is_compiled_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = cache(dir.path(), "/bin/false");
        cache.prepare().unwrap();
        let artefact = artefact(&cache);
        fs::write(&artefact, "garbage").unwrap();
        fs::set_permissions(&artefact, fs::Permissions::from_mode(0o600)).unwrap();
        let message = error(&mut cache).await;
        assert!(
            message.contains("the compiler ended with exit status: 1"),
            "{message}"
        );
    }
}
