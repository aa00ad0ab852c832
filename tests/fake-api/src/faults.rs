//! What goes wrong on demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

/// One request that goes wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `verb resource`, as [`crate::Recorded::act`] has it; empty for any.
    pub act: String,
    /// What is answered; 0 cuts the connection.
    pub code: u16,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u64>,
    /// Whether the request is carried out all the same: the answer is what is lost.
    pub carried_out: bool,
}

impl Fault {
    /// An answer other than the request deserves.
    pub fn answer(act: &str, code: u16) -> Self {
        Self {
            act: act.to_owned(),
            code,
            retry_after: None,
            carried_out: false,
        }
    }

    /// A connection that is cut before the answer.
    pub fn reset(act: &str) -> Self {
        Self::answer(act, 0)
    }

    /// The same, with a wish of when to be asked again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, after the request was carried out.
    pub fn after_the_fact(mut self) -> Self {
        self.carried_out = true;
        self
    }
}

/// What goes wrong at present.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) latency: Duration,
    pub(crate) queue: VecDeque<Fault>,
    /// Between the head of a watch that lists and its first object.
    pub(crate) list_delay: Duration,
    /// Whether lists that are watches are unknown here.
    pub(crate) no_streaming: bool,
    /// Requests that are answered together.
    pub(crate) gathering: Option<(String, Arc<Barrier>)>,
    /// Plurals of kinds of which the server does not know.
    pub(crate) not_served: Vec<&'static str>,
}

impl Faults {
    pub(crate) fn gathering(&self, wanted: &str) -> Option<Arc<Barrier>> {
        let (act, barrier) = self.gathering.as_ref()?;
        (act == wanted).then(|| Arc::clone(barrier))
    }

    /// Takes the first fault that is meant for the request.
    pub(crate) fn take(&mut self, act: &str) -> Option<Fault> {
        let position = self
            .queue
            .iter()
            .position(|fault| fault.act.is_empty() || fault.act == act)?;
        self.queue.remove(position)
    }
}
