//! Compares two runs: what got slower by more than the normal variation.

use crate::report::{Measure, Report, number};

/// Scores may vary this much between equal runs.
const TOLERANCE: f64 = 1.15;
/// Scores this low are negligible, and so is twice as much.
const NEGLIGIBLE: f64 = 0.05;

/// What got slower or larger, one line each.
pub(crate) fn slower(stored: &Report, new: &Report) -> Vec<String> {
    let before = |name: &str| stored.measures.iter().find(|one| one.name == name);
    let line = |now: &Measure| {
        let (was, is) = (before(&now.name)?.score?, now.score?);
        let worse = is > was * TOLERANCE && is > NEGLIGIBLE;
        worse.then(|| {
            let change = match was {
                was if was > 0.0 => format!(", {:+.0} %", (is / was - 1.0) * 100.0),
                _ => String::new(),
            };
            format!(
                "{}: {}: {} was {}{change}",
                now.name,
                now.what,
                number(is),
                number(was),
            )
        })
    };
    new.measures.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Samples;

    fn report(score: f64) -> Report {
        let mut report = Report::default();
        report.scored("a", "an ADD", "ms", &Samples::default(), score);
        report.measure("b", "no ratio", "ms", &Samples::default());
        report
    }

    #[test]
    fn slower_calls_are_named_with_both_scores() {
        let slower = slower(&report(1.5), &report(1.8));
        assert_eq!(slower, ["a: an ADD: 1.80 was 1.50, +20 %"]);
    }

    #[test]
    fn noise_and_improvements_are_not_named() {
        assert!(slower(&report(1.5), &report(1.6)).is_empty());
        assert!(slower(&report(1.5), &report(0.5)).is_empty());
    }

    #[test]
    fn growth_from_zero_has_no_percentage() {
        let slower = slower(&report(0.0), &report(1.8));
        assert_eq!(slower, ["a: an ADD: 1.80 was 0"]);
    }

    #[test]
    fn new_measurements_are_never_slower() {
        assert!(slower(&Report::default(), &report(9.0)).is_empty());
    }
}
