//! The objects and their history: every change has its own version, and watches read the history.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::kinds::Kind;
use crate::object::{metadata, text};
use crate::status::Refusal;

/// Plural with group, namespace, name.
pub(crate) type Key = (String, String, String);

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) kind: &'static Kind,
    /// `None` for a creation.
    pub(crate) before: Option<Value>,
    /// `None` for a deletion; `before` then has the deletion's version.
    pub(crate) after: Option<Value>,
}

#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    /// The history up to this version is forgotten.
    pub(crate) compacted: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<Change>,
    uids: u64,
    /// Notifies watches of the newest version.
    pub(crate) versions: watch::Sender<u64>,
}

impl Default for Store {
    fn default() -> Self {
        // Not zero, so that clients cannot mistake versions for small counters.
        Self {
            version: 1000,
            compacted: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            uids: 0,
            versions: watch::Sender::new(1000),
        }
    }
}

fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    (
        format!("{}/{}", kind.group, kind.plural),
        namespace.to_owned(),
        name.to_owned(),
    )
}

impl Store {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<&Value, Refusal> {
        self.objects
            .get(&key(kind, namespace, name))
            .ok_or_else(|| Refusal::not_found(kind, name))
    }

    /// All objects of a kind, in one namespace or all, sorted by name.
    pub(crate) fn all<'a>(
        &'a self,
        kind: &Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let plural = format!("{}/{}", kind.group, kind.plural);
        self.objects.iter().filter(move |((of, ns, _), _)| {
            *of == plural && namespace.is_none_or(|namespace| namespace == ns)
        })
    }

    pub(crate) fn create(
        &mut self,
        kind: &'static Kind,
        mut object: Value,
    ) -> Result<Value, Refusal> {
        let name = text(&object, "/metadata/name").to_owned();
        let namespace = text(&object, "/metadata/namespace").to_owned();
        if name.is_empty() {
            return Err(Refusal::invalid("metadata.name: Required value"));
        }
        if self.objects.contains_key(&key(kind, &namespace, &name)) {
            let message = format!("{} {name:?} already exists", kind.plural);
            return Err(Refusal::new(409, "AlreadyExists", message));
        }
        self.uids += 1;
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.uids);
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let metadata = metadata(&mut object);
        metadata.entry("uid").or_insert_with(|| json!(uid));
        metadata.insert(
            "creationTimestamp".to_owned(),
            json!("2026-01-01T00:00:00Z"),
        );
        check(&object)?;
        Ok(self.put(kind, None, object))
    }

    /// Replaces an object; does nothing if nothing changed.
    pub(crate) fn replace(
        &mut self,
        kind: &'static Kind,
        before: &Value,
        mut after: Value,
    ) -> Result<Value, Refusal> {
        let name = text(before, "/metadata/name");
        let expected = text(&after, "/metadata/resourceVersion");
        if !expected.is_empty() && expected != text(before, "/metadata/resourceVersion") {
            return Err(Refusal::conflict_of(kind.plural, name));
        }
        for field in ["uid", "name", "namespace"] {
            let pointer = format!("/metadata/{field}");
            if before.pointer(&pointer) != after.pointer(&pointer) {
                let reason = format!(
                    "Invalid value: {:?}: field is immutable",
                    text(&after, &pointer)
                );
                let field = format!("metadata.{field}");
                return Err(Refusal::invalid_field(kind, name, &field, &reason));
            }
        }
        check(&after)?;
        metadata(&mut after).insert(
            "resourceVersion".to_owned(),
            before["metadata"]["resourceVersion"].clone(),
        );
        if after == *before {
            return Ok(after);
        }
        Ok(self.put(kind, Some(before.clone()), after))
    }

    pub(crate) fn delete(&mut self, kind: &'static Kind, namespace: &str, name: &str) -> bool {
        let Some(mut object) = self.objects.remove(&key(kind, namespace, name)) else {
            return false;
        };
        self.version += 1;
        metadata(&mut object).insert(
            "resourceVersion".to_owned(),
            json!(self.version.to_string()),
        );
        self.note(kind, Some(object), None);
        true
    }

    /// The changes since a version; `None` if they are forgotten.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Change>> {
        if version < self.compacted {
            return None;
        }
        let first = self
            .history
            .partition_point(|change| change.version <= version);
        Some(self.history.get(first..).unwrap_or_default().to_vec())
    }

    /// Forgets the history.
    pub(crate) fn compact(&mut self) {
        self.version += 1;
        self.compacted = self.version;
        self.history.clear();
    }

    fn put(&mut self, kind: &'static Kind, before: Option<Value>, mut object: Value) -> Value {
        self.version += 1;
        metadata(&mut object).insert(
            "resourceVersion".to_owned(),
            json!(self.version.to_string()),
        );
        let key = key(
            kind,
            text(&object, "/metadata/namespace"),
            text(&object, "/metadata/name"),
        );
        self.objects.insert(key, object.clone());
        self.note(kind, before, Some(object.clone()));
        object
    }

    fn note(&mut self, kind: &'static Kind, before: Option<Value>, after: Option<Value>) {
        self.history.push(Change {
            version: self.version,
            kind,
            before,
            after,
        });
        self.versions.send_replace(self.version);
    }
}

/// Checks that labels and annotations are strings.
fn check(object: &Value) -> Result<(), Refusal> {
    for pointer in ["/metadata/labels", "/metadata/annotations"] {
        let fits = match object.pointer(pointer) {
            None | Some(Value::Null) => true,
            Some(Value::Object(members)) => members.values().all(Value::is_string),
            Some(_) => false,
        };
        if !fits {
            return Err(Refusal::bad_request(format!(
                "{pointer} must be an object of strings"
            )));
        }
    }
    Ok(())
}
