//! The environment that looks architectures up in a table.

use super::{Table, TableError};
use crate::environment::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Metrics};
use crate::identity::short_hash;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// Looks architectures up in a [`Table`] by their text (`Display`).
///
/// [`Metrics::seconds`] is the time in the table, so that a [`SecondsBudget`](crate::search::SecondsBudget) counts
/// simulated seconds. An architecture that the table does not have is an error that names it.
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::tabular::{Table, TableEnvironment};
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::cell::{CellCode, CellIdentity, CellSpace};
///
/// let rows = CellCode::all().map(|cell| format!("{cell},{}\n", cell.index() % 100));
/// let csv = format!("architecture,accuracy\n{}", rows.collect::<String>());
/// let environment = TableEnvironment::new(Table::parse("made up", &csv, None)?);
/// let space = CellSpace::new().with_identity(CellIdentity::Code);
/// let report = Search::new(space, RandomAgent, environment, SearchConfig::paper().with_trials(200, 1)).run()?;
/// assert!(report.best()[0].evaluation.value() > Some(90.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TableEnvironment {
    table: Arc<Table>,
    /// The epochs of its evaluations, ascending; none if the table does not say.
    epochs: Vec<u32>,
}

impl TableEnvironment {
    /// Creates an environment that answers from `table`, with the accuracy after the fewest epochs if it has several.
    #[must_use]
    pub fn new(table: impl Into<Arc<Table>>) -> Self {
        let table = table.into();
        let epochs = table.epochs().first().copied().into_iter().collect();
        Self { table, epochs }
    }

    /// Creates an environment that answers from `table` with the accuracies after these epochs: one number, or those of
    /// the [rungs](crate::search::Rungs::at) of a search, ascending. A promoted architecture takes the time of the
    /// epochs that are added, or of all its epochs if the table has [separate
    /// trainings](Table::has_separate_trainings).
    ///
    /// ```
    /// use blockqnn::agent::RandomAgent;
    /// use blockqnn::environment::tabular::{Table, TableEnvironment};
    /// use blockqnn::search::{Rungs, Search, SearchConfig};
    /// use blockqnn::space::cell::{CellCode, CellIdentity, CellSpace};
    ///
    /// let rows = CellCode::all().map(|cell| format!("{cell},{0},{0}\n", cell.index() % 100));
    /// let csv = format!("architecture,accuracy_3ep,accuracy_9ep\n{}", rows.collect::<String>());
    /// let environment = TableEnvironment::at(Table::parse("made up", &csv, None)?, [3, 9])?;
    /// let space = CellSpace::new().with_identity(CellIdentity::Code);
    /// let config = SearchConfig::new(64).with_rungs(Rungs::at([3, 9]));
    /// let report = Search::new(space, RandomAgent, environment, config).run()?;
    /// assert_eq!(report.best()[0].rung.map(|rung| rung.epochs), Some(9));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TableError::Lacks`] if the table has no accuracies after one of them, or they do not ascend.
    pub fn at(table: impl Into<Arc<Table>>, epochs: impl Into<Vec<u32>>) -> Result<Self, TableError> {
        let (table, epochs) = (table.into(), epochs.into());
        epochs.iter().try_for_each(|of| table.place_of(*of).map(|_| ()))?;
        if epochs.is_empty() || !epochs.is_sorted_by(|a, b| a < b) {
            let problem = format!("is asked for {epochs:?} epochs: name at least one, in ascending order, each once");
            return Err(TableError::lacks(&table.name, problem));
        }
        Ok(Self { table, epochs })
    }

    /// Returns the accuracy in percent of a row and the seconds that it takes.
    fn look_up(&self, row: usize, context: &TrialContext<'_>) -> Result<Option<(f64, f64, u32)>, TableError> {
        let entry = &self.table.entries[row];
        let Some(accuracy) = entry.accuracy else { return Ok(None) };
        let (Some(&first), Some(&last)) = (self.table.epochs.first(), self.epochs.last()) else {
            return Ok(Some((accuracy, entry.seconds.unwrap_or(0.0), 0)));
        };
        let epochs = context.rung().map_or(last, |rung| rung.epochs);
        let is_promoted = context.rung().is_some_and(|rung| rung.number > 0);
        let below = self.epochs.iter().copied().take_while(|other| *other < epochs).last();
        let done = below.filter(|_| is_promoted && !self.table.separate).unwrap_or(0);
        let seconds = entry.seconds.unwrap_or(0.0) * (f64::from(epochs - done) / f64::from(first));
        let place = self.table.place_of(epochs)?;
        Ok(self.table.accuracies[row].get(place).map(|accuracy| (*accuracy, seconds, epochs)))
    }
}

impl<A: fmt::Display> Environment<A> for TableEnvironment {
    type Error = TableError;

    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, TableError> {
        let row = self.table.row(&architecture.to_string())?;
        let Some((accuracy, seconds, epochs)) = self.look_up(row, context)? else {
            let message = format!("table {} has no accuracy for it", self.table.name);
            return Ok(Evaluation::Infeasible(Infeasibility::Rejected { message }));
        };
        Ok(Evaluation::Measured(Metrics { epochs, seconds, ..Metrics::from_accuracy(accuracy) }))
    }

    fn identity(&self) -> String {
        let of_entries = format!("table {} of {} rows", self.table.digest, self.table.entries.len());
        if self.epochs.last() == self.table.epochs.first() {
            return of_entries;
        }
        let mut hasher = Sha256::new();
        for row in &self.table.accuracies {
            hasher.update(format!("{row:?}\n"));
        }
        let (accuracies, separate) = (short_hash(&hasher.finalize()), self.table.separate);
        let trainings = if separate { "separate trainings" } else { "one training" };
        format!("{of_entries}, {accuracies} after {:?} epochs of {trainings}", self.epochs)
    }

    fn full_epochs(&self) -> Option<u32> {
        self.epochs.last().copied().filter(|_| self.epochs.len() > 1)
    }

    /// Returns the epochs that it was given: the table has no accuracies between them.
    fn rung_epochs(&self) -> Vec<u32> {
        self.epochs.clone()
    }
}
