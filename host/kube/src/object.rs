//! API objects, trimmed while they are decoded: the parser skips members that no request needs, so
//! they take no memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use bytes::Bytes;
use cni_types::json::Cause;
use hyper::{Request, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::call::{Caller, Failure};
use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::domain::nad::{Config, Nad};
use cnidaria_core::domain::pod::{NETWORK_STATUS_ANNOTATION, OwnerReference, Pod, PodSpec};
use cnidaria_core::domain::resource_claim::PodClaimsStatus;

/// Annotations that no request reads and that can be as large as the rest of the object.
const PASSED_OVER: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    NETWORK_STATUS_ANNOTATION,
];

/// A kind of object that is watched and fetched.
pub(crate) trait Kind: Clone + Debug + Send + Sync + 'static {
    const GROUP: &'static str;
    const KIND: &'static str;
    const PLURAL: &'static str;
    /// The members that the parser keeps.
    type Wire: DeserializeOwned + Into<(TrimmedMetadata, Self)>;
}

impl Kind for Pod {
    const GROUP: &'static str = "";
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";
    type Wire = PodWire;
}

#[derive(Deserialize)]
pub(crate) struct PodWire {
    metadata: TrimmedMetadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodClaimsStatus,
}

impl From<PodWire> for (TrimmedMetadata, Pod) {
    fn from(wire: PodWire) -> Self {
        let PodWire {
            mut metadata,
            spec,
            status,
        } = wire;
        let owners = std::mem::take(&mut metadata.owner_references.0);
        let (claims, identity) = spec.split(status, owners);
        let pod = Pod {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: std::mem::take(&mut metadata.uid),
            labels: std::mem::take(&mut metadata.labels.0),
            annotations: std::mem::take(&mut metadata.annotations.0),
            claims,
            identity,
        };
        (metadata, pod)
    }
}

impl Kind for Nad {
    const GROUP: &'static str = "k8s.cni.cncf.io";
    const KIND: &'static str = "NetworkAttachmentDefinition";
    const PLURAL: &'static str = "network-attachment-definitions";
    type Wire = NadWire;
}

#[derive(Deserialize)]
pub(crate) struct NadWire {
    metadata: TrimmedMetadata,
    #[serde(default)]
    spec: NadSpec,
}

#[derive(Default, Deserialize)]
struct NadSpec {
    #[serde(default)]
    config: Option<Config>,
}

impl From<NadWire> for (TrimmedMetadata, Nad) {
    fn from(NadWire { mut metadata, spec }: NadWire) -> Self {
        let (config, mistyped_config) = Config::split(spec.config);
        let nad = Nad {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            config,
            mistyped_config,
            annotations: std::mem::take(&mut metadata.annotations.0),
        };
        (metadata, nad)
    }
}

/// A namespace, for policies.
#[derive(Debug, Clone)]
pub(crate) struct Namespace(pub(super) Metadata);

/// A node, for policies.
#[derive(Debug, Clone)]
pub(crate) struct Node(pub(super) Metadata);

impl Kind for Namespace {
    const GROUP: &'static str = "";
    const KIND: &'static str = "Namespace";
    const PLURAL: &'static str = "namespaces";
    type Wire = MetadataWire;
}

impl Kind for Node {
    const GROUP: &'static str = "";
    const KIND: &'static str = "Node";
    const PLURAL: &'static str = "nodes";
    type Wire = MetadataWire;
}

/// An object trimmed to its metadata.
#[derive(Deserialize)]
pub(crate) struct MetadataWire {
    metadata: TrimmedMetadata,
}

impl MetadataWire {
    fn split(mut self) -> (TrimmedMetadata, Metadata) {
        let metadata = Metadata {
            labels: std::mem::take(&mut self.metadata.labels.0),
            annotations: std::mem::take(&mut self.metadata.annotations.0),
        };
        (self.metadata, metadata)
    }
}

impl From<MetadataWire> for (TrimmedMetadata, Namespace) {
    fn from(wire: MetadataWire) -> Self {
        let (trimmed, metadata) = wire.split();
        (trimmed, Namespace(metadata))
    }
}

impl From<MetadataWire> for (TrimmedMetadata, Node) {
    fn from(wire: MetadataWire) -> Self {
        let (trimmed, metadata) = wire.split();
        (trimmed, Node(metadata))
    }
}

/// The metadata that is kept.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TrimmedMetadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: Option<String>,
    labels: Strings,
    annotations: Strings,
    owner_references: Owners,
}

#[derive(Default)]
struct Owners(Vec<OwnerReference>);

impl<'de> Deserialize<'de> for Owners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let owners = Option::<Vec<OwnerReference>>::deserialize(deserializer)?;
        Ok(Self(owners.unwrap_or_default()))
    }
}

/// Labels or annotations.
#[derive(Default)]
struct Strings(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = BTreeMap<String, String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(BTreeMap::new())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut strings = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if PASSED_OVER.contains(&key.as_str()) {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        strings.insert(key, map.next_value()?);
                    }
                }
                Ok(strings)
            }
        }
        deserializer.deserialize_any(Members).map(Self)
    }
}

/// An object for `kube`: the metadata that watching needs, and the trimmed rest.
#[derive(Debug, Clone)]
pub(crate) struct Object<K> {
    meta: ObjectMeta,
    pub(crate) kept: K,
}

impl<'de, K: Kind> Deserialize<'de> for Object<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, kept) = K::Wire::deserialize(deserializer)?.into();
        let meta = ObjectMeta {
            namespace: Some(metadata.namespace),
            name: Some(metadata.name),
            resource_version: metadata.resource_version,
            ..ObjectMeta::default()
        };
        Ok(Self { meta, kept })
    }
}

impl<K: Kind> kube::Resource for Object<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// The API path of one object.
pub(crate) fn path<K: Kind>(namespace: &str, name: &str) -> String {
    let collection = <Object<K> as kube::Resource>::url_path(&(), Some(namespace));
    format!("{collection}/{name}")
}

/// Fetches one object; `None` if it does not exist.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn get<K: Kind>(
    caller: &Caller,
    namespace: &str,
    name: &str,
    deadline: Instant,
) -> Result<Option<K>, Failure> {
    let request = Request::get(path::<K>(namespace, name))
        .header("accept", "application/json")
        .body(Bytes::new())
        .map_err(|error| Failure::Unreachable(error.to_string()))?;
    match caller.send(request, deadline).await {
        Ok(body) => match serde_json::from_slice::<Object<K>>(&body) {
            Ok(object) => Ok(Some(object.kept)),
            Err(error) => Err(Failure::Malformed(Cause::from(error).to_string())),
        },
        Err(failure) if failure.code() == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_trimmed_to_what_requests_need() {
        let object: Object<Pod> = serde_json::from_str(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7",
                "managedFields":[{"manager":"kubelet"}],"labels":null,
                "annotations":{"k":"v","kubectl.kubernetes.io/last-applied-configuration":"{}","k8s.v1.cni.cncf.io/network-status":"[]"}},
                "spec":{"containers":[]},"status":{"phase":"Pending"}}"#,
        )
        .unwrap();
        assert_eq!(object.meta.resource_version.as_deref(), Some("7"));
        let expected = Pod {
            namespace: "n".into(),
            name: "a".into(),
            uid: "u".into(),
            annotations: [("k".to_owned(), "v".to_owned())].into(),
            ..Pod::default()
        };
        assert_eq!(object.kept, expected);
    }

    #[test]
    fn a_nad_keeps_its_conf_byte_for_byte() {
        let object: Object<Nad> = serde_json::from_str(
            r#"{"metadata":{"name":"x","namespace":"n","annotations":{"a":"b"}},"spec":{"config":"{ \"type\": \"t\" }"}}"#,
        )
        .unwrap();
        assert_eq!(object.kept.config.as_deref(), Some(r#"{ "type": "t" }"#));
        let empty: Object<Nad> =
            serde_json::from_str(r#"{"metadata":{"name":"x","namespace":"n"}}"#).unwrap();
        assert_eq!(empty.kept.config, None);
    }

    #[test]
    fn nad_config_may_be_any_json_type() {
        let conf = |spec: &str| {
            let text = format!(r#"{{"metadata":{{"name":"x","namespace":"n"}},"spec":{spec}}}"#);
            let object: Object<Nad> = serde_json::from_str(&text).unwrap();
            assert_eq!(object.kept.config, None);
            object.kept.mistyped_config
        };
        assert_eq!(conf(r#"{"config":17}"#).as_deref(), Some("17"));
        assert_eq!(conf(r#"{"config":null}"#), None);
        let object = conf(r#"{"config":{"type":"bridge"}}"#);
        assert_eq!(object.as_deref(), Some("an object"));
    }

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(path::<Pod>("n", "a"), "/api/v1/namespaces/n/pods/a");
        assert_eq!(
            path::<Nad>("n", "x"),
            "/apis/k8s.cni.cncf.io/v1/namespaces/n/network-attachment-definitions/x"
        );
    }
}
