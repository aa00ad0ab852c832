//! Detects idle periods.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// An idle period begins after one to two of these without a response. Longer than the pauses in a
/// burst, short compared with those on a node where pods come and go.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Calls `act` at the beginning of each idle period, also once after the start. While idle this
/// only waits for the next response; no timer runs.
pub(crate) async fn on_idle(answers: &mut watch::Receiver<u64>, act: impl Fn()) {
    loop {
        loop {
            answers.mark_unchanged();
            sleep(IDLE_AFTER).await;
            match answers.has_changed() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return,
            }
        }
        act();
        if answers.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_acts_once_in_each_pause() {
        let answers = watch::Sender::new(0);
        let acts = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&acts);
        let acted = || acts.load(Ordering::Relaxed);
        let mut receiver = answers.subscribe();
        let waiting = tokio::spawn(async move {
            let act = move || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            on_idle(&mut receiver, act).await;
        });
        sleep(10 * IDLE_AFTER).await;
        assert_eq!(acted(), 1, "after the start");
        for _ in 0..10 {
            answers.send_modify(|answers| *answers += 1);
            sleep(IDLE_AFTER / 2).await;
        }
        assert_eq!(acted(), 1, "not between answers");
        sleep(10 * IDLE_AFTER).await;
        assert_eq!(acted(), 2, "after the last");
        drop(answers);
        waiting.await.unwrap();
    }
}
