//! Whether anybody still wants what a port is doing, for work that cannot be dropped at any point.

use tokio::sync::watch;

/// Asked by whoever works.
#[derive(Debug, Clone)]
pub struct Wanted(watch::Receiver<bool>);

/// Held by whoever wants the work done. Dropping it changes nothing.
#[derive(Debug)]
pub struct GiveUp(watch::Sender<bool>);

impl Wanted {
    /// Work that is wanted until [`GiveUp::now`].
    pub fn channel() -> (GiveUp, Self) {
        let (give_up, wanted) = watch::channel(true);
        (GiveUp(give_up), Self(wanted))
    }

    /// At this moment.
    pub fn is_still(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is not.
    pub async fn not_any_more(&mut self) {
        if self.0.wait_for(|wanted| !wanted).await.is_err() {
            // Nobody is left who could give up.
            std::future::pending().await
        }
    }
}

impl GiveUp {
    /// The work is not wanted from now on.
    pub fn now(&self) {
        self.0.send_replace(false);
    }
}
