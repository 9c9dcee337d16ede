//! The records of a search as files for other programs.

use super::SearchReport;
use crate::space::SearchSpace;
use std::io::{self, Write};

impl<S: SearchSpace> SearchReport<S> {
    /// Writes all trials as CSV, best first, after a line of column names.
    ///
    /// Columns: `rank`, `trial`, `minibatch`, `accuracy` (percent; empty if infeasible), `reward`, `parameters`,
    /// `flops` (multiply-adds for one image), `activation_bytes` (for one image), `depth`, `nodes`, `edges`, `epochs`,
    /// `restarts`, `seconds`, `cached`, `stopped` (early), `seed`, `fingerprint`, `architecture` (the space's text) and
    /// `infeasible` (the reason). The columns from `parameters` to `edges` are left out if no trial has a cost, and
    /// `stopped` is if no trial was.
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_csv(&self, space: &S, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        let costs: &[&str] = if self.records.iter().any(|record| record.cost.is_some()) { &COSTS } else { &[] };
        let stopped: &[&str] = if self.stopped() > 0 { &["stopped"] } else { &[] };
        csv.write_record(FIRST.iter().chain(costs).chain(&COURSE).chain(stopped).chain(&LAST))?;
        for (position, record) in self.best().into_iter().enumerate() {
            let metrics = record.evaluation.metrics();
            let reason = match &record.evaluation {
                crate::evaluation::Evaluation::Infeasible(reason) => reason.to_string(),
                crate::evaluation::Evaluation::Measured(_) => String::new(),
            };
            let mut fields = vec![
                (position + 1).to_string(),
                record.id.to_string(),
                record.minibatch.to_string(),
                metrics.map(|metrics| metrics.accuracy.to_string()).unwrap_or_default(),
                record.reward.to_string(),
            ];
            let parts = record
                .cost
                .map(|cost| [cost.parameters, cost.flops, cost.activation_bytes, cost.depth, cost.nodes, cost.edges]);
            fields
                .extend((0..costs.len()).map(|place| parts.map(|parts| parts[place].to_string()).unwrap_or_default()));
            fields.extend([
                metrics.map(|metrics| metrics.epochs.to_string()).unwrap_or_default(),
                metrics.map(|metrics| metrics.restarts.to_string()).unwrap_or_default(),
                metrics.map(|metrics| format!("{:.3}", metrics.seconds)).unwrap_or_default(),
                record.cached.to_string(),
            ]);
            fields.extend(stopped.iter().map(|_| record.evaluation.is_stopped().to_string()));
            fields.extend([
                record.seed.to_string(),
                record.fingerprint.to_string(),
                space.describe(&record.architecture),
                reason,
            ]);
            csv.write_record(fields)?;
        }
        csv.flush()
    }

    /// Writes the learning curves of all trials as CSV, after a line of column names: a line for each measured epoch,
    /// with the columns `trial`, `epoch` (from 1) and `accuracy` (percent). Trials are in the order of proposal; those
    /// without a curve have no line.
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_curves(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(["trial", "epoch", "accuracy"])?;
        for record in &self.records {
            for (epoch, accuracy) in record.evaluation.metrics().iter().flat_map(|metrics| &metrics.curve) {
                csv.write_record([record.id.to_string(), epoch.to_string(), accuracy.to_string()])?;
            }
        }
        csv.flush()
    }
}

const FIRST: [&str; 5] = ["rank", "trial", "minibatch", "accuracy", "reward"];
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
