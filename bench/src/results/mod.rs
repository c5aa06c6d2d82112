//! What a run found, in one shape for every subcommand: what the table prints, the results file keeps, the HTML page
//! draws, and `report` lays side by side.
//!
//! A subcommand fills a [`Record`]; nothing here knows any subcommand, so a new one adds no code here.
//! *Not here*: measuring, files and pages (`report`).

pub(crate) mod environment;
pub(crate) mod file;

use serde::{Deserialize, Deserializer, Serialize};

use crate::histogram::{Percentiles, Recorder};
pub(crate) use environment::Environment;

/// Version of the results file; one that is read has this one or is refused.
pub(crate) const RECORD_VERSION: u32 = 1;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// [`RECORD_VERSION`].
    pub(crate) version: u32,
    /// The subcommand.
    pub(crate) subcommand: String,
    /// What the user called the run, or the subcommand.
    pub(crate) name: String,
    /// Ctrl-C ended the run: these are the results up to it.
    #[serde(default)]
    pub(crate) interrupted: bool,
    /// Where, when and by which command; `report::finish` fills it.
    #[serde(default)]
    pub(crate) environment: Environment,
    /// Why the numbers may not mean what they seem to: a receiver was the bottleneck, Ctrl-C, a refused publish.
    pub(crate) warnings: Vec<String>,
    /// Single numbers, in the order of the table.
    pub(crate) figures: Vec<Figure>,
    /// Distributions.
    pub(crate) distributions: Vec<Distribution>,
    /// What changed over time, over connections, over the rate.
    pub(crate) series: Vec<Series>,
    /// Tables of their own: a ladder's rungs, a comparison.
    pub(crate) tables: Vec<Table>,
    /// Everything that the subcommand knows, for scripts.
    pub(crate) details: serde_json::Value,
}

/// Which way is better, for the comparison of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    Lower,
    Higher,
    /// Neither: a condition of the run.
    Neutral,
}

/// One number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Row of the table: "deliveries", "memory".
    pub(crate) group: String,
    /// What of it: "a second", "anonymous, per connection".
    pub(crate) name: String,
    /// Not finite: there is no such number (JSON: null).
    #[serde(deserialize_with = "number_or_null")]
    pub(crate) value: f64,
    /// "ms", "B", "/s", "%", or empty for a count.
    pub(crate) unit: String,
    pub(crate) better: Better,
}

/// A distribution of durations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Distribution {
    /// "latency", "to last device".
    pub(crate) name: String,
    pub(crate) percentiles: Percentiles,
    /// Non-empty buckets: lowest microsecond, number of values.
    pub(crate) buckets: Vec<(u64, u64)>,
}

/// Points of a curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    /// "deliveries", "gateway memory".
    pub(crate) name: String,
    /// Series of one plot share its axes: "deliveries over time".
    pub(crate) plot: String,
    /// "s", "connections", "messages/s".
    pub(crate) x_unit: String,
    pub(crate) y_unit: String,
    /// By x; where y was not known, the curve has a gap.
    #[serde(deserialize_with = "points")]
    pub(crate) points: Vec<(f64, f64)>,
    /// What y may come to, with its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bound: Option<(f64, String)>,
}

/// Rows of text, for a subcommand whose result is a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Numbers that JSON has none for are null there.
fn points<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(f64, f64)>, D::Error> {
    let points = Vec::<(Option<f64>, Option<f64>)>::deserialize(from)?;
    Ok(points.into_iter().map(|(x, y)| (x.unwrap_or(f64::NAN), y.unwrap_or(f64::NAN))).collect())
}

fn number_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Distribution {
    /// Of what was recorded in microseconds.
    pub(crate) fn of(name: &str, recorder: &Recorder) -> Self {
        Self { name: name.into(), percentiles: recorder.percentiles(), buckets: recorder.buckets() }
    }
}

impl Record {
    /// An empty record of a subcommand.
    pub(crate) fn new(subcommand: &str, name: Option<&str>) -> Self {
        Self {
            version: RECORD_VERSION,
            subcommand: subcommand.into(),
            name: name.unwrap_or(subcommand).into(),
            interrupted: false,
            environment: Environment::default(),
            warnings: Vec::new(),
            figures: Vec::new(),
            distributions: Vec::new(),
            series: Vec::new(),
            tables: Vec::new(),
            details: serde_json::Value::Null,
        }
    }

    /// Adds one number.
    pub(crate) fn figure(&mut self, group: &str, name: &str, value: f64, unit: &str, better: Better) {
        let (group, name, unit) = (group.into(), name.into(), unit.into());
        self.figures.push(Figure { group, name, value, unit, better });
    }

    /// Adds a distribution of what was recorded in microseconds.
    pub(crate) fn distribution(&mut self, name: &str, recorder: &Recorder) {
        self.distributions.push(Distribution::of(name, recorder));
    }

    /// Adds a table of its own; a row has as many cells as there are columns.
    pub(crate) fn table(&mut self, title: &str, columns: &[&str], rows: Vec<Vec<String>>) {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        self.tables.push(Table { title: title.into(), columns, rows });
    }

    /// Adds a sentence that the reader needs before the numbers.
    pub(crate) fn warn(&mut self, sentence: impl Into<String>) {
        self.warnings.push(sentence.into());
    }

    /// Adds a curve.
    pub(crate) fn series(&mut self, plot: &str, name: &str, units: (&str, &str), points: Vec<(f64, f64)>) {
        let (plot, name) = (plot.into(), name.into());
        let (x_unit, y_unit) = (units.0.into(), units.1.into());
        self.series.push(Series { name, plot, x_unit, y_unit, points, bound: None });
    }

    /// Draws into the plot of the series added last what its values may come to.
    pub(crate) fn bound(&mut self, bound: f64, name: &str) {
        if let Some(series) = self.series.last_mut() {
            series.bound = Some((bound, name.into()));
        }
    }
}
