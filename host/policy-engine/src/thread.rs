//! Threads that end only with the process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Pause before a thread that panicked goes on.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts a thread that runs `work` until it returns. A panic is logged, and `work` is called again.
///
/// # Errors
/// The system has no thread left.
pub(crate) fn keep_running(
    name: &'static str,
    mut work: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let running = thread.spawn(move || {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut work)) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            tracing::error!(
                target: "cnidaria::policy",
                thread = name,
                panic = text,
                "a thread panicked; it goes on"
            );
            std::thread::sleep(PAUSE);
        }
    });
    running.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_outlives_a_panic() {
        let (sender, calls) = mpsc::channel();
        let mut is_first = true;
        keep_running("test", move || {
            sender.send(()).unwrap();
            assert!(!std::mem::take(&mut is_first), "told to fail");
        })
        .unwrap();
        assert_eq!(calls.iter().count(), 2);
    }
}
