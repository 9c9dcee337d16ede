//! Pairs for a calibration of the reward, from a table.

use crate::environment::tabular::Table;
use crate::reward::calibration::Pair;
use crate::space::cell::{CellCode, CellOperation};

/// The pairs of early and final accuracy that a table holds.
///
/// Left out are rows without one of the two accuracies, and rows whose cost the table itself doubts. The density is the
/// table's (columns `density`, or `edges` and `nodes`); for a cell it is the number of its edges that are not `none`, at
/// least 1/2, over its four nodes.
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
