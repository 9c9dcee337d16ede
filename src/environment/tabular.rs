//! Tables of evaluated architectures, on which a search needs no training.
//!
//! # The form of a table
//!
//! A CSV file whose first line names the columns, in any order; columns that are not listed here are ignored.
//!
//! | column | what it holds |
//! | --- | --- |
//! | `architecture` | the architecture's text, as its space writes it; in quotes if it contains commas |
//! | `accuracy` | the percentage that the search sees; empty if the architecture is infeasible |
//! | `accuracy_12ep`, `accuracy_200ep`, ... | instead of `accuracy`: the percentages after so many epochs, all or none in a row |
//! | `final_accuracy` | optional: the percentage that the architecture reaches in the end, which no agent sees |
//! | `seconds` | optional: how long the evaluation took, with accuracies by epochs that of the most epochs, of which fewer take a part in proportion |
//! | `flops`, `parameters` | optional: the size of the network |
//! | `density`, or `edges` and `nodes` | optional: the density of the block |
//! | `dataset` | optional: the data set of the row; only the rows of one are used |
//!
//! The file that [`SearchReport::write_csv`](crate::search::SearchReport::write_csv) writes is such a table. So is the
//! form in which NAS-Bench-201 is commonly distributed, with the columns `arch`, `dataset`, `val_acc_12ep`,
//! `val_acc_200ep`, `test_acc_200ep`, `train_time_200ep_s`, `flops_m`, `params`. It is recognised by its column
//! `val_acc_12ep`: a search sees the validation accuracies after the epochs that the columns name, the 200-epoch test
//! accuracy is the final one, and 12 epochs take 12/200 of the training time.
//!
//! # Accuracies by epochs
//!
//! A search sees the accuracy after the fewest epochs, unless the [environment](TableEnvironment::at) is given others:
//! several are the [rungs](crate::search::Rungs) of a search.
//!
//! Accuracies after several epochs are those of one training, and an architecture that is promoted to more epochs takes
//! only the time of the epochs that are added, as in a search that trains. If each number of epochs was a training of
//! its own, with its own schedule, there is nothing to continue, and a promotion takes all of its epochs:
//! [`Table::with_separate_trainings`]. That is so in NAS-Bench-201.

mod columns;
mod environment;

pub use environment::TableEnvironment;

use crate::files::csv_records;
use crate::identity::short_hash;
use columns::Columns;
use csv::StringRecord;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The reason why a table cannot be read or has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file cannot be read.
    #[error("cannot read the table {}: {source}; check its path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A row is malformed.
    #[error("table {name}, line {line}: {message}")]
    Row {
        /// Name of the table.
        name: String,
        /// Line of the row, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The table lacks what is asked of it: a column, an architecture, or the rows of exactly one data set.
    #[error("table {name} {problem}")]
    Lacks {
        /// Name of the table.
        name: String,
        /// What it lacks, and what it has.
        problem: String,
    },
}

impl TableError {
    fn lacks(name: &str, problem: String) -> Self {
        Self::Lacks { name: name.to_owned(), problem }
    }

    /// Returns the position of a column in the header of a table.
    pub(crate) fn column(name: &str, header: &StringRecord, column: &str) -> Result<usize, Self> {
        let found = || header.iter().collect::<Vec<_>>();
        let missing = || Self::lacks(name, format!("has no column {column:?}; it has {:?} in its first line", found()));
        header.iter().position(|found| found == column).ok_or_else(missing)
    }
}

/// One row of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TableEntry {
    /// The architecture's text.
    pub architecture: String,
    /// Accuracy in percent that a search sees, of several that after the fewest epochs; `None` if the architecture is
    /// infeasible.
    pub accuracy: Option<f64>,
    /// Accuracy in percent that the architecture reaches in the end.
    pub final_accuracy: Option<f64>,
    /// Seconds that the evaluation with this accuracy took.
    pub seconds: Option<f64>,
    /// Multiply-adds of the network for one image.
    pub flops: Option<f64>,
    /// Trainable parameters of the network.
    pub parameters: Option<f64>,
    /// Edges of the block divided by its nodes.
    pub density: Option<f64>,
    /// Whether the table itself marks its cost figures as doubtful (column `odd_cost`).
    pub doubtful: bool,
}

/// A table of evaluated architectures; its form is described [above](self).
///
/// ```
/// use blockqnn::environment::tabular::Table;
///
/// let csv = "architecture,accuracy,seconds\n\
///            conv3(0) terminal(1),61.5,40\n\
///            \"conv3(0) add(0,1) terminal(2)\",64.0,44\n";
/// let table = Table::parse("small", csv, None)?;
/// assert_eq!(table.entry("conv3(0) add(0,1) terminal(2)")?.accuracy, Some(64.0));
/// assert!(table.entry("max3(0) terminal(1)").unwrap_err().to_string().contains("no architecture"));
/// # Ok::<(), blockqnn::environment::tabular::TableError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    name: String,
    digest: String,
    entries: Vec<TableEntry>,
    index: HashMap<String, usize>,
    /// After which epochs there are accuracies, ascending; empty if the table does not say.
    epochs: Vec<u32>,
    /// For each row, the accuracies after those epochs; none if it is infeasible.
    accuracies: Vec<Vec<f64>>,
    separate: bool,
}

impl Table {
    /// Reads the rows of `dataset` from a CSV file, or all rows if `dataset` is `None` and the table has at most one
    /// data set.
    ///
    /// # Errors
    /// [`TableError`] if the file cannot be read or is malformed, with the file and the line or column.
    pub fn read(path: impl AsRef<Path>, dataset: Option<&str>) -> Result<Self, TableError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| TableError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text, dataset)
    }

    /// Reads the rows of `dataset` from CSV text; `name` is the name of the table in errors.
    ///
    /// # Errors
    /// [`TableError`] if the text is malformed, with the line or column.
    pub fn parse(name: &str, text: &str, dataset: Option<&str>) -> Result<Self, TableError> {
        let row_error = |line, message| TableError::Row { name: name.to_owned(), line, message };
        let records = csv_records(text).map_err(|line| row_error(line, "a quote is not closed".to_owned()))?;
        let mut records = records.into_iter();
        let (first, header) = records.next().ok_or_else(|| row_error(1, "the file is empty".to_owned()))?;
        let columns = Columns::find(name, first, &header)?;
        let mut table = Self::without_rows(name, &columns);
        let mut datasets: Vec<String> = Vec::new();
        for (line, fields) in records {
            if fields.len() != header.len() {
                let message = format!("it has {} fields, but the first line has {}", fields.len(), header.len());
                return Err(row_error(line, message));
            }
            if let Some(column) = columns.dataset {
                let own = &fields[column];
                if !datasets.iter().any(|known| known == own) {
                    datasets.push(own.to_owned());
                }
                if dataset.is_some_and(|wanted| wanted != own) {
                    continue;
                }
                if dataset.is_none() && datasets.len() > 1 {
                    let problem = format!("has rows of several data sets, {datasets:?}: name the data set to use");
                    return Err(TableError::lacks(name, problem));
                }
            }
            let (entry, accuracies) = columns.entry(&header, &fields).map_err(|message| row_error(line, message))?;
            if table.index.insert(entry.architecture.clone(), table.entries.len()).is_some() {
                return Err(row_error(line, format!("{:?} already has a row", entry.architecture)));
            }
            table.entries.push(entry);
            table.accuracies.push(accuracies);
        }
        match dataset {
            Some(dataset) if table.entries.is_empty() || columns.dataset.is_none() => {
                Err(TableError::lacks(name, format!("has no row of data set {dataset:?}; it has {datasets:?}")))
            }
            _ if table.entries.is_empty() => Err(row_error(2, "the table has no rows".to_owned())),
            _ => {
                table.digest = digest(&table.entries);
                Ok(table)
            }
        }
    }

    fn without_rows(name: &str, columns: &Columns) -> Self {
        Self {
            name: name.to_owned(),
            digest: String::new(),
            entries: Vec::new(),
            index: HashMap::new(),
            epochs: columns.epochs(),
            accuracies: Vec::new(),
            separate: columns.is_published,
        }
    }

    /// Sets whether the accuracies after several epochs are of separate trainings, and not of one: whether a promoted
    /// architecture is trained from the start again. By default they are in the published form of NAS-Bench-201 alone.
    #[must_use]
    pub fn with_separate_trainings(self, separate: bool) -> Self {
        Self { separate, ..self }
    }

    /// Returns whether the accuracies after several epochs are of separate trainings.
    #[must_use]
    pub fn has_separate_trainings(&self) -> bool {
        self.separate
    }

    /// Returns after which epochs the table has accuracies, ascending; none if its accuracies have no epochs.
    #[must_use]
    pub fn epochs(&self) -> &[u32] {
        &self.epochs
    }

    /// Returns the accuracy of an architecture after a number of epochs, in percent, or `None` if it is infeasible.
    ///
    /// # Errors
    /// [`TableError::Lacks`] if the table has no such row or no accuracies after these epochs.
    pub fn accuracy_after(&self, architecture: &str, epochs: u32) -> Result<Option<f64>, TableError> {
        let place = self.place_of(epochs)?;
        Ok(self.accuracies[self.row(architecture)?].get(place).copied())
    }

    /// Returns the place of a number of epochs in [`epochs`](Self::epochs).
    fn place_of(&self, epochs: u32) -> Result<usize, TableError> {
        self.epochs.iter().position(|known| *known == epochs).ok_or_else(|| {
            let known = self.epochs.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let fix = match known.as_str() {
                "" => format!("call the column accuracy_{epochs}ep if that is what it has"),
                known => format!("it has some after {known}"),
            };
            TableError::lacks(&self.name, format!("has no accuracies after {epochs} epochs: {fix}"))
        })
    }

    /// Returns the name of the table in errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the rows in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[TableEntry] {
        &self.entries
    }

    /// Returns the row of an architecture.
    ///
    /// # Errors
    /// [`TableError::Lacks`] if the table has no such row.
    pub fn entry(&self, architecture: &str) -> Result<&TableEntry, TableError> {
        self.row(architecture).map(|row| &self.entries[row])
    }

    fn row(&self, architecture: &str) -> Result<usize, TableError> {
        let unknown = || TableError::lacks(&self.name, format!("has no architecture {architecture:?}"));
        self.index.get(architecture).copied().ok_or_else(unknown)
    }
}

/// Returns a hash of everything that a search on the table sees or is judged by.
fn digest(entries: &[TableEntry]) -> String {
    let mut hasher = Sha256::new();
    for entry in entries {
        hasher.update(format!("{entry:?}\n"));
    }
    short_hash(&hasher.finalize())
}

#[cfg(test)]
mod tests;
