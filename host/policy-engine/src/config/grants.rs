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
    /// Edit: `type` and `ipam.type`, to what `allowTypes` has.
    ChangeType,
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
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
