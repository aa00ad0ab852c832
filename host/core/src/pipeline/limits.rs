//! What ends a request early: its deadline and, for an ADD, a DEL of the same container.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use cni_types::args::ContainerId;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::turns::{Cancellation, Held, Superseded, Ticket};
use super::{Error, Pipeline};
use crate::ports::{DelegateError, GiveUp, Wanted};
use crate::supervision;

/// Grace period for the delegates of a cancelled ADD. Killing one at once could leak what no DEL
/// finds: host-local, which nearly all plugins call, creates an address's file first and writes its
/// owner afterwards, and never frees an empty file.
const GRACE: Duration = Duration::from_secs(5);
/// How long an ADD past its deadline may spend on undoing before it answers. The kubelet gives a
/// sandbox four minutes.
const UNDO: Duration = Duration::from_secs(10);

/// Ends an ADD at its deadline or on a DEL.
pub(super) struct Limits {
    container: ContainerId,
    cancellation: Cancellation,
    deadline: Instant,
    patience: Duration,
}

impl Limits {
    pub(super) fn new(ticket: &Ticket, patience: Duration) -> Self {
        Self {
            container: ticket.container().clone(),
            cancellation: ticket.cancellation(),
            deadline: after(patience),
            patience,
        }
    }

    /// Waits for the ticket's turn.
    pub(super) async fn turn(
        &mut self,
        pipeline: &Pipeline,
        ticket: Ticket,
    ) -> Result<Held, Error> {
        let container = ticket.container().clone();
        let turn = self.apply(async { ticket.wait().await.map_err(|_| Error::Superseded) });
        turn.await.map_err(|error| match error {
            Error::Deadline(waited) => busy(pipeline, &container, waited),
            error => error,
        })
    }

    pub(super) async fn apply<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let work = tokio::time::timeout_at(self.deadline, work);
        match self.cancellation.unless_superseded(work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Error::Deadline(self.patience)),
            Err(Superseded) => Err(Error::Superseded),
        }
    }

    /// Runs a delegate. If the request is cancelled, the delegate gets a grace period.
    pub(super) async fn delegate<T, W>(&mut self, run: impl FnOnce(Wanted) -> W) -> Result<T, Error>
    where
        W: Future<Output = Result<T, DelegateError>>,
    {
        let (give_up, wanted) = Wanted::channel();
        let mut work = pin!(run(wanted));
        let ended = self.apply(async { Ok((&mut work).await?) }).await;
        if ended.as_ref().is_err_and(is_given_up) {
            let_end(&give_up, &self.container, work).await;
        }
        ended
    }

    /// The request's timeout.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// When a failed ADD answers, even if its undo has not finished.
    pub(super) fn undo_deadline(&self) -> Instant {
        self.deadline.max(after(UNDO))
    }
}

/// Whether an ADD failed because it was cancelled or timed out, rather than on its own.
pub(super) fn is_given_up(error: &Error) -> bool {
    matches!(error, Error::Superseded | Error::Deadline(_))
}

/// Gives running delegates [`GRACE`] to finish; the caller then drops them, which kills them.
pub(super) async fn let_end(give_up: &GiveUp, container: &ContainerId, delegates: impl Future) {
    give_up.now();
    if tokio::time::timeout(GRACE, delegates).await.is_err() {
        tracing::warn!(%container, "killed a cancelled delegate that outlived its grace period");
    }
}

/// Returns the output of `work`, or `late` at the deadline: `work` then continues in the background
/// with everything it owns.
pub(super) async fn within<T: Send + 'static>(
    deadline: Instant,
    late: Error,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    patiently(deadline, work).await.unwrap_or(Err(late))
}

/// Waits for `work` until `deadline`; returns `None` if it then continues in the background.
pub(super) async fn patiently<T: Send + 'static>(
    deadline: Instant,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    // In the background, too, it belongs to the request's trace.
    let mut work = Box::pin(work.in_current_span());
    match tokio::time::timeout_at(deadline, &mut work).await {
        Ok(done) => Some(done),
        Err(_) => {
            tokio::spawn(supervision::once("request", work));
            None
        }
    }
}

/// Waits for a container's turn until `deadline`; the error reports `waited`, the whole timeout.
pub(super) async fn turn_by(
    pipeline: &Pipeline,
    deadline: Instant,
    waited: Duration,
    container: &ContainerId,
    turn: impl Future<Output = Held>,
) -> Result<Held, Error> {
    let turn = tokio::time::timeout_at(deadline, turn).await;
    turn.map_err(|_| busy(pipeline, container, waited))
}

/// The container's turn was not free within `waited`.
pub(super) fn busy(pipeline: &Pipeline, container: &ContainerId, waited: Duration) -> Error {
    let holder = pipeline.turns.holder(container);
    Error::Busy {
        container: container.clone(),
        holder: holder.map_or_else(
            || "earlier requests took their turns".to_owned(),
            |holder| holder.to_string(),
        ),
        waited,
    }
}

/// The instant `time` from now, capped at a far future that the clock can represent.
pub(super) fn after(time: Duration) -> Instant {
    /// The cap that tokio uses for timers that never fire.
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    let now = Instant::now();
    now.checked_add(time.min(FAR)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_configured_time_overflows() {
        assert!(after(Duration::MAX) > after(Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn late_work_goes_on() {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let second = Duration::from_secs(1);
        let work = async move {
            tokio::time::sleep(2 * second).await;
            let _ = done.send(());
            Ok(())
        };
        let late = Error::Continues(second);
        let answer = within(after(second), late, work).await;
        assert!(matches!(answer, Err(Error::Continues(_))));
        is_done.await.unwrap();
    }
}
