//! Resolves networks for a DEL of an unrecorded container: each network that can be found now, on
//! its own, in its place in the plan. Networks that cannot be found are logged and skipped.

use super::lookups::Lookups;
use super::resolve;
use super::{checks, network_lookup};
use crate::conf::net_conf::{DefaultNetwork, NetConf};
use crate::domain::attachment::Attachment;
use crate::domain::pod::Pod;
use crate::domain::sandbox::Sandbox;
use crate::domain::selection::Selection;
use crate::stages::network_lookup::Network;

/// The attachments that a pod may have.
#[derive(Debug)]
pub struct Known {
    /// In plan order, with the interface names of the plan.
    pub attachments: Vec<Attachment>,
    /// Whether these are all the attachments an ADD would have made.
    pub is_complete: bool,
}

/// A network and its selection; `None` holds the place of an unknown network.
type Place = Option<(Network, Selection)>;

/// The attachments that an ADD would make now, as far as cluster and node can tell.
pub async fn known(conf: &NetConf, sandbox: &Sandbox, pod: &Pod, lookups: Lookups<'_>) -> Known {
    let mut known = Finding {
        pod,
        is_complete: true,
    };
    let mut places = known.default_networks(conf, lookups).await;
    let selections = known
        .or_log(resolve::selections(pod, lookups.limits))
        .unwrap_or_default();
    for (index, selection) in selections.into_iter().enumerate() {
        let only = std::slice::from_ref(&selection);
        if let Err(error) = checks::check_isolation(pod, only, conf) {
            // Its ADD was rejected.
            known.log(&error);
            places.push(None);
            continue;
        }
        let found = resolve::selected(conf, pod, index, &selection, lookups).await;
        places.push(known.or_log(found).map(|found| (found, selection)));
    }
    let auxiliary = known
        .or_log(network_lookup::auxiliary_chain(conf, lookups.files))
        .flatten();
    places.push(auxiliary.map(|chain| (chain, Selection::default())));
    let mut found: Vec<_> = places.iter_mut().flatten().collect();
    let networks = found.iter_mut().map(|(network, _)| network).collect();
    let given = super::devices::assign(
        networks,
        pod,
        &sandbox.pod,
        lookups.devices,
        lookups.cluster,
    );
    // Without its device an attachment can be undone partially.
    known.or_log(given.await.map_err(|(_, error)| error));
    let attachments = places.into_iter().enumerate();
    let attachments = attachments.filter_map(|(position, place)| {
        let (network, selection) = place?;
        let attachment = resolve::attachment(conf, sandbox, position, network, selection);
        Some(resolve::with_device_info(
            attachment,
            sandbox,
            lookups.device_info,
        ))
    });
    Known {
        attachments: attachments.collect(),
        is_complete: known.is_complete,
    }
}

/// What was found for one pod.
struct Finding<'a> {
    pod: &'a Pod,
    is_complete: bool,
}

impl Finding<'_> {
    /// The networks named by the conf, the pod's default network first.
    async fn default_networks(&mut self, conf: &NetConf, lookups: Lookups<'_>) -> Vec<Place> {
        let own = resolve::own_default_network(conf, self.pod, lookups).await;
        let mut places = match self.or_log(own).flatten() {
            Some(own) => vec![Some(own)],
            None => {
                let found = resolve::known_cluster_network(conf, lookups).await;
                vec![self.or_log(found).map(plain)]
            }
        };
        if let DefaultNetwork::Delegates(confs) = &conf.default_network {
            for (index, text) in confs.iter().enumerate().skip(1) {
                places.push(self.or_log(resolve::inline(index, text)).map(plain));
            }
        }
        if !conf.system_namespaces.contains(&self.pod.namespace) {
            for name in &conf.default_networks {
                let found = resolve::configured(conf, "defaultNetworks", name, lookups).await;
                places.push(self.or_log(found).map(plain));
            }
        }
        places
    }

    fn or_log<T, E: std::error::Error + 'static>(&mut self, found: Result<T, E>) -> Option<T> {
        found
            .inspect_err(|error| {
                self.log(error);
                self.is_complete = false;
            })
            .ok()
    }

    fn log(&self, error: &(dyn std::error::Error + 'static)) {
        tracing::warn!(
            pod = %self.pod.reference(),
            error = crate::report::chain(error),
            "cannot resolve a network that the pod may use; it is not undone"
        );
    }
}

fn plain(network: Network) -> (Network, Selection) {
    (network, Selection::default())
}
