//! A running process's memory and CPU time, from the kernel.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;

/// A tick of `/proc/<pid>/stat`: 100 per second on every architecture since Linux 2.6.
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// The process that listens on a socket.
    pub(crate) fn listening_on(socket: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket).map_err(Error::file(socket))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|errno| Error::file(socket)(errno.into()))?;
        Ok(Self(peer.pid.as_raw_nonzero().get().unsigned_abs()))
    }

    /// Resident memory in MiB.
    pub(crate) fn resident(self) -> Result<f64, Error> {
        self.status("VmRSS:")
    }

    /// Peak resident memory in MiB since the start or [`Process::forget_peak`].
    pub(crate) fn peak(self) -> Result<f64, Error> {
        self.status("VmHWM:")
    }

    /// Resets the peak.
    pub(crate) fn forget_peak(self) -> Result<(), Error> {
        let path = format!("/proc/{}/clear_refs", self.0);
        fs::write(&path, "5").map_err(Error::file(path))
    }

    /// CPU time of all its threads so far, including ended ones, without its children's.
    pub(crate) fn cpu(self) -> Result<Duration, Error> {
        let path = format!("/proc/{}/stat", self.0);
        let stat = fs::read_to_string(&path).map_err(Error::file(&path))?;
        // The name, in brackets, may contain anything; user and system time are 12 and 13 after it.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u32>().ok())
            .sum::<u32>();
        Ok(TICK * ticks)
    }

    /// CPU time of its current threads, in nanoseconds: a nearly idle process uses less than a
    /// tick.
    pub(crate) fn cpu_of_threads(self) -> Result<Duration, Error> {
        let tasks = format!("/proc/{}/task", self.0);
        let mut all = Duration::ZERO;
        for task in fs::read_dir(&tasks).map_err(Error::file(&tasks))? {
            let path = task.map_err(Error::file(&tasks))?.path().join("schedstat");
            // The thread has just ended.
            let Ok(times) = fs::read_to_string(&path) else {
                continue;
            };
            let running = times.split_ascii_whitespace().next();
            let running = running.and_then(|time| time.parse().ok());
            all += Duration::from_nanos(running.unwrap_or_default());
        }
        Ok(all)
    }

    fn status(self, key: &str) -> Result<f64, Error> {
        let path = format!("/proc/{}/status", self.0);
        let status = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|number| number.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| Error::Failed {
            what: format!("reading {path}"),
            said: format!("no {key}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_cpu_time_are_measured() {
        let own = Process(std::process::id());
        assert!(own.resident().unwrap() > 0.1);
        assert!(own.peak().unwrap() >= own.resident().unwrap() / 2.0);
        let before = own.cpu().unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_secs(5) && own.cpu().unwrap() < before + 5 * TICK {}
        assert!(own.cpu().unwrap() > before);
        assert!(own.cpu_of_threads().unwrap() > Duration::ZERO);
    }
}
