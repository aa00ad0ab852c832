//! Takes the notes of requests and writes them on a thread of its own.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::form::Recorded;
use super::frame::{Head, MAX_RECORD};
use super::redact::Redactor;
use super::ring::{self, Ring};
use super::tape::{Sink, Tape};
use crate::config::Recording;
use crate::thread;

/// How long requests wait to be written, so that many are written at once.
const GATHER: Duration = Duration::from_millis(250);
/// Requests that may wait; further ones are lost, since memory is bounded.
const MAX_WAITING: usize = 4096;
/// About as many bytes of requests may wait: they keep the confs and edits of ended requests.
const MAX_WAITING_BYTES: usize = 2 * MAX_RECORD;
/// Bytes of records that are written at once.
const PORTION: usize = 1 << 20;
/// How long an operator waits for what is being written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Records requests while it is on.
#[derive(Debug)]
pub struct Recorder {
    settings: Recording,
    is_on: AtomicBool,
    queue: Mutex<Queue>,
    /// Wakes the thread for the first request, and at once if there is an order.
    ready: Condvar,
    /// Wakes those who wait until everything is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Tape>,
    /// About the bytes of those that wait.
    bytes: usize,
    is_writing: bool,
    has_thread: bool,
    /// An operator waits until everything is written.
    hurries: bool,
    requests: u64,
    lost: u64,
    trouble: Option<String>,
}

/// What a recording has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether requests are recorded.
    pub is_on: bool,
    /// The directory.
    pub dir: PathBuf,
    /// The files, the oldest first.
    pub files: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Requests recorded since the daemon started.
    pub requests: u64,
    /// Requests lost since then: too many at once, too large, or not written.
    pub lost: u64,
    /// Why the last requests were not written.
    pub trouble: Option<String>,
}

impl Recorder {
    /// A recorder, which is on if its settings say so.
    pub(crate) fn new(settings: Recording) -> Arc<Self> {
        let at_start = settings.at_start;
        let recorder = Arc::new(Self {
            settings,
            is_on: AtomicBool::new(false),
            queue: Mutex::default(),
            ready: Condvar::new(),
            written: Condvar::new(),
        });
        if at_start && let Err(error) = recorder.start() {
            tracing::error!(
                target: "cnidaria::policy",
                dir = %recorder.settings.dir.display(), %error,
                "cannot record requests",
            );
            recorder.lock().trouble = Some(error.to_string());
        }
        recorder
    }

    /// Whether requests are recorded.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Records requests from now on.
    ///
    /// # Errors
    /// If the directory cannot be used, or no thread be started.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let ring = Ring::open(&self.settings.dir, self.settings.max_bytes)?;
        let mut queue = self.lock();
        if !queue.has_thread {
            let recorder = Arc::clone(self);
            let mut ring = ring;
            thread::keep_running("policy-record", move || recorder.run(&mut ring))?;
            queue.has_thread = true;
        }
        queue.trouble = None;
        self.is_on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Records nothing from now on, and waits until everything is written.
    pub fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        self.flush();
    }

    /// Waits until everything is written, but not for a disk that hangs.
    pub fn flush(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut queue = self.lock();
        queue.hurries = true;
        self.ready.notify_all();
        while queue.has_thread && (queue.is_writing || !queue.waiting.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.written.wait_for(&mut queue, left);
        }
        queue.hurries = false;
    }

    /// What the recording has.
    ///
    /// # Errors
    /// If its directory cannot be read.
    pub fn status(&self) -> io::Result<Status> {
        let segments = match ring::segments(&self.settings.dir) {
            Err(error) if files::is_absent(&error) => Vec::new(),
            other => other?,
        };
        let queue = self.lock();
        Ok(Status {
            is_on: self.is_on(),
            dir: self.settings.dir.clone(),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            files: segments.into_iter().map(|segment| segment.path).collect(),
            requests: queue.requests,
            lost: queue.lost,
            trouble: queue.trouble.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// Writes what is waiting, until recording stops.
    fn run(&self, ring: &mut Ring) {
        let head = Head {
            daemon: env!("CARGO_PKG_VERSION").to_owned(),
            redaction: self.settings.redaction.clone(),
        };
        let redactor = Redactor::new(&self.settings.redaction);
        while let Some(tapes) = self.next() {
            let mut tapes = tapes.into_iter().peekable();
            while tapes.peek().is_some() {
                let records = portion(&mut tapes, &redactor);
                self.append(ring, &records, &head);
            }
            let mut queue = self.lock();
            queue.is_writing = false;
            drop(queue);
            self.written.notify_all();
        }
    }

    /// Appends records to the files.
    fn append(&self, ring: &mut Ring, records: &[Vec<u8>], head: &Head) {
        let count = records.len() as u64;
        let appended = ring.append(records, head);
        let mut queue = self.lock();
        match appended {
            Ok(lost) => {
                queue.requests += count - lost;
                queue.lost += lost;
                queue.trouble = None;
            }
            Err(error) => {
                queue.lost += count;
                // Logged once, not four times a second.
                if queue.trouble.is_none() {
                    tracing::error!(
                        target: "cnidaria::policy",
                        dir = %self.settings.dir.display(), %error,
                        "cannot write recorded requests",
                    );
                }
                queue.trouble = Some(error.to_string());
            }
        }
    }

    /// Waits for requests, and then a moment for more; `None` once recording has stopped.
    fn next(&self) -> Option<Vec<Tape>> {
        let mut queue = self.lock();
        while queue.waiting.is_empty() {
            if !self.is_on() {
                queue.has_thread = false;
                drop(queue);
                self.written.notify_all();
                return None;
            }
            self.ready.wait(&mut queue);
        }
        let deadline = Instant::now() + GATHER;
        while !queue.hurries && self.is_on() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.ready.wait_for(&mut queue, left);
        }
        queue.is_writing = true;
        queue.bytes = 0;
        Some(std::mem::take(&mut queue.waiting))
    }
}

impl Sink for Recorder {
    fn is_on(&self) -> bool {
        Self::is_on(self)
    }

    /// Wakes the thread only for the first request: waking costs more than the rest.
    fn take(&self, tape: Tape) {
        let weight = tape.weight();
        let mut queue = self.lock();
        let bytes = queue.bytes.saturating_add(weight);
        if queue.waiting.len() >= MAX_WAITING || bytes > MAX_WAITING_BYTES {
            queue.lost += 1;
            return;
        }
        queue.waiting.push(tape);
        queue.bytes = bytes;
        let is_first = queue.waiting.len() == 1 && !queue.is_writing;
        drop(queue);
        if is_first {
            self.ready.notify_all();
        }
    }
}

/// The records of the next requests, as many as are written at once.
fn portion(tapes: &mut dyn Iterator<Item = Tape>, redactor: &Redactor) -> Vec<Vec<u8>> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    while bytes < PORTION
        && let Some(tape) = tapes.next()
    {
        let mut recorded = Recorded::of(tape);
        redactor.request(&mut recorded);
        if let Ok(record) = serde_json::to_vec(&recorded) {
            bytes += record.len();
            records.push(record);
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::request::{Command, RequestFacts};

    #[test]
    fn what_waits_to_be_written_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Recording::new(dir.path().join("record"));
        settings.at_start = false;
        let recorder = Recorder::new(settings);
        let tape = |bytes: usize| {
            let mut facts = RequestFacts::of_node(Command::Add);
            let annotation = ("a".to_owned(), "x".repeat(bytes));
            facts.annotations.extend([annotation]);
            Tape::new(Arc::new(facts))
        };
        let counts = || {
            let queue = recorder.lock();
            (queue.waiting.len(), queue.lost)
        };
        // No thread takes them.
        for _ in 0..100 {
            recorder.take(tape(1 << 20));
        }
        assert_eq!(counts(), (15, 85));
        recorder.take(tape(1 << 10));
        assert_eq!(counts(), (16, 85));
        recorder.start().unwrap();
        let until_written = |requests| {
            while recorder.status().unwrap().requests < requests {
                recorder.flush();
            }
        };
        until_written(16);
        assert_eq!(counts(), (0, 85));
        recorder.take(tape(1 << 20));
        until_written(17);
    }
}
