//! Removes artefacts that no module needs any more.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Grace period after the last load before an unneeded artefact is removed: an operator may revert
/// a change, and another daemon may share the directory.
const UNUSED: Duration = Duration::from_secs(7 * 86_400);

/// Removes artefacts, and remains of killed compilers, of modules whose hex digest is not `needed`.
#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file: one removed too early is compiled again"
)]
pub(super) fn sweep(dir: &Path, needed: &BTreeSet<&str>) {
    let is_needed = |name: &str| {
        let hex = name.split('-').next().unwrap_or(name);
        needed.contains(hex)
    };
    let now = SystemTime::now();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let extension = path.extension();
        // A module that was given up has a record instead of an artefact.
        let is_finished = extension.is_some_and(|extension| {
            ["cwasm", "given-up", "ran"]
                .iter()
                .any(|finished| extension == *finished)
        });
        let is_leftover = extension.is_some_and(|extension| extension == "tmp");
        let is_needed = is_finished && name.to_str().is_none_or(is_needed);
        if is_needed || !(is_finished || is_leftover) {
            continue;
        }
        let metadata = entry.metadata().ok().filter(Metadata::is_file);
        let used = metadata.and_then(|metadata| metadata.modified().ok());
        let age = used.and_then(|used| now.duration_since(used).ok());
        if age.is_some_and(|age| age >= UNUSED) && fs::remove_file(&path).is_ok() {
            tracing::info!(
                target: "cnidaria::policy",
                artefact = %path.display(), "removed: no module needs it",
            );
        }
    }
}

/// Records that an artefact was used. If that fails, it may be removed and compiled again.
#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file: one removed too early is compiled again"
)]
pub(super) fn touch(artefact: &Path) {
    let touched = File::open(artefact).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(
            target: "cnidaria::policy",
            artefact = %artefact.display(), %error, "cannot record that it is used",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the age of a file")]
    fn only_old_artefacts_without_a_module_go() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, is_old: bool| {
            let path = dir.path().join(name);
            let file = File::create(&path).unwrap();
            if is_old {
                file.set_modified(SystemTime::now() - UNUSED).unwrap();
            }
            path
        };
        let gone = [make("aa-1.cwasm", true), make("bb-1.7-0.tmp", true)];
        let stays = [
            make("bb-1.cwasm", true),
            make("cc-1.cwasm", false),
            make("cc-1.7-1.tmp", false),
            make("kept", true),
        ];
        let used = make("dd-1.cwasm", true);
        touch(&used);
        sweep(dir.path(), &BTreeSet::from(["bb"]));
        assert!(gone.iter().all(|path| !path.exists()));
        assert!(stays.iter().chain([&used]).all(|path| path.exists()));
    }
}
