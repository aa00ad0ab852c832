//! What modules say of themselves, and whether settings are as they say.

use std::sync::Arc;

use super::error::Error;
use super::{Loader, chain};
use crate::config::{Position, Spec, schema, settings_at};
use crate::load::description;
use crate::model::description::Description;
use crate::wasm::module::Module;

impl Loader {
    /// The module, and what it says of itself. `text` is the policy's configuration.
    pub(super) async fn described(
        &mut self,
        spec: &Arc<Spec>,
        digest: &str,
        text: Option<&str>,
    ) -> Result<(Arc<Module>, Option<Arc<Description>>), Error> {
        // Nothing of such a module is looked at.
        let is_avoided =
            self.config.bypassed().is_some() || self.quarantine.holds(digest).is_some();
        let description = match is_avoided {
            true => None,
            false => describe(spec, text)?,
        };
        let module = self.module(spec, digest).await?;
        Ok((module, description))
    }
}

/// What the module in the policy's file says, if the settings are as it says.
fn describe(spec: &Spec, text: Option<&str>) -> Result<Option<Arc<Description>>, Error> {
    let description = match description::of_file(&spec.module) {
        Ok(Some(description)) => description,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::warn!(
                target: "cnidaria::policy",
                policy = &*spec.name, module = %spec.module.display(), reason = chain(&error),
                "ignoring the module's description: it is malformed",
            );
            return Ok(None);
        }
    };
    if let Some(settings) = &description.settings {
        schema::check(settings, &spec.settings).map_err(|fault| {
            let file = spec.file.display();
            let at = |text| Position::of(text, settings_at(text) + fault.offset);
            Error::Described {
                place: match text {
                    Some(text) => format!("{file}:{}", at(text)),
                    None => file.to_string(),
                },
                pointer: fault.pointer,
                reason: fault.reason,
            }
        })?;
    }
    Ok(Some(Arc::new(description)))
}
