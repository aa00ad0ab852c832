//! A run's results: numbers, goals and curves. Written as JSON, shown as tables, and the only input
//! of plots and comparisons.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::samples::{Samples, Summary};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Report {
    /// The machine and its load.
    pub(crate) about: BTreeMap<String, String>,
    pub(crate) measures: Vec<Measure>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) curves: Vec<Curve>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Measure {
    /// Identifies it across runs, such as `add.socket.k0`.
    pub(crate) name: String,
    /// Human-readable description.
    pub(crate) what: String,
    /// `ms`, `MiB`, `1/s`, …
    pub(crate) unit: String,
    pub(crate) values: Summary,
    /// Comparable across machines: a ratio to something measured beside it, or a size; lower wins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) score: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) goal: String,
    pub(crate) measured: String,
    /// Measured value divided by the goal; met up to 1.
    pub(crate) share: f64,
}

impl Goal {
    pub(crate) fn is_met(&self) -> bool {
        self.share <= 1.0
    }
}

/// How a cost changes with a size.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Curve {
    /// The plot it belongs to.
    pub(crate) plot: String,
    pub(crate) name: String,
    /// Sorted by x.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Report {
    /// Adds a quantity that is not compared.
    pub(crate) fn measure(&mut self, name: &str, what: &str, unit: &str, samples: &Samples) {
        self.add(name, what, unit, samples.summary(), None);
    }

    /// Adds a quantity with the score by which runs are compared.
    pub(crate) fn scored(
        &mut self,
        name: &str,
        what: &str,
        unit: &str,
        samples: &Samples,
        score: f64,
    ) {
        self.add(name, what, unit, samples.summary(), Some(score));
    }

    /// Adds a single number that is its own score.
    pub(crate) fn number(&mut self, name: &str, what: &str, unit: &str, number: f64) {
        let samples: Samples = [number].into_iter().collect();
        self.add(name, what, unit, samples.summary(), Some(number));
    }

    fn add(&mut self, name: &str, what: &str, unit: &str, values: Summary, score: Option<f64>) {
        eprintln!("{what}: {:.3} {unit}", values.median);
        self.measures.push(Measure {
            name: name.to_owned(),
            what: what.to_owned(),
            unit: unit.to_owned(),
            values,
            score,
        });
    }

    /// Adds a goal: `measured` must be at most `limit`; `goal` and `shown` are both as text.
    pub(crate) fn goal(
        &mut self,
        what: &str,
        goal: &str,
        shown: String,
        measured: f64,
        limit: f64,
    ) {
        self.goals.push(Goal {
            what: what.to_owned(),
            goal: goal.to_owned(),
            measured: shown,
            share: measured / limit,
        });
    }

    pub(crate) fn curve(&mut self, plot: &str, name: &str, points: Vec<(f64, f64)>) {
        self.curves.push(Curve {
            plot: plot.to_owned(),
            name: name.to_owned(),
            points,
        });
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(Error::file(path))?;
        serde_json::from_slice(&text).map_err(|source| Error::Stored {
            path: path.to_owned(),
            source,
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        fs::write(path, text).map_err(Error::file(path))
    }

    /// All numbers, then all goals.
    pub(crate) fn tables(&self) -> String {
        let mut measures = table(&["", "median", "p99", "unit", "score", "samples"]);
        for one in &self.measures {
            measures.add_row([
                one.what.clone(),
                number(one.values.median),
                number(one.values.p99),
                one.unit.clone(),
                one.score.map_or_else(String::new, number),
                one.values.count.to_string(),
            ]);
        }
        let mut goals = table(&["goal", "", "measured", "met"]);
        for goal in &self.goals {
            let met = if goal.is_met() { "yes" } else { "no" };
            goals.add_row([&goal.what, &goal.goal, &goal.measured, met]);
        }
        align(&mut measures, &[1, 2, 4, 5]);
        format!("{measures}\n\n{goals}\n")
    }
}

/// A number with a plausible number of digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn align(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
