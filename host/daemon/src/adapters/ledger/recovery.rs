//! Recovers attachments from the result cache, which has the conf, arguments and result of every
//! attachment whose delegates have answered. It replaces a damaged sandbox file, and is the only
//! record of what Multus hot-plugged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use cni_types::args::{ContainerId, IfName, NetworkName};
use cni_types::conf::NetworkConfList;
use cni_types::json::{self, RawObject};
use cni_types::result::CniResult;
use libcni::cache::{self, Cache};

use super::boot::Boot;
use super::delegates_file::Writer;
use super::{file, from_cache, key};
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::namespace::Namespace;
use cnidaria_core::domain::sandbox::Sandbox;
use cnidaria_core::domain::shim::Shims;
use cnidaria_core::ports::{LedgerError, Lost};

/// The daemon's member in a cached result: the namespace in which it was made.
const NAMESPACE: &str = "namespace";
/// The same: whether this is the container's own interface.
const IS_DEFAULT: &str = "isDefault";
/// The same: `name` of the runtime's conf.
const RUNTIME_NETWORK: &str = "runtimeNetwork";
/// The same: tags that policies set.
const TAGS: &str = "tags";
/// The same: when the ADD began, in seconds since 1970.
const ADDED_AT: &str = "addedAt";
/// The same: whether the DEL may run after the namespace is gone. The shim looks for it.
const DEFERRABLE: &str = shim_api::deferred::RESULT_FLAG;

#[derive(Debug)]
pub(super) struct Results {
    pub(super) cache: Cache,
    /// Older results without a namespace are from an earlier boot.
    pub(super) boot: Boot,
}

/// Attachments that are only in the result cache.
pub(super) struct Unplanned {
    pub(super) entries: Vec<Entry>,
    /// Attachments whose results are damaged, of sandboxes with incomplete plans.
    pub(super) lost: BTreeMap<ContainerId, Vec<Lost>>,
}

/// A sandbox's attachments in the result cache, the default network first, and its damaged results.
///
/// # Errors
/// [`cache::Error`] on transient read errors.
pub(super) fn from_results(
    results: &Results,
    sandbox: &Sandbox,
) -> Result<(Vec<Entry>, Vec<cache::Error>), cache::Error> {
    let (cached, errors) = results.cache.of_container(&sandbox.container_id)?;
    let errors = lasting(errors)?;
    for error in &errors {
        tracing::error!(
            error = cnidaria_core::report::chain(error),
            "skipping a result that cannot be used"
        );
    }
    let own = own_of_container(&cached, &errors, sandbox);
    let cached = cached.into_iter();
    let mut entries: Vec<Entry> = cached
        .filter_map(|one| entry(one, sandbox, &own, results))
        .collect();
    // DEL runs in reverse order.
    entries.sort_by(|a, b| (!a.is_default, &a.if_name).cmp(&(!b.is_default, &b.if_name)));
    Ok((entries, errors))
}

/// A sandbox's attachments that are missing from its incomplete plan.
///
/// # Errors
/// As [`from_results`].
pub(super) fn unplanned(
    results: &Results,
    sandbox: &Sandbox,
    plan: &[Entry],
) -> Result<Unplanned, cache::Error> {
    let known: HashSet<_> = plan.iter().map(|entry| &entry.if_name).collect();
    let (mut entries, errors) = from_results(results, sandbox)?;
    entries.retain(|entry| !known.contains(&entry.if_name));
    let lost = lost(&errors, [&sandbox.container_id], plan);
    Ok(Unplanned { entries, lost })
}

/// All sandboxes' attachments that are missing from the plans. The plans of `incomplete` sandboxes
/// do not list everything.
///
/// # Errors
/// As [`from_results`].
pub(super) fn all_unplanned(
    results: &Results,
    plans: &[Entry],
    incomplete: &BTreeSet<ContainerId>,
) -> Result<Unplanned, cache::Error> {
    let known: HashSet<_> = plans
        .iter()
        .map(|entry| (&entry.container_id, &entry.if_name))
        .collect();
    let (cached, errors) = results.cache.list()?;
    let errors = lasting(errors)?;
    let entries = cached
        .into_iter()
        .filter(|one| !known.contains(&(&one.key.container_id, &one.key.if_name)))
        .filter_map(|one| {
            let sandbox = Sandbox::recorded(one.key.container_id.clone());
            entry(one, &sandbox, &sandbox.if_name, results)
        })
        .collect();
    let lost = lost(&errors, incomplete, plans);
    Ok(Unplanned { entries, lost })
}

/// Whether an error is due to the file itself, rather than a transient system error.
pub(super) fn is_lasting(error: &cache::Error) -> bool {
    match error {
        cache::Error::Io { source, .. } => file::is_odd(source),
        _ => true,
    }
}

/// The errors, if all of them are due to the files themselves.
fn lasting(errors: Vec<cache::Error>) -> Result<Vec<cache::Error>, cache::Error> {
    let (lasting, passing): (Vec<_>, Vec<_>) = errors.into_iter().partition(is_lasting);
    passing.into_iter().next().map_or(Ok(lasting), Err)
}

/// Damaged files for interfaces of these sandboxes that no plan has. Only their names are known;
/// how they were attached is lost.
fn lost<'a>(
    errors: &[cache::Error],
    sandboxes: impl IntoIterator<Item = &'a ContainerId>,
    plans: &[Entry],
) -> BTreeMap<ContainerId, Vec<Lost>> {
    let planned: HashSet<(&ContainerId, &str)> = plans
        .iter()
        .map(|entry| (&entry.container_id, entry.if_name.as_str()))
        .collect();
    let mut lost = BTreeMap::new();
    for container in sandboxes {
        let part = format!("-{container}-");
        let these: Vec<Lost> = errors
            .iter()
            .filter_map(|error| {
                let (path, reason) = damage(error)?;
                let (network, if_name) = path.file_name()?.to_str()?.split_once(&part)?;
                let is_planned = planned.contains(&(container, if_name));
                (!is_planned && IfName::new(if_name).is_ok()).then(|| Lost {
                    network: network.to_owned(),
                    if_name: if_name.to_owned(),
                    path: path.to_owned(),
                    reason,
                })
            })
            .collect();
        if !these.is_empty() {
            lost.insert(container.clone(), these);
        }
    }
    lost
}

/// The damaged file and what is wrong with it.
fn damage(error: &cache::Error) -> Option<(&Path, String)> {
    match error {
        cache::Error::Io { path, source, .. } => Some((path, source.to_string())),
        cache::Error::Corrupt { path, source } => Some((path, source.to_string())),
        cache::Error::Changed { path } => Some((path, "its checksum does not match".to_owned())),
        cache::Error::Mismatch { path, found } => Some((path, format!("it is about {found}"))),
    }
}

/// Adds the cached result to an entry and, for a plan that Multus wrote, the arguments that its
/// file lacks. Returns the result's path if it is damaged.
pub(super) fn complete(
    entry: &mut Entry,
    writer: Writer,
    cache: &Cache,
) -> Result<Option<PathBuf>, LedgerError> {
    let cached = match cache.read(&key(entry)) {
        Ok(Some(cached)) => cached,
        Ok(None) => return Ok(None),
        // A transient error: it can be read later.
        Err(error @ cache::Error::Io { .. }) if !is_lasting(&error) => {
            return Err(from_cache(error));
        }
        Err(error) => {
            // CHECK and DEL work without a result, if less precisely.
            tracing::error!(
                error = cnidaria_core::report::chain(&error),
                "skipping a result that cannot be used"
            );
            return Ok(match error {
                cache::Error::Io { .. } => None,
                cache::Error::Corrupt { path, .. }
                | cache::Error::Changed { path }
                | cache::Error::Mismatch { path, .. } => Some(path),
            });
        }
    };
    entry.result = cached.parsed_result(entry.conf.cni_version()).ok();
    entry.tags = tags_of(&cached);
    if entry.namespace.is_none() {
        entry.namespace = namespace_of(&cached);
    }
    if entry.runtime_network.is_none() {
        entry.runtime_network = runtime_network_of(&cached);
    }
    if entry.added_at.is_none() {
        entry.added_at = added_at_of(&cached);
    }
    // Checksummed values take precedence over the cache's.
    if writer == Writer::Multus {
        entry.cni_args = cached.args;
        entry.capability_args = cached.capability_args;
    }
    if entry.netns.is_none() {
        entry.netns = Some(cached.netns).filter(|netns| !netns.is_empty());
    }
    Ok(None)
}

/// The file in the result cache of an attachment with this `result`.
///
/// # Errors
/// Why the result cannot be written.
pub(super) fn cached(
    entry: &Entry,
    result: &CniResult,
    deferrable: bool,
) -> Result<cache::Entry, String> {
    let raw = result.to_raw(result.cni_version);
    let raw = raw.map_err(|error| error.to_string())?;
    let of_json = |error: json::Error| error.to_string();
    Ok(cache::Entry {
        key: key(entry),
        config: entry.conf.text().as_bytes().to_vec(),
        netns: entry.netns.clone().unwrap_or_default(),
        args: entry.cni_args.clone(),
        capability_args: entry.capability_args.clone(),
        result: RawObject::from_value(&raw).map_err(of_json)?,
        own: own_of(entry, deferrable).map_err(of_json)?,
    })
}

/// The daemon's own members in a cached result.
///
/// # Errors
/// Never: identities and names are always valid JSON.
fn own_of(entry: &Entry, deferrable: bool) -> Result<RawObject, json::Error> {
    let mut own = RawObject::new();
    own.set(IS_DEFAULT, &entry.is_default)?;
    if deferrable {
        own.set(DEFERRABLE, &true)?;
    }
    if let Some(seconds) = &entry.added_at {
        own.set(ADDED_AT, seconds)?;
    }
    if let Some(namespace) = &entry.namespace {
        own.set(NAMESPACE, namespace)?;
    }
    if let Some(name) = &entry.runtime_network {
        own.set(RUNTIME_NETWORK, name)?;
    }
    if !entry.tags.is_empty() {
        own.set(TAGS, &entry.tags)?;
    }
    Ok(own)
}

/// The tags that policies set on the result.
pub(super) fn tags_of(cached: &cache::Entry) -> BTreeMap<String, String> {
    cached.own.get_as(TAGS).ok().flatten().unwrap_or_default()
}

/// The namespace in which a result was made; `None` if Multus or an older daemon wrote it.
pub(super) fn namespace_of(cached: &cache::Entry) -> Option<Namespace> {
    cached.own.get_as(NAMESPACE).ok().flatten()
}

/// `name` of the runtime's conf; `None` if Multus or an older daemon wrote the result.
fn runtime_network_of(cached: &cache::Entry) -> Option<NetworkName> {
    cached.own.get_as(RUNTIME_NETWORK).ok().flatten()
}

/// When the ADD began; `None` if Multus or an older daemon wrote the result.
fn added_at_of(cached: &cache::Entry) -> Option<u64> {
    cached.own.get_as(ADDED_AT).ok().flatten()
}

/// The container's own interface as far as its results tell; a request may name another one.
///
/// # Errors
/// As [`from_results`].
pub(super) fn own_interface(results: &Results, sandbox: &Sandbox) -> Result<IfName, cache::Error> {
    if sandbox.if_name == usual(sandbox) {
        return Ok(sandbox.if_name.clone());
    }
    let (cached, errors) = results.cache.of_container(&sandbox.container_id)?;
    Ok(own_of_container(&cached, &errors, sandbox))
}

fn own_of_container(cached: &[cache::Entry], errors: &[cache::Error], sandbox: &Sandbox) -> IfName {
    if let Some(own) = cached.iter().find(|one| is_default(one) == Some(true)) {
        return own.key.if_name.clone();
    }
    let usual = usual(sandbox);
    let end = format!("-{}-{usual}", sandbox.container_id);
    let is_damaged = |error: &cache::Error| {
        let name = damage(error).and_then(|(path, _)| path.file_name());
        name.is_some_and(|name| name.to_string_lossy().ends_with(&end))
    };
    // Not recorded as another network's: an older daemon or Multus wrote it.
    let has = |name: &IfName| {
        let is_it = |one: &cache::Entry| one.key.if_name == *name && is_default(one).is_none();
        cached.iter().any(is_it)
    };
    if has(&usual) || errors.iter().any(is_damaged) {
        return usual;
    }
    // The request's own interface only if a result vouches for it: a request for another one must
    // not stand for the container.
    let named = &sandbox.if_name;
    match has(named) && !is_numbered(named) {
        true => named.clone(),
        false => usual,
    }
}

/// Whether a name is one of those that a pod's further networks get by default.
fn is_numbered(name: &IfName) -> bool {
    let number = name.as_str().strip_prefix("net");
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The interface that runtimes give a container first.
fn usual(sandbox: &Sandbox) -> IfName {
    Sandbox::recorded(sandbox.container_id.clone()).if_name
}

/// Whether a result is that of the container's own interface; `None` if Multus or an older daemon
/// wrote it.
fn is_default(cached: &cache::Entry) -> Option<bool> {
    cached.own.get_as(IS_DEFAULT).ok().flatten()
}

/// The attachment of a result; `None` if its conf cannot be used, or is for our own shim.
pub(super) fn entry(
    cached: cache::Entry,
    sandbox: &Sandbox,
    own: &IfName,
    results: &Results,
) -> Option<Entry> {
    let conf = NetworkConfList::parse_any(&cached.config).ok()?;
    // If the container runtime's libcni uses `cniDir` too, its results for our own shim are there.
    // Undoing those would call the daemon itself.
    let mut plugins = conf.plugins().iter().map(|plugin| plugin.plugin_type());
    if plugins.any(|plugin| Shims::default().are(plugin.as_str())) {
        return None;
    }
    let added_at = Some(cached.netns.clone()).filter(|path| !path.is_empty());
    let netns = sandbox.netns.clone().or_else(|| added_at.clone());
    let file = || results.cache.path(&cached.key);
    let namespace = namespace_of(&cached).or_else(|| results.boot.namespace(&file()));
    let namespace = namespace.map(|namespace| Namespace {
        // Of a request that names another path.
        added_at: match netns.as_deref() {
            Some("") | None => None,
            named => added_at.clone().filter(|path| named != Some(path)),
        },
        ..namespace
    });
    Some(Entry {
        container_id: cached.key.container_id.clone(),
        netns,
        pod: sandbox.pod.clone(),
        runtime_network: runtime_network_of(&cached),
        added_at: added_at_of(&cached),
        network: conf.name().to_string(),
        is_default: is_default(&cached).unwrap_or(cached.key.if_name == *own),
        is_chosen: false,
        tags: tags_of(&cached),
        if_name: cached.key.if_name.clone(),
        result: cached.parsed_result(conf.cni_version()).ok(),
        cni_args: cached.args,
        capability_args: cached.capability_args,
        device: None,
        namespace,
        failed_add: None,
        conf,
    })
}
