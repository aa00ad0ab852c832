//! What the operator asks of the daemon: the bodies of `/v1/policies`, `/v1/attachments` and what
//! is below them.
//! Both sides ship together but are updated one after the other, so readers skip keys they do not
//! know and take a state they do not know as `Unknown`.

use serde::{Deserialize, Serialize};

/// Body of [`crate::endpoint::POLICIES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyList {
    /// In the order in which they run.
    pub policies: Vec<Policy>,
}

/// One policy as the daemon has it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Name: the file name without order and extension.
    pub name: String,
    /// Path of the module on the node.
    pub file: String,
    /// Whether it runs.
    pub state: PolicyState,
    /// What a verdict does.
    pub mode: PolicyMode,
    /// Whether STATUS fails while it is not loaded.
    #[serde(default)]
    pub required: bool,
    /// `sha256:…` of the module that is in force; `None` where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Hooks that the module exports, as in the WIT package (`before-add`).
    #[serde(default)]
    pub hooks: Vec<String>,
    /// Grants that the module's imports ask for.
    #[serde(default)]
    pub grants_asked: Vec<String>,
    /// Grants that the configuration gives.
    #[serde(default)]
    pub grants_given: Vec<String>,
    /// Why the newest file did not load, or the last failed call; `None` where nothing failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Since it was loaded.
    #[serde(default)]
    pub counts: PolicyCounts,
}

/// Body of [`crate::endpoint::RELEASE`]: a policy whose module is quarantined and is to be loaded again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Name of the policy.
    pub name: String,
}

/// Whether a policy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyState {
    /// The newest file is loaded.
    Loaded,
    /// The newest file did not load; the last good one stays in force.
    Stale,
    /// Its module is still being compiled: as broken until then.
    Loading,
    /// Nothing is loaded: ADDs that the policy would have seen fail, unless its failure policy is open.
    Broken,
    /// The daemon ended while it called the module: as broken, until an operator releases it.
    Quarantined,
    /// Switched off by its mode.
    Off,
    /// A state of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// What a policy's verdict does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyMode {
    /// Edits are applied and denials deny.
    Enforce,
    /// The policy runs on a shadow, its would-be edits are only logged.
    Audit,
    /// The policy does not run.
    Off,
    /// A mode of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// How often what happened in a policy since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyCounts {
    /// Calls of any hook.
    pub evaluations: u64,
    /// Verdicts that denied.
    pub denials: u64,
    /// Traps, timeouts and limits hit.
    pub failures: u64,
}

/// Body of [`crate::endpoint::ATTACHMENTS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentList {
    /// By pod, then in the order of the pod's plan.
    pub attachments: Vec<Attachment>,
    /// Sandboxes with networks that are not in the list: their files in the ledger are damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// A sandbox whose file in the ledger is damaged, so that its attachments are not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// Container id of the sandbox.
    pub container_id: String,
    /// Which file, and what is wrong with it.
    pub reason: String,
}

/// Body of [`crate::endpoint::FORGET`]: attachments that the daemon is to forget without undoing them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forget {
    /// Container id of the sandbox, whole.
    pub container_id: String,
    /// Interface in the pod; everything of the sandbox where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_name: Option<String>,
}

/// One attachment in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Container id of the sandbox.
    pub container_id: String,
    /// The pod.
    pub pod: Pod,
    /// Network name: `namespace/name` of a NAD, or the name of the default network's conf.
    pub network: String,
    /// Interface in the pod.
    pub if_name: String,
    /// Path of the network namespace.
    pub netns: String,
    /// Attached, or to be undone.
    #[serde(flatten)]
    pub state: AttachmentState,
    /// When the attachment came into this state, in seconds since 1970 UTC; `None` where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_seconds: Option<u64>,
}

/// Which pod an attachment belongs to. Empty strings where the ledger does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// What the ledger holds an attachment for: `"state":"attached"` or
/// `"state":"undo-pending","reason":…,"retries":…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum AttachmentState {
    /// The delegate's ADD succeeded.
    Attached,
    /// The delegate's DEL failed so far and is retried.
    UndoPending {
        /// What the last attempt failed with.
        reason: String,
        /// Attempts so far.
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
    fn an_attachment_to_be_undone_says_why_in_the_same_object() {
        let attachment = Attachment {
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
        };
        let json = serde_json::to_string(&attachment).unwrap();
        assert_eq!(
            json,
            r#"{"containerId":"abc","pod":{"namespace":"default","name":"web","uid":""},"network":"default/macvlan","ifName":"net1","netns":"/run/netns/x","state":"undo-pending","reason":"ipam is down","retries":3,"sinceUnixSeconds":1800000000}"#
        );
        assert_eq!(
            serde_json::from_str::<Attachment>(&json).unwrap(),
            attachment
        );
    }

    #[test]
    fn what_a_newer_daemon_says_is_read_as_far_as_it_is_known() {
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
