//! A thread that does what the caller must not, or need not, do on its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does one thing after the other. It ends with the last clone of this.
///
/// Whoever starts a process waits until it has begun to execute its binary, which takes about as long as
/// all else that a caller does for it. One that has other things to do meanwhile lets a helper wait
/// ([`Cni::with_helper`](crate::Cni::with_helper)).
#[derive(Debug, Clone)]
pub struct Helper {
    work: mpsc::Sender<Work>,
}

impl Helper {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start() -> io::Result<Self> {
        Self::prepared("helper", || Ok(()))
    }

    /// Starts the thread, which prepares itself first.
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
                        // Whoever waits for it is told; who comes next needs the thread.
                        let _ = catch_unwind(AssertUnwindSafe(work));
                    }
                }
            })?;
        outcome
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))?;
        Ok(Self { work: sender })
    }

    /// Does something on the thread. One thing is done at a time, so it should be short.
    ///
    /// Where the caller does not wait for it any more, what it gives is dropped.
    ///
    /// # Errors
    /// Only when it panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done, outcome) = oneshot::channel();
        let panicked = || io::Error::other("what was to be done on the thread panicked");
        let work = Box::new(move || {
            // Nobody waits any more when the call was given up.
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
    async fn what_panics_fails_alone() {
        let helper = Helper::start().unwrap();
        let failed: io::Result<()> = helper.run(|| unreachable!("as a defect would")).await;
        assert!(failed.unwrap_err().to_string().contains("panicked"));
        assert_eq!(helper.run(|| 7).await.unwrap(), 7);
    }
}
