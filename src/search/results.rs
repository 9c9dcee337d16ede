//! The records of a search as files for other programs.

use super::{RecordOf, SearchReport};
use crate::evaluation::{Evaluation, Metrics};
use crate::space::SearchSpace;
use std::collections::BTreeSet;
use std::io::{self, Write};

impl<S: SearchSpace> SearchReport<S> {
    /// Writes all trials as CSV, best first, after a line of column names.
    ///
    /// Columns: `rank`, `trial`, `minibatch`, `accuracy` (percent; empty if infeasible; with another objective, its
    /// name and values), `reward`, `parameters`, `flops` (multiply-adds for one image), `activation_bytes` (for one
    /// image), `depth`, `nodes`, `edges`, a column for each measurement by its name, `epochs`, `restarts`, `seconds`,
    /// `cached`, `stopped` (early), `rung` (from 0), `seed`, `fingerprint`, `architecture` (the space's text) and
    /// `infeasible` (the reason). The columns from `parameters` to `edges` are left out if no trial has a cost,
    /// `stopped` is if no trial was, and `rung` is in a search without rungs. An objective or a measurement whose name
    /// is that of another column is called `measured_NAME`.
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_csv(&self, space: &S, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        let costs: &[&str] = if self.records.iter().any(|record| record.cost.is_some()) { &COSTS } else { &[] };
        let metrics = self.records.iter().filter_map(|record| record.evaluation.metrics());
        let names: BTreeSet<&str> =
            metrics.flat_map(|metrics| metrics.measurements.keys().map(String::as_str)).collect();
        let stopped: &[&str] = if self.stopped() > 0 { &["stopped"] } else { &[] };
        let rung: &[&str] = if self.records.iter().any(|record| record.rung.is_some()) { &["rung"] } else { &[] };
        let columns = FIRST.iter().chain(costs).chain(&COURSE).chain(stopped).chain(rung).chain(&LAST);
        let mut columns: Vec<String> = columns.map(|&name| name.to_owned()).collect();
        columns.insert(3, free_name(&self.objective.name, &columns));
        for (place, name) in names.iter().enumerate() {
            columns.insert(FIRST.len() + 1 + costs.len() + place, free_name(name, &columns));
        }
        csv.write_record(&columns)?;
        for (position, record) in self.ranked().into_iter().enumerate() {
            csv.write_record(fields(space, position + 1, record, [costs, stopped, rung], &names))?;
        }
        csv.flush()
    }

    /// Writes the learning curves of all trials as CSV, after a line of column names: a line for each measured epoch,
    /// with the columns `trial`, `epoch` (from 1) and `accuracy` (percent; with another objective, its name and values).
    /// Trials are in the order of proposal; those without a curve have no line.
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_curves(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(["trial", "epoch", &self.objective.name])?;
        for record in &self.records {
            for (epoch, value) in record.evaluation.metrics().iter().flat_map(|metrics| &metrics.curve) {
                csv.write_record([record.id.to_string(), epoch.to_string(), value.to_string()])?;
            }
        }
        csv.flush()
    }
}

/// The fields of a trial, in the order of the columns.
fn fields<S: SearchSpace>(
    space: &S,
    rank: usize,
    record: &RecordOf<S>,
    [costs, stopped, rung]: [&[&str]; 3],
    measurements: &BTreeSet<&str>,
) -> Vec<String> {
    let metrics = record.evaluation.metrics();
    let of_metrics = |field: &dyn Fn(&Metrics) -> String| metrics.map(field).unwrap_or_default();
    let mut fields = vec![
        rank.to_string(),
        record.id.to_string(),
        record.minibatch.to_string(),
        of_metrics(&|metrics| metrics.value.to_string()),
        record.reward.to_string(),
    ];
    let parts = record
        .cost
        .map(|cost| [cost.parameters, cost.flops, cost.activation_bytes, cost.depth, cost.nodes, cost.edges]);
    fields.extend((0..costs.len()).map(|place| parts.map(|parts| parts[place].to_string()).unwrap_or_default()));
    let measured = |name: &&str| record.evaluation.measurement(name).map(|value| value.to_string());
    fields.extend(measurements.iter().map(|name| measured(name).unwrap_or_default()));
    fields.extend([
        of_metrics(&|metrics| metrics.epochs.to_string()),
        of_metrics(&|metrics| metrics.restarts.to_string()),
        of_metrics(&|metrics| format!("{:.3}", metrics.seconds)),
        record.cached.to_string(),
    ]);
    fields.extend(stopped.iter().map(|_| record.evaluation.is_stopped().to_string()));
    fields.extend(rung.iter().map(|_| record.rung.map(|rung| rung.number.to_string()).unwrap_or_default()));
    fields.extend([
        record.seed.to_string(),
        record.fingerprint.to_string(),
        space.describe(&record.architecture),
        match &record.evaluation {
            Evaluation::Infeasible(reason) => reason.to_string(),
            Evaluation::Measured(_) => String::new(),
        },
    ]);
    fields
}

/// Returns a name for the column of an objective or a measurement that no other column has.
pub(crate) fn free_name(name: &str, taken: &[String]) -> String {
    let mut free = name.to_owned();
    while taken.contains(&free) {
        free.insert_str(0, "measured_");
    }
    free
}

const FIRST: [&str; 4] = ["rank", "trial", "minibatch", "reward"];
const COSTS: [&str; 6] = ["parameters", "flops", "activation_bytes", "depth", "nodes", "edges"];
const COURSE: [&str; 4] = ["epochs", "restarts", "seconds", "cached"];
const LAST: [&str; 4] = ["seed", "fingerprint", "architecture", "infeasible"];

#[cfg(test)]
mod tests {
    use crate::agent::RandomAgent;
    use crate::environment::synthetic::Synthetic;
    use crate::search::{Search, SearchConfig};
    use crate::space::SearchSpace;
    use crate::space::block::BlockSpace;

    #[test]
    fn the_csv_has_one_line_per_trial_with_as_many_fields_as_columns() {
        let space = BlockSpace::paper();
        let config = SearchConfig::paper().with_trials(20, 10);
        let report = Search::new(space.clone(), RandomAgent, Synthetic::new(), config).run().unwrap();
        let mut bytes = Vec::new();
        report.write_csv(&space, &mut bytes).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(reader.headers().unwrap().len(), 19);
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!((records.len(), &records[0][0]), (20, "1"));
        assert_eq!(records[0][17], space.describe(&report.best()[0].architecture));
    }
}
