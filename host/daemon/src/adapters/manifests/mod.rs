//! A cluster without an API server: a watched directory of Pod and NAD manifests.

mod changed;
mod object;
mod reader;
mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;

use cnidaria_core::domain::container_names::{ContainerNames, DEFAULT_NAMESPACE};
use cnidaria_core::domain::metadata::Metadata;
use cnidaria_core::domain::nad::Nad;
use cnidaria_core::domain::pod::{Pod, PodRef};
use cnidaria_core::ports::{Cluster, ClusterError, ContainerPods, Event, EventKind};
use files::openat;

use crate::adapters::file_name;
use store::Store;

/// The pod in the namespace `default` that describes all containers without their own manifest.
const DEFAULT_POD: &str = "default";

/// A directory of manifests. network-status goes to a second directory, a file per pod.
#[derive(Debug)]
pub struct Manifests {
    store: Arc<Store>,
    status_dir: PathBuf,
    writing: Mutex<()>,
}

impl Manifests {
    /// Starts watching and reading the directory, on other threads. Called once at start, on a
    /// tokio runtime. Malformed files are logged and skipped.
    ///
    /// # Errors
    /// The system's, if the directory cannot be read or watched.
    pub fn open(dir: &Path, status_dir: Option<&Path>) -> io::Result<Self> {
        let store = Store::open(dir)?;
        let status_dir = status_dir.map_or_else(|| beside(dir), Path::to_owned);
        Ok(Self {
            store,
            status_dir,
            writing: Mutex::default(),
        })
    }
}

/// `<dir>.status`, outside the watched directory.
fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".status");
    dir.with_file_name(name)
}

#[async_trait]
impl Cluster for Manifests {
    async fn pod(&self, wanted: &PodRef, patience: Duration) -> Result<Pod, ClusterError> {
        self.store
            .find(patience, |objects| {
                objects.pod(&wanted.namespace, &wanted.name)
            })
            .await
            .ok_or_else(|| ClusterError::PodNotFound(wanted.clone()))
    }

    fn containers(&self) -> Option<&dyn ContainerPods> {
        Some(self)
    }

    async fn nad(&self, namespace: &str, name: &str) -> Result<Nad, ClusterError> {
        self.store
            .find(Duration::ZERO, |objects| objects.nad(namespace, name))
            .await
            .ok_or_else(|| ClusterError::NadNotFound {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
    }

    async fn set_network_status(&self, pod: &PodRef, status: &str) -> Result<(), ClusterError> {
        let failed = |reason: String| ClusterError::NotWritten {
            pod: pod.clone(),
            reason,
        };
        let status = RawValue::from_string(status.to_owned()).map_err(|e| failed(e.to_string()))?;
        let file = StatusFile {
            uid: &pod.uid,
            network_status: &status,
        };
        let text = serde_json::to_vec_pretty(&file).map_err(|e| failed(e.to_string()))?;
        let name = file_name::component(&format!("{}.json", pod.name));
        // Two sandboxes of one pod may write concurrently.
        let _one = self.writing.lock();
        openat::write(&self.status_dir, &pod.namespace, &name, &text).map_err(|error| {
            let path = self.status_dir.join(&pod.namespace).join(&name);
            failed(format!("{}: {error}", path.display()))
        })
    }

    fn remembered_nad(&self, namespace: &str, name: &str) -> Option<Nad> {
        self.store.look(|objects| objects.nad(namespace, name))
    }

    fn remembered_nads(&self) -> Vec<Nad> {
        let all = self.store.look(|objects| Some(objects.all_nads()));
        all.unwrap_or_default()
    }

    fn namespace(&self, name: &str) -> Option<Metadata> {
        self.store.look(|objects| objects.namespace(name))
    }

    fn node(&self, name: &str) -> Option<Metadata> {
        self.store.look(|objects| objects.node(name))
    }

    fn event(&self, pod: &PodRef, event: Event) {
        match event.kind {
            EventKind::Normal => tracing::info!(%pod, reason = event.reason, "{}", event.message),
            EventKind::Warning => tracing::warn!(%pod, reason = event.reason, "{}", event.message),
        }
    }

    fn ready(&self) -> Result<(), ClusterError> {
        Ok(())
    }
}

#[async_trait]
impl ContainerPods for Manifests {
    async fn pod_of(&self, names: &ContainerNames) -> Option<Pod> {
        let found = self.store.find(Duration::ZERO, |objects| {
            let mut candidates = names.candidates().iter();
            let found = candidates.find_map(|(namespace, name)| objects.pod(namespace, name));
            // Containers share the default pod's description, but each has its own network-status.
            let described = || {
                let own = names.own();
                Some(Pod {
                    namespace: own.namespace.clone(),
                    name: own.name.clone(),
                    uid: own.uid.clone(),
                    ..objects.pod(DEFAULT_NAMESPACE, DEFAULT_POD)?
                })
            };
            found.or_else(described)
        });
        found.await
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct StatusFile<'a> {
    uid: &'a str,
    network_status: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "kind: Pod\nmetadata: {name: a, namespace: default, uid: u1, annotations: {k8s.v1.cni.cncf.io/networks: x}}\n";
    const NAD: &str = r#"{"apiVersion":"v1","kind":"List","items":[{"kind":"NetworkAttachmentDefinition",
        "metadata":{"name":"x","namespace":"default"},"spec":{"config":"{\"type\":\"bridge\"}"}}]}"#;

    fn pod_ref() -> PodRef {
        PodRef {
            namespace: "default".into(),
            name: "a".into(),
            uid: "u1".into(),
        }
    }

    #[tokio::test]
    async fn pods_and_nads_are_read_from_yaml_and_json() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pod.yaml"), POD).unwrap();
        std::fs::write(dir.path().join("nads.json"), NAD).unwrap();
        let manifests = Manifests::open(dir.path(), None).unwrap();
        let pod = manifests.pod(&pod_ref(), Duration::ZERO).await.unwrap();
        assert_eq!(pod.uid, "u1");
        assert_eq!(pod.networks_annotation(), Some("x"));
        let nad = manifests.nad("default", "x").await.unwrap();
        assert_eq!(nad.config.as_deref(), Some(r#"{"type":"bridge"}"#));
        assert!(matches!(
            manifests.nad("default", "y").await,
            Err(ClusterError::NadNotFound { .. })
        ));
    }

    #[tokio::test]
    async fn a_conf_that_is_not_a_string_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Manifests::open(dir.path(), None).unwrap();
        let object = "kind: NetworkAttachmentDefinition\nmetadata: {name: x}\nspec:\n  config: ";
        for (config, expected) in [
            ("{type: bridge, ipam: {}}", Some("an object")),
            ("[a]", Some("a list")),
            ("17", Some("17")),
            ("1.5", Some("a number")),
            ("true", Some("true")),
            ("null", None),
            ("'{}'", None),
        ] {
            std::fs::write(dir.path().join("x.yaml"), format!("{object}{config}\n")).unwrap();
            let nad = manifests.nad("default", "x").await.unwrap();
            assert_eq!(nad.mistyped_config.as_deref(), expected, "{config}");
            assert_eq!(nad.config.is_some(), config == "'{}'", "{config}");
        }
    }

    #[tokio::test]
    async fn pod_written_during_lookup_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let manifests = Manifests::open(dir.path(), None).unwrap();
        let path = dir.path().join("pod.yaml");
        let wanted = pod_ref();
        let (found, ()) = tokio::join!(manifests.pod(&wanted, Duration::from_secs(60)), async {
            tokio::task::yield_now().await;
            std::fs::write(path, POD).unwrap();
        });
        assert_eq!(found.unwrap().name, "a");
    }

    #[tokio::test]
    async fn a_lookup_sees_what_was_written_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.yaml");
        std::fs::write(&path, POD).unwrap();
        let manifests = Manifests::open(dir.path(), None).unwrap();
        for round in 0..20 {
            std::fs::write(&path, POD.replace("u1", &round.to_string())).unwrap();
            let pod = manifests.pod(&pod_ref(), Duration::ZERO).await.unwrap();
            assert_eq!(pod.uid, round.to_string());
        }
    }

    #[tokio::test]
    async fn namespace_and_node_metadata_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = "kind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n---\nkind: Node\nmetadata: {name: n1, annotations: {zone: b}}\n";
        std::fs::write(dir.path().join("more.yaml"), text).unwrap();
        let manifests = Manifests::open(dir.path(), None).unwrap();
        manifests.pod(&pod_ref(), Duration::ZERO).await.unwrap_err();
        assert_eq!(manifests.namespace("shop").unwrap().labels["team"], "a");
        assert_eq!(manifests.node("n1").unwrap().annotations["zone"], "b");
        assert_eq!(manifests.namespace("n1"), None);
    }

    #[tokio::test]
    async fn lookups_at_once_see_what_was_written_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.yaml");
        let manifests = Manifests::open(dir.path(), None).unwrap();
        let wanted = pod_ref();
        for round in 0..20 {
            std::fs::write(&path, POD.replace("u1", &round.to_string())).unwrap();
            let lookup = || async {
                let pod = manifests.pod(&wanted, Duration::ZERO).await.unwrap();
                assert_eq!(pod.uid, round.to_string());
            };
            tokio::join!(lookup(), lookup(), lookup());
        }
    }

    #[tokio::test]
    async fn a_malformed_file_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pod.yaml"), POD).unwrap();
        std::fs::write(dir.path().join("wrong.yaml"), "kind: [").unwrap();
        let manifests = Manifests::open(dir.path(), None).unwrap();
        assert!(manifests.pod(&pod_ref(), Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn network_status_is_a_file_of_the_pod() {
        let dir = tempfile::tempdir().unwrap();
        let status = dir.path().join("status");
        let manifests = Manifests::open(dir.path(), Some(&status)).unwrap();
        manifests
            .set_network_status(&pod_ref(), r#"[{"name":"x"}]"#)
            .await
            .unwrap();
        let text = std::fs::read_to_string(status.join("default/a.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"uid": "u1", "network-status": [{"name": "x"}]})
        );
    }

    #[tokio::test]
    async fn the_longest_names_have_a_network_status() {
        let dir = tempfile::tempdir().unwrap();
        let status = dir.path().join("status");
        let manifests = Manifests::open(dir.path(), Some(&status)).unwrap();
        let pod = PodRef {
            namespace: "n".repeat(253),
            name: "p".repeat(253),
            uid: "u".to_owned(),
        };
        manifests.set_network_status(&pod, "[]").await.unwrap();
        let files = std::fs::read_dir(status.join(&pod.namespace)).unwrap();
        assert_eq!(files.count(), 1);
    }

    #[tokio::test]
    async fn network_status_is_not_written_through_links() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (status, elsewhere) = (dir.path().join("status"), dir.path().join("elsewhere"));
        let manifests = Manifests::open(dir.path(), Some(&status)).unwrap();
        std::fs::create_dir_all(status.join("default")).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        let precious = elsewhere.join("a.json");
        std::fs::write(&precious, "precious").unwrap();
        for name in ["a.json", ".new-a.json"] {
            symlink(&precious, status.join("default").join(name)).unwrap();
        }
        manifests
            .set_network_status(&pod_ref(), "[]")
            .await
            .unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        std::fs::remove_dir_all(status.join("default")).unwrap();
        symlink(&elsewhere, status.join("default")).unwrap();
        let written = manifests.set_network_status(&pod_ref(), "[]").await;
        assert!(written.is_err());
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn fifo_manifest_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pod.yaml"), POD).unwrap();
        let pipe = dir.path().join("pipe.yaml");
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe, rustix::fs::Mode::RUSR).unwrap();
        let manifests = Manifests::open(dir.path(), None).unwrap();
        assert!(manifests.pod(&pod_ref(), Duration::ZERO).await.is_ok());
    }
}
