//! What everything is measured in: what it costs on this machine, at this moment, to start a process.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::program::Program;
use crate::target::Target;

/// Y on the machine on which the goals in milliseconds were set. They are held to in units of Y.
pub(crate) const REFERENCE_Y: f64 = 0.72;

/// The two programs that do nothing.
#[derive(Debug, Clone)]
pub(crate) struct Yardsticks {
    /// Y: the static delegate that does nothing, called as the daemon calls it and started by the C
    /// library, as any program starts another. No daemon can be much faster than the delegates that it
    /// has to execute.
    pub(crate) noop: Program,
    /// T: `/bin/true`. No plugin binary can be faster than a program that does nothing.
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

    /// How many no-op delegates a second this machine can execute, `at_once` at a time: what bounds
    /// every burst.
    pub(crate) fn rate(&self, at_once: usize, count: usize) -> Result<f64, Error> {
        let (elapsed, _) = at_the_same_time(at_once, |_| {
            (0..count / at_once).try_for_each(|_| self.noop.succeed().map(drop))
        })?;
        Ok((count / at_once * at_once) as f64 / elapsed.as_secs_f64())
    }
}

/// Does something on `count` threads at once. Gives the time until the last has done it, and what
/// each found.
pub(crate) fn at_the_same_time<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<(Duration, Vec<T>), Error> {
    let barrier = Barrier::new(count + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(number)
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let mut found = Vec::with_capacity(count);
        for thread in threads {
            match thread.join() {
                Ok(done) => found.push(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok((start.elapsed(), found))
    })
}
