//! What can be known of a sandbox whose own file is damaged: the result cache has conf, arguments
//! and result of every attachment whose delegates have answered.

use cni_types::conf::NetworkConfList;
use libcni::cache::{self, Cache};

use crate::domain::entry::Entry;
use crate::domain::sandbox::Sandbox;

/// The attachments of a sandbox that the result cache knows, the default network first; none where
/// it knows nothing.
pub(super) fn from_results(cache: &Cache, sandbox: &Sandbox) -> Result<Vec<Entry>, cache::Error> {
    let (cached, _) = cache.list()?;
    let mut entries: Vec<Entry> = cached
        .into_iter()
        .filter(|cached| cached.key.container_id == sandbox.container_id)
        .filter_map(|cached| entry(cached, sandbox))
        .collect();
    // DEL goes backwards.
    entries.sort_by(|a, b| (!a.is_default, &a.if_name).cmp(&(!b.is_default, &b.if_name)));
    Ok(entries)
}

fn entry(cached: cache::Entry, sandbox: &Sandbox) -> Option<Entry> {
    let conf = NetworkConfList::parse_any(&cached.config).ok()?;
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
