//! Which members of a conf are protected: the rule for each, by its key and its place.

use cni_types::json::Node;

use super::EditError;
use super::guarded;
use super::roles::Role;
use crate::model::grant::{ConfGrant, Grant};
use crate::model::outside;

/// Members of a plugin or a list that no policy may change.
const PROTECTED: [&str; 6] = [
    "name",
    "cniversion",
    "cniversions",
    "prevresult",
    "runtimeconfig",
    // Without this key, a chain continues with files from a directory.
    "loadonlyinlinedplugins",
];

/// Where in a conf a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// A list or a plugin.
    Plugin,
    /// The `args` of a plugin.
    Args,
    /// The `cni` object within `args`.
    CniArgs,
    /// Anything else.
    Other,
}

/// What a value's place says about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) context: Context,
    pub(super) role: Role,
}

impl Place {
    /// A whole conf.
    pub(super) const CONF: Self = Self {
        context: Context::Plugin,
        role: Role::Main,
    };
    /// The cni-args.
    pub(super) const CNI_ARGS: Self = Self {
        context: Context::CniArgs,
        role: Role::Other,
    };

    /// The place under a folded key.
    pub(super) fn below(self, key: &str) -> Self {
        let context = match (self.context, key) {
            (Context::Plugin, "plugins") => Context::Plugin,
            (Context::Plugin, "args") => Context::Args,
            (Context::Args, "cni") | (Context::CniArgs, _) => Context::CniArgs,
            _ => Context::Other,
        };
        let role = self.role.below(key);
        Self { context, role }
    }

    pub(super) fn element(self, index: usize) -> Self {
        let role = self.role.element(index);
        Self { role, ..self }
    }

    /// The rule for the member under a folded key, if it is protected.
    pub(super) fn rule(self, key: &str) -> Option<Rule> {
        if self.context == Context::Plugin && PROTECTED.contains(&key) {
            return Some(Rule::Never);
        }
        if matches!(self.context, Context::Args | Context::CniArgs) {
            return None;
        }
        guarded::key(key).map(Rule::Granted)
    }

    /// The grant needed to change a plain value, whatever its key.
    pub(super) fn value(self, value: &Node) -> Option<Grant> {
        match self.context {
            Context::Args | Context::CniArgs => None,
            Context::Plugin | Context::Other => guarded::value(value),
        }
    }
}

/// Who may change a protected member other than a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// No policy.
    Never,
    /// Policies with this grant.
    Granted(Grant),
}

/// Checks a rule against the grants; `path` names the member in the refusal.
pub(super) fn permit(
    rule: Rule,
    grant: &ConfGrant,
    path: impl FnOnce() -> String,
) -> Result<(), EditError> {
    match rule {
        Rule::Never => Err(EditError::Immutable(path())),
        Rule::Granted(needed) if !grant.has(needed) => Err(EditError::NeedsGrant {
            path: path(),
            grant: needed,
        }),
        Rule::Granted(needed) => {
            outside::allowed(needed);
            Ok(())
        }
    }
}

/// A path or value, shortened for a message.
pub(super) fn short(text: &str) -> String {
    crate::model::report::clean(text, 256)
}
