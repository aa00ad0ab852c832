//! The first instance of a module, made in a child process: if it crashes, the daemon does not.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;

use files::Replace;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::compiler::{Compiler, Notes};
use super::unused;
use crate::load::confinement::DryRun;

/// Exit code of a process that panicked.
const PANICKED: i32 = 101;
/// Bytes of the hash that names a record.
const KEY: usize = 8;

/// Signals by which a process ends that has a bug.
const CRASHES: [Signal; 7] = [
    Signal::ABORT,
    Signal::BUS,
    Signal::FPE,
    Signal::ILL,
    Signal::SEGV,
    Signal::SYS,
    Signal::TRAP,
];

impl DryRun {
    /// The record that a dry run with these settings ended well.
    pub(super) fn record(&self, settings: &str) -> PathBuf {
        // Neither can fail to be serialized.
        let rest = serde_json::to_vec(&(&self.limits, &self.grants)).unwrap_or_default();
        let hash = Sha256::new().chain_update(rest).chain_update(settings);
        let mut key = String::new();
        for byte in hash.finalize().iter().take(KEY) {
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        self.artefact.with_extension(format!("{key}.ran"))
    }
}

impl Compiler {
    /// Makes the first instance. Fails if the child crashed or did not end; says whether it ran to
    /// its end. If not, the daemon's own marks protect the next daemon.
    pub(super) async fn dry_run(
        &self,
        dry_run: DryRun,
        settings: &str,
    ) -> (Result<bool, Error>, Notes) {
        let mut notes = Vec::new();
        let record = dry_run.record(settings);
        let ran = match files(settings) {
            Ok(files) => {
                let group = self.group(Self::number(), &mut notes);
                self.child(files, Some(dry_run.clone()), group.as_ref(), &mut notes)
                    .await
            }
            Err(source) => Err(Error::Io {
                path: "/dev/null".into(),
                source,
            }),
        };
        let result = match ran {
            Ok((None, _)) => Err(self.exhausted(format!(
                "a dry run did not end within {} ms",
                self.timeout.as_millis()
            ))),
            Ok((Some(status), message)) => match crash(status, &message) {
                Some(reason) => Err(Error::Crashed { reason }),
                None if status.success() => Ok(true),
                None => Ok(not_run(&dry_run, &format!("{status}: {message}"))),
            },
            Err(error) => Ok(not_run(&dry_run, &error.to_string())),
        };
        if matches!(result, Ok(true)) {
            match Replace::at(&record).write(b"") {
                Ok(()) => unused::limit_records(&dry_run.artefact),
                Err(error) => notes.push(format!("cannot record dry runs: {error}")),
            }
        }
        (result, notes)
    }
}

/// Logs that a dry run did not take place or was cut short.
fn not_run(dry_run: &DryRun, reason: &str) -> bool {
    tracing::warn!(
        target: "cnidaria::policy",
        artefact = %dry_run.artefact.display(), reason, "a module's dry run did not finish; the next load repeats it",
    );
    false
}

/// How the child crashed; `None` if it did not.
fn crash(status: ExitStatus, message: &str) -> Option<String> {
    let signal = status.signal();
    // The limits of the child are stricter than the daemon's.
    if signal == Some(Signal::ABORT.as_raw()) && is_out_of_memory(message) {
        return None;
    }
    let crashed = status.code() == Some(PANICKED)
        || CRASHES.iter().any(|crash| signal == Some(crash.as_raw()));
    crashed.then(|| format!("{status}: {message}"))
}

/// Whether this is the whole message of Rust's allocator, not a panic that quotes it.
fn is_out_of_memory(message: &str) -> bool {
    let size = message.trim().strip_prefix("memory allocation of ");
    let size = size.and_then(|rest| rest.strip_suffix(" bytes failed"));
    size.is_some_and(|size| !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The child's input, which are the settings, and its output, which is empty.
fn files(settings: &str) -> io::Result<(File, File)> {
    let mut input = File::from(memfd_create("settings", MemfdFlags::CLOEXEC)?);
    input.write_all(settings.as_bytes())?;
    input.rewind()?;
    let output = OpenOptions::new().write(true).open("/dev/null")?;
    Ok((input, output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bugs_are_crashes() {
        let check = |raw: i32, message: &str, expected: bool| {
            let crashed = crash(ExitStatus::from_raw(raw), message).is_some();
            assert_eq!(crashed, expected, "{raw} {message}");
        };
        check(Signal::SEGV.as_raw(), "", true);
        check(Signal::ABORT.as_raw(), "unreachable", true);
        check(PANICKED << 8, "", true);
        check(
            Signal::ABORT.as_raw(),
            "memory allocation of 7 bytes failed",
            false,
        );
        for message in [
            "a guest says: memory allocation of 7 bytes failed",
            "memory allocation of x bytes failed",
        ] {
            check(Signal::ABORT.as_raw(), message, true);
        }
        check(PANICKED << 8, "memory allocation of 7 bytes failed", true);
        check(Signal::KILL.as_raw(), "", false);
        check(0, "", false);
        check(2 << 8, "usage", false);
    }
}
