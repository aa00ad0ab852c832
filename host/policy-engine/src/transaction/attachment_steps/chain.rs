//! A chain that a policy made of a single plugin by appending another one. Claims name the members of
//! the first plugin as those of the conf, so that they stay those of the policies that set them.

use std::borrow::Cow;
use std::ops::ControlFlow;

use cni_types::json::{Document, Node, Pointer};

use super::super::difference::{Path, Step, Visit};
use super::super::{AttachmentDraft, EditError, plugins, validate};
use super::CONF;

const PLUGINS: &str = "plugins";

/// The path of the plugin that is appended to a single one.
pub(super) fn second() -> Vec<Cow<'static, str>> {
    vec![CONF.into(), PLUGINS.into(), "1".into()]
}

/// Makes a chain of the only plugin and another one.
pub(super) fn make(conf: &mut Document, plugin: Node) -> Result<(), EditError> {
    let mut chain = plugins::chained(conf.root())?;
    if let Node::Object(members) = &mut chain
        && let Some((_, Node::Array(plugins))) = members.last_mut()
    {
        plugins.push(plugin);
    }
    conf.set_node(&Pointer::root(), chain)
        .map(drop)
        .map_err(|error| match error {
            cni_types::json::Error::TooLarge { .. } | cni_types::json::Error::TooDeep { .. } => {
                EditError::TooLarge(error.to_string())
            }
            _ => validate::invalid(error.to_string()),
        })
}

/// The conf of an earlier draft, as a chain if the later one has become a chain.
pub(super) fn before<'d>(earlier: &'d AttachmentDraft, later: &AttachmentDraft) -> Cow<'d, Node> {
    let conf = earlier.attachment.conf.root();
    if later.is_chained && !earlier.is_chained {
        // Cannot fail: the later one was made in this way.
        if let Ok(chain) = plugins::chained(conf) {
            return Cow::Owned(chain);
        }
    }
    Cow::Borrowed(conf)
}

/// The path under which claims know a place, if it is another one.
pub(super) fn path<'a>(is_chained: bool, path: &Path<'a>) -> Option<Vec<Cow<'a, str>>> {
    match path {
        [conf, list, first, rest @ ..] if is_chained && *list == PLUGINS && *first == "0" => {
            Some(std::iter::once(conf).chain(rest).cloned().collect())
        }
        _ => None,
    }
}

/// Visits steps under the paths that claims know.
pub(super) fn claimed<'v>(
    is_chained: bool,
    visit: &'v mut Visit<'_>,
) -> impl FnMut(&Step<'_, '_>) -> ControlFlow<()> + 'v {
    move |step| match path(is_chained, step.path) {
        Some(path) => visit(&Step {
            path: &path,
            kind: step.kind,
            old: step.old,
            new: step.new,
        }),
        None => visit(step),
    }
}

#[cfg(test)]
mod tests;
