//! What was asked, for tests that count.

use serde_json::Value;

/// One request.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `GET`, `PATCH`, …
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, as it was sent.
    pub query: String,
    /// The verb of RBAC: `get`, `list`, `watch`, `create`, `patch`, …
    pub verb: &'static str,
    /// The resource of RBAC: `pods/status`.
    pub resource: String,
    /// Who asked; empty where nobody was authenticated.
    pub user: String,
    /// What it calls itself: `User-Agent`.
    pub user_agent: String,
    /// The media type of the body.
    pub content_type: String,
    /// The body, where it was JSON.
    pub body: Value,
    /// What was answered; 0 where the connection was cut.
    pub code: u16,
}

impl Recorded {
    /// `verb resource`, which is what most tests look at.
    pub fn act(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}
