//! Whether a daemon's resources grew during a run. The first quarter is warm-up: threads start, and
//! the allocator gets its pages.

use std::fmt;

use crate::sample::Sample;
use crate::trend::Trend;

/// Memory that grows by less per call, averaged over all verbs, is not a leak: an allocation takes
/// at least 16 bytes, and a pod's life has five calls. The smallest detectable growth depends on
/// the number of calls, and is printed with the trend.
const LEAK_BYTES: f64 = 1.0;

/// Memory as trends over all samples; countable resources by their medians in the second and the
/// last quarter of the run.
#[derive(Debug)]
pub(crate) struct Verdict {
    calls: u64,
    /// The allocator's pages, in bytes per call.
    pages: Trend,
    /// What the allocator has given out, in bytes per call.
    live: Trend,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    before: u64,
    after: u64,
}

impl Verdict {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let quarter = samples.len() / 4;
        let warm = samples.get(quarter..).unwrap_or_default();
        let second = samples.get(quarter..2 * quarter).unwrap_or_default();
        let last = samples.get(3 * quarter..).unwrap_or_default();
        let row = |name, of: fn(&Sample) -> u64| Row {
            name,
            before: median(second.iter().map(of)),
            after: median(last.iter().map(of)),
        };
        let pages = warm
            .iter()
            .map(|sample| (sample.calls, sample.memory_kib * 1024));
        let live = warm.iter().map(|sample| (sample.calls, sample.live_bytes));
        Self {
            calls: samples.last().map_or(0, |sample| sample.calls),
            pages: Trend::of(pages),
            live: Trend::of(live),
            rows: vec![
                row("threads", |sample| sample.threads),
                row("descriptors", |sample| sample.descriptors),
                row("children", |sample| sample.children),
                row("files", |sample| sample.files),
                row("interfaces", |sample| sample.interfaces),
            ],
        }
    }

    pub(crate) fn is_flat(&self) -> bool {
        let trends = [&self.pages, &self.live];
        !trends.iter().any(|trend| trend.exceeds(LEAK_BYTES)) && self.rows.iter().all(Row::is_flat)
    }
}

impl Row {
    fn is_flat(&self) -> bool {
        self.after <= self.before
    }
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn word(is_flat: bool) -> &'static str {
    if is_flat { "flat" } else { "GREW" }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "after {} calls, second quarter and last quarter:",
            self.calls
        )?;
        for row in &self.rows {
            let Row {
                name,
                before,
                after,
                ..
            } = row;
            let word = word(row.is_flat());
            writeln!(f, "{name:>15} {before:8} {after:8}  {word}")?;
        }
        for (name, trend) in [
            ("anonymous pages", &self.pages),
            ("live memory", &self.live),
        ] {
            let word = word(!trend.exceeds(LEAK_BYTES));
            writeln!(
                f,
                "{name} over calls: {trend} bytes a call, {word}; a leak from {LEAK_BYTES} on"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(calls: u64, memory_kib: u64, files: u64) -> Sample {
        Sample {
            after: Duration::ZERO,
            calls,
            memory_kib,
            live_bytes: memory_kib * 1024,
            threads: 1,
            descriptors: 1,
            children: 0,
            files,
            interfaces: 0,
        }
    }

    /// An hour with a sample every ten seconds, 1,000 calls each, whose memory varies by 700 KiB
    /// and grows by this many bytes per call.
    fn hour(leak: u64) -> Vec<Sample> {
        let noise = |n: u64| (n * 7919) % 1400 / 2;
        let leaked = |n: u64| leak * n * 1000 / 1024;
        let samples = (0..360).map(|n| sample(n * 1000, 6000 + noise(n) + leaked(n), 3));
        samples.collect()
    }

    #[test]
    fn warming_up_is_not_growth() {
        let warming = [1000, 9000, 9100, 9000, 9050, 9020, 9080, 9010];
        let samples = warming.iter().zip(1..);
        let samples: Vec<_> = samples.map(|(kib, n)| sample(n * 1000, *kib, 3)).collect();
        assert!(Verdict::of(&samples).is_flat());
    }

    #[test]
    fn oscillation_is_not_growth() {
        let verdict = Verdict::of(&hour(0));
        assert!(verdict.is_flat(), "{verdict}");
    }

    #[test]
    fn small_leak_is_detected_in_an_hour() {
        for leak in [3, 16, 1000] {
            let verdict = Verdict::of(&hour(leak));
            assert!(!verdict.is_flat(), "{leak}: {verdict}");
        }
    }

    #[test]
    fn a_file_more_is_growth() {
        let files: Vec<_> = (0..8).map(|n| sample(n, 9000, n)).collect();
        assert!(!Verdict::of(&files).is_flat());
    }
}
