//! The pod that a manifest describes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;
use shim_api::explain::GivenPod;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not YAML.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// The file does not have exactly one pod.
    #[error(
        "{} describes {count} pods or pod templates; explain needs exactly one",
        path.display()
    )]
    Count {
        /// The file.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// Labels or annotations are not a map of strings, or the name is missing.
    #[error("{}: metadata of the pod: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The pod named `[namespace/]name`.
pub(super) fn named(name: &str, namespace: &str) -> GivenPod {
    let (namespace, name) = name.split_once('/').unwrap_or((namespace, name));
    GivenPod {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..GivenPod::default()
    }
}

/// The only pod, or the pod of the only template, in a file; `-` is standard input.
///
/// # Errors
/// [`Error`].
pub(super) fn read(path: &Path, namespace: &str) -> Result<GivenPod, Error> {
    let text = match path.as_os_str() == "-" {
        true => io::read_to_string(io::stdin()),
        false => fs::read_to_string(path),
    };
    let text = text.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let documents = yaml::documents(&text).map_err(|reason| Error::Syntax {
        path: path.to_owned(),
        reason,
    })?;
    let mut pods: Vec<_> = documents.iter().flat_map(items).filter_map(pod).collect();
    let count = pods.len();
    let (Some(pod), 1) = (pods.pop(), count) else {
        return Err(Error::Count {
            path: path.to_owned(),
            count,
        });
    };
    let pod = pod.of(namespace).map_err(|reason| Error::Metadata {
        path: path.to_owned(),
        reason,
    })?;
    Ok(pod)
}

/// The objects of a document, which may be a list.
fn items(document: &Value) -> Vec<&Value> {
    match document.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![document],
    }
}

/// Where the metadata of a pod stand.
struct Described<'a> {
    /// The object's own, with name and namespace.
    object: &'a Value,
    /// The pod's, with labels and annotations.
    pod: &'a Value,
}

/// The pod of an object: its own, or that of its template.
fn pod(object: &Value) -> Option<Described<'_>> {
    let own = object.get("metadata")?;
    if object.get("kind").and_then(Value::as_str) == Some("Pod") {
        return Some(Described {
            object: own,
            pod: own,
        });
    }
    let templates = ["/spec/template", "/spec/jobTemplate/spec/template"];
    let template = templates.iter().find_map(|path| object.pointer(path))?;
    Some(Described {
        object: own,
        pod: template.get("metadata").unwrap_or(&Value::Null),
    })
}

impl Described<'_> {
    fn of(&self, namespace: &str) -> Result<GivenPod, String> {
        let text = |key| self.object.get(key).and_then(Value::as_str);
        let strings = |key: &str| match self.pod.get(key) {
            None | Some(Value::Null) => Ok(Default::default()),
            Some(map) => std::collections::BTreeMap::deserialize(map)
                .map_err(|error| format!("{key}: {error}")),
        };
        Ok(GivenPod {
            namespace: text("namespace").unwrap_or(namespace).to_owned(),
            name: text("name").ok_or("name is missing")?.to_owned(),
            labels: strings("labels")?,
            annotations: strings("annotations")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<GivenPod, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pod.yaml");
        fs::write(&file, text).unwrap();
        read(&file, "ns")
    }

    #[test]
    fn pods_and_templates_are_read() {
        let annotated = "annotations: {k8s.v1.cni.cncf.io/networks: blue}";
        let pod = format!("kind: Pod\nmetadata: {{name: web, namespace: shop, {annotated}}}");
        let template = format!(
            "kind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec: {{template: {{metadata: {{{annotated}}}}}}}"
        );
        let cron = format!(
            "kind: CronJob\nmetadata: {{name: web, namespace: shop}}\nspec: {{jobTemplate: {{spec: {{template: {{metadata: {{{annotated}}}}}}}}}}}"
        );
        for text in [pod, template, cron] {
            let read = read_text(&format!(
                "kind: Service\nmetadata: {{name: s}}\n---\n{text}"
            ));
            let read = read.unwrap();
            assert_eq!((&*read.namespace, &*read.name), ("shop", "web"));
            assert_eq!(read.annotations["k8s.v1.cni.cncf.io/networks"], "blue");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, error) in [
            ("kind: Service\nmetadata: {name: s}", "describes 0 pods"),
            ("kind: Pod\nmetadata: {}", "name is missing"),
            ("kind: Pod\nmetadata: {name: p, labels: {a: 1}}", "labels: "),
            ("a: [", "line 1"),
        ] {
            let found = read_text(text).unwrap_err().to_string();
            assert!(found.contains(error), "{found}");
        }
    }

    #[test]
    fn a_missing_namespace_is_the_given_one() {
        let pod = read_text("kind: Pod\nmetadata: {name: p}").unwrap();
        assert_eq!(pod.namespace, "ns");
        assert_eq!(named("shop/web", "ns").namespace, "shop");
        assert_eq!(named("web", "ns").namespace, "ns");
    }
}
