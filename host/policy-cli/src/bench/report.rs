//! What a measurement prints.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Measured;
use crate::build::summary::size;
use crate::plain;

/// The smallest, the middle, and the one that 99 of 100 do not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spread<T> {
    min: T,
    median: T,
    p99: T,
}

impl<T: Copy + Ord + Default> Spread<T> {
    fn of(values: &[T]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let at = |share: usize| {
            let index = (sorted.len().saturating_sub(1) * share).div_ceil(100);
            sorted.get(index).copied().unwrap_or_default()
        };
        Self {
            min: at(0),
            median: at(50),
            p99: at(99),
        }
    }
}

/// A table.
pub(super) fn text(measured: &Measured) -> String {
    let mut text = format!(
        "module         {}, compiled in {} to {}\n",
        size(measured.module_bytes),
        time(measured.compilation),
        size(measured.code_bytes),
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<14} {:>7} {:>10} {:>10} {:>10} {:>12}",
        "", "CALLS", "MIN", "MEDIAN", "P99", "MEMORY"
    );
    let mut row = |name: &str, durations: &[Duration], memory: &str| {
        let spread = Spread::of(durations);
        let _ = writeln!(
            text,
            "{name:<14} {:>7} {:>10} {:>10} {:>10} {memory:>12}",
            durations.len(),
            time(spread.min),
            time(spread.median),
            time(spread.p99),
        );
    };
    row("instantiation", &measured.instantiation, "");
    for (hook, calls) in &measured.hooks {
        let memory = usize::try_from(Spread::of(&calls.memory).p99).unwrap_or(usize::MAX);
        row(hook.as_str(), &calls.durations, &size(memory));
    }
    for (reason, count) in &measured.failures {
        let _ = writeln!(text, "{count} ADDs failed: {}", plain(reason));
    }
    text
}

fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        0.0..1_000.0 => format!("{micros:.1} µs"),
        1_000.0..1_000_000.0 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

/// Times in nanoseconds, sizes in bytes.
pub(super) fn json(measured: &Measured) -> String {
    let nanos = |durations: &[Duration]| {
        let nanos = durations
            .iter()
            .map(|one| u64::try_from(one.as_nanos()).unwrap_or(u64::MAX));
        spread(&nanos.collect::<Vec<_>>())
    };
    let hooks = measured.hooks.iter().map(|(hook, calls)| {
        let value = json!({
            "calls": calls.durations.len(),
            "nanoseconds": nanos(&calls.durations),
            "memoryBytes": spread(&calls.memory),
        });
        (hook.as_str().to_owned(), value)
    });
    let value = json!({
        "moduleBytes": measured.module_bytes,
        "machineCodeBytes": measured.code_bytes,
        "compilation": { "nanoseconds": u64::try_from(measured.compilation.as_nanos()).unwrap_or(u64::MAX) },
        "instantiation": { "nanoseconds": nanos(&measured.instantiation) },
        "hooks": Value::Object(hooks.collect()),
        "failures": measured.failures,
    });
    format!("{value:#}\n")
}

fn spread(values: &[u64]) -> Value {
    let Spread { min, median, p99 } = Spread::of(values);
    json!({"min": min, "median": median, "p99": p99})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_sorted_values() {
        let values: Vec<u64> = (1..=101).rev().collect();
        let spread = Spread::of(&values);
        assert_eq!((spread.min, spread.median, spread.p99), (1, 51, 100));
        assert_eq!(Spread::of(&[7_u64]).p99, 7);
        assert_eq!(Spread::<u64>::of(&[]).median, 0);
    }

    #[test]
    fn times_have_units() {
        let check = |nanos, expected: &str| assert_eq!(time(Duration::from_nanos(nanos)), expected);
        check(12_340, "12.3 µs");
        check(12_340_000, "12.3 ms");
        check(2_000_000_000, "2.0 s");
    }
}
