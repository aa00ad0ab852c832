//! Whether something of a container lives, whatever the runtime says of its sandbox.

use std::path::Path;

use super::super::Pipeline;
use super::super::dirs::Dirs;
use super::super::pod_netns::{self, PodNetns};
use crate::domain::entry::Entry;

/// Whether an attachment may be in use: its own namespace exists, with its interface or with a
/// process. In doubt it is: the namespace's path is unknown or in a directory that the daemon does
/// not see, or the system cannot tell.
pub(super) async fn is_living(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    let Some(netns) = entry.netns.as_deref() else {
        return true;
    };
    if netns.is_empty() {
        return false;
    }
    match pod_netns::of_entry(pipeline, dirs, entry).await {
        PodNetns::Replaced => false,
        PodNetns::Gone => {
            let pod_network = &pipeline.ports.pod_network;
            !pod_network.is_absent(Path::new(netns)).await
        }
        PodNetns::Present => {
            has_interface(pipeline, entry, netns).await || has_processes(pipeline, entry).await
        }
    }
}

/// Whether a process is in an attachment's own namespace. In doubt there is one.
pub(super) async fn is_inhabited(pipeline: &Pipeline, dirs: &Dirs, entry: &Entry) -> bool {
    pod_netns::is_there(pipeline, dirs, entry).await && has_processes(pipeline, entry).await
}

async fn has_interface(pipeline: &Pipeline, entry: &Entry, netns: &str) -> bool {
    let names = std::slice::from_ref(&entry.if_name);
    let looked = pipeline.ports.pod_network.look(Path::new(netns), names);
    let looked = looked.await;
    looked.map_or(true, |inside| !inside.existing.is_empty())
}

async fn has_processes(pipeline: &Pipeline, entry: &Entry) -> bool {
    let netns = entry.netns.as_deref().filter(|path| !path.is_empty());
    let Some(netns) = netns else {
        return false;
    };
    let found = pipeline.ports.pod_network.has_processes(Path::new(netns));
    found.await.unwrap_or_else(|error| {
        tracing::warn!(
            container = %entry.container_id,
            error = crate::report::chain(&error),
            "cannot tell whether a process is in the network namespace of the container; taking it as in use"
        );
        true
    })
}
