//! The slope of repeated measurements, and its confidence.

use std::fmt;

/// A slope this many standard errors from the limit is not noise.
const CERTAIN: f64 = 3.0;

/// A line fitted by least squares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trend {
    slope: f64,
    error: f64,
}

impl Trend {
    /// Fits pairs of position and value; flat for fewer than three.
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes and calls are far below 2^52"
    )]
    pub(crate) fn of(points: impl Iterator<Item = (u64, u64)>) -> Self {
        let points: Vec<(f64, f64)> = points.map(|(x, y)| (x as f64, y as f64)).collect();
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (middle_x, middle_y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(x, _)| (x - middle_x).powi(2)).sum();
        if count < 3.0 || spread == 0.0 {
            return Self {
                slope: 0.0,
                error: 0.0,
            };
        }
        let common: f64 = points
            .iter()
            .map(|(x, y)| (x - middle_x) * (y - middle_y))
            .sum();
        let slope = common / spread;
        let residual = |(x, y): &(f64, f64)| (y - middle_y - slope * (x - middle_x)).powi(2);
        let residuals: f64 = points.iter().map(residual).sum();
        Self {
            slope,
            error: (residuals / (count - 2.0) / spread).sqrt(),
        }
    }

    /// Whether the slope exceeds the limit with confidence.
    pub(crate) fn exceeds(self, limit: f64) -> bool {
        self.slope - CERTAIN * self.error > limit
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.2} ± {:.2}", self.slope, CERTAIN * self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_no_error() {
        let trend = Trend::of((0..10).map(|x| (x, 100 + 5 * x)));
        assert_eq!(trend.to_string(), "+5.00 ± 0.00");
        assert!(trend.exceeds(4.9) && !trend.exceeds(5.1));
    }

    #[test]
    fn noise_is_not_a_trend() {
        let trend = Trend::of((0..100).map(|x| (x, 1000 + (x * 7919) % 101)));
        assert!(!trend.exceeds(0.1), "{trend}");
    }

    #[test]
    fn two_points_say_nothing() {
        assert!(!Trend::of([(0, 0), (1, 1000)].into_iter()).exceeds(0.0));
    }
}
