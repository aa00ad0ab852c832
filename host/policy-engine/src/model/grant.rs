//! What a policy may have beyond the request: imports and kinds of edits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Grant {
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

impl Grant {
    /// The grants that are imports; each is named after its interface.
    pub(crate) const IMPORTS: [Self; 7] = [
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
            Self::Namespaces => "namespaces",
            Self::Nads => "nads",
            Self::Node => "node",
            Self::Metrics => "metrics",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::State => "state",
            Self::RewriteResult => "rewrite-result",
            Self::ChangeType => "change-type",
            Self::RemovePlugin => "remove-plugin",
            Self::MovePlugin => "move-plugin",
            Self::ChangePaths => "change-paths",
            Self::ChangeCapabilities => "change-capabilities",
            Self::ChangeDevices => "change-devices",
            Self::ChangeFirewall => "change-firewall",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
