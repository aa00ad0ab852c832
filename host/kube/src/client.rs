//! Single requests to the API server, for what is neither watched nor part of a CNI call: the
//! daemon's own DaemonSet, and what operators' commands check.

use std::time::Duration;

use bytes::Bytes;
use cni_types::json::Cause;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::access::Access;
use super::call::{Caller, Failure, Patience};
use super::connection::Connection;
use super::object::Object;
use cnidaria_core::domain::nad::Nad;

const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const NADS: &str = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions";
/// How many definitions are read at most.
const MAX_NADS: usize = 1000;
/// Poll interval while an object is being deleted.
const POLL: Duration = Duration::from_secs(1);

/// Why the API server did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not accept the client's identity, or does not allow the request.
    #[error("{0}")]
    Refused(String),
    /// The object or its kind does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be reached, or answers something else.
    #[error("{0}")]
    Unavailable(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure.code() {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Self::Refused(text),
            Some(StatusCode::NOT_FOUND) => Self::NotFound(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// What the API server says about a DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonSet {
    /// It exists.
    Present,
    /// It does not exist, or is being deleted.
    Deleted,
    /// The server does not accept the client's identity, or does not allow it to read the DaemonSet.
    Refused(String),
    /// The server cannot be asked.
    Unknown(String),
}

/// A right in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The verb, such as `list`.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, such as `pods`.
    pub resource: &'static str,
    /// The subresource, if any.
    pub subresource: &'static str,
}

/// Sends single requests.
#[derive(Clone)]
pub struct Client {
    caller: Caller,
}

impl Client {
    /// A client with its own connection, which is made at the first request.
    pub fn new(access: Access) -> Self {
        Self::of(Caller::new(Connection::new(access).client()))
    }

    pub(super) fn of(caller: Caller) -> Self {
        Self { caller }
    }

    /// Reads a DaemonSet; retries for at most `patience` while the server cannot be reached.
    pub async fn daemon_set(&self, namespace: &str, name: &str, patience: Duration) -> DaemonSet {
        let path = daemon_set_path(namespace, name);
        let mut patience = Patience::until(Instant::now() + patience);
        loop {
            let request = request(Method::GET, &path, Bytes::new());
            let failure = match self.send(request, patience.deadline).await {
                Ok(body) => return state(&body),
                Err(failure) => failure,
            };
            match failure.code() {
                Some(StatusCode::NOT_FOUND) if !failure.is_of_unknown_kind() => {
                    return DaemonSet::Deleted;
                }
                Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                    return DaemonSet::Refused(failure.to_string());
                }
                _ => {}
            }
            match patience.next(&failure).filter(|_| failure.is_transient()) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => return DaemonSet::Unknown(patience.report(failure).to_string()),
            }
        }
    }

    /// Deletes a DaemonSet after its pods, and waits until it is gone.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Unavailable`] also if it is still there after `patience`.
    pub async fn delete_daemon_set(
        &self,
        namespace: &str,
        name: &str,
        patience: Duration,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let path = daemon_set_path(namespace, name);
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Foreground",
        });
        let mut patience = Patience::until(deadline);
        loop {
            let request = request(Method::DELETE, &path, options.to_string().into());
            match self.send(request, deadline).await {
                Ok(_) => {}
                Err(failure) if failure.code() == Some(StatusCode::NOT_FOUND) => return Ok(()),
                Err(failure) => match patience.next(&failure) {
                    Some(at) if failure.is_transient() => {
                        tokio::time::sleep_until(at).await;
                        continue;
                    }
                    _ => return Err(patience.report(failure).into()),
                },
            }
            break;
        }
        loop {
            let get = request(Method::GET, &path, Bytes::new());
            match self.send(get, deadline).await {
                Err(failure) if failure.code() == Some(StatusCode::NOT_FOUND) => return Ok(()),
                Err(failure) if !failure.is_transient() => return Err(failure.into()),
                Ok(_) | Err(_) => {}
            }
            if Instant::now() + POLL >= deadline {
                let text = format!("DaemonSet {namespace}/{name} still has pods");
                return Err(Error::Unavailable(text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the client may do something in all namespaces.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn may(&self, right: &Right, patience: Duration) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Review {
            status: Status,
        }
        #[derive(Deserialize)]
        struct Status {
            allowed: bool,
        }
        let review = json!({
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"resourceAttributes": {
                "verb": right.verb,
                "group": right.group,
                "resource": right.resource,
                "subresource": right.subresource,
            }},
        });
        let request = request(Method::POST, ACCESS_REVIEWS, review.to_string().into());
        let body = self.send(request, Instant::now() + patience).await?;
        let review: Review = parsed(&body)?;
        Ok(review.status.allowed)
    }

    /// The network attachment definitions of all namespaces, at most a thousand.
    ///
    /// # Errors
    /// [`Error`]; [`Error::NotFound`] if the cluster has no such kind.
    pub async fn nads(&self, patience: Duration) -> Result<Vec<Nad>, Error> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Object<Nad>>,
        }
        let path = format!("{NADS}?limit={MAX_NADS}");
        let request = request(Method::GET, &path, Bytes::new());
        let body = self.send(request, Instant::now() + patience).await?;
        let list: List = parsed(&body)?;
        Ok(list.items.into_iter().map(|object| object.kept).collect())
    }

    async fn send(
        &self,
        request: Result<Request<Bytes>, Failure>,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        self.caller.send(request?, deadline).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn daemon_set_path(namespace: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}")
}

fn request(method: Method, path: &str, body: Bytes) -> Result<Request<Bytes>, Failure> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", "application/json");
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(body);
    request.map_err(|error| Failure::Unreachable(error.to_string()))
}

fn parsed<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Malformed(Cause::from(error).to_string()))
}

fn state(body: &[u8]) -> DaemonSet {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        deletion_timestamp: Option<String>,
    }
    match parsed::<Object>(body) {
        Ok(object) if object.metadata.deletion_timestamp.is_some() => DaemonSet::Deleted,
        Ok(_) => DaemonSet::Present,
        Err(failure) => DaemonSet::Unknown(failure.to_string()),
    }
}
