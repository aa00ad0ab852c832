//! Locates the network namespace of an attachment. A path does not identify a namespace.

use std::borrow::Cow;
use std::path::Path;

use cni_types::args::{ContainerId, IfName};

use super::Pipeline;
use super::dirs::Dirs;
use crate::domain::entry::Entry;
use crate::domain::namespace::Namespace;
use crate::ports::{AtPath, PodNetworkError};

/// Where a recorded network namespace is now.
pub(super) enum PodNetns {
    /// At its recorded path.
    Present,
    /// It is gone, and nothing is at its path.
    Gone,
    /// It is gone, and its path now leads to another namespace, or to the node's own.
    Replaced,
}

pub(super) async fn of_entry(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> PodNetns {
    let recorded = match outlives_its_age(pipeline, dirs, entry).await {
        true => None,
        false => entry.namespace.as_ref(),
    };
    let netns = entry.netns.as_deref();
    at(pipeline, dirs, &entry.container_id, netns, recorded).await
}

/// Whether an attachment that only the age of its file assigns to an earlier boot lives: its
/// interface is in the namespace at its path. The clock may have been wrong when the file was
/// written, or the file was copied with an older time. A path that another container has by now, as
/// that of a process may be, tells nothing.
pub(super) async fn outlives_its_age(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    let path = entry.netns.as_deref().filter(|path| !path.is_empty());
    let Some(path) = path.filter(|_| is_only_dated(entry)) else {
        return false;
    };
    let exists = interface_exists(pipeline, path, &entry.if_name).await;
    if !exists.unwrap_or(false) {
        return false;
    }
    for dirs in [dirs]
        .into_iter()
        .chain(&pipeline.directories.besides(dirs))
    {
        let Ok(listing) = pipeline.ports.ledger.list(&dirs.cni).await else {
            return false;
        };
        let is_claimed = listing.entries.iter().any(|other| {
            other.container_id != entry.container_id
                && other.netns.as_deref() == Some(path)
                && !is_only_dated(other)
        });
        if is_claimed {
            return false;
        }
    }
    true
}

/// Whether nothing but the age of its file assigns an attachment to an earlier boot.
fn is_only_dated(entry: &Entry) -> bool {
    let recorded = entry.namespace.as_ref();
    recorded.is_some_and(|namespace| !namespace.is_identified())
}

/// The attachment with the path at which its namespace is: that of the ADD, if the request names
/// another one that does not lead there.
pub(super) async fn located<'a>(
    pipeline: &Pipeline,
    dirs: &Dirs,
    entry: &'a Entry,
) -> Cow<'a, Entry> {
    let added_at = entry
        .namespace
        .as_ref()
        .and_then(|one| one.added_at.clone());
    if added_at.is_none() || is_there(pipeline, dirs, entry).await {
        return Cow::Borrowed(entry);
    }
    let elsewhere = Entry {
        netns: added_at,
        ..entry.clone()
    };
    if !is_there(pipeline, dirs, &elsewhere).await {
        return Cow::Borrowed(entry);
    }
    tracing::warn!(
        container = %entry.container_id,
        named = entry.netns,
        used = elsewhere.netns,
        "the request names another network namespace than the container's; the one of its ADD is used"
    );
    Cow::Owned(elsewhere)
}

/// Whether a request names an existing namespace that is not the attachment's, which lives as well:
/// the request is not about it. A runtime deletes a container whose ADD was refused because another
/// one has its id.
pub(super) async fn is_apart(pipeline: &Pipeline, entry: &Entry) -> bool {
    let named = entry.netns.as_deref().filter(|path| !path.is_empty());
    let recorded = entry.namespace.as_ref();
    let added_at = recorded.and_then(|one| one.added_at.as_deref());
    let (Some(recorded), Some(named), Some(added_at)) = (recorded, named, added_at) else {
        return false;
    };
    let pod_network = &pipeline.ports.pod_network;
    let is_another = match pod_network.at(Path::new(named)).await {
        Ok(AtPath::Pod(found)) => !recorded.is(&found),
        Ok(AtPath::Node) => true,
        Ok(AtPath::Nothing) | Err(_) => false,
    };
    is_another && lives(pipeline, recorded, added_at).await
}

/// As [`is_apart`], for a namespace that a request named when it was recorded, and that may be gone
/// by now. The attachment has the path of its ADD.
pub(super) async fn is_apart_from(pipeline: &Pipeline, entry: &Entry, named: &Namespace) -> bool {
    match (&entry.namespace, entry.netns.as_deref()) {
        (Some(recorded), Some(added_at)) if !recorded.is(named) => {
            lives(pipeline, recorded, added_at).await
        }
        _ => false,
    }
}

/// Whether a recorded namespace is at this path.
async fn lives(pipeline: &Pipeline, recorded: &Namespace, path: &str) -> bool {
    let found = pipeline.ports.pod_network.at(Path::new(path)).await;
    matches!(found, Ok(AtPath::Pod(found)) if recorded.is(&found))
}

pub(super) async fn at(
    pipeline: &Pipeline,
    dirs: &Dirs,
    container: &ContainerId,
    netns: Option<&str>,
    recorded: Option<&Namespace>,
) -> PodNetns {
    let Some(path) = netns.filter(|path| !path.is_empty()) else {
        return PodNetns::Gone;
    };
    let pod_network = &pipeline.ports.pod_network;
    if let Some(recorded) = recorded
        && pod_network.is_of_earlier_boot(recorded)
    {
        return PodNetns::Replaced;
    }
    match pod_network.at(Path::new(path)).await {
        Ok(AtPath::Nothing) => PodNetns::Gone,
        Ok(AtPath::Node) => PodNetns::Replaced,
        Ok(AtPath::Pod(found)) => match recorded {
            Some(recorded) if !recorded.is(&found) => PodNetns::Replaced,
            None if owner(pipeline, dirs, container, &found).await.is_some() => PodNetns::Replaced,
            _ => PodNetns::Present,
        },
        Err(error) => {
            tracing::warn!(
                %container,
                error = crate::report::chain(&error),
                "cannot identify the network namespace of the container; treating it as the container's own"
            );
            PodNetns::Present
        }
    }
}

/// The other container that owns a namespace according to the ledger. Scans the whole ledger, in all
/// its directories; for attachments recorded without a namespace.
pub(super) async fn owner(
    pipeline: &Pipeline,
    dirs: &Dirs,
    container: &ContainerId,
    found: &Namespace,
) -> Option<ContainerId> {
    let mut owner = None;
    for dirs in [dirs]
        .into_iter()
        .chain(&pipeline.directories.besides(dirs))
    {
        let Ok(listing) = pipeline.ports.ledger.list(&dirs.cni).await else {
            continue;
        };
        owner = listing.entries.into_iter().find(|entry| {
            let is_it = |recorded: &Namespace| recorded.is(found);
            entry.container_id != *container && entry.namespace.as_ref().is_some_and(is_it)
        });
        if owner.is_some() {
            break;
        }
    }
    if let Some(owner) = &owner {
        tracing::warn!(
            %container,
            owner = %owner.container_id,
            "the network namespace at the container's path belongs to another container; delegates do not enter it"
        );
    }
    owner.map(|entry| entry.container_id)
}

/// Whether no namespace of the container is at the path in its request.
pub(super) async fn is_gone(
    pipeline: &Pipeline,
    dirs: &Dirs,
    container: &ContainerId,
    netns: Option<&str>,
) -> bool {
    !matches!(
        at(pipeline, dirs, container, netns, None).await,
        PodNetns::Present
    )
}

/// Whether the attachment's own namespace is still at its path.
pub(super) async fn is_there(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    matches!(of_entry(pipeline, dirs, entry).await, PodNetns::Present)
}

/// Whether the namespace at this path has the interface.
pub(super) async fn interface_exists(
    pipeline: &Pipeline,
    netns: &str,
    if_name: &IfName,
) -> Result<bool, PodNetworkError> {
    let names = std::slice::from_ref(if_name);
    let looked = pipeline.ports.pod_network.look(Path::new(netns), names);
    Ok(!looked.await?.existing.is_empty())
}

/// Whether the attachment's own namespace is known to be gone. An attachment by Multus has no
/// identity, and a path in a directory that the daemon does not see tells nothing.
pub(super) async fn has_ended(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    let recorded = entry.namespace.as_ref();
    let path = entry.netns.as_deref().filter(|path| !path.is_empty());
    let (Some(_), Some(path)) = (recorded.filter(|one| one.is_identified()), path) else {
        return false;
    };
    match of_entry(pipeline, dirs, entry).await {
        PodNetns::Present => false,
        PodNetns::Replaced => true,
        PodNetns::Gone => {
            let pod_network = &pipeline.ports.pod_network;
            pod_network.is_absent(Path::new(path)).await
        }
    }
}
