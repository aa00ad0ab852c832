//! What a policy may have beyond the request: imports and kinds of edits.

use std::fmt;

use serde::Deserialize;

/// One grant, by its name in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Grant {
    /// Import: labels and annotations of namespaces.
    Namespaces,
    /// Import: NetworkAttachmentDefinitions.
    Nads,
    /// Import: the own node.
    Node,
    /// Import: metrics of the policy.
    Metrics,
    /// Import: the time.
    Clock,
    /// Import: random bytes.
    Random,
    /// Import: values that outlive the request.
    State,
    /// Edit: interfaces, addresses and routes of a result.
    RewriteResult,
    /// Edit: the `type` of a plugin in its place and role, to what `allowTypes` has; plugins of these
    /// types may be added.
    ChangeType,
    /// Edit: plugins may be removed, and those behind the first of a chain replaced.
    RemovePlugin,
    /// Edit: plugins may change their order and their role.
    MovePlugin,
    /// Edit: members that name files, directories and sockets of the node, or its API access.
    ChangePaths,
    /// Edit: `capabilities`.
    ChangeCapabilities,
    /// Edit: members that name a device of the node.
    ChangeDevices,
    /// Edit: members that reach into the packet filter of the node.
    ChangeFirewall,
}

impl Grant {
    /// The grants that are imports; the name is that of the interface.
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
