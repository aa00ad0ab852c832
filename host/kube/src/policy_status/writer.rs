//! Writes the object when the state of the policies has changed: at most once in an interval, and
//! with growing pauses while the API server is away. If the cluster does not have the kind, or does
//! not allow the daemon to write it, the writer says so once and stays silent until the next change.

use std::time::Duration;

use bytes::Bytes;
use cni_types::json::Cause;
use hyper::{Method, Request, StatusCode};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::object::{self, Facts};
use super::{NodePolicies, Pace};
use crate::call::{Caller, Failure, random};
use crate::events::seconds;
use crate::resources::is_segment;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Only the metadata of the answer is read.
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The object as far as the writer knows it.
struct Known {
    generation: i64,
    /// As last read or written.
    status: Value,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
}

pub(super) struct Writer {
    caller: Caller,
    node: String,
    version: &'static str,
    pace: Pace,
    latest: watch::Receiver<NodePolicies>,
    /// `None` until the object was read, and after it was deleted.
    known: Option<Known>,
    /// Why the cluster does not take the object, as last logged.
    refused: Option<String>,
}

impl Writer {
    pub(super) fn new(
        caller: Caller,
        node: String,
        version: &'static str,
        pace: Pace,
        latest: watch::Receiver<NodePolicies>,
    ) -> Self {
        Self {
            caller,
            node,
            version,
            pace,
            latest,
            known: None,
            refused: None,
        }
    }

    /// Writes each change. Sleeps while nothing changes, and ends with the publisher.
    pub(super) async fn run(mut self) {
        if !is_segment(&self.node) {
            tracing::warn!(
                node = self.node,
                "not a node's name in the API; the state of the policies is not shown in the cluster"
            );
            return;
        }
        while self.latest.changed().await.is_ok() {
            // Nodes that read one ConfigMap do not write at the same moment.
            tokio::time::sleep(jittered(self.pace.settle)).await;
            self.write_latest().await;
            tokio::time::sleep(self.pace.interval).await;
        }
    }

    /// Writes the latest state, and retries while that may help.
    async fn write_latest(&mut self) {
        let mut pause = self.pace.first_pause;
        loop {
            let report = self.latest.borrow_and_update().clone();
            let failure = match self.write(&report).await {
                Ok(()) => return self.succeeded(),
                Err(failure) => failure,
            };
            if !failure.is_transient() {
                return self.give_up(&failure);
            }
            tracing::debug!(node = self.node, %failure, "the state of the policies was not written; retrying");
            let wished = failure.retry_after().unwrap_or_default();
            tokio::time::sleep(jittered(pause).max(wished.min(self.pace.last_pause))).await;
            pause = (pause * 2).min(self.pace.last_pause);
        }
    }

    fn succeeded(&mut self) {
        if self.refused.take().is_some() {
            tracing::warn!(
                node = self.node,
                "the state of the policies is shown in the cluster again"
            );
        }
    }

    /// Logs why the cluster does not take the object, unless it did so for the same reason before.
    fn give_up(&mut self, failure: &Failure) {
        let reason = match failure {
            failure if failure.is_of_unknown_kind() => {
                "the cluster does not have the kind PolicyNodeStatus".to_owned()
            }
            failure => failure.to_string(),
        };
        if self.refused.as_ref() != Some(&reason) {
            tracing::warn!(
                node = self.node,
                reason,
                "the state of the policies is not shown in the cluster; apply deploy/kustomize/base/policy-status.yaml, or set cnidaria.policies.nodeStatus to false"
            );
        }
        self.refused = Some(reason);
    }

    /// Brings the object up to date; sends nothing if it is.
    async fn write(&mut self, report: &NodePolicies) -> Result<(), Failure> {
        // Twice at most: the object may have been deleted since it was last written.
        for _ in 0..2 {
            let known = match self.known.take() {
                Some(known) => known,
                None => self.find().await?,
            };
            let status = object::status(&Facts {
                report,
                daemon_version: self.version,
                observed_generation: known.generation,
                before: &known.status,
                now: &now(),
            });
            if status == known.status {
                self.known = Some(known);
                return Ok(());
            }
            let path = format!("{}/status?fieldManager=cnidaria", self.path());
            let body = object::patch(&status);
            match self.send(Method::PATCH, &path, Some(&body)).await {
                Ok(_) => {
                    self.known = Some(Known { status, ..known });
                    return Ok(());
                }
                Err(failure) if is_absent(&failure) => {}
                // The answer may be lost, and the status written: the next attempt reads it.
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Unreachable(
            "the object was deleted while it was written".to_owned(),
        ))
    }

    /// Reads the object, or creates it. One of an earlier node of this name is replaced: the cluster
    /// deletes it with its owner.
    async fn find(&mut self) -> Result<Known, Failure> {
        let found = match self.send(Method::GET, &self.path(), None).await {
            Ok(body) => Some(parsed::<Object>(&body)?),
            Err(failure) if is_absent(&failure) => None,
            Err(failure) => return Err(failure),
        };
        let path = format!("/api/v1/nodes/{}", self.node);
        let node: Object = parsed(&self.send(Method::GET, &path, None).await?)?;
        let uid = node.metadata.uid;
        if let Some(found) = found {
            let is_owned = |owner: &Owner| owner.uid == uid;
            if found.metadata.owner_references.iter().any(is_owned) {
                return Ok(Known {
                    generation: found.metadata.generation,
                    status: found.status,
                });
            }
            let condition = serde_json::json!({
                "kind": "DeleteOptions",
                "apiVersion": "v1",
                "preconditions": {"uid": found.metadata.uid},
            });
            let path = self.path();
            match self.send(Method::DELETE, &path, Some(&condition)).await {
                Err(failure) if !is_absent(&failure) => return Err(failure),
                _ => {}
            }
        }
        let body = object::new(&self.node, &uid);
        let created = self
            .send(Method::POST, object::COLLECTION, Some(&body))
            .await?;
        let created: Object = parsed(&created)?;
        Ok(Known {
            generation: created.metadata.generation,
            status: Value::Null,
        })
    }

    fn path(&self) -> String {
        object::path(&self.node)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, Failure> {
        // Only the own object is read as a whole.
        let accept = match method {
            Method::GET if path.starts_with("/apis/") => JSON,
            _ => METADATA,
        };
        let content_type = match method {
            Method::PATCH => MERGE_PATCH,
            _ => JSON,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept);
        if body.is_some() {
            request = request.header("content-type", content_type);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Bytes::from(body))
            .map_err(|error| Failure::Malformed(error.to_string()))?;
        self.caller.send(request, Instant::now() + PATIENCE).await
    }
}

/// Whether the object does not exist; its kind does.
fn is_absent(failure: &Failure) -> bool {
    failure.code() == Some(StatusCode::NOT_FOUND) && !failure.is_of_unknown_kind()
}

fn parsed<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Malformed(Cause::from(error).to_string()))
}

#[expect(clippy::disallowed_methods, reason = "shown in the object")]
fn now() -> String {
    seconds(Timestamp::now())
}

/// Between a half and the whole of a duration, so that nodes are not in step.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.5 + random() / 2.0)
}
