//! Records requests, for tests that count them.

use serde_json::Value;

/// One request.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `GET`, `PATCH`, …
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, unparsed.
    pub query: String,
    /// The RBAC verb: `get`, `list`, `watch`, `create`, `patch`, …
    pub verb: &'static str,
    /// The RBAC resource: `pods/status`.
    pub resource: String,
    /// The authenticated user; empty if there was none.
    pub user: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// The body's media type.
    pub content_type: String,
    /// The body, if it was JSON.
    pub body: Value,
    /// The response's status code; 0 if the connection was closed instead.
    pub code: u16,
}

impl Recorded {
    /// `verb resource`, which most tests compare.
    pub fn act(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}
