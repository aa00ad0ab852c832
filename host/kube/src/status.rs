//! Writes network-status: a PATCH of one annotation, conditional on the pod's uid.

use bytes::Bytes;
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::call::{Caller, Failure, Patience};
use super::object;
use cnidaria_core::domain::pod::{NETWORK_STATUS_ANNOTATION, Pod, PodRef};
use cnidaria_core::ports::ClusterError;

/// The patch. The API server refuses to change a uid, so naming it makes it a condition. A merge
/// patch, unlike a JSON patch, also works on a pod without annotations.
fn patch(uid: &str, status: &str) -> Bytes {
    let patch = json!({
        "metadata": {
            "uid": uid,
            "annotations": { NETWORK_STATUS_ANNOTATION: status },
        },
    });
    Bytes::from(patch.to_string())
}

/// Patches `pods/status`, not `pods`: that permission cannot change what a pod runs, and avoids
/// webhooks for pods.
fn request(pod: &PodRef, body: Bytes) -> Result<Request<Bytes>, hyper::http::Error> {
    let path = object::path::<Pod>(&pod.namespace, &pod.name);
    Request::patch(format!("{path}/status?fieldManager=cnidaria"))
        .header("content-type", "application/merge-patch+json")
        // The answer is ignored; as metadata only it is short.
        .header(
            "accept",
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        )
        .body(body)
}

/// Retries until the server accepts or finally refuses the write, or the deadline passes. `uid` is
/// the API server's, as far as known: the runtime knows a static pod by another one.
///
/// # Errors
/// [`ClusterError::PodNotFound`] if the pod is gone, [`ClusterError::NotWritten`] otherwise.
pub(crate) async fn write(
    caller: &Caller,
    pod: &PodRef,
    uid: &str,
    status: &str,
    deadline: Instant,
) -> Result<(), ClusterError> {
    let mut uid = uid.to_owned();
    let mut patience = Patience::until(deadline);
    loop {
        let request = request(pod, patch(&uid, status));
        let request = request.map_err(|error| refused(pod, &error.to_string()))?;
        let failure = match caller.send(request, deadline).await {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        let is_other = match may_be_another_pod(&failure) {
            true => other_pod(caller, pod, &uid, deadline).await?,
            false => None,
        };
        let again = patience.next(&failure);
        match (is_other, again) {
            (Some(mirror), Some(at)) => {
                uid = mirror;
                tokio::time::sleep_until(at).await;
            }
            (None, Some(at)) if failure.is_transient() => tokio::time::sleep_until(at).await,
            _ => return Err(final_error(pod, &patience.report(failure))),
        }
    }
}

fn final_error(pod: &PodRef, failure: &Failure) -> ClusterError {
    match failure.code() {
        Some(StatusCode::NOT_FOUND) => ClusterError::PodNotFound(pod.clone()),
        _ => refused(pod, &failure.to_string()),
    }
}

/// Whether the uid may be the reason for a refusal. The server names the immutable field, or
/// returns a conflict without a cause, as for concurrent writers; only fetching the pod then tells.
fn may_be_another_pod(failure: &Failure) -> bool {
    failure.code() == Some(StatusCode::CONFLICT) || failure.is_about_field("metadata.uid")
}

/// The mirror's uid if the pod is static; `None` if the pod has `uid`, or cannot be fetched now.
///
/// # Errors
/// [`ClusterError::NotWritten`] if another pod has its name, [`ClusterError::PodNotFound`].
async fn other_pod(
    caller: &Caller,
    pod: &PodRef,
    uid: &str,
    deadline: Instant,
) -> Result<Option<String>, ClusterError> {
    match object::get::<Pod>(caller, &pod.namespace, &pod.name, deadline).await {
        Ok(Some(found)) if found.uid == uid => Ok(None),
        Ok(Some(found)) if found.is_static() => Ok(Some(found.uid)),
        Ok(Some(found)) => {
            let reason = format!("another pod has its name, with uid {}", found.uid);
            Err(refused(pod, &reason))
        }
        Ok(None) => Err(ClusterError::PodNotFound(pod.clone())),
        Err(failure) => {
            tracing::debug!(%pod, %failure, "cannot compare the uid of the pod");
            Ok(None)
        }
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
    fn patch_has_only_uid_and_one_annotation() {
        assert_eq!(
            patch("u1", r#"[{"name":"x"}]"#),
            r#"{"metadata":{"annotations":{"k8s.v1.cni.cncf.io/network-status":"[{\"name\":\"x\"}]"},"uid":"u1"}}"#
        );
    }

    #[test]
    fn rejections_name_code_and_field() {
        let answer = |code, message: &str, field: &str| Failure::Refused {
            code,
            message: message.to_owned(),
            retry_after: None,
            of_object: true,
            fields: vec![field.to_owned()],
        };
        let invalid = StatusCode::UNPROCESSABLE_ENTITY;
        for (expected, failure) in [
            (
                true,
                answer(StatusCode::CONFLICT, "the object has been modified", ""),
            ),
            (true, answer(invalid, "field is immutable", "metadata.uid")),
            (
                false,
                answer(
                    invalid,
                    "Pod \"druid-0\" is invalid",
                    "metadata.annotations",
                ),
            ),
            (false, answer(StatusCode::FORBIDDEN, "druid-0 uid", "")),
            (false, Failure::Unreachable("uid".to_owned())),
        ] {
            assert_eq!(may_be_another_pod(&failure), expected, "{failure}");
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
