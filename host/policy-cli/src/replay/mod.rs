//! `cnidaria policy replay`: which verdicts and edits of recorded requests a module would change.

mod compare;
mod read;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use policy_engine::Hook;
use policy_engine::record::{Recorded, Redactor};
use policy_engine::trial::{Loaded, Replay};

use crate::policy::{self, Policy};
use crate::{Output, runtime};
use compare::{Compared, Difference};
use read::Recording;

/// Differences that are kept to be shown; more are only counted.
const MAX_SHOWN: usize = 100_000;
/// Requests that a thread takes at a time.
const BATCH: usize = 32;
/// Calls that time out before the replay ends: each takes half a minute.
const MAX_TIMEOUTS: usize = 10;
/// Interval of the progress on a terminal.
const PROGRESS: Duration = Duration::from_millis(200);

/// What to replay.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The recording: a file of `policy record export`, or the daemon's directory
    #[arg(value_name = "RECORDING")]
    recording: PathBuf,
    /// The component, a .wasm file
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// The policy's configuration; by default, an empty one
    #[arg(long, value_name = "JSON")]
    config: Option<PathBuf>,
    /// Name of the recorded policy to compare with
    ///
    /// By default the policy with the name of the configuration or module, or the only one that the
    /// recording has.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Number of threads; by default, that of the processors
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy is not usable.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// The recording cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not a recording.
    #[error("{path} is not a recording of `cnidaria policy record`", path = path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
    },
    /// A record is not one of this version.
    #[error("{path}: request {number} cannot be read by this version", path = path.display())]
    Record {
        /// The file or directory.
        path: PathBuf,
        /// The request's number, from 1.
        number: usize,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The recording has no request.
    #[error("{path} has no requests", path = path.display())]
    Empty {
        /// The file or directory.
        path: PathBuf,
    },
    /// The recorded policy is not known.
    #[error("the recording does not have the policy {name:?}; {hint}; name one with --policy")]
    UnknownPolicy {
        /// The wanted policy.
        name: String,
        /// The recorded ones.
        hint: String,
    },
}

/// What came of all requests.
#[derive(Debug, Default)]
struct Total {
    requests: usize,
    /// Requests that would change.
    changed: usize,
    /// The first differences, by the number of the request.
    differences: Vec<(usize, Difference)>,
    /// Number of all differences.
    count: usize,
    /// Calls that cannot be compared, by the reason.
    incomparable: BTreeMap<&'static str, usize>,
    /// What the record lacks, by the number of requests that asked for it.
    missing: BTreeMap<String, usize>,
    hooks: BTreeSet<Hook>,
}

impl Total {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.changed += other.changed;
        self.count += other.count;
        self.differences.extend(other.differences);
        for (reason, count) in other.incomparable {
            *self.incomparable.entry(reason).or_default() += count;
        }
        for (what, count) in other.missing {
            *self.missing.entry(what).or_default() += count;
        }
        self.hooks.extend(other.hooks);
    }
}

/// Replays the recording. The exit code is 3 if something would change.
///
/// # Errors
/// [`Error`] if a file is not usable.
pub fn replay(args: &ReplayArgs, is_json: bool) -> Result<Output, Error> {
    let policy = Policy::open(&args.module, args.config.as_deref())?;
    let loaded = runtime().block_on(policy.load())?;
    let recording = Recording::open(&args.recording)?;
    let (records, skipped) = recording.records();
    if records.is_empty() {
        return Err(Error::Empty {
            path: args.recording.clone(),
        });
    }
    let wanted = args.policy.as_deref();
    let name = read::policy(wanted, &policy.name(), &records)?;
    let begun = Instant::now();
    let threads = args.threads.map_or_else(processors, usize::from);
    let total = Run::of(&args.recording, &records, &name).all(&loaded, threads)?;
    let replayed = report::Replayed {
        policy: &name,
        total: &total,
        duration: begun.elapsed(),
        left: records.len() - total.requests,
        skipped,
        unseen: policy
            .compiled
            .hooks()
            .into_iter()
            .filter(|hook| *hook != Hook::Configure && !total.hooks.contains(hook))
            .collect(),
    };
    let text = match is_json {
        true => report::json(&replayed),
        false => report::text(&replayed),
    };
    let code = replayed.code();
    Ok(Output { text, code })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Shows how far the threads are, if standard error is a terminal.
fn progress(next: &AtomicUsize, all: usize, is_done: impl Fn() -> bool) {
    let mut stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    while !is_done() {
        let done = next.load(Ordering::Relaxed).min(all);
        // A terminal that does not take the progress gets the result all the same.
        let _ = write!(stderr, "\r{done} of {all} requests");
        let _ = stderr.flush();
        std::thread::sleep(PROGRESS);
    }
    let _ = write!(stderr, "\r\u{1b}[K");
}

/// One replay, shared by its threads.
struct Run<'r> {
    path: &'r Path,
    records: &'r [read::Record<'r>],
    name: &'r str,
    /// Time limit of one call; `None` for that of the engine.
    call: Option<Duration>,
    /// The next record that no thread has taken.
    next: AtomicUsize,
    /// Calls that timed out.
    timeouts: AtomicUsize,
}

impl<'r> Run<'r> {
    fn of(path: &'r Path, records: &'r [read::Record<'r>], name: &'r str) -> Self {
        Self {
            path,
            records,
            name,
            call: None,
            next: AtomicUsize::new(0),
            timeouts: AtomicUsize::new(0),
        }
    }

    /// Replays the records on several threads, and shows how far they are.
    fn all(&self, loaded: &Loaded, threads: usize) -> Result<Total, Error> {
        let mut total = Total::default();
        std::thread::scope(|scope| {
            let work = || scope.spawn(|| self.work(loaded));
            let workers: Vec<_> = (0..threads).map(|_| work()).collect();
            progress(&self.next, self.records.len(), || {
                workers.iter().all(|worker| worker.is_finished())
            });
            for worker in workers {
                let done = worker.join();
                total.add(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok::<_, Error>(())
        })?;
        total.differences.sort_by_key(|(number, _)| *number);
        Ok(total)
    }

    /// Replays records until none is left, or too many calls have timed out.
    fn work(&self, loaded: &Loaded) -> Result<Total, Error> {
        let mut total = Total::default();
        let replay = match self.call {
            Some(limit) => loaded.replay_within(limit),
            None => loaded.replay(),
        };
        runtime().block_on(async {
            loop {
                let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
                let batch = self.records.iter().enumerate().skip(first).take(BATCH);
                if batch.len() == 0 {
                    return Ok::<_, Error>(());
                }
                for (index, record) in batch {
                    if self.timeouts.load(Ordering::Relaxed) >= MAX_TIMEOUTS {
                        return Ok(());
                    }
                    let failed = |source| Error::Record {
                        path: self.path.to_owned(),
                        number: index + 1,
                        source,
                    };
                    self.request(&replay, (index, record), &mut total)
                        .await
                        .map_err(failed)?;
                }
            }
        })?;
        Ok(total)
    }

    async fn request(
        &self,
        replay: &Replay,
        (index, record): (usize, &read::Record<'_>),
        total: &mut Total,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let recorded: Recorded = serde_json::from_slice(record.bytes)?;
        let replayed = replay.request(&recorded, self.name).await?;
        total.requests += 1;
        total
            .hooks
            .extend(recorded.calls.iter().map(|call| call.hook));
        for what in &replayed.missing {
            *total.missing.entry(what.clone()).or_default() += 1;
        }
        let timeouts = replayed
            .turns
            .iter()
            .flatten()
            .filter(|turn| turn.timed_out());
        self.timeouts.fetch_add(timeouts.count(), Ordering::Relaxed);
        let redactor: &Redactor = &record.redactor;
        let mut is_changed = false;
        for (call, new) in recorded.calls.iter().zip(&replayed.turns) {
            let sides = (self.name, new.as_ref());
            match compare::compare(&recorded.facts, call, sides, redactor)? {
                Compared::Same => {}
                Compared::Not(reason) => *total.incomparable.entry(reason).or_default() += 1,
                Compared::Different(differences) => {
                    is_changed = true;
                    total.count += differences.len();
                    let room = MAX_SHOWN.saturating_sub(total.differences.len());
                    let shown = differences.into_iter().take(room);
                    total.differences.extend(shown.map(|one| (index, one)));
                }
            }
        }
        total.changed += usize::from(is_changed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use policy_engine::trial::{Compiled, Configuration};
    use serde_json::json;

    use super::*;
    use crate::FAILED;

    /// A policy whose hook status never returns.
    const SPINNING: &str = r#"(component
        (component $hook
            (type $f (func (result (result (error string)))))
            (import "status" (func $g (type $f)))
            (export "status" (func $g)))
        (core module $m (memory (export "memory") 1)
            (func (export "status") (result i32) (loop $again (br $again)) unreachable))
        (core instance $i (instantiate $m))
        (func $status (result (result (error string)))
            (canon lift (core func $i "status") (memory (core memory $i "memory"))))
        (instance $hook-instance (instantiate $hook (with "status" (func $status))))
        (export "cnidaria:policy/status@0.1.0" (instance $hook-instance)))"#;

    /// A recorded STATUS in which the policy `p` had timed out, so that its call is not compared.
    fn recorded() -> String {
        let answer = json!({"failed": {"cause": "timeout", "reason": "its 50 ms"}});
        let turn = json!({"policy": "p", "digest": "", "answer": answer});
        let facts = json!({"command": "STATUS", "containerId": "", "labels": {}, "annotations": {},
            "pod": null, "namespaceLabels": null, "nodeName": ""});
        let call = json!({"hook": "status", "offered": "status", "turns": [turn]});
        json!({"atUnixMs": 0, "facts": facts, "calls": [call]}).to_string()
    }

    #[test]
    fn ten_timeouts_end_the_replay_with_code_3() {
        let module = wat::parse_str(SPINNING).unwrap();
        let compiled = Compiled::new(&module).unwrap();
        let configuration = Configuration::parse("p", Path::new("p.json"), "{}").unwrap();
        let loaded = runtime()
            .block_on(compiled.load(&configuration))
            .map_err(|refusal| refusal.to_string())
            .unwrap();
        let (bytes, redactor) = (recorded(), Arc::new(Redactor::default()));
        let record = || read::Record {
            bytes: bytes.as_bytes(),
            redactor: Arc::clone(&redactor),
        };
        let records: Vec<_> = (0..100).map(|_| record()).collect();
        let mut run = Run::of(Path::new("requests.rec"), &records, "p");
        run.call = Some(Duration::from_millis(2));
        let total = run.all(&loaded, 2).unwrap();
        // The other thread may be in a call when the tenth times out.
        assert!((10..=11).contains(&total.requests), "{}", total.requests);
        assert_eq!(total.count, 0);
        let left = records.len() - total.requests;
        let replayed = report::Replayed {
            policy: "p",
            total: &total,
            duration: Duration::from_secs(1),
            left,
            skipped: 0,
            unseen: Vec::new(),
        };
        assert_eq!(replayed.code(), FAILED);
        let note =
            format!("note: {left} requests are not replayed: the policy timed out too often");
        let text = report::text(&replayed);
        assert!(text.contains(&note), "{text}");
        let said: serde_json::Value = serde_json::from_str(&report::json(&replayed)).unwrap();
        assert_eq!(said.get("notReplayed"), Some(&json!(left)));
    }
}
