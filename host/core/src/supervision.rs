//! Background tasks. One that panics is logged by name and started again after a growing pause; none
//! dies unnoticed.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The initial pause before a restart; each further panic doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A task that ran for this long starts again after the initial pause.
const STEADY: Duration = Duration::from_secs(600);

/// Starts a task that works on `state` until `run` returns. After a panic, `run` is called again with
/// the state that the panic left.
pub fn spawn<S: Send + 'static>(
    task: &'static str,
    state: S,
    run: impl for<'a> FnMut(&'a mut S) -> BoxFuture<'a, ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(keep_running(task, state, run))
}

/// The same in the caller's task.
pub async fn keep_running<S>(
    task: &'static str,
    mut state: S,
    mut run: impl for<'a> FnMut(&'a mut S) -> BoxFuture<'a, ()>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let running = async { run(&mut state).await };
        let Err(panic) = AssertUnwindSafe(running).catch_unwind().await else {
            return;
        };
        if begun.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        tracing::error!(
            task,
            panic = message(&*panic),
            again_in_seconds = pause.as_secs(),
            "a background task panicked; the daemon starts it again"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Logs a panic of work that is done once. Returns `None` then.
pub async fn once<T>(task: &'static str, work: impl Future<Output = T>) -> Option<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => Some(done),
        Err(panic) => {
            let panic = message(&*panic);
            tracing::error!(task, panic, "work in the background panicked");
            None
        }
    }
}

/// What a panic said.
pub fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_starts_again() {
        let starts = Arc::new(AtomicU32::new(0));
        let state = (Arc::clone(&starts), Vec::new());
        let task = spawn("test", state, |(starts, kept)| {
            Box::pin(async move {
                kept.push(starts.fetch_add(1, Ordering::Relaxed));
                assert!(kept.len() > 3, "told to fail");
                assert_eq!(*kept, [0, 1, 2, 3], "the state is kept");
            })
        });
        task.await.unwrap();
        assert_eq!(starts.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_bounded() {
        let starts = Arc::new(AtomicU32::new(0));
        let task = spawn("test", Arc::clone(&starts), |starts| {
            starts.fetch_add(1, Ordering::Relaxed);
            panic!("told to fail")
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let starts = starts.load(Ordering::Relaxed);
        assert!((60..=70).contains(&starts), "{starts}");
        task.abort();
    }

    #[tokio::test]
    async fn one_time_work_reports_its_panic() {
        assert_eq!(once("test", async { 7 }).await, Some(7));
        let failed: Option<u8> = once("test", async { unreachable!("told to fail") }).await;
        assert_eq!(failed, None);
    }
}
