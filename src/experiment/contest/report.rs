//! The table of a contest.

use super::{Contest, Entrant};
use crate::evaluation::{Evaluation, Infeasibility};
use crate::graph::Cost;
use crate::search::SearchReport;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// One entrant and how it did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ContestRow {
    /// The entrant.
    pub entrant: Entrant,
    /// What its network costs, if that can be counted.
    pub cost: Option<Cost>,
    /// The accuracies of its trainings in percent, as far as they succeeded.
    pub accuracies: Vec<f64>,
    /// Why the other trainings failed.
    pub failures: Vec<Infeasibility>,
    /// The mean of each measurement over its trainings, by name.
    pub measurements: BTreeMap<String, f64>,
}

impl ContestRow {
    /// Returns the mean accuracy in percent, if a training succeeded.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.accuracies.len();
        (count > 0).then(|| self.accuracies.iter().sum::<f64>() / count as f64)
    }

    /// Returns the standard error of the mean over the repetitions, if there are at least two.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        let (mean, count) = (self.mean()?, self.accuracies.len() as f64);
        let squares: f64 = self.accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum();
        (count > 1.0).then(|| (squares / (count - 1.0) / count).sqrt())
    }
}

/// The result of a contest.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ContestReport {
    /// The entrants by mean accuracy, highest first; those of which no training succeeded come last.
    pub rows: Vec<ContestRow>,
}

impl Contest {
    /// Returns the report on the search that trained the entrants, finished or not.
    #[must_use]
    pub fn report(&self, search: &SearchReport<Self>) -> ContestReport {
        let row = |entrant: &Entrant| {
            let own = || search.records.iter().filter(|record| record.architecture.entrant == *entrant);
            let measured: Vec<_> = own().filter_map(|record| record.evaluation.metrics()).collect();
            let failures = own().filter_map(|record| match &record.evaluation {
                Evaluation::Infeasible(reason) => Some(reason.clone()),
                Evaluation::Measured(_) => None,
            });
            let mut measurements = BTreeMap::<String, Vec<f64>>::new();
            for (name, value) in measured.iter().flat_map(|metrics| &metrics.measurements) {
                measurements.entry(name.clone()).or_default().push(*value);
            }
            let mean = |(name, values): (String, Vec<f64>)| (name, values.iter().sum::<f64>() / values.len() as f64);
            ContestRow {
                entrant: entrant.clone(),
                cost: entrant.cost().ok(),
                accuracies: measured.iter().map(|metrics| metrics.value).collect(),
                failures: failures.collect(),
                measurements: measurements.into_iter().map(mean).collect(),
            }
        };
        let mut rows: Vec<ContestRow> = self.entrants().iter().map(row).collect();
        let key = |row: &ContestRow| row.mean().unwrap_or(f64::NEG_INFINITY);
        rows.sort_by(|a, b| key(b).total_cmp(&key(a)));
        ContestReport { rows }
    }
}

impl ContestReport {
    /// Writes the entrants as CSV after a line of column names: `rank`, `name`, `accuracy` (the mean in percent; empty
    /// if no training succeeded), `standard_error` (empty with less than two), `trainings`, `failed`, `width`,
    /// `parameters`, `flops`, and the mean of each measurement under its name.
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut names: Vec<&String> = self.rows.iter().flat_map(|row| row.measurements.keys()).collect();
        names.sort();
        names.dedup();
        let columns = "rank,name,accuracy,standard_error,trainings,failed,width,parameters,flops";
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(columns.split(',').chain(names.iter().map(|name| name.as_str())))?;
        let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        for (place, row) in self.rows.iter().enumerate() {
            let fields = [
                (place + 1).to_string(),
                row.entrant.name.clone(),
                text(row.mean()),
                text(row.standard_error()),
                row.accuracies.len().to_string(),
                row.failures.len().to_string(),
                row.entrant.network.width.to_string(),
                row.cost.map(|cost| cost.parameters.to_string()).unwrap_or_default(),
                row.cost.map(|cost| cost.flops.to_string()).unwrap_or_default(),
            ];
            let measurements = names.iter().map(|name| text(row.measurements.get(*name).copied()));
            csv.write_record(fields.into_iter().chain(measurements))?;
        }
        csv.flush()
    }
}
