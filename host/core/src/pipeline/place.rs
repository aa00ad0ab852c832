//! Locates the network namespace of an attachment. A path does not identify a namespace.

use std::path::Path;

use cni_types::args::ContainerId;

use super::Pipeline;
use super::dirs::Dirs;
use crate::domain::entry::Entry;
use crate::domain::namespace::Namespace;
use crate::ports::AtPath;

/// Where an attachment's namespace is now.
pub(super) enum Place {
    /// At its recorded path.
    There,
    /// Gone; nothing is at its path.
    Gone,
    /// Gone; its path now leads to another namespace, or to the node's own.
    Elsewhere,
}

pub(super) async fn place_of(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> Place {
    let recorded = entry.namespace.as_ref();
    let netns = entry.netns.as_deref();
    place(pipeline, dirs, &entry.container_id, netns, recorded).await
}

pub(super) async fn place(
    pipeline: &Pipeline,
    dirs: &Dirs,
    container: &ContainerId,
    netns: Option<&str>,
    recorded: Option<&Namespace>,
) -> Place {
    let Some(path) = netns.filter(|path| !path.is_empty()) else {
        return Place::Gone;
    };
    let pod_network = &pipeline.pod_network;
    if let Some(recorded) = recorded
        && pod_network.is_of_earlier_boot(recorded)
    {
        return Place::Elsewhere;
    }
    match pod_network.at(Path::new(path)).await {
        Ok(AtPath::Nothing) => Place::Gone,
        Ok(AtPath::Node) => Place::Elsewhere,
        Ok(AtPath::Pod(found)) => match recorded {
            Some(recorded) if !recorded.is(&found) => Place::Elsewhere,
            None if owner(pipeline, dirs, container, &found).await.is_some() => Place::Elsewhere,
            _ => Place::There,
        },
        Err(error) => {
            tracing::warn!(
                %container,
                error = crate::report::chain(&error),
                "cannot identify the network namespace; taking it for the pod's"
            );
            Place::There
        }
    }
}

/// The other container that owns a namespace according to the ledger. Scans the whole ledger, in all its
/// directories; for
/// attachments recorded without a namespace.
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
        let Ok(listing) = pipeline.ledger.list(&dirs.cni).await else {
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
            "the network namespace at the container's path is another container's; not entering it"
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
        place(pipeline, dirs, container, netns, None).await,
        Place::There
    )
}

/// Whether the attachment's own namespace is still at its path.
pub(super) async fn is_there(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    matches!(place_of(pipeline, dirs, entry).await, Place::There)
}
