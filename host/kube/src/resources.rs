//! Dynamic resource allocation: fetches claims and slices when a pod has claims and a network needs
//! a device. They are not watched: few pods have claims, and a cluster's slices are many and large.

use bytes::Bytes;
use cni_types::json::Cause;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::call::{Caller, Failure, Patience};
use cnidaria_core::domain::resource_claim::{ResourceClaim, ResourceSlice};
use cnidaria_core::ports::{ClusterError, Reach};

const GROUP: &str = "/apis/resource.k8s.io/v1";
/// Slices per page. Each has up to 128 devices, and a page is decoded at once.
const PAGE: u32 = 50;

/// Fetches a claim.
///
/// # Errors
/// [`ClusterError`].
pub(crate) async fn claim(
    caller: &Caller,
    namespace: &str,
    name: &str,
    deadline: Instant,
) -> Result<ResourceClaim, ClusterError> {
    if !is_segment(namespace) || !is_segment(name) {
        return Err(not_found(namespace, name));
    }
    let path = format!("{GROUP}/namespaces/{namespace}/resourceclaims/{name}");
    match get(caller, &path, deadline).await {
        Err(failure) if failure.is_of_unknown_kind() => Err(unavailable(failure)),
        Err(failure) if failure.code() == Some(StatusCode::NOT_FOUND) => {
            Err(not_found(namespace, name))
        }
        claim => claim.map_err(unavailable),
    }
}

/// Fetches a driver's slices: this node's, or those not tied to a single node.
///
/// # Errors
/// [`ClusterError`].
pub(crate) async fn slices(
    caller: &Caller,
    driver: &str,
    node: Option<&str>,
    reach: Reach,
    deadline: Instant,
) -> Result<Vec<ResourceSlice>, ClusterError> {
    let node = match (reach, node) {
        (Reach::Node, Some(node)) => format!(",spec.nodeName={node}"),
        (Reach::Nodes, Some(_)) => ",spec.nodeName=".to_owned(),
        // Without a node name, search the slices of all nodes, once.
        (Reach::Node, None) => String::new(),
        (Reach::Nodes, None) => return Ok(Vec::new()),
    };
    let fields = encoded(&format!("spec.driver={driver}{node}"));
    let mut slices = Vec::new();
    let mut next = String::new();
    loop {
        let path = format!("{GROUP}/resourceslices?fieldSelector={fields}&limit={PAGE}{next}");
        let page: Page = get(caller, &path, deadline).await.map_err(unavailable)?;
        slices.extend(page.items);
        match page.metadata.continue_.filter(|text| !text.is_empty()) {
            Some(text) => next = format!("&continue={}", encoded(&text)),
            None => return Ok(slices),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    items: Vec<ResourceSlice>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue")]
    continue_: Option<String>,
}

/// Retries until the deadline.
async fn get<T: DeserializeOwned>(
    caller: &Caller,
    path: &str,
    deadline: Instant,
) -> Result<T, Failure> {
    let mut patience = Patience::until(deadline);
    loop {
        let request = Request::get(path)
            .header("accept", "application/json")
            .body(Bytes::new())
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        match caller.send(request, deadline).await {
            Ok(body) => {
                return serde_json::from_slice(&body).map_err(|error| {
                    Failure::Unreachable(format!("{path}: {}", Cause::from(error)))
                });
            }
            Err(failure) => match patience.next(&failure).filter(|_| failure.is_transient()) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => return Err(patience.report(failure)),
            },
        }
    }
}

fn unavailable(failure: Failure) -> ClusterError {
    ClusterError::Unavailable(match failure.is_of_unknown_kind() {
        true => {
            "the API server does not serve resource.k8s.io/v1, which Kubernetes has from 1.34 on"
                .to_owned()
        }
        false => failure.to_string(),
    })
}

fn not_found(namespace: &str, name: &str) -> ClusterError {
    ClusterError::ClaimNotFound {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// Whether a text is a valid name in the API, and cannot change the path.
fn is_segment(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    text.bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(fits)
}

/// Percent-encodes a query value.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        assert!(is_segment("claim-1.a"));
        for text in ["", "..", ".", "a/b", "a?b", "a%2e", "a b"] {
            assert!(!is_segment(text), "{text}");
        }
    }

    #[test]
    fn a_value_stays_one_value() {
        assert_eq!(encoded("spec.driver=a,b&c"), "spec.driver%3Da%2Cb%26c");
    }
}
