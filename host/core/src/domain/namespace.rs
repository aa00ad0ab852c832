//! The identity of a network namespace: by the time of the DEL, its path may lead to another one.

use serde::{Deserialize, Serialize};
use shim_api::deferred::{NetnsId, may_be_same_boot};

/// The identity of a network namespace, recorded at ADD and compared at DEL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// The boot that it cannot outlive: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Device and inode of its file. The kernel reuses inodes of deleted namespaces.
    pub file: NetnsId,
    /// `SO_NETNS_COOKIE`, never reused within a boot; `None` before Linux 5.14.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// `CNI_NETNS` of the ADD, if the DEL names another path.
    #[serde(skip)]
    pub added_at: Option<String>,
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        let identity = |one: &Self| (one.boot_id.clone(), one.file, one.cookie);
        identity(self) == identity(other)
    }
}

impl Eq for Namespace {}

impl Namespace {
    /// An unidentified namespace of an earlier boot.
    pub fn of_earlier_boot() -> Self {
        Self {
            boot_id: String::new(),
            file: NetnsId::default(),
            cookie: None,
            added_at: None,
        }
    }

    /// Whether an identity was recorded.
    pub fn is_identified(&self) -> bool {
        !self.boot_id.is_empty()
    }

    /// Whether `found` is the same namespace. Cookies are compared if both have one.
    pub fn is(&self, found: &Self) -> bool {
        let cookies_agree = match (self.cookie, found.cookie) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        self.is_identified()
            && may_be_same_boot(&self.boot_id, &found.boot_id)
            && self.file == found.file
            && cookies_agree
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn namespace(boot_id: &str, cookie: Option<u64>) -> Namespace {
        Namespace {
            boot_id: boot_id.to_owned(),
            file: NetnsId::at(Path::new("/")).unwrap(),
            cookie,
            added_at: None,
        }
    }

    #[test]
    fn a_reused_inode_is_another_namespace() {
        let recorded = namespace("b", Some(3));
        assert!(recorded.is(&namespace("b", Some(3))));
        assert!(!recorded.is(&namespace("b", Some(4))));
        assert!(recorded.is(&namespace("b", None)), "an older kernel");
    }

    #[test]
    fn no_namespace_outlives_a_boot() {
        assert!(!namespace("a", None).is(&namespace("b", None)));
        assert!(namespace("a", None).is(&namespace("unknown", None)));
        assert!(!Namespace::of_earlier_boot().is(&namespace("unknown", None)));
    }
}
