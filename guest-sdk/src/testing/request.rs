//! Requests and their pods.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::{Command, Finding, Owner, PodRef};

/// The container id of a request that is given none.
const CONTAINER: &str = "0123456789abcdef";

/// A CNI request for tests.
#[derive(Debug, Clone)]
pub struct Request {
    command: Command,
    container_id: String,
    pod: Option<PodRef>,
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    service_account: Option<String>,
    owner: Option<Owner>,
    host_network: bool,
    node_name: String,
    findings: RefCell<Vec<Finding>>,
}

impl Request {
    /// A request with any verb for a pod.
    pub fn new(command: Command, namespace: &str, pod: &str) -> Self {
        Self {
            command,
            container_id: CONTAINER.to_owned(),
            pod: Some(PodRef {
                namespace: namespace.to_owned(),
                name: pod.to_owned(),
                uid: String::new(),
            }),
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            service_account: None,
            owner: None,
            host_network: false,
            node_name: "node-1".to_owned(),
            findings: RefCell::default(),
        }
    }

    /// An ADD for a pod without labels and annotations.
    pub fn add(namespace: &str, pod: &str) -> Self {
        Self::new(Command::Add, namespace, pod)
    }

    /// Sets `CNI_CONTAINERID`.
    #[must_use]
    pub fn with_container_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.container_id);
        self
    }

    /// The same with the pod's name as container id, unless it was given one.
    pub(super) fn named(self) -> Self {
        match &self.pod {
            Some(pod) if self.container_id == CONTAINER => {
                let id = pod.name.clone();
                self.with_container_id(&id)
            }
            _ => self,
        }
    }

    /// A later request for the same pod.
    pub(super) fn as_command(&self, command: Command) -> Self {
        Self {
            command,
            findings: RefCell::default(),
            ..self.clone()
        }
    }

    /// Adds an annotation of the pod.
    #[must_use]
    pub fn with_annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a label of the pod.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets the pod's service account.
    #[must_use]
    pub fn with_service_account(mut self, name: &str) -> Self {
        self.service_account = Some(name.to_owned());
        self
    }

    /// Sets the pod's controller.
    #[must_use]
    pub fn with_owner(mut self, kind: &str, name: &str) -> Self {
        self.owner = Some(Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: String::new(),
        });
        self
    }

    /// Makes the pod one that uses the node's network.
    #[must_use]
    pub fn with_host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// Sets the node's name.
    #[must_use]
    pub fn with_node_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.node_name);
        self
    }

    /// The findings reported by the policy.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.borrow().clone()
    }

    /// The verb.
    pub fn command(&self) -> Command {
        self.command
    }

    /// `CNI_CONTAINERID`.
    pub fn container_id(&self) -> String {
        self.container_id.clone()
    }

    /// The pod; absent for GC and STATUS.
    pub fn pod(&self) -> Option<PodRef> {
        self.pod.clone()
    }

    /// Value of an annotation of the pod.
    pub fn annotation(&self, key: &str) -> Option<String> {
        self.annotations.get(key).cloned()
    }

    /// All annotations of the pod.
    pub fn annotations(&self) -> Vec<(String, String)> {
        self.annotations.clone().into_iter().collect()
    }

    /// Value of a label of the pod.
    pub fn label(&self, key: &str) -> Option<String> {
        self.labels.get(key).cloned()
    }

    /// All labels of the pod.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.labels.clone().into_iter().collect()
    }

    /// The pod's service account.
    pub fn service_account(&self) -> Option<String> {
        self.service_account.clone()
    }

    /// The pod's controller.
    pub fn owner(&self) -> Option<Owner> {
        self.owner.clone()
    }

    /// Whether the pod uses the node's network.
    pub fn host_network(&self) -> bool {
        self.host_network
    }

    /// Name of the node.
    pub fn node_name(&self) -> String {
        self.node_name.clone()
    }

    /// Reports a finding without deciding.
    pub fn report(&self, finding: &Finding) {
        self.findings.borrow_mut().push(finding.clone());
    }
}
