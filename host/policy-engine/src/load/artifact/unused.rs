//! Removes artefacts that no module needs any more.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Grace period after the last load before an unneeded artefact is removed: an operator may revert
/// a change, and another daemon may share the directory.
const UNUSED: Duration = Duration::from_secs(7 * 86_400);

/// Maximum records of dry runs of one artefact: policies share modules, and settings are reverted.
const RECORDS: usize = 64;

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
        let is_leftover =
            extension.is_some_and(|extension| extension == "tmp" || extension == "new");
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
                artefact = %path.display(), "removed a compiled module that no policy needs",
            );
        }
    }
}

/// Removes the oldest records of an artefact's dry runs, which each change of settings adds to.
pub(super) fn limit_records(artefact: &Path) {
    let (Some(dir), Some(stem)) = (artefact.parent(), artefact.file_stem()) else {
        return;
    };
    let (entries, stem) = (fs::read_dir(dir), stem.to_string_lossy());
    let mut records: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_record = name.strip_prefix(&*stem)?.ends_with(".ran");
            let recorded = entry.metadata().ok()?.modified().ok()?;
            is_record.then(|| (recorded, entry.path()))
        })
        .collect();
    records.sort();
    let beyond = records.len().saturating_sub(RECORDS);
    for (_, path) in records.into_iter().take(beyond) {
        // A record that stays only takes space.
        let _ = fs::remove_file(path);
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
            artefact = %artefact.display(), %error, "cannot record that a compiled module is used; it may be removed, and compiled again",
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
        let gone = ["aa-1.cwasm", "bb-1.7-0.tmp", ".7-0.new"].map(|name| make(name, true));
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

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the age of a file")]
    fn an_artefact_has_a_limited_number_of_records() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, age: u64| {
            let path = dir.path().join(name);
            let file = File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age))
                .unwrap();
            path
        };
        let artefact = make("aa-1.cwasm", 1000);
        let other = make("bb-1.0.ran", 1000);
        let records: Vec<_> = (0..70)
            .map(|age| make(&format!("aa-1.{age}.ran"), age))
            .collect();
        limit_records(&artefact);
        let (stays, goes) = records.split_at(RECORDS);
        assert!(
            stays
                .iter()
                .chain([&artefact, &other])
                .all(|path| path.exists())
        );
        assert!(goes.iter().all(|path| !path.exists()));
    }
}
