//! Failures that tests inject.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

/// A failure of one request.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `verb resource`, as [`crate::Recorded::act`] returns it; empty for any.
    pub act: String,
    /// The response's status code; 0 closes the connection instead.
    pub code: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Whether the request is executed anyway, and only the response is lost.
    pub carried_out: bool,
}

impl Fault {
    /// Responds with this status code instead of the real one.
    pub fn answer(act: &str, code: u16) -> Self {
        Self {
            act: act.to_owned(),
            code,
            retry_after: None,
            carried_out: false,
        }
    }

    /// Closes the connection before the response.
    pub fn reset(act: &str) -> Self {
        Self::answer(act, 0)
    }

    /// Adds `Retry-After` to the response.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Executes the request before it fails.
    pub fn after_the_fact(mut self) -> Self {
        self.carried_out = true;
        self
    }
}

/// The current failures.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) latency: Duration,
    pub(crate) queue: VecDeque<Fault>,
    /// Delay between the response head of a streaming list and its first object.
    pub(crate) list_delay: Duration,
    /// Whether streaming lists are unsupported.
    pub(crate) no_streaming: bool,
    /// Requests to hold until enough have arrived.
    pub(crate) gathering: Option<(String, Arc<Barrier>)>,
    /// Plurals of the kinds that the server does not serve.
    pub(crate) not_served: Vec<&'static str>,
}

impl Faults {
    pub(crate) fn gathering(&self, wanted: &str) -> Option<Arc<Barrier>> {
        let (act, barrier) = self.gathering.as_ref()?;
        (act == wanted).then(|| Arc::clone(barrier))
    }

    /// Removes and returns the first fault that matches the request.
    pub(crate) fn take(&mut self, act: &str) -> Option<Fault> {
        let position = self
            .queue
            .iter()
            .position(|fault| fault.act.is_empty() || fault.act == act)?;
        self.queue.remove(position)
    }
}
