//! Bodies of the operator endpoints: `/v1/policies`, `/v1/attachments` and those below them.
//!
//! Both sides ship together but are updated one at a time, so readers skip unknown keys and parse
//! an unknown state as `Unknown`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of [`crate::endpoint::POLICIES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyList {
    /// In execution order.
    pub policies: Vec<Policy>,
}

/// The current state of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Name: the file name without order prefix and extension.
    pub name: String,
    /// Path of the module on the node.
    pub file: String,
    /// Whether the policy runs.
    pub state: PolicyState,
    /// What its verdicts do.
    pub mode: PolicyMode,
    /// Whether STATUS fails while the policy is not loaded.
    #[serde(default)]
    pub required: bool,
    /// `sha256:…` of the active module; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Hooks that the module exports, named as in the WIT package (`before-add`).
    #[serde(default)]
    pub hooks: Vec<String>,
    /// Grants that the module's imports require.
    #[serde(default)]
    pub grants_asked: Vec<String>,
    /// What the module says of itself, if it says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// Grants in the configuration.
    #[serde(default)]
    pub grants_given: Vec<String>,
    /// Why the newest file did not load, or the error of the last failed call; `None` if neither
    /// failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What was wrong with the file of the state that the policy keeps; `None` if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_error: Option<String>,
    /// The last call that failed, also one of an earlier load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// How often the policy was loaded, each time with other files; 0 from older daemons.
    #[serde(default)]
    pub load: u64,
    /// Counts since the policy was loaded.
    #[serde(default)]
    pub counts: PolicyCounts,
}

/// What a policy's module says of itself. The daemon gives nothing because of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    pub name: String,
    pub version: String,
    /// The grants that it wants.
    #[serde(default)]
    pub grants: Vec<String>,
    /// The limits that it wants, by key of the configuration.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
}

/// A call of a policy that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// What failed, and why.
    pub error: String,
    /// When, in seconds since 1970.
    pub at_unix_seconds: u64,
    /// [`Policy::load`] of the policy that was called.
    pub load: u64,
    /// Digest of its module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Body of [`crate::endpoint::RELEASE`]: releases a policy's module from quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Name of the policy.
    pub name: String,
}

/// Body of [`crate::endpoint::RECORD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Record {
    /// Record requests from now on.
    Start,
    /// Record nothing from now on.
    Stop,
    /// Have everything on disk.
    Flush,
}

/// Answer of [`crate::endpoint::RECORD`]: what the recording has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recording {
    /// Whether requests are recorded.
    pub recording: bool,
    /// Its directory on the node.
    pub directory: String,
    /// Its files, the oldest first.
    pub files: Vec<String>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Requests recorded since the daemon started.
    pub requests: u64,
    /// Requests lost since then.
    pub lost: u64,
    /// Why the last requests were not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Whether a policy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyState {
    /// The newest files are loaded.
    Loaded,
    /// The newest files did not load; the last good configuration stays in force.
    Stale,
    /// Its module is being compiled; treated as broken until then.
    Loading,
    /// Nothing is loaded: matching ADDs fail unless the failure policy is open.
    Broken,
    /// The daemon ended during a call of the module; treated as broken until an operator releases
    /// it.
    Quarantined,
    /// Disabled by its mode.
    Off,
    /// A state of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// What a policy's verdicts do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyMode {
    /// Edits are applied and denials deny.
    Enforce,
    /// The policy runs on a shadow copy; its edits are only logged.
    Audit,
    /// The policy does not run.
    Off,
    /// A mode of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// Counters of a policy since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyCounts {
    /// Hook calls.
    pub evaluations: u64,
    pub denials: u64,
    /// Traps, timeouts and exceeded limits.
    pub failures: u64,
}

/// Body of the response to [`crate::endpoint::LEAVE`]: what still needs the daemon or the shim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Left {
    /// The runtime's conf that the daemon removed, now or before; `None` if it provides none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conf: Option<String>,
    /// Recorded DELs that are not carried out yet.
    pub deferred: u64,
    /// Attachments that a DEL could not undo yet.
    pub undo_pending: u64,
    /// Attachments in use.
    pub attached: u64,
    /// Containers whose ledger files are damaged.
    pub unreadable: u64,
    /// Ledger directories in use, the daemon's own first.
    pub cni_dirs: Vec<String>,
}

/// Body of [`crate::endpoint::ATTACHMENTS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentList {
    /// Sorted by pod, then in plan order.
    pub attachments: Vec<ListedAttachment>,
    /// Sandboxes missing from the list because their ledger files are damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
    /// What the daemon collected since it started, the oldest first; at most the last 200.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collected: Vec<Collected>,
}

/// What a container without a sandbox had left, and the daemon collected: an attachment, whose
/// delegates it runs until they succeed, or an address that was only reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Collected {
    /// Container id of the sandbox.
    pub container_id: String,
    /// The attachment's pod; `None` for an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// As in [`ListedAttachment`]; for an address, the name of the network's conf.
    pub network: String,
    /// The attachment's interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When, in seconds since 1970 UTC.
    pub at_unix_seconds: u64,
    /// The same as an RFC 3339 time in UTC.
    pub at: String,
}

/// A sandbox whose ledger file is damaged, so that its attachments are unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// Container id of the sandbox.
    pub container_id: String,
    /// The file, and what is wrong with it.
    pub reason: String,
    /// The ledger's directory; `None` from an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni_dir: Option<String>,
}

/// Body of [`crate::endpoint::FORGET`]: attachments to drop from the ledger without undoing them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forget {
    /// Full container id of the sandbox.
    pub container_id: String,
    /// Interface in the pod; all of the sandbox's attachments if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_name: Option<String>,
    /// The ledger's directory; needed if several have the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni_dir: Option<String>,
}

/// One attachment in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedAttachment {
    /// Container id of the sandbox.
    pub container_id: String,
    /// The attached pod.
    pub pod: Pod,
    /// Network name: `namespace/name` of a NAD, or the name of the default network's conf.
    pub network: String,
    /// Interface in the pod.
    pub if_name: String,
    /// Path of the network namespace.
    pub netns: String,
    /// Attached or undo-pending.
    #[serde(flatten)]
    pub state: AttachmentState,
    /// When the attachment entered this state, in seconds since 1970 UTC; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_seconds: Option<u64>,
    /// The same as an RFC 3339 time in UTC, for readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The ledger's directory; `None` from an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni_dir: Option<String>,
}

/// A time as RFC 3339 has it, in UTC.
pub fn rfc3339(unix_seconds: u64) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let (days, seconds) = (unix_seconds / DAY, unix_seconds % DAY);
    // Years that begin in March, so that a leap day is the last; 719,468 days before 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, years) = match month < 10 {
        true => (month + 3, 0),
        false => (month - 9, 1),
    };
    let year = 400 * era + year + years;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
}

/// The pod of an attachment. Fields are empty if the ledger does not know them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// State of an attachment in the ledger: `"state":"attached"` or
/// `"state":"undo-pending","reason":…,"retries":…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum AttachmentState {
    /// The delegate's ADD succeeded.
    Attached,
    /// The delegate's DEL has failed so far and is being retried.
    UndoPending {
        /// Error of the last attempt.
        reason: String,
        /// Number of attempts.
        retries: u32,
    },
    /// A state of a newer daemon.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undo_pending_attachment_has_its_reason() {
        let attachment = ListedAttachment {
            container_id: "abc".to_owned(),
            pod: Pod {
                namespace: "default".to_owned(),
                name: "web".to_owned(),
                uid: String::new(),
            },
            network: "default/macvlan".to_owned(),
            if_name: "net1".to_owned(),
            netns: "/run/netns/x".to_owned(),
            state: AttachmentState::UndoPending {
                reason: "ipam is down".to_owned(),
                retries: 3,
            },
            since_unix_seconds: Some(1_800_000_000),
            since: Some(rfc3339(1_800_000_000)),
            cni_dir: Some("/l".to_owned()),
        };
        let json = serde_json::to_string(&attachment).unwrap();
        assert_eq!(
            json,
            r#"{"containerId":"abc","pod":{"namespace":"default","name":"web","uid":""},"network":"default/macvlan","ifName":"net1","netns":"/run/netns/x","state":"undo-pending","reason":"ipam is down","retries":3,"sinceUnixSeconds":1800000000,"since":"2027-01-15T08:00:00Z","cniDir":"/l"}"#
        );
        assert_eq!(
            serde_json::from_str::<ListedAttachment>(&json).unwrap(),
            attachment
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }

    #[test]
    fn unknown_values_are_tolerated() {
        let list: PolicyList = serde_json::from_str(
            r#"{"generation":7,"policies":[{"name":"n","file":"/p/10-n.wasm","state":"warming",
                "mode":"sample","counts":{"evaluations":2,"sleeps":1},"colour":"red"}]}"#,
        )
        .unwrap();
        let policy = &list.policies[0];
        assert_eq!(policy.state, PolicyState::Unknown);
        assert_eq!(policy.mode, PolicyMode::Unknown);
        assert_eq!(policy.counts.evaluations, 2);

        let list: AttachmentList = serde_json::from_str(
            r#"{"attachments":[{"containerId":"c","pod":{},"network":"n","ifName":"eth0","netns":"",
                "state":"frozen","depth":9}]}"#,
        )
        .unwrap();
        assert_eq!(list.attachments[0].state, AttachmentState::Unknown);
    }
}
