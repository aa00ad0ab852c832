//! Quarantines modules that crash their dry run.

use super::error::Error;
use super::{Loader, chain};
use crate::config::Spec;

impl Loader {
    /// Lets another process make the first instance, and quarantines a module that crashes it.
    pub(super) fn dry_run(&mut self, spec: &Spec, digest: &str) -> Result<(), Error> {
        let path = || spec.module.clone();
        let Err(source) = self.cache.dry_run(digest, spec) else {
            return Ok(());
        };
        if source.is_crash()
            && let Some(mark) = self.quarantine.hold(digest, &spec.name)
        {
            tracing::error!(
                target: "cnidaria::policy",
                policy = &*spec.name, digest, reason = chain(&source), "QUARANTINED: the module crashed in its dry run",
            );
            return Err(Error::Quarantined {
                path: path(),
                hook: mark.hook,
                dry_run: mark.dry_run,
                policy: mark.policy,
            });
        }
        Err(Error::Artifact {
            path: path(),
            source,
        })
    }
}
