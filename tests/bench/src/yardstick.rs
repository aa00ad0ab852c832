//! The unit of all measurements: the cost of starting a process on this machine at this moment.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::program::Program;
use crate::target::Target;

/// Y in milliseconds on the reference machine, where the goals were set; they scale with Y.
pub(crate) const REFERENCE_Y: f64 = 0.72;

/// Two programs that do nothing.
#[derive(Debug, Clone)]
pub(crate) struct Yardsticks {
    /// Y: the static no-op delegate, called as the daemon calls delegates but started by the C
    /// library, like any program. Daemons cannot be much faster than the delegates they execute.
    pub(crate) noop: Program,
    /// T: `/bin/true`, the lower bound for any plugin binary.
    pub(crate) nothing: Program,
}

impl Yardsticks {
    pub(crate) fn new(noop: &Path, target: &Target) -> Self {
        let env = target.variables("ADD", "yardstick", "yardstick");
        Self {
            noop: Program {
                path: noop.to_owned(),
                env: env.into_iter().collect(),
                stdin: br#"{"cniVersion":"1.0.0","name":"cluster","type":"noop"}"#.to_vec(),
            },
            nothing: Program::new("/bin/true"),
        }
    }

    pub(crate) fn y(&self) -> Result<Duration, Error> {
        Ok(self.noop.succeed()?.took)
    }

    pub(crate) fn t(&self) -> Result<Duration, Error> {
        Ok(self.nothing.succeed()?.took)
    }

    /// No-op delegates per second that this machine can execute, `at_once` at a time: the upper
    /// bound of every burst.
    pub(crate) fn rate(&self, at_once: usize, count: usize) -> Result<f64, Error> {
        let (elapsed, _) = at_the_same_time(at_once, |_| {
            (0..count / at_once).try_for_each(|_| self.noop.succeed().map(drop))
        })?;
        Ok((count / at_once * at_once) as f64 / elapsed.as_secs_f64())
    }
}

/// Runs `work` on `count` threads concurrently. Returns the time from the first start to the last
/// end, and the results.
pub(crate) fn at_the_same_time<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<(Duration, Vec<T>), Error> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    // Taken per thread: a common start time could be late on a busy machine.
                    let begin = Instant::now();
                    let done = work(number);
                    (begin, Instant::now(), done)
                })
            })
            .collect();
        let mut found = Vec::with_capacity(count);
        let (mut first, mut last) = (None, None);
        for thread in threads {
            match thread.join() {
                Ok((begin, end, done)) => {
                    first = first.into_iter().chain([begin]).min();
                    last = last.into_iter().chain([end]).max();
                    found.push(done?);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let elapsed = first.zip(last).map(|(first, last)| last - first);
        Ok((elapsed.unwrap_or_default(), found))
    })
}
