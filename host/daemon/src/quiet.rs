//! Moments in which nobody asks for anything.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// For at least so long, and at most twice, nothing has to be asked. Longer than the pauses of a burst,
/// short beside those of a node on which pods come and go.
const QUIET: Duration = Duration::from_secs(1);

/// Calls `act` each time there were no more `answers` for a moment, once until the next answer; at the
/// start too. While all is quiet this waits for an answer and nothing else: no timer runs.
pub(crate) async fn whenever(mut answers: watch::Receiver<u64>, act: impl Fn()) {
    loop {
        loop {
            answers.mark_unchanged();
            sleep(QUIET).await;
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
        let receiver = answers.subscribe();
        let waiting = tokio::spawn(whenever(receiver, move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        sleep(10 * QUIET).await;
        assert_eq!(acted(), 1, "after the start");
        for _ in 0..10 {
            answers.send_modify(|answers| *answers += 1);
            sleep(QUIET / 2).await;
        }
        assert_eq!(acted(), 1, "not between answers");
        sleep(10 * QUIET).await;
        assert_eq!(acted(), 2, "after the last");
        drop(answers);
        waiting.await.unwrap();
    }
}
