//! The format of a case: one YAML document. Everything is optional, and unknown keys are errors.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::expect::Expect;

/// A document: a case, or with `defaults` what all later cases of the file begin with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Members that all later cases of the file begin with.
    pub(super) defaults: Option<Box<Document>>,
    /// The case's name.
    pub(super) name: Option<String>,
    /// Settings in place of those of the configuration.
    pub(super) settings: Option<Value>,
    /// Other keys in place of those of the configuration.
    pub(super) config: Option<Map<String, Value>>,
    pub(super) pod: Option<Pod>,
    /// Several pods, by name.
    pub(super) pods: Option<BTreeMap<String, Pod>>,
    /// A file or directory of manifests.
    pub(super) manifests: Option<Spanned<String>>,
    /// Networks, by name or `namespace/name`: the conf as an object, or as text.
    pub(super) networks: Option<BTreeMap<String, Spanned<Value>>>,
    /// Annotations of networks, by the same names.
    #[serde(rename = "networkAnnotations")]
    pub(super) network_annotations: Option<BTreeMap<String, Spanned<BTreeMap<String, String>>>>,
    /// The conf of the default network.
    pub(super) default: Option<Spanned<Value>>,
    /// What delegates answer, by interface or network: members of the result, or `error`.
    pub(super) delegates: Option<BTreeMap<String, Spanned<Value>>>,
    /// Namespaces, by name.
    pub(super) namespaces: Option<BTreeMap<String, Metadata>>,
    pub(super) node: Option<Node>,
    /// The state that the policy has kept: text by key, or an object with what it is bound to.
    pub(super) state: Option<BTreeMap<String, Spanned<Value>>>,
    /// The time.
    pub(super) clock: Option<Spanned<Value>>,
    /// Denial codes that the suite should reach, for the coverage.
    pub(super) codes: Option<BTreeSet<u32>>,
    /// Several requests, in order. Without, the case is one ADD of `pod`.
    pub(super) steps: Option<Spanned<Vec<Spanned<Step>>>>,
    /// The expected outcome of the only request.
    pub(super) expect: Option<Spanned<Expect>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pod {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    /// The networks annotation: its text, or its JSON list.
    pub(super) networks: Option<Value>,
    /// Its service account.
    #[serde(rename = "serviceAccount")]
    pub(super) service_account: Option<String>,
    /// The object that controls it.
    pub(super) owner: Option<Owner>,
    /// Whether it uses the node's network.
    #[serde(rename = "hostNetwork")]
    pub(super) host_network: Option<bool>,
    /// Ids of the devices that its containers have, by resource.
    pub(super) devices: Option<BTreeMap<String, Vec<String>>>,
}

/// The object that controls a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: String,
}

/// Labels and annotations.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) name: Option<String>,
    /// Networks of namespace `kube-system` that every pod gets.
    #[serde(default)]
    pub(super) default_networks: Vec<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

/// A request: exactly one of `add`, `check`, `del`, `gc` and `status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// ADD of this pod.
    pub(super) add: Option<Spanned<String>>,
    /// CHECK of this sandbox.
    pub(super) check: Option<Spanned<String>>,
    /// DEL of this sandbox.
    pub(super) del: Option<Spanned<String>>,
    /// GC with these sandboxes in use.
    pub(super) gc: Option<Vec<Spanned<String>>>,
    /// STATUS, if true.
    pub(super) status: Option<bool>,
    /// The container id for `add`; by default the pod's name.
    pub(super) sandbox: Option<String>,
    /// What delegates answer from now on.
    pub(super) delegates: Option<BTreeMap<String, Spanned<Value>>>,
    /// The time from now on.
    pub(super) clock: Option<Spanned<Value>>,
    /// The expected outcome.
    pub(super) expect: Option<Spanned<Expect>>,
}

/// The member, or that of the defaults.
macro_rules! inherit {
    ($own:ident, $defaults:ident: $($field:ident),+) => {
        $(if $own.$field.is_none() { $own.$field.clone_from(&$defaults.$field); })+
    };
}

/// All members of both maps; the case's own come first.
fn join<T: Clone>(own: &mut Option<BTreeMap<String, T>>, defaults: Option<&BTreeMap<String, T>>) {
    if let Some(defaults) = defaults {
        let own = own.get_or_insert_default();
        for (key, value) in defaults {
            own.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// Whether none of the members is given.
macro_rules! lacks {
    ($own:ident: $($field:ident),+) => { true $(&& $own.$field.is_none())+ };
}

impl Document {
    /// Whether it has no member.
    pub(super) fn is_empty(&self) -> bool {
        lacks!(self: defaults, name, settings, config, pod, pods, manifests)
            && lacks!(self: networks, network_annotations, default, delegates, namespaces)
            && lacks!(self: node, state, clock, codes, steps, expect)
    }

    /// The case with the members that it lacks.
    pub(super) fn with_defaults(mut self, defaults: &Self) -> Self {
        let own = &mut self;
        inherit!(own, defaults: settings, manifests, default, node, clock, codes);
        own.pod = match (own.pod.take(), &defaults.pod) {
            (Some(pod), Some(defaults)) => Some(pod.with_defaults(defaults)),
            (pod, defaults) => pod.or_else(|| defaults.clone()),
        };
        if let Some(defaults) = &defaults.config {
            let config = own.config.get_or_insert_default();
            for (key, value) in defaults {
                config.entry(key).or_insert_with(|| value.clone());
            }
        }
        join(&mut own.pods, defaults.pods.as_ref());
        join(&mut own.networks, defaults.networks.as_ref());
        join(
            &mut own.network_annotations,
            defaults.network_annotations.as_ref(),
        );
        join(&mut own.delegates, defaults.delegates.as_ref());
        join(&mut own.namespaces, defaults.namespaces.as_ref());
        join(&mut own.state, defaults.state.as_ref());
        self
    }
}

impl Pod {
    pub(super) fn with_defaults(mut self, defaults: &Self) -> Self {
        let own = &mut self;
        inherit!(own, defaults: name, namespace, uid, networks);
        inherit!(own, defaults: service_account, owner, host_network, devices);
        join(&mut own.labels, defaults.labels.as_ref());
        join(&mut own.annotations, defaults.annotations.as_ref());
        self
    }
}
