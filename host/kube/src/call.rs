//! A single request to the API server, its answer, and when to retry.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, Request, StatusCode};
use kube::client::Body;
use serde::Deserialize;
use tokio::time::Instant;

use super::concurrency::Concurrency;

/// Timeout of one attempt. A retry may reach another, healthy server.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Objects requested here are never larger, in bytes.
const MAX_ANSWER: usize = 16 << 20;
/// Characters of a refusal's message that are quoted.
const MAX_MESSAGE: usize = 500;
/// Causes of a refusal that are kept.
const MAX_CAUSES: usize = 16;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(2);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request did not reach the server.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// The server refused the request.
    #[error("the API server answers {code}: {message}")]
    Refused {
        code: StatusCode,
        message: String,
        /// The server's `Retry-After`.
        retry_after: Option<Duration>,
        /// Whether the answer is about one object; it is not if the server does not serve the kind.
        of_object: bool,
        /// The rejected fields, from `details.causes`.
        fields: Vec<String>,
    },
    /// The answer is not the requested object.
    #[error("{0}")]
    Malformed(String),
}

impl Failure {
    pub(crate) fn code(&self) -> Option<StatusCode> {
        match self {
            Self::Unreachable(_) | Self::Malformed(_) => None,
            Self::Refused { code, .. } => Some(*code),
        }
    }

    /// Whether the server does not serve the object's kind.
    pub(crate) fn is_of_unknown_kind(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Malformed(_) => false,
            Self::Refused {
                code, of_object, ..
            } => *code == StatusCode::NOT_FOUND && !of_object,
        }
    }

    /// Whether the server rejected a field of the object, such as `metadata.uid`.
    pub(crate) fn is_about_field(&self, name: &str) -> bool {
        match self {
            Self::Unreachable(_) | Self::Malformed(_) => false,
            Self::Refused { fields, .. } => fields.iter().any(|field| field == name),
        }
    }

    /// Whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self.code() {
            None => !matches!(self, Self::Malformed(_)),
            // Rejected credentials are reloaded before a retry.
            Some(StatusCode::UNAUTHORIZED | StatusCode::CONFLICT) => true,
            Some(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => true,
            Some(code) => code.is_server_error(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable(_) | Self::Malformed(_) => None,
            Self::Refused { retry_after, .. } => *retry_after,
        }
    }
}

/// Sends single requests to the API server; watches have their own client.
#[derive(Clone)]
pub(crate) struct Caller {
    client: kube::Client,
    concurrency: Arc<Concurrency>,
}

impl Caller {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            client,
            concurrency: Arc::new(Concurrency::new()),
        }
    }

    /// Sends a request in its turn and returns the body of a successful answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let attempt = deadline.min(Instant::now() + ATTEMPT);
        let answer = async {
            let _slot = self.concurrency.slot().await;
            exchange(&self.client, request).await
        };
        match tokio::time::timeout_at(attempt, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Unreachable("no answer in time".to_owned())),
        }
    }
}

async fn exchange(client: &kube::Client, request: Request<Bytes>) -> Result<Bytes, Failure> {
    let response = client
        .send(request.map(Body::from))
        .await
        .map_err(|error| Failure::Unreachable(cnidaria_core::report::chain(&error)))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| Failure::Unreachable(cnidaria_core::report::chain(error.as_ref())))?
        .to_bytes();
    if head.status.is_success() {
        return Ok(body);
    }
    let Status { message, details } = Status::read(&body);
    Err(Failure::Refused {
        code: head.status,
        message: message.chars().take(MAX_MESSAGE).collect(),
        retry_after: retry_after(&head.headers),
        of_object: !details.name.is_empty(),
        fields: details
            .causes
            .into_iter()
            .take(MAX_CAUSES)
            .map(|cause| cause.field)
            .collect(),
    })
}

/// A Kubernetes `Status` object.
#[derive(Default, Deserialize)]
struct Status {
    message: String,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    name: String,
    causes: Vec<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    field: String,
}

impl Status {
    /// Parses a `Status`; falls back to the body's text.
    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_else(|_| Self {
            message: String::from_utf8_lossy(body).into_owned(),
            details: Details::default(),
        })
    }
}

/// In seconds; the API server never sends dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How long to keep retrying.
#[derive(Debug)]
pub(crate) struct Patience {
    pub(crate) deadline: Instant,
    delay: Duration,
    /// The server's last refusal.
    answered: Option<String>,
}

impl Patience {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            delay: FIRST_DELAY,
            answered: None,
        }
    }

    /// When to retry; `None` if that would be after the deadline.
    pub(crate) fn next(&mut self, failure: &Failure) -> Option<Instant> {
        if let Failure::Refused { code, message, .. } = failure {
            self.answered = Some(format!("{code}: {message}"));
        }
        let jittered = self.delay / 2 + self.delay.mul_f64(random() / 2.0);
        self.delay = (self.delay * 2).min(LAST_DELAY);
        let delay = failure
            .retry_after()
            .unwrap_or(Duration::ZERO)
            .max(jittered);
        // `Retry-After` may be any number of seconds.
        let at = Instant::now().checked_add(delay)?;
        (at < self.deadline).then_some(at)
    }

    /// The failure to report after the last attempt. If that one got no answer, it names what the
    /// server answered before: that is the reason for the retries.
    pub(crate) fn report(&self, failure: Failure) -> Failure {
        match (failure, &self.answered) {
            (Failure::Unreachable(reason), Some(answered)) => {
                Failure::Unreachable(format!("{reason}; it had answered {answered}"))
            }
            (failure, _) => failure,
        }
    }
}

/// A number from 0 to 1. A hash map's keys are random enough to keep nodes from retrying in step.
pub(crate) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: StatusCode, retry_after: Option<Duration>) -> Failure {
        Failure::Refused {
            code,
            message: String::new(),
            retry_after,
            of_object: true,
            fields: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn any_retry_after_can_be_waited_for_or_not() {
        let start = Instant::now();
        let mut patience = Patience::until(start + Duration::from_secs(5));
        for seconds in [i64::MAX as u64, u64::MAX, u64::from(u32::MAX)] {
            let wish = Some(Duration::from_secs(seconds));
            let busy = refused(StatusCode::TOO_MANY_REQUESTS, wish);
            assert_eq!(patience.next(&busy), None);
        }
    }

    #[test]
    fn a_lost_last_attempt_names_the_answer_before() {
        let mut patience = Patience::until(Instant::now());
        let lost = || Failure::Unreachable("no answer in time".to_owned());
        assert!(!patience.report(lost()).to_string().contains("answered"));
        patience.next(&Failure::Refused {
            code: StatusCode::CONFLICT,
            message: "the object has been modified".to_owned(),
            retry_after: None,
            of_object: true,
            fields: Vec::new(),
        });
        patience.next(&lost());
        assert_eq!(
            patience.report(lost()).to_string(),
            "the API server cannot be reached: no answer in time; \
             it had answered 409 Conflict: the object has been modified"
        );
        let refused = refused(StatusCode::FORBIDDEN, None);
        assert_eq!(patience.report(refused).code(), Some(StatusCode::FORBIDDEN));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured_until_deadline() {
        let start = Instant::now();
        let mut patience = Patience::until(start + Duration::from_secs(5));
        let busy = |s| refused(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(s)));
        assert!(patience.next(&busy(3)).unwrap() >= start + Duration::from_secs(3));
        assert_eq!(patience.next(&busy(6)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_and_are_not_in_step() {
        let start = Instant::now();
        let mut patience = Patience::until(start + Duration::from_secs(3600));
        let delays: Vec<_> = (0..8)
            .map(|_| {
                let at = patience.next(&refused(StatusCode::CONFLICT, None)).unwrap();
                at - start
            })
            .collect();
        assert!(delays[0] >= FIRST_DELAY / 2 && delays[0] <= FIRST_DELAY);
        assert!(delays[7] >= LAST_DELAY / 2 && delays[7] <= LAST_DELAY);
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        assert!(Failure::Unreachable(String::new()).is_transient());
        for code in [401, 409, 429, 500, 503] {
            assert!(refused(StatusCode::from_u16(code).unwrap(), None).is_transient());
        }
        for code in [400, 403, 404, 422] {
            assert!(!refused(StatusCode::from_u16(code).unwrap(), None).is_transient());
        }
    }
}
