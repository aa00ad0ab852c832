//! A DEL that found no daemon: the shim records it beside the ledger, and the next daemon carries it
//! out. Only the form of a record is here, and what both sides have to see in the same way.
//!
//! The daemon makes the directory, which is how the shim knows that records in it will be read: a
//! daemon that knows nothing of them makes none.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Request;

/// The directory of records in `cniDir`: a file for each container, named by its id.
pub const DIR: &str = ".deferred";
/// How a record's name ends until it is whole; it begins with a dot then, as no container's id does.
pub const UNFINISHED: &str = ".new";
/// Most bytes of a record.
pub const MAX_BYTES: usize = 1 << 20;
/// Most records in a directory.
pub const MAX_RECORDS: usize = 4096;

/// How a file of the ledger begins that a daemon of this project wrote; a checksum follows, of
/// [`SEAL_DIGITS`] digits.
pub const SEALED_HEAD: &[u8] = br#"[{"cnidaria":{"checksum":""#;
/// Digits of that checksum.
pub const SEAL_DIGITS: usize = 64;
/// What follows the checksum where a DEL may come when the namespace is gone.
pub const DEFERRABLE: &[u8] = br#"","deferrable":true,"#;

/// Whether a file of the ledger, or its beginning, says that a DEL may come when the namespace is
/// gone. Nobody else's text stands before that.
pub fn is_deferrable(text: &[u8]) -> bool {
    text.starts_with(SEALED_HEAD)
        && text
            .get(SEALED_HEAD.len() + SEAL_DIGITS..)
            .is_some_and(|rest| rest.starts_with(DEFERRABLE))
}

/// A DEL that waits for a daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The start of the machine that paths of namespaces belong to.
    pub boot_id: String,
    /// The namespace at `CNI_NETNS` at that time; `None` where there was none any more.
    pub netns: Option<NetnsId>,
    /// What would have been sent.
    pub request: Request,
}

/// A file of a network namespace, whatever its path: device and inode. The default is no file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsId(u64, u64);

impl NetnsId {
    /// What is at a path now; `None` where there is nothing.
    pub fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|metadata| Self::of(&metadata))
    }

    /// The file that these metadata are of.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl Record {
    /// The record of a request that is made now.
    pub fn of(request: Request) -> Self {
        let netns = request.env.get("CNI_NETNS");
        Self {
            boot_id: boot_id(),
            netns: netns.and_then(|path| NetnsId::at(path.as_ref())),
            request,
        }
    }

    /// The text of a record.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Understands a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Whether `found`, at `CNI_NETNS` now, is still the namespace that was meant. A path may belong
    /// to another pod by now, whose interfaces have the same names.
    pub fn is_still(&self, found: Option<NetnsId>) -> bool {
        found.is_some() && self.netns == found && self.boot_id == boot_id()
    }
}

/// The kernel's id of this start of the machine; empty where it has none.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_end().to_owned()
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
    fn another_namespace_at_the_same_path_is_not_meant() {
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
    fn no_namespace_and_namespaces_of_before_a_reboot_are_not_meant() {
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
