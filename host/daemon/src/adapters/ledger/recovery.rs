//! What is in no plan: the result cache has conf, arguments and result of every attachment whose
//! delegates have answered. It makes up for a sandbox's file that is damaged, and knows what Multus
//! attached to a running pod, of which it writes nothing else.

use std::collections::HashSet;

use cni_types::conf::NetworkConfList;
use libcni::cache::{self, Cache};

use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;

/// Where `cniDir` is the directory that the container runtime's own library uses, too, that one has
/// results there of what it executes: to undo those would be to ask ourselves.
const SHIMS: [&str; 3] = ["cnidaria-shim", "multus", "multus-shim"];

/// The attachments of a sandbox that the result cache knows, the default network first, none where it
/// knows nothing; and what is damaged there.
pub(super) fn from_results(
    cache: &Cache,
    sandbox: &Sandbox,
) -> Result<(Vec<Entry>, Vec<cache::Error>), cache::Error> {
    let (cached, errors) = cache.of_container(&sandbox.container_id)?;
    for error in &errors {
        tracing::error!(error = crate::report::chain(error), "a result is left out");
    }
    let cached = cached.into_iter();
    let mut entries: Vec<Entry> = cached.filter_map(|one| entry(one, sandbox)).collect();
    // DEL goes backwards.
    entries.sort_by(|a, b| (!a.is_default, &a.if_name).cmp(&(!b.is_default, &b.if_name)));
    Ok((entries, errors))
}

/// The attachments of a sandbox that are not in its plan.
pub(super) fn beside(
    cache: &Cache,
    sandbox: &Sandbox,
    plan: &[Entry],
) -> Result<Vec<Entry>, cache::Error> {
    let known: HashSet<_> = plan.iter().map(|entry| &entry.if_name).collect();
    let (mut entries, _) = from_results(cache, sandbox)?;
    entries.retain(|entry| !known.contains(&entry.if_name));
    Ok(entries)
}

/// The attachments of all sandboxes that are in none of the plans.
pub(super) fn beside_all(cache: &Cache, plans: &[Entry]) -> Result<Vec<Entry>, cache::Error> {
    let known: HashSet<_> = plans
        .iter()
        .map(|entry| (&entry.container_id, &entry.if_name))
        .collect();
    let (cached, _) = cache.list()?;
    Ok(cached
        .into_iter()
        .filter(|one| !known.contains(&(&one.key.container_id, &one.key.if_name)))
        .filter_map(|one| {
            let sandbox = Sandbox::recorded(one.key.container_id.clone());
            entry(one, &sandbox)
        })
        .collect())
}

fn entry(cached: cache::Entry, sandbox: &Sandbox) -> Option<Entry> {
    let conf = NetworkConfList::parse_any(&cached.config).ok()?;
    let mut plugins = conf.plugins().iter().map(|plugin| plugin.plugin_type());
    if plugins.any(|plugin| SHIMS.contains(&plugin.as_str())) {
        return None;
    }
    let netns = sandbox.netns.clone();
    Some(Entry {
        container_id: cached.key.container_id.clone(),
        netns: netns.or(Some(cached.netns.clone()).filter(|netns| !netns.is_empty())),
        pod: sandbox.pod.clone(),
        network: conf.name().to_string(),
        is_default: cached.key.if_name == sandbox.if_name,
        if_name: cached.key.if_name.clone(),
        result: cached.parsed_result(conf.cni_version()).ok(),
        cni_args: cached.args,
        capability_args: cached.capability_args,
        device: None,
        conf,
    })
}
