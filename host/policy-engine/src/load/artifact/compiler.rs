//! The child process that compiles one module.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use files::{Links, Replace};
use tokio::io::AsyncReadExt;

use super::group::{self, Group};
use super::{Error, REFUSED};
use crate::config::Config;
use crate::load::confinement::{Confinement, DryRun, NOTE};
use crate::model::report::clean;

/// Maximum bytes read of a compiler's error message.
const MAX_MESSAGE: u64 = 16 << 10;

/// Minimum memory limit of one compilation, in bytes.
const LEAST_MEMORY: u64 = 128 << 20;

/// Bytes reserved for the daemon itself if its control group has a limit.
const OWN_MEMORY: u64 = 64 << 20;

/// Numbers the compilations of this process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The compiler and its limits.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    /// The `cnidaria` binary.
    pub(crate) binary: PathBuf,
    /// Wall-clock limit of one compilation.
    pub(crate) timeout: Duration,
    /// Memory limit of one compilation, in bytes.
    pub(crate) memory: u64,
    /// The control group in which each compilation gets its own.
    pub(crate) cgroup: Option<PathBuf>,
}

/// The file of an artefact that is not complete; removed on drop, also of a cancelled compilation.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It does not exist if it was renamed, or if the compiler failed early.
        let _ = fs::remove_file(&self.0);
    }
}

/// Privileges that a compilation could not drop, for the log.
pub(super) type Notes = Vec<String>;

impl Compiler {
    /// The compiler with the limits of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let mut memory = config.compile_memory_bytes;
        if config.compile_cgroup.is_none()
            && let Some(limit) = group::own_limit()
        {
            let beside = config.guest_memory_bytes.saturating_add(OWN_MEMORY);
            let left = limit.saturating_sub(beside).max(LEAST_MEMORY);
            if left < memory {
                tracing::info!(
                    target: "cnidaria::policy",
                    bytes = left, limit, "a compilation gets less memory than configured, because of the daemon's control group",
                );
                memory = left;
            }
        }
        Self {
            binary: config.compiler.clone(),
            timeout: config.compile_timeout,
            memory,
            cgroup: config.compile_cgroup.clone(),
        }
    }

    /// Compiles a module to an artefact, which gets its final name once complete.
    pub(super) async fn compile(
        &self,
        module: &Path,
        digest: &str,
        artefact: &Path,
    ) -> (Result<(), Error>, Notes) {
        // In the cache itself, so that the rename is atomic.
        let number = Self::number();
        let unfinished = artefact.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let unfinished = Unfinished(unfinished);
        let mut notes = Vec::new();
        let ran = self.run(module, &unfinished.0, number, &mut notes).await;
        let (module, digest) = (module.to_owned(), digest.to_owned());
        let artefact = artefact.to_owned();
        // Reads and syncs as much as the module has, which must not delay requests.
        let finished = tokio::task::spawn_blocking(move || {
            finish(ran, &unfinished, (&module, &digest), &artefact)
        });
        let result = finished.await.unwrap_or_else(|error| {
            let reason = format!("its compilation could not be finished: {error}");
            Err(Error::Compile { reason })
        });
        (result, notes)
    }

    /// The number of a child of this process.
    pub(super) fn number() -> u64 {
        NUMBER.fetch_add(1, Ordering::Relaxed)
    }

    async fn run(
        &self,
        module: &Path,
        output: &Path,
        number: u64,
        notes: &mut Notes,
    ) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        let input = files::open(module, Links::Follow).map_err(failed(module))?;
        let output = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(output)
            .map_err(failed(output))?;
        let group = self.group(number, notes);
        let status = self
            .child((input, output), None, group.as_ref(), notes)
            .await;
        let (status, message) = status?;
        match status {
            None => Err(self.exhausted(format!(
                "the compiler did not end within {} ms",
                self.timeout.as_millis()
            ))),
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failure(status, message)),
        }
    }

    /// A control group for one child, if one is configured and can be made.
    pub(super) fn group(&self, number: u64, notes: &mut Notes) -> Option<Group> {
        let dir = self.cgroup.as_deref()?;
        Group::make(dir, number, self.memory)
            .inspect_err(|error| {
                notes.push(format!(
                    "compiles in the control group of the daemon: {error}"
                ));
            })
            .ok()
    }

    /// Runs the child; returns no status if it had to be killed.
    pub(super) async fn child(
        &self,
        (input, output): (File, File),
        dry_run: Option<DryRun>,
        group: Option<&Group>,
        notes: &mut Notes,
    ) -> Result<(Option<ExitStatus>, String), Error> {
        let spawn = |source| Error::Spawn {
            compiler: self.binary.clone(),
            source,
        };
        let confinement = Confinement {
            parent: std::process::id(),
            memory_bytes: self.memory,
            seconds: self.timeout.as_secs().max(1),
            cgroup: group.map(|group| group.dir().to_owned()),
            dry_run,
        };
        let confinement =
            serde_json::to_string(&confinement).map_err(|error| spawn(error.into()))?;
        let mut child = tokio::process::Command::new(&self.binary)
            .args(["policy", "compile", "--child"])
            .arg(confinement)
            .env_clear()
            .current_dir("/")
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(spawn)?;
        let mut stderr_bytes = Vec::new();
        let stderr = child.stderr.take();
        let end = async {
            if let Some(stderr) = stderr {
                let _ = stderr
                    .take(MAX_MESSAGE)
                    .read_to_end(&mut stderr_bytes)
                    .await;
            }
            child.wait().await
        };
        let status = match tokio::time::timeout(self.timeout, end).await {
            Ok(status) => Some(status.map_err(spawn)?),
            Err(_) => None,
        };
        let text = String::from_utf8_lossy(&stderr_bytes);
        let (noted, message): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with(NOTE));
        let noted = noted.iter().filter_map(|line| line.strip_prefix(NOTE));
        notes.extend(noted.map(|note| clean(note, 512)));
        Ok((status, clean(&message.join("\n"), 2048)))
    }

    fn failure(&self, status: ExitStatus, message: String) -> Error {
        // The message with which Rust's allocator aborts.
        let no_memory = message.contains("memory allocation of");
        let no_time = status.signal() == Some(rustix::process::Signal::XCPU.as_raw());
        match status.code() {
            _ if no_memory => self.exhausted(format!(
                "the compiler needs more than {} bytes of memory: {message}",
                self.memory
            )),
            _ if no_time => self.exhausted(format!(
                "the compiler needs more than {} s of processor time",
                self.timeout.as_secs()
            )),
            Some(code) if code == i32::from(REFUSED) && !message.is_empty() => {
                Error::Refused { reason: message }
            }
            Some(_) if !message.is_empty() => Error::Compile { reason: message },
            _ => Error::Compile {
                reason: format!("the compiler ended with {status}: {message}"),
            },
        }
    }

    pub(super) fn exhausted(&self, reason: String) -> Error {
        Error::Exhausted {
            reason,
            limits: self.limits(),
        }
    }

    /// The limits that a record of a given-up module stores.
    pub(super) fn limits(&self) -> CompileLimits {
        CompileLimits {
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: self.memory,
        }
    }
}

/// Gives a complete artefact its final name, if it is one of the module with this digest. Blocks.
fn finish(
    ran: Result<(), Error>,
    unfinished: &Unfinished,
    (module, digest): (&Path, &str),
    artefact: &Path,
) -> Result<(), Error> {
    // The module may have changed while the compiler read it. Then neither the artefact nor the
    // compiler's verdict is about this digest.
    let about_it = matches!(
        ran,
        Ok(()) | Err(Error::Refused { .. } | Error::Exhausted { .. })
    );
    if about_it && crate::load::digest::of_file(module).ok().as_deref() != Some(digest) {
        return Err(Error::Changed);
    }
    ran?;
    let failed = |source| Error::Io {
        path: unfinished.0.clone(),
        source,
    };
    let file = File::open(&unfinished.0).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(failed)?;
    // The artefact is executed as found on disk: a partial one must never have the final name, not
    // even after a power failure.
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished.0, artefact).map_err(failed)
}

/// The limits of a compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompileLimits {
    timeout_ms: u64,
    memory_bytes: u64,
}

impl CompileLimits {
    /// Whether a module given up under these limits may succeed under `other`.
    fn are_below(self, other: Self) -> bool {
        self.timeout_ms < other.timeout_ms || self.memory_bytes < other.memory_bytes
    }
}

/// Records beside its artefact that a module was given up, so that no later daemon retries it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct GivenUp {
    reason: String,
    limits: CompileLimits,
}

impl GivenUp {
    /// Maximum bytes read of a record.
    const MAX: u64 = 8 << 10;

    fn path(artefact: &Path) -> PathBuf {
        artefact.with_extension("given-up")
    }

    /// Why a module was given up, if the limits were no stricter than these.
    pub(super) fn read(artefact: &Path, limits: CompileLimits) -> Option<Error> {
        let record = files::read(&Self::path(artefact), Links::Refuse, Self::MAX).ok()?;
        let known: Self = serde_json::from_slice(&record).ok()?;
        (!known.limits.are_below(limits)).then(|| Error::Exhausted {
            reason: clean(&known.reason, 2048),
            limits: known.limits,
        })
    }

    /// Stores the record. If that fails, the next daemon retries the module.
    pub(super) fn write(artefact: &Path, reason: &str, limits: CompileLimits) {
        let known = Self {
            reason: reason.to_owned(),
            limits,
        };
        let written = serde_json::to_vec(&known).map_err(io::Error::other);
        let written = written.and_then(|record| Replace::at(&Self::path(artefact)).write(&record));
        if let Err(error) = written {
            tracing::warn!(
                target: "cnidaria::policy",
                artefact = %artefact.display(), %error,
                "cannot record that a module exceeds the compiler's limits; the next daemon compiles it again",
            );
        }
    }

    /// Removes the record. Returns whether it existed.
    pub(super) fn remove(artefact: &Path) -> bool {
        fs::remove_file(Self::path(artefact)).is_ok()
    }
}
