//! The engines that the policies share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Loader;
use super::error::Error;
use crate::config::Spec;
use crate::load::policy::Policy;
use crate::wasm::engine::{self, Engines};

impl Loader {
    /// The engines that a policy runs on.
    pub(super) fn engines(&mut self, spec: &Spec) -> Result<Engines, Error> {
        let kind = engine::kind(&spec.limits);
        if let Some(engines) = self.engines.get(&kind) {
            return Ok(engines.clone());
        }
        let engines = Engines::ticking(&spec.limits).map_err(|source| Error::Engine { source })?;
        self.engines.insert(kind, engines.clone());
        Ok(engines)
    }

    /// Drops the engines that none of these policies uses.
    pub(super) fn drop_engines(&mut self, policies: &[Arc<Policy>]) {
        retain(&mut self.engines, policies);
    }
}

/// Drops the engines that no policy runs on or waits for. A module keeps its own in any case.
fn retain<E>(engines: &mut BTreeMap<(u64, bool), E>, policies: &[Arc<Policy>]) {
    let running = policies
        .iter()
        .filter(|policy| policy.module.is_some() || policy.is_loading().is_some());
    let specs = running.filter_map(|policy| policy.spec.as_ref());
    let kinds: Vec<_> = specs.map(|spec| engine::kind(&spec.limits)).collect();
    engines.retain(|kind, _| kinds.contains(kind));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Limits;
    use crate::load::policy::Loading;

    #[test]
    fn engines_without_policies_are_dropped() {
        let spec = |stack_bytes| {
            let limits = Limits {
                stack_bytes,
                ..Limits::default()
            };
            Arc::new(Spec::of_dry_run("", limits, Default::default()))
        };
        let mut engines = BTreeMap::from([1, 2, 3].map(|stack| ((stack, false), ())));
        let waiting = Policy::broken("a", Path::new("a"), String::new());
        let waiting = waiting.with_spec(spec(1)).loading(Loading::Later);
        let policies = [Arc::new(waiting), Arc::new(Policy::off(spec(2)))];
        retain(&mut engines, &policies);
        let left: Vec<_> = engines.into_keys().collect();
        assert_eq!(left, [(1, false)]);
    }
}
