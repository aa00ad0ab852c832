//! A thread for work that its caller cannot, or should not, do itself.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that runs work sequentially. It ends when the last clone is dropped.
///
/// Starting a process blocks until its exec, about as long as the rest of a call takes. Callers
/// with other work leave that wait to a helper ([`Cni::with_helper`](crate::Cni::with_helper)).
#[derive(Debug, Clone)]
pub struct Helper {
    work: mpsc::Sender<Work>,
}

impl Helper {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system error.
    pub fn start() -> io::Result<Self> {
        Self::prepared("helper", || Ok(()))
    }

    /// Starts the thread, which first runs a preparation.
    ///
    /// # Errors
    /// As [`start`](Self::start), and those of the preparation.
    pub(crate) fn prepared(
        name: &str,
        prepare: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, works) = mpsc::channel::<Work>();
        let (prepared, outcome) = mpsc::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let result = prepare();
                let is_ready = result.is_ok();
                if prepared.send(result).is_ok() && is_ready {
                    for work in works {
                        // The waiting caller gets an error; later callers still need the thread.
                        let _ = catch_unwind(AssertUnwindSafe(work));
                    }
                }
            })?;
        outcome
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))?;
        Ok(Self { work: sender })
    }

    /// Runs `work` on the thread. Work is serialised, so it should be short.
    ///
    /// If the caller stops waiting, the result is dropped.
    ///
    /// # Errors
    /// Only when the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done, outcome) = oneshot::channel();
        let panicked = || io::Error::other("what was to be done on the thread panicked");
        let work = Box::new(move || {
            // The receiver is gone when the call was cancelled.
            let _ = done.send(work());
        });
        self.work.send(work).map_err(|_| panicked())?;
        outcome.await.map_err(|_| panicked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_alone() {
        let helper = Helper::start().unwrap();
        let failed: io::Result<()> = helper.run(|| unreachable!("as a defect would")).await;
        assert!(failed.unwrap_err().to_string().contains("panicked"));
        assert_eq!(helper.run(|| 7).await.unwrap(), 7);
    }
}
