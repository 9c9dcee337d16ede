//! The columns of a table.

use super::{TableEntry, TableError};
use csv::StringRecord;

/// Positions of a table's columns, and the factors that convert them to the units of [`TableEntry`].
pub(super) struct Columns {
    /// Whether they are those in which NAS-Bench-201 is distributed.
    pub(super) is_published: bool,
    architecture: usize,
    /// The accuracies, after the fewest epochs first; a single one may have no epochs.
    accuracies: Vec<(Option<u32>, usize)>,
    final_accuracy: Option<usize>,
    seconds: Option<(usize, f64)>,
    flops: Option<(usize, f64)>,
    parameters: Option<usize>,
    density: Option<usize>,
    edges_and_nodes: Option<(usize, usize)>,
    pub(super) dataset: Option<usize>,
    doubtful: Option<usize>,
}

impl Columns {
    /// Finds the columns in the header of a table, which is in this line.
    pub(super) fn find(name: &str, line: usize, header: &StringRecord) -> Result<Self, TableError> {
        let place = |column: &str| header.iter().position(|found| found == column);
        let is_published = place("val_acc_12ep").is_some();
        let [architecture, prefix, last, seconds, flops, parameters] = if is_published {
            ["arch", "val_acc_", "test_acc_200ep", "train_time_200ep_s", "flops_m", "params"]
        } else {
            ["architecture", "accuracy_", "final_accuracy", "seconds", "flops", "parameters"]
        };
        let architecture = TableError::column(name, header, architecture)?;
        let by_epochs =
            by_epochs(header, prefix).map_err(|message| TableError::Row { name: name.to_owned(), line, message })?;
        let accuracies = if by_epochs.is_empty() {
            vec![(None, TableError::column(name, header, "accuracy")?)]
        } else {
            by_epochs.into_iter().map(|(epochs, column)| (Some(epochs), column)).collect()
        };
        let epochs = |(epochs, _): &(Option<u32>, usize)| epochs.map_or(1.0, f64::from);
        let of_seconds = if is_published { 200.0 } else { accuracies.last().map_or(1.0, epochs) };
        let (share, unit) = (accuracies.first().map_or(1.0, epochs) / of_seconds, if is_published { 1e6 } else { 1.0 });
        Ok(Self {
            is_published,
            architecture,
            accuracies,
            final_accuracy: place(last),
            seconds: place(seconds).map(|column| (column, share)),
            flops: place(flops).map(|column| (column, unit)),
            parameters: place(parameters),
            density: place("density"),
            edges_and_nodes: place("edges").zip(place("nodes")),
            dataset: place("dataset"),
            doubtful: place("odd_cost"),
        })
    }

    /// The epochs of the accuracies, ascending; none if a single accuracy has no epochs.
    pub(super) fn epochs(&self) -> Vec<u32> {
        self.accuracies.iter().filter_map(|(epochs, _)| *epochs).collect()
    }

    /// Reads the accuracies of a row, none if it is infeasible.
    fn accuracies(
        &self,
        header: &StringRecord,
        number: impl Fn(usize) -> Result<Option<f64>, String>,
    ) -> Result<Vec<f64>, String> {
        let all = self.accuracies.iter().map(|(_, column)| number(*column)).collect::<Result<Vec<_>, _>>()?;
        let known: Vec<f64> = all.iter().copied().flatten().collect();
        let missing = all.iter().zip(&self.accuracies).find(|(accuracy, _)| accuracy.is_none());
        match missing {
            Some((_, (_, column))) if !known.is_empty() => {
                let (with, column) = (known.len(), &header[*column]);
                Err(format!(
                    "it has {with} of {} accuracies, but no {column}: give it, or none if the architecture is \
                     infeasible",
                    all.len()
                ))
            }
            _ => Ok(known),
        }
    }

    /// Reads one row.
    pub(super) fn entry(&self, header: &StringRecord, fields: &StringRecord) -> Result<(TableEntry, Vec<f64>), String> {
        let number = |column: usize| -> Result<Option<f64>, String> {
            let text = &fields[column];
            if text.is_empty() {
                return Ok(None);
            }
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Some(value)),
                _ => Err(format!("{text:?} is not a finite number (field {})", column + 1)),
            }
        };
        let scaled = |column: Option<(usize, f64)>| -> Result<Option<f64>, String> {
            let Some((column, unit)) = column else { return Ok(None) };
            Ok(number(column)?.map(|value| value * unit))
        };
        let optional = |column: Option<usize>| scaled(column.map(|column| (column, 1.0)));
        let counted = match self.edges_and_nodes {
            Some((edges, nodes)) => number(edges)?.zip(number(nodes)?).map(|(edges, nodes)| edges / nodes),
            None => None,
        };
        let accuracies = self.accuracies(header, number)?;
        let entry = TableEntry {
            architecture: fields[self.architecture].to_owned(),
            accuracy: accuracies.first().copied(),
            final_accuracy: optional(self.final_accuracy)?,
            seconds: scaled(self.seconds)?,
            flops: scaled(self.flops)?,
            parameters: optional(self.parameters)?,
            density: optional(self.density)?.or(counted),
            doubtful: optional(self.doubtful)?.is_some_and(|value| value != 0.0),
        };
        Ok((entry, accuracies))
    }
}

/// Finds the accuracies by epochs: the columns whose names are this prefix, a number and `ep`, by that number.
fn by_epochs(header: &StringRecord, prefix: &str) -> Result<Vec<(u32, usize)>, String> {
    let epochs = |name: &str| name.strip_prefix(prefix)?.strip_suffix("ep")?.parse::<u32>().ok();
    let mut found: Vec<(u32, usize)> =
        header.iter().enumerate().filter_map(|(column, name)| Some((epochs(name)?, column))).collect();
    found.sort_unstable();
    if let Some((0, column)) = found.first() {
        return Err(format!("{:?} is no accuracy of a training: epochs count from 1", &header[*column]));
    }
    if let Some([(epochs, one), (_, other)]) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let names = [&header[*one], &header[*other]];
        return Err(format!("it has accuracies after {epochs} epochs twice, {names:?}: remove or rename one"));
    }
    let plain = header.iter().any(|name| name == "accuracy");
    if let Some((_, column)) = found.first().filter(|_| plain) {
        let column = &header[*column];
        return Err(format!(
            "it has \"accuracy\" beside {column:?}: rename it to the epochs that it has, or remove it"
        ));
    }
    Ok(found)
}
