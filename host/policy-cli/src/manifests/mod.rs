//! Pods, networks, namespaces and nodes from YAML or JSON files, as `kubectl get -o yaml` prints them.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use cnidaria_core::domain::manifest::Object;
use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::Pod;

pub(crate) use read::{files, first_kind, message, place, unnamed};

/// The objects of a cluster that matter here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    pods: Vec<Pod>,
    nads: Vec<Nad>,
    namespaces: BTreeMap<String, Metadata>,
    nodes: BTreeMap<String, Metadata>,
    /// Ids of pods' devices by resource, by namespace and name of the pod.
    devices: BTreeMap<(String, String), BTreeMap<String, Vec<String>>>,
}

impl Objects {
    /// Adds the objects of another file, which replace those of the same name.
    pub(crate) fn extend(&mut self, other: Self) {
        other.pods.into_iter().for_each(|pod| self.add_pod(pod));
        other.nads.into_iter().for_each(|nad| self.add_nad(nad));
        self.namespaces.extend(other.namespaces);
        self.nodes.extend(other.nodes);
        self.devices.extend(other.devices);
    }

    /// Whether there is a network, a namespace or a node.
    pub(crate) fn has_surroundings(&self) -> bool {
        !(self.nads.is_empty() && self.namespaces.is_empty() && self.nodes.is_empty())
    }

    /// Adds an object of a manifest.
    fn add(&mut self, object: Object) {
        match object {
            Object::Pod(pod) => self.add_pod(pod),
            Object::Nad(nad) => self.add_nad(nad),
            Object::Namespace(name, metadata) => self.add_namespace(name, metadata),
            Object::Node(name, metadata) => self.add_node(name, metadata),
        }
    }

    /// Adds a pod.
    pub(crate) fn add_pod(&mut self, pod: Pod) {
        self.pods
            .retain(|known| (&known.namespace, &known.name) != (&pod.namespace, &pod.name));
        self.pods.push(pod);
    }

    /// Adds a network.
    pub(crate) fn add_nad(&mut self, nad: Nad) {
        self.nads
            .retain(|known| (&known.namespace, &known.name) != (&nad.namespace, &nad.name));
        self.nads.push(nad);
    }

    /// Adds a namespace.
    pub(crate) fn add_namespace(&mut self, name: String, metadata: Metadata) {
        self.namespaces.insert(name, metadata);
    }

    /// Adds a node.
    pub(crate) fn add_node(&mut self, name: String, metadata: Metadata) {
        self.nodes.insert(name, metadata);
    }

    /// Sets the devices of a pod, by resource.
    pub(crate) fn add_devices(
        &mut self,
        namespace: &str,
        pod: &str,
        devices: BTreeMap<String, Vec<String>>,
    ) {
        let pod = (namespace.to_owned(), pod.to_owned());
        self.devices.insert(pod, devices);
    }

    /// The devices of a pod: resource and id.
    pub(crate) fn devices(&self, namespace: &str, pod: &str) -> impl Iterator<Item = (&str, &str)> {
        let devices = self.devices.get(&(namespace.to_owned(), pod.to_owned()));
        let resources = devices.into_iter().flatten();
        resources.flat_map(|(resource, ids)| ids.iter().map(|id| (&**resource, &**id)))
    }

    /// All pods, in order.
    pub(crate) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// All networks, in order.
    pub(crate) fn nads(&self) -> &[Nad] {
        &self.nads
    }

    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        let mut pods = self.pods.iter();
        pods.find(|pod| pod.namespace == namespace && pod.name == name)
    }

    pub(crate) fn nad(&self, namespace: &str, name: &str) -> Option<&Nad> {
        let mut nads = self.nads.iter();
        nads.find(|nad| nad.namespace == namespace && nad.name == name)
    }

    pub(crate) fn namespace(&self, name: &str) -> Option<&Metadata> {
        self.namespaces.get(name)
    }

    /// The labels of all namespaces, by namespace and key.
    pub(crate) fn namespace_labels(&self) -> BTreeMap<(String, String), String> {
        let namespaces = self.namespaces.iter();
        let labels = namespaces.flat_map(|(name, metadata)| {
            let labels = metadata.labels.iter();
            labels.map(|(key, value)| ((name.clone(), key.clone()), value.clone()))
        });
        labels.collect()
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Metadata> {
        self.nodes.get(name)
    }

    /// The names of all namespaces: their own objects, and those that other objects are in.
    pub(crate) fn namespace_names(&self) -> BTreeSet<&str> {
        let own = self.namespaces.keys().map(String::as_str);
        let pods = self.pods.iter().map(|pod| pod.namespace.as_str());
        let nads = self.nads.iter().map(|nad| nad.namespace.as_str());
        own.chain(pods).chain(nads).collect()
    }
}
