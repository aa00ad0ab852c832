//! Why the API server cannot be used, and since when.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(crate) struct Unavailable {
    /// For messages.
    pub(crate) reason: String,
    /// When the outage began; `None` for a refusal, which only a change can fix.
    away: Option<Instant>,
}

impl Unavailable {
    /// A persistent problem: the server refuses, or was never reachable.
    pub(crate) fn lasting(reason: String) -> Self {
        Self { reason, away: None }
    }

    /// An outage, which continues the one before if there was one.
    pub(crate) fn outage(reason: String, before: Option<&Self>) -> Self {
        let away = before.and_then(|before| before.away);
        Self {
            reason,
            away: Some(away.unwrap_or_else(Instant::now)),
        }
    }

    /// Whether it is an outage that has lasted less than `patience`.
    pub(crate) fn is_shorter_than(&self, patience: Duration) -> bool {
        self.away.is_some_and(|since| since.elapsed() < patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_from_its_first_failure_on() {
        let patience = Duration::from_secs(10);
        let first = Unavailable::outage("refused".into(), None);
        tokio::time::advance(Duration::from_secs(6)).await;
        let second = Unavailable::outage("reset".into(), Some(&first));
        assert!(second.is_shorter_than(patience));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!second.is_shorter_than(patience));
        let lasting = Unavailable::lasting("forbidden".into());
        assert!(!lasting.is_shorter_than(patience));
        assert!(Unavailable::outage("reset".into(), Some(&lasting)).is_shorter_than(patience));
    }
}
