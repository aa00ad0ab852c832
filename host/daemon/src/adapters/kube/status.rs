//! Writing network-status: a PATCH of one annotation, on condition that the pod is the same.

use bytes::Bytes;
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::call::{Caller, Failure, Patience};
use super::object;
use crate::domain::pod::{NETWORK_STATUS_ANNOTATION, Pod, PodRef};
use crate::ports::ClusterError;

/// The patch. The API server refuses to change a uid, so that naming the uid makes it a condition;
/// a merge patch adds the annotations where the pod has none, which a JSON patch could not.
fn patch(uid: &str, status: &str) -> Bytes {
    let patch = json!({
        "metadata": {
            "uid": uid,
            "annotations": { NETWORK_STATUS_ANNOTATION: status },
        },
    });
    Bytes::from(patch.to_string())
}

/// `pods/status` and not `pods`: whoever may write there cannot change what a pod runs, and webhooks
/// for pods are not in the way.
fn request(pod: &PodRef, body: Bytes) -> Result<Request<Bytes>, hyper::http::Error> {
    let path = object::path::<Pod>(&pod.namespace, &pod.name);
    Request::patch(format!("{path}/status?fieldManager=cnidaria"))
        .header("content-type", "application/merge-patch+json")
        // The answer is not read; as metadata it is short.
        .header(
            "accept",
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        )
        .body(body)
}

/// Writes until the server takes it, refuses for good, or the deadline comes.
///
/// # Errors
/// [`ClusterError::PodNotFound`] when the pod is gone, [`ClusterError::NotWritten`] otherwise.
pub(super) async fn write(
    caller: &Caller,
    pod: &PodRef,
    uid: &str,
    status: &str,
    deadline: Instant,
) -> Result<(), ClusterError> {
    let body = patch(uid, status);
    let mut patience = Patience::until(deadline);
    loop {
        let request =
            request(pod, body.clone()).map_err(|error| refused(pod, &error.to_string()))?;
        let failure = match caller.send(request, deadline).await {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        let is_final = !failure.is_transient() || is_of_another_pod(&failure);
        let again = patience.next(&failure).filter(|_| !is_final);
        match again {
            Some(at) => tokio::time::sleep_until(at).await,
            None => return Err(final_error(pod, &failure)),
        }
    }
}

fn final_error(pod: &PodRef, failure: &Failure) -> ClusterError {
    match failure.code() {
        Some(StatusCode::NOT_FOUND) => ClusterError::PodNotFound(pod.clone()),
        _ if is_of_another_pod(failure) => {
            refused(pod, &format!("another pod has its name: {failure}"))
        }
        _ => refused(pod, &failure.to_string()),
    }
}

/// Whether it is the uid that the server takes offence at. Which code it has for that depends on how
/// it looks at it: a condition that does not hold, or a field that must not change.
fn is_of_another_pod(failure: &Failure) -> bool {
    match failure {
        Failure::Refused { code, message, .. } => {
            matches!(
                *code,
                StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY
            ) && message.to_lowercase().contains("uid")
        }
        Failure::Unreachable(_) | Failure::Malformed(_) => false,
    }
}

fn refused(pod: &PodRef, reason: &str) -> ClusterError {
    ClusterError::NotWritten {
        pod: pod.clone(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_says_the_uid_and_the_one_annotation_and_nothing_else() {
        assert_eq!(
            patch("u1", r#"[{"name":"x"}]"#),
            r#"{"metadata":{"annotations":{"k8s.v1.cni.cncf.io/network-status":"[{\"name\":\"x\"}]"},"uid":"u1"}}"#
        );
    }

    #[test]
    fn a_conflict_about_the_uid_is_final_and_another_is_not() {
        let answer = |code, message: &str| Failure::Refused {
            code,
            message: message.to_owned(),
            retry_after: None,
            of_object: true,
        };
        for (expected, code, message) in [
            (
                true,
                StatusCode::CONFLICT,
                "Precondition failed: UID in precondition: a, UID in object meta: b",
            ),
            (
                true,
                StatusCode::UNPROCESSABLE_ENTITY,
                "Pod \"a\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable",
            ),
            (
                false,
                StatusCode::CONFLICT,
                "the object has been modified; please apply your changes to the latest version",
            ),
        ] {
            assert_eq!(is_of_another_pod(&answer(code, message)), expected);
        }
    }

    #[test]
    fn the_request_is_for_the_status_of_the_pod() {
        let pod = PodRef {
            namespace: "n".into(),
            name: "a".into(),
            uid: "u1".into(),
        };
        let request = request(&pod, Bytes::new()).unwrap();
        assert_eq!(request.method(), "PATCH");
        assert_eq!(
            request.uri(),
            "/api/v1/namespaces/n/pods/a/status?fieldManager=cnidaria"
        );
    }
}
