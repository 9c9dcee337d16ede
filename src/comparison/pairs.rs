//! Accuracy pairs from a table, for calibrating the reward.

use crate::environment::tabular::{Table, TableError};
use crate::files::csv_records;
use crate::reward::calibration::Pair;
use crate::space::cell::{CellCode, CellOperation};
use std::collections::BTreeMap;
use std::path::Path;

/// Returns the pairs of early and final accuracy in a table.
///
/// Rows without one of the two accuracies, and rows whose cost the table marks as doubtful, are left out. The density
/// is taken from the table (columns `density`, or `edges` and `nodes`); for a cell it is the number of its edges that
/// are not `none`, at least 1/2, divided by its four nodes.
///
/// ```
/// use blockqnn::comparison::calibration_pairs;
/// use blockqnn::environment::tabular::Table;
///
/// let csv = "architecture,accuracy,final_accuracy,seconds,flops,parameters,edges,nodes\n\
///            a,50,70,12,1e6,2e4,6,5\nb,40,,12,1e6,2e4,6,5\n";
/// let pairs = calibration_pairs(&Table::parse("two blocks", csv, None)?);
/// assert_eq!((pairs.len(), pairs[0].last, pairs[0].density), (1, 70.0, Some(1.2)));
/// # Ok::<(), blockqnn::environment::tabular::TableError>(())
/// ```
#[must_use]
pub fn calibration_pairs(table: &Table) -> Vec<Pair> {
    let sure = table.entries().iter().filter(|entry| !entry.doubtful);
    sure.filter_map(|entry| {
        let density = entry.density.or_else(|| entry.architecture.parse().ok().map(cell_density));
        Some(Pair {
            early: entry.accuracy?,
            last: entry.final_accuracy?,
            flops: entry.flops,
            density,
            parameters: entry.parameters,
            seconds: entry.seconds,
        })
    })
    .collect()
}

fn cell_density(cell: CellCode) -> f64 {
    let edges = cell.edges().iter().filter(|operation| **operation != CellOperation::None).count();
    (edges as f64).max(0.5) / 4.0
}

/// Reads the accuracies of verified blocks, in percent, by the number of their trial. The file is CSV with the columns
/// `trial` and `accuracy`, and possibly others, like `verified.csv` in the folder of a search.
///
/// # Errors
/// [`TableError`] names the file and the line or column at fault.
///
/// ```
/// use blockqnn::comparison::verified_accuracies;
///
/// let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, "trial,accuracy\n7,93.5\n9,92\n")?;
/// assert_eq!(verified_accuracies(file.path())?.into_iter().collect::<Vec<_>>(), [(7, 93.5), (9, 92.0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verified_accuracies(path: impl AsRef<Path>) -> Result<BTreeMap<u64, f64>, TableError> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).map_err(|source| TableError::Read { path: path.to_owned(), source })?;
    let name = path.display().to_string();
    let row = |line, message: &str| TableError::Row { name: name.clone(), line, message: message.to_owned() };
    let mut records = csv_records(&text).map_err(|line| row(line, "a quote is not closed"))?.into_iter();
    let header = records.next().map(|(_, header)| header).unwrap_or_default();
    let column = |column| TableError::column(&name, &header, column);
    let (trial, accuracy) = (column("trial")?, column("accuracy")?);
    records
        .map(|(line, fields)| {
            let number = fields.get(trial).and_then(|field| field.parse::<u64>().ok());
            let number = number.ok_or_else(|| row(line, "its trial is not a number"))?;
            let percent = fields.get(accuracy).and_then(|field| field.parse::<f64>().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            Ok((number, percent.ok_or_else(|| row(line, "its accuracy is not a percentage from 0 to 100"))?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verified_accuracies_are_read_and_a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verified.csv");
        let error = || verified_accuracies(&path).unwrap_err().to_string();
        assert!(matches!(verified_accuracies(&path), Err(TableError::Read { .. })));
        std::fs::write(&path, "rank,trial,accuracy,block\n1,7,93.5,\"add(0,1)\"\n2, 9, 92,end\n").unwrap();
        assert_eq!(verified_accuracies(&path).unwrap().into_iter().collect::<Vec<_>>(), [(7, 93.5), (9, 92.0)]);
        std::fs::write(&path, "trial,accuracy\n7,93.5\n\n9,NaN\n").unwrap();
        assert!(error().contains("verified.csv, line 4: its accuracy"), "{}", error());
        std::fs::write(&path, "trial\n7\n").unwrap();
        assert!(error().contains("no column \"accuracy\""), "{}", error());
    }
}
