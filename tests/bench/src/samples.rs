//! Measured numbers and their statistics.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Samples of one quantity, in order of measurement. Durations are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

/// The statistics kept in a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Number of samples.
    pub(crate) count: usize,
    pub(crate) median: f64,
    /// The quartiles: half of all samples lie between them.
    pub(crate) p25: f64,
    pub(crate) p75: f64,
    pub(crate) p99: f64,
}

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn push_time(&mut self, time: Duration) {
        self.push(milliseconds(time));
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The value below which `share` of the samples lie; zero without samples.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        // Nearest rank: always a measured value.
        let rank = (share * last as f64).round() as usize;
        sorted.get(rank).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            count: self.0.len(),
            median: self.median(),
            p25: self.quantile(0.25),
            p75: self.quantile(0.75),
            p99: self.quantile(0.99),
        }
    }

    /// Combines samples of the same round, so that a temporarily slow machine affects both sides.
    pub(crate) fn pairs(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        Self(pairs.map(|(one, other)| combine(*one, *other)).collect())
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let samples: Samples = [5.0, 1.0, 3.0, 2.0, 4.0].into_iter().collect();
        assert_eq!(samples.median(), 3.0);
        assert_eq!(samples.quantile(0.0), 1.0);
        assert_eq!(samples.quantile(0.99), 5.0);
        assert_eq!(Samples::default().median(), 0.0);
    }

    #[test]
    fn paired_differences_cancel_slow_rounds() {
        let whole: Samples = [3.0, 30.0, 4.0].into_iter().collect();
        let part: Samples = [2.0, 29.0, 3.0].into_iter().collect();
        assert_eq!(whole.pairs(&part, |w, p| w - p).quantile(1.0), 1.0);
    }
}
