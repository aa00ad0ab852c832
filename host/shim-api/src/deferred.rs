//! A DEL that found no daemon: the shim records it beside the ledger, and the next daemon carries
//! it out. This module defines the record's format and the checks that both sides must agree on.
//!
//! The daemon creates the directory, which tells the shim that a daemon will process the records.
//! Daemons without this feature do not create it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Request;

/// Directory of records in `cniDir`; one file per container and interface, see [`file_name`].
pub const DIR: &str = ".deferred";
/// The interface that runtimes give a container first.
const USUAL_IF_NAME: &str = "eth0";
/// Separates container and interface in a file name; neither can contain it.
const SEPARATOR: char = ':';
/// Suffix of an incomplete record, whose name also starts with a dot, unlike any container id.
pub const UNFINISHED: &str = ".new";
/// Maximum size of a record in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Maximum number of records.
pub const MAX_RECORDS: usize = 4096;

/// Start of a ledger file written by this project's daemon; followed by a checksum of
/// [`SEAL_DIGITS`] digits.
pub const SEALED_HEAD: &[u8] = br#"[{"cnidaria":{"checksum":""#;
/// Number of digits of that checksum.
pub const SEAL_DIGITS: usize = 64;
/// Text after the checksum if the DEL may run after the namespace is gone.
pub const DEFERRABLE: &[u8] = br#"","deferrable":true,"#;

/// The daemon's flag in a result of `cniCacheV1`, below `cnidaria`: the DEL of this attachment may
/// run after the namespace is gone.
pub const RESULT_FLAG: &str = "deferrable";

/// Whether a file of the result cache allows the DEL of its attachment after the namespace is gone;
/// `None` if it is about another container. A file that cannot be read allows nothing.
pub fn result_is_deferrable(text: &[u8], container: &str) -> Option<bool> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cached {
        container_id: String,
        #[serde(default)]
        cnidaria: Own,
    }
    #[derive(Default, Deserialize)]
    struct Own {
        #[serde(default)]
        deferrable: bool,
    }
    match serde_json::from_slice::<Cached>(text) {
        Ok(cached) if cached.container_id != container => None,
        cached => Some(cached.is_ok_and(|cached| cached.cnidaria.deferrable)),
    }
}

/// Whether a ledger file, or its beginning, allows the DEL after the namespace is gone.
/// Daemon-written text only precedes the flag, so no other text can forge it.
pub fn is_deferrable(text: &[u8]) -> bool {
    text.starts_with(SEALED_HEAD)
        && text
            .get(SEALED_HEAD.len() + SEAL_DIGITS..)
            .is_some_and(|rest| rest.starts_with(DEFERRABLE))
}

/// Name of the record of a DEL. That of the usual interface is the container's id, which is the
/// only name that older daemons read.
pub fn file_name(container: &str, if_name: &str) -> String {
    match if_name {
        USUAL_IF_NAME => container.to_owned(),
        other => format!("{container}{SEPARATOR}{other}"),
    }
}

/// Splits the name of a record into the container and, if the name has one, the interface.
pub fn split_file_name(name: &str) -> (&str, Option<&str>) {
    match name.split_once(SEPARATOR) {
        Some((container, if_name)) => (container, Some(if_name)),
        None => (name, None),
    }
}

/// A recorded DEL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Boot id; namespace paths are valid only within one boot.
    pub boot_id: String,
    /// The namespace at `CNI_NETNS` when the DEL was recorded; `None` if it was already gone.
    pub netns: Option<NetnsId>,
    /// The unsent request.
    pub request: Request,
}

/// A network namespace file, identified by device and inode. The default matches no file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsId(u64, u64);

impl NetnsId {
    /// The file currently at `path`; `None` if it does not exist.
    pub fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|metadata| Self::of(&metadata))
    }

    /// The file that `metadata` describes.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl Record {
    /// Records a request now.
    pub fn of(request: Request) -> Self {
        let netns = request.env.get("CNI_NETNS");
        Self {
            boot_id: boot_id(),
            netns: netns.and_then(|path| NetnsId::at(path.as_ref())),
            request,
        }
    }

    /// The record as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Parses a record.
    ///
    /// # Errors
    /// The text is not a valid record.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Whether `found`, now at `CNI_NETNS`, is still the recorded namespace. The path may have been
    /// reused for another pod, whose interfaces have the same names.
    pub fn is_still(&self, found: Option<NetnsId>) -> bool {
        found.is_some() && self.netns == found && may_be_same_boot(&self.boot_id, &boot_id())
    }
}

/// Stands for a boot id that cannot be read.
pub const UNKNOWN_BOOT: &str = "unknown";

/// The kernel's boot id; [`UNKNOWN_BOOT`] if it cannot be read.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim_end() {
        "" => UNKNOWN_BOOT.to_owned(),
        id => id.to_owned(),
    }
}

/// Whether two boot ids can be those of the same boot.
pub fn may_be_same_boot(one: &str, other: &str) -> bool {
    one == other || one == UNKNOWN_BOOT || other == UNKNOWN_BOOT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(netns: &Path) -> Record {
        let env = [("CNI_NETNS".to_owned(), netns.display().to_string())];
        Record::of(Request {
            env: env.into(),
            config: b"{}".to_vec(),
            interface_attributes: None,
        })
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let written = record(Path::new("/proc/self/ns/net"));
        let read = Record::parse(&written.to_json()).unwrap();
        assert_eq!(read.request.env, written.request.env);
        assert_eq!(read.request.config, written.request.config);
        assert!(read.is_still(NetnsId::at(Path::new("/proc/self/ns/net"))));
    }

    #[test]
    fn a_result_says_whether_its_del_can_wait() {
        for (own, expected) in [
            (r#","cnidaria":{"isDefault":true,"deferrable":true}"#, true),
            (r#","cnidaria":{"isDefault":true}"#, false),
            ("", false),
        ] {
            let text = format!(r#"{{"kind":"cniCacheV1","containerId":"c"{own}}}"#);
            assert_eq!(result_is_deferrable(text.as_bytes(), "c"), Some(expected));
            assert_eq!(result_is_deferrable(text.as_bytes(), "d"), None);
        }
        assert_eq!(result_is_deferrable(b"", "c"), Some(false));
    }

    #[test]
    fn each_interface_has_its_own_record() {
        for (if_name, name) in [("eth0", "c.1"), ("eth1", "c.1:eth1"), ("net1", "c.1:net1")] {
            assert_eq!(file_name("c.1", if_name), name);
            assert_eq!(split_file_name(name).0, "c.1");
        }
        assert_eq!(split_file_name("c:eth1").1, Some("eth1"));
        assert_eq!(split_file_name("c").1, None);
    }

    #[test]
    fn replaced_netns_does_not_match_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("netns");
        std::fs::write(&path, "").unwrap();
        let record = record(&path);
        assert!(record.is_still(NetnsId::at(&path)));
        let other = dir.path().join("other");
        std::fs::write(&other, "").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!record.is_still(NetnsId::at(&path)));
    }

    #[test]
    fn missing_or_pre_reboot_netns_does_not_match() {
        let gone = record(Path::new("/nonexistent"));
        assert!(!gone.is_still(NetnsId::at(Path::new("/nonexistent"))));
        let own = Path::new("/proc/self/ns/net");
        let before = Record {
            boot_id: "another".to_owned(),
            ..record(own)
        };
        assert!(!before.is_still(NetnsId::at(own)));
    }
}
