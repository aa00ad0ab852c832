//! How the ledger uses libcni's cache of results.

use libcni::cache::{self, Key};

use cnidaria_core::domain::entry::Entry;
use cnidaria_core::ports::LedgerError;

/// The result of an attachment.
pub(super) fn key(entry: &Entry) -> Key {
    Key {
        network: entry.conf.name().clone(),
        container_id: entry.container_id.clone(),
        if_name: entry.if_name.clone(),
    }
}

/// The error of the cache, as one of the ledger.
pub(super) fn from_cache(error: cache::Error) -> LedgerError {
    match error {
        cache::Error::Io {
            action,
            path,
            source,
        } => LedgerError::Io {
            action,
            path,
            source,
        },
        cache::Error::Corrupt { path, source } => LedgerError::Damaged {
            path,
            reason: source.to_string(),
        },
        cache::Error::Changed { path } => LedgerError::Damaged {
            path,
            reason: "its checksum does not match".to_owned(),
        },
        cache::Error::Mismatch { path, found } => LedgerError::Damaged {
            path,
            reason: format!("it is about {found}"),
        },
    }
}
