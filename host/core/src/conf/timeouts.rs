//! Timeouts of requests and of what they wait for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The kubelet gives a runtime two minutes to stop a sandbox.
const STOP_LIMIT: Duration = Duration::from_secs(110);

/// How long a runtime can reasonably wait for a DEL that may finish in the background.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(10);

/// Timeouts, in milliseconds in the file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// One ADD, also by hot-plug. On timeout, its attachments are undone.
    #[serde(
        rename = "requestMs",
        serialize_with = "milliseconds::serialize",
        deserialize_with = "milliseconds::positive"
    )]
    pub request: Duration,
    /// One execution of a delegate.
    #[serde(
        rename = "delegateMs",
        serialize_with = "milliseconds::serialize",
        deserialize_with = "milliseconds::positive"
    )]
    pub delegate: Duration,
    /// How long an ADD waits for its pod to appear.
    #[serde(rename = "podMs", with = "milliseconds")]
    pub pod: Duration,
    /// How long to retry writing network-status.
    #[serde(rename = "statusMs", with = "milliseconds")]
    pub status: Duration,
    /// How long an ADD waits for the readiness indicator file.
    #[serde(rename = "readinessMs", with = "milliseconds")]
    pub readiness: Duration,
    /// How long the kubelet may take to list a pod's devices.
    #[serde(rename = "kubeletMs", with = "milliseconds")]
    pub kubelet: Duration,
    /// How long running requests may take after SIGTERM.
    #[serde(rename = "shutdownMs", with = "milliseconds")]
    pub shutdown: Duration,
    /// How long an outage of the API server may last before STATUS fails.
    #[serde(rename = "outageMs", with = "milliseconds")]
    pub outage: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // The kubelet gives a sandbox four minutes; containerd's CNI plugin has no timeout of its
        // own.
        Self {
            request: Duration::from_secs(220),
            delegate: Duration::from_secs(90),
            pod: Duration::from_millis(2_500),
            status: Duration::from_secs(30),
            readiness: Duration::from_secs(2),
            kubelet: Duration::from_secs(10),
            shutdown: Duration::from_secs(10),
            outage: Duration::from_secs(300),
        }
    }
}

impl Timeouts {
    /// Timeout of one DEL, CHECK, GC or STATUS. A DEL or GC then continues in the background.
    pub fn stop(&self) -> Duration {
        self.request.min(STOP_LIMIT)
    }

    /// How long such a request waits for work that may continue in the background.
    pub fn background(&self) -> Duration {
        (self.stop() / 8).min(BACKGROUND_LIMIT)
    }

    /// Timeout of one network's GC, during which its ADDs wait.
    pub fn collection(&self) -> Duration {
        self.delegate.min(self.stop() / 4)
    }

    /// Timeout of all policies in one request: `configured`, but at most half of the shortest
    /// request timeout, which leaves the other half to delegates.
    pub fn policies(&self, configured: Duration) -> Duration {
        configured.min(self.stop() / 2)
    }
}

/// A [`Duration`] as a whole number of milliseconds.
mod milliseconds {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }

    /// For what cannot be done in no time.
    pub(super) fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        NonZeroU64::deserialize(from).map(|millis| Duration::from_millis(millis.get()))
    }

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_a_delegate_need_time() {
        let parsed = |text: &str| serde_json::from_str::<Timeouts>(text);
        assert!(parsed(r#"{"requestMs":0}"#).is_err());
        assert!(parsed(r#"{"delegateMs":0}"#).is_err());
        assert_eq!(
            parsed(r#"{"podMs":0,"requestMs":1}"#).unwrap().pod,
            Duration::ZERO
        );
    }
}
