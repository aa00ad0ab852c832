//! Traces of requests: the key `cnidaria.trace`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

/// Which traces are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TraceConfig {
    /// How many of the last requests are kept; 0 turns traces off.
    pub requests: usize,
    /// Most bytes of all of them.
    pub max_bytes: NonZeroUsize,
    /// Where finished requests are exported to; nowhere if absent.
    pub otlp_endpoint: Option<Endpoint>,
    /// How many requests may wait for their export.
    pub otlp_queue: NonZeroUsize,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            requests: 128,
            max_bytes: NonZeroUsize::MIN.saturating_add((512 << 10) - 1),
            otlp_endpoint: None,
            otlp_queue: NonZeroUsize::MIN.saturating_add(255),
        }
    }
}

/// URL of an OpenTelemetry collector, without TLS: the daemon talks to one on its node or in the
/// cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

/// Where collectors take spans.
const PATH: &str = "/v1/traces";

impl Endpoint {
    /// The whole URL, with its path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or_else(|| {
            "expected a URL of the form http://host:4318; https is not supported".to_owned()
        })?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path),
            None => (rest, ""),
        };
        let is_plain = |c: char| c.is_ascii_graphic() && !"@?#\\\"".contains(c);
        if authority.is_empty() || !rest.chars().all(is_plain) {
            return Err(
                "expected a URL of a host, an optional port and an optional path".to_owned(),
            );
        }
        Ok(match path {
            "" => Self(format!("http://{authority}{PATH}")),
            path => Self(format!("http://{authority}/{path}")),
        })
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_host_and_a_path() {
        for (text, expected) in [
            (
                "http://127.0.0.1:4318",
                Some("http://127.0.0.1:4318/v1/traces"),
            ),
            (
                "http://[fd00::1]:4318/",
                Some("http://[fd00::1]:4318/v1/traces"),
            ),
            (
                "http://otel.svc/custom/path",
                Some("http://otel.svc/custom/path"),
            ),
            ("https://otel.svc:4318", None),
            ("otel.svc:4318", None),
            ("http://", None),
            ("http:///v1/traces", None),
            ("http://user:secret@otel.svc", None),
            ("http://otel svc", None),
            ("http://otel\r\nHost: x", None),
        ] {
            let parsed = Endpoint::try_from(text.to_owned());
            assert_eq!(
                parsed.as_ref().ok().map(Endpoint::as_str),
                expected,
                "{text}"
            );
            assert!(parsed.err().is_none_or(|error| !error.contains("secret")));
        }
    }
}
