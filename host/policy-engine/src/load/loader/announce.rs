//! Announces policies before any of them is loaded.

use std::sync::Arc;

use super::Loader;
use crate::config::{self, Reading};
use crate::load::policy::{Loading, Policy};
use crate::model::policy::Mode;

const REASON: &str = "the daemon has just begun to load it";

impl Loader {
    /// All policies found, each marked as loading.
    pub(crate) fn announce(&self) -> Vec<Arc<Policy>> {
        let (modules, configs) = (&self.config.module_dir, &self.config.config_dir);
        let Ok(found) = config::scan(modules, configs.as_deref()) else {
            let unknown = Policy::broken("policies", modules, REASON.to_owned());
            return vec![Arc::new(unknown.required().loading(Loading::AtStart))];
        };
        let known = self.last_good.names();
        let mut policies = Vec::new();
        for found in &found {
            let is_required = self.config.required.contains(&found.name);
            let policy = Policy::broken(&found.name, &found.file, REASON.to_owned());
            let policy = policy.loading(Loading::AtStart);
            policies.push(match &found.reading {
                Reading::Good(spec, _) | Reading::Faulty(spec, ..) if spec.mode == Mode::Off => {
                    Policy::off(Arc::new(spec.clone()))
                }
                Reading::Good(spec, _) | Reading::Faulty(spec, ..) => {
                    let mut spec = spec.clone();
                    spec.required |= is_required;
                    policy.with_spec(Arc::new(spec))
                }
                // The last good policy may take over, but whom it applies to is not known yet.
                Reading::Unreadable(_) if is_required || known.contains(&found.name) => {
                    policy.required()
                }
                Reading::Unreadable(_) => continue,
            });
        }
        for name in &self.config.required {
            if !policies
                .iter()
                .any(|policy| *policy.name == **name && policy.runs())
            {
                let missing = Policy::broken(name, modules, REASON.to_owned());
                policies.push(missing.required().loading(Loading::AtStart));
            }
        }
        policies.into_iter().map(Arc::new).collect()
    }
}
