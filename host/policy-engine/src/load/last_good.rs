//! The last good configuration of each policy, on disk, so that a file that is torn when the daemon
//! starts does not disable a guard.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cni_types::json::Cause;
use files::{Links, Replace};
use serde::{Deserialize, Serialize};

use crate::load::private;

/// Maximum bytes of a record: a configuration with worst-case escaping.
const MAX_RECORD: u64 = 8 << 20;

/// The directory of records; without one, disabled.
#[derive(Debug)]
pub(crate) struct LastGood {
    dir: Option<PathBuf>,
}

/// A policy as it was last loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The file that defines the policy.
    pub(crate) file: PathBuf,
    /// The text of its configuration; `None` for a module alone.
    pub(crate) config: Option<String>,
    /// Digest of its module; `None` if the policy was off.
    pub(crate) digest: Option<String>,
}

impl LastGood {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        if let Some(dir) = &dir
            && let Err(error) = files::sweep(dir)
        {
            tracing::warn!(
                target: "cnidaria::policy",
                dir = %dir.display(), %error, "cannot remove unfinished records of policies",
            );
        }
        Self { dir }
    }

    /// Stores a record, atomically replacing the previous one.
    pub(crate) fn store(&self, name: &str, record: &Record) {
        let Some(dir) = &self.dir else { return };
        if self.get(name).as_ref() == Some(record) {
            return;
        }
        if let Err(reason) = write(dir, name, record) {
            tracing::warn!(
                target: "cnidaria::policy",
                policy = name, dir = %dir.display(), reason,
                "cannot store the last good configuration: if its file is damaged when the daemon starts, the policy has no fallback",
            );
        }
    }

    /// The record of a policy, if present, safe and readable.
    pub(crate) fn get(&self, name: &str) -> Option<Record> {
        let dir = self.dir.as_ref().filter(|dir| dir.exists())?;
        let read = private::make_dir(dir)
            .map_err(|error| error.to_string())
            .and_then(|()| read(&path(dir, name)));
        read.unwrap_or_else(|reason| {
            tracing::warn!(
                target: "cnidaria::policy",
                policy = name, dir = %dir.display(), reason,
                "ignoring the last good configuration",
            );
            None
        })
    }

    /// Removes the records of policies that no longer have a file.
    pub(crate) fn retain(&self, is_wanted: impl Fn(&str) -> bool) {
        let Some(dir) = &self.dir else { return };
        for name in self.names() {
            if is_wanted(&name) {
                continue;
            }
            if let Err(error) = fs::remove_file(path(dir, &name)) {
                tracing::warn!(
                    target: "cnidaria::policy",
                    policy = name, dir = %dir.display(), %error,
                    "cannot remove the last good configuration of a removed policy",
                );
            }
        }
    }

    /// The names of policies with a record, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.dir.as_ref().and_then(|dir| fs::read_dir(dir).ok());
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_suffix(".json").map(str::to_owned)
            })
            .collect();
        names.sort();
        names
    }
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.json"))
}

fn read(path: &Path) -> Result<Option<Record>, String> {
    let text = match files::read(path, Links::Refuse, MAX_RECORD) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let record = serde_json::from_slice(&text).map_err(|error| Cause::of(&error).to_string())?;
    Ok(Some(record))
}

fn write(dir: &Path, name: &str, record: &Record) -> Result<(), String> {
    private::make_dir(dir).map_err(|error| error.to_string())?;
    let text = serde_json::to_vec(record).map_err(|error| error.to_string())?;
    let written = Replace::at(&path(dir, name)).durable().write(&text);
    written.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(config: &str) -> Record {
        Record {
            file: "/etc/10-a.json".into(),
            config: Some(config.to_owned()),
            digest: None,
        }
    }

    #[test]
    fn a_record_is_replaced_and_goes_with_its_policy() {
        let dir = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(Some(dir.path().join("last-good")));
        assert_eq!(last_good.get("10-a"), None);
        for config in ["{}", r#"{"mode":"off"}"#] {
            last_good.store("10-a", &record(config));
            assert_eq!(last_good.get("10-a"), Some(record(config)));
        }
        last_good.store("20-b", &record("{}"));
        assert_eq!(last_good.names(), ["10-a", "20-b"]);
        last_good.retain(|name| name == "20-b");
        assert_eq!(last_good.names(), ["20-b"]);
    }

    #[test]
    fn a_record_that_others_could_write_is_ignored() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("last-good");
        let last_good = LastGood::new(Some(place.clone()));
        last_good.store("10-a", &record("{}"));
        symlink(path(&place, "10-a"), path(&place, "20-link")).unwrap();
        assert_eq!(last_good.get("20-link"), None);
        fs::write(path(&place, "30-torn"), "{").unwrap();
        assert_eq!(last_good.get("30-torn"), None);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(last_good.get("10-a"), None);
    }
}
