//! Removes artefacts that no policy needs.

use std::sync::Arc;

use super::Loader;
use crate::load::policy::Policy;

impl Loader {
    /// Removes old artefacts that neither a policy nor its last good configuration needs.
    pub(super) fn sweep(&self, policies: &[Arc<Policy>]) {
        let records = policies
            .iter()
            .filter_map(|policy| self.last_good.get(&policy.name));
        let last_good: Vec<String> = records.filter_map(|record| record.digest).collect();
        let current = policies.iter().map(|policy| policy.digest());
        let all = current.chain(last_good.iter().map(String::as_str));
        let needed = all.map(|digest| digest.trim_start_matches("sha256:"));
        self.cache.sweep(&needed.collect());
    }
}
