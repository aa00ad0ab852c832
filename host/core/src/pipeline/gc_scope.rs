//! Which containers a GC is about. A GC speaks for the attachments of its own network, which is the
//! runtime's conf (`name`): those that came through another runtime's conf are in use, whatever it
//! lists.

use std::collections::{BTreeMap, HashSet};

use cni_types::args::{ContainerId, NetworkName};

use super::Pipeline;
use super::dirs::Dirs;
use super::pod_netns::is_there;
use crate::conf::net_conf::DEFAULT_NAME;
use crate::domain::entry::Entry;

/// The containers of other runtime networks.
#[derive(Debug)]
pub(super) struct Others(HashSet<ContainerId>);

impl Others {
    /// The containers among `entries`, in `dirs`, that do not belong to the runtime network `name`.
    /// A hot-plugged attachment belongs where its pod belongs. Multus and older daemons recorded no
    /// name: theirs belong to the usual network, unless the pod was only hot-plugged. Containers of
    /// another network whose namespaces are gone are left out: any GC may undo them. `is_known` says
    /// which containers the runtime listed.
    pub(super) async fn of(
        pipeline: &Pipeline,
        dirs: &Dirs,
        name: Option<&NetworkName>,
        entries: &[Entry],
        is_known: impl Fn(&ContainerId) -> bool,
    ) -> Self {
        let name = name.map_or(DEFAULT_NAME, NetworkName::as_str);
        let mut containers: BTreeMap<&ContainerId, Vec<&Entry>> = BTreeMap::new();
        for entry in entries
            .iter()
            .filter(|entry| !is_known(&entry.container_id))
        {
            containers
                .entry(&entry.container_id)
                .or_default()
                .push(entry);
        }
        let mut others = HashSet::new();
        for (container, entries) in containers {
            let recorded = entries.iter().find_map(|one| one.runtime_network.as_ref());
            let is_other = match recorded {
                Some(recorded) if recorded.as_str() == name => false,
                None if name == DEFAULT_NAME && entries.iter().any(|one| one.is_default) => false,
                // Also once its conf was renamed.
                Some(_) | None => any_there(pipeline, dirs, &entries).await,
            };
            if is_other {
                others.insert(container.clone());
            }
        }
        Self(others)
    }

    pub(super) fn has(&self, container: &ContainerId) -> bool {
        self.0.contains(container)
    }

    /// Whether the runtime has the ledger's directory to itself.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

async fn any_there(pipeline: &Pipeline, dirs: &Dirs, entries: &[&Entry]) -> bool {
    for entry in entries {
        if is_there(pipeline, dirs, entry).await {
            return true;
        }
    }
    false
}
