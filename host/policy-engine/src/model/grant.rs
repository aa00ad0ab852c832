//! What a policy may have beyond the request: imports and kinds of edits.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::model::words::words;

/// One grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grant {
    /// Import: attachments of the node.
    Attachments,
    /// Import: labels and annotations of namespaces.
    Namespaces,
    /// Import: NetworkAttachmentDefinitions.
    Nads,
    /// Import: this node's labels and annotations.
    Node,
    /// Import: the policy's own metrics.
    Metrics,
    /// Import: the time.
    Clock,
    /// Import: random bytes.
    Random,
    /// Import: key-value state that outlives the request.
    State,
    /// Edit: interfaces, addresses and routes of a result.
    RewriteResult,
    /// Edit: a plugin's `type` in its place and role, to one of `allowTypes`; add such plugins.
    ChangeType,
    /// Edit: add plugins of `appendTypes` to the end of a chain.
    AppendPlugin,
    /// Edit: remove plugins, and replace those after the first of a chain.
    RemovePlugin,
    /// Edit: change the order and role of plugins.
    MovePlugin,
    /// Edit: members that name the node's files, directories and sockets, or its API access.
    ChangePaths,
    /// Edit: `capabilities`.
    ChangeCapabilities,
    /// Edit: members that name a device of the node.
    ChangeDevices,
    /// Edit: members that affect the node's packet filter.
    ChangeFirewall,
}

words!(Grant {
    Attachments: "attachments",
    Namespaces: "namespaces",
    Nads: "nads",
    Node: "node",
    Metrics: "metrics",
    Clock: "clock",
    Random: "random",
    State: "state",
    RewriteResult: "rewrite-result",
    ChangeType: "change-type",
    AppendPlugin: "append-plugin",
    RemovePlugin: "remove-plugin",
    MovePlugin: "move-plugin",
    ChangePaths: "change-paths",
    ChangeCapabilities: "change-capabilities",
    ChangeDevices: "change-devices",
    ChangeFirewall: "change-firewall",
});

impl Grant {
    /// The grants that are imports; each is named after its interface.
    pub(crate) const IMPORTS: [Self; 8] = [
        Self::Attachments,
        Self::Namespaces,
        Self::Nads,
        Self::Node,
        Self::Metrics,
        Self::Clock,
        Self::Random,
        Self::State,
    ];

    /// The name in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Attachments => "attachments",
            Self::Namespaces => "namespaces",
            Self::Nads => "nads",
            Self::Node => "node",
            Self::Metrics => "metrics",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::State => "state",
            Self::RewriteResult => "rewrite-result",
            Self::ChangeType => "change-type",
            Self::AppendPlugin => "append-plugin",
            Self::RemovePlugin => "remove-plugin",
            Self::MovePlugin => "move-plugin",
            Self::ChangePaths => "change-paths",
            Self::ChangeCapabilities => "change-capabilities",
            Self::ChangeDevices => "change-devices",
            Self::ChangeFirewall => "change-firewall",
        }
    }
}

impl Serialize for Grant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a policy may change of a conf beyond its free members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfGrant {
    /// Allowed values for `type`.
    pub(crate) types: BTreeSet<String>,
    /// Allowed types of appended plugins.
    pub(crate) append_types: BTreeSet<String>,
    /// All grants of the policy.
    pub(crate) grants: BTreeSet<Grant>,
}

impl ConfGrant {
    /// The grants that allow editing guarded members.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) const MEMBERS: [Grant; 4] = [
        Grant::ChangePaths,
        Grant::ChangeCapabilities,
        Grant::ChangeDevices,
        Grant::ChangeFirewall,
    ];

    /// A grant of these types and grants.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn of(types: &[&str], grants: &[Grant]) -> Self {
        Self {
            types: types.iter().map(|name| (*name).to_owned()).collect(),
            append_types: BTreeSet::new(),
            grants: grants.iter().copied().collect(),
        }
    }

    /// The same, and one type that is appended.
    pub(crate) fn appending(&self, name: String) -> Self {
        let mut grant = self.clone();
        grant.types.insert(name);
        grant.grants.insert(Grant::ChangeType);
        grant
    }

    /// What two policies together may change. Appended types count as allowed: whether a plugin was
    /// appended or put elsewhere was checked at each edit.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.types.extend(other.types.iter().cloned());
        if other.has(Grant::AppendPlugin) {
            self.types.extend(other.append_types.iter().cloned());
            self.grants.insert(Grant::ChangeType);
        }
        self.grants.extend(&other.grants);
        self
    }

    pub(crate) fn has(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }

    /// Whether it allows any change to which plugins run.
    pub(crate) fn changes_plugins(&self) -> bool {
        let others = [Grant::RemovePlugin, Grant::MovePlugin];
        !self.types.is_empty() || others.into_iter().any(|grant| self.has(grant))
    }
}
