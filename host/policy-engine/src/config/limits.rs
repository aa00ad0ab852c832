//! What one policy may use in one request: defaults, and the maximum that a configuration can set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::members::Members;

/// Declares each limit once: configuration key, default and maximum.
macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident $key:literal: $default:expr, at most $max:expr;)+) => {
        /// What one policy may use in one request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) struct Limits {
            $($(#[$doc])* pub(crate) $field: u64,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Limits {
            /// Reads the `limits` of a configuration, with defaults for missing keys. Zero or a
            /// value above the maximum is a fault.
            pub(super) fn read(members: &mut Members<'_>) -> Self {
                let mut limits = Self::default();
                $(
                    if let Some(value) = members.read::<u64>($key).given() {
                        let max: u64 = $max;
                        if value == 0 || value > max {
                            members.wrong($key, format!("{value} is not within 1 to {max}"));
                        } else {
                            limits.$field = value;
                        }
                    }
                )+
                limits
            }

            /// All limits, by key.
            #[cfg(feature = "compile")]
            pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$(($key, self.$field),)+]
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

limits! {
    /// Wall clock around one hook, host functions included, in milliseconds.
    timeout_ms "timeoutMs": 1_000, at most 10_000;
    /// Wall clock of all hooks of one request together, in milliseconds.
    request_timeout_ms "requestTimeoutMs": 5_000, at most 60_000;
    /// Bytes of all linear memories together.
    memory_bytes "memoryBytes": 16 * MIB, at most 1024 * MIB;
    /// Number of linear memories.
    memories "memories": 4, at most 32;
    /// Number of tables.
    tables "tables": 8, at most 64;
    /// Elements of all tables together.
    table_elements "tableElements": 10_000, at most 1_000_000;
    /// Number of core instances.
    instances "instances": 16, at most 256;
    /// Bytes of the call stack.
    stack_bytes "stackBytes": 512 * KIB, at most 8 * MIB;
    /// Bytes that the guest hands to the host in one call.
    host_call_bytes "hostCallBytes": 256 * KIB, at most 16 * MIB;
    /// Lines of log in one request.
    log_lines "logLines": 32, at most 1_000;
    /// Bytes of log in one request.
    log_bytes "logBytes": 8 * KIB, at most 256 * KIB;
    /// Findings in one request.
    findings "findings": 16, at most 256;
    /// Edits in one hook.
    edits "edits": 64, at most 1_024;
    /// Bytes of all edits in one hook.
    edit_bytes "editBytes": 64 * KIB, at most MIB;
    /// JSON levels of one edit, including its pointer.
    edit_depth "editDepth": 32, at most 64;
    /// JSON members and elements of all edits in one hook.
    edit_members "editMembers": 2_048, at most 32_768;
    /// Bytes of one key in an edit.
    edit_key_bytes "editKeyBytes": KIB, at most 16 * KIB;
    /// Bytes of all edits in one request.
    request_edit_bytes "requestEditBytes": MIB, at most 16 * MIB;
    /// JSON members and elements of all edits in one request.
    request_edit_members "requestEditMembers": 32_768, at most 1_048_576;
    /// Attachments of the node that the policy looks at in one request.
    attachments "attachments": 10_000, at most 1_000_000;
    /// Keys that the policy keeps between requests.
    state_keys "stateKeys": 1_024, at most 65_536;
    /// Bytes of keys and values that the policy keeps between requests.
    state_bytes "stateBytes": 256 * KIB, at most 16 * MIB;
}

impl Limits {
    /// Wall clock around one hook.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Wall clock of all hooks of one request together; at least that of one hook.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.max(self.timeout_ms))
    }
}

/// A limit as a count; all limits are far below `usize::MAX`.
pub(crate) fn count(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
