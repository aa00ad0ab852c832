//! Cooperative cancellation, for port calls whose futures cannot be dropped at any point.

use tokio::sync::watch;

/// The worker's side: whether the work is still wanted.
#[derive(Debug, Clone)]
pub struct Wanted(watch::Receiver<bool>);

/// The caller's side: cancels the work. Dropping it does not cancel.
#[derive(Debug)]
pub struct GiveUp(watch::Sender<bool>);

impl Wanted {
    /// Creates both sides; the work is wanted until [`GiveUp::now`].
    pub fn channel() -> (GiveUp, Self) {
        let (give_up, wanted) = watch::channel(true);
        (GiveUp(give_up), Self(wanted))
    }

    /// Whether the work is wanted at this moment.
    pub fn is_still(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for cancellation.
    pub async fn not_any_more(&mut self) {
        if self.0.wait_for(|wanted| !wanted).await.is_err() {
            // The caller's side was dropped: cancellation can no longer happen.
            std::future::pending().await
        }
    }
}

impl GiveUp {
    /// Cancels the work.
    pub fn now(&self) {
        self.0.send_replace(false);
    }
}
