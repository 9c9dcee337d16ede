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
//! | `final_accuracy` | optional: the percentage that the architecture reaches in the end, which no agent sees |
//! | `seconds` | optional: how long the evaluation took |
//! | `flops`, `parameters` | optional: the size of the network |
//! | `density`, or `edges` and `nodes` | optional: the density of the block |
//! | `dataset` | optional: the data set of the row; only the rows of one are used |
//!
//! The file that [`SearchReport::write_csv`](crate::search::SearchReport::write_csv) writes is such a table. So is the
//! form in which NAS-Bench-201 is commonly distributed, with the columns `arch`, `dataset`, `val_acc_12ep`,
//! `test_acc_200ep`, `train_time_200ep_s`, `flops_m`, `params`. It is recognised by its column `val_acc_12ep`: the
//! search sees the 12-epoch validation accuracy, the 200-epoch test accuracy is the final one, and the evaluation takes
//! 12/200 of the training time.

use super::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Metrics};
use crate::files::csv_records;
use crate::identity::short_hash;
use csv::StringRecord;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Accuracy in percent that a search sees; `None` if the architecture is infeasible.
    pub accuracy: Option<f64>,
    /// Accuracy in percent that the architecture reaches in the end.
    pub final_accuracy: Option<f64>,
    /// Seconds that the evaluation took.
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
}

/// Positions of a table's columns, and the factors that convert them to the units of [`TableEntry`].
struct Columns {
    architecture: usize,
    accuracy: usize,
    final_accuracy: Option<usize>,
    seconds: Option<(usize, f64)>,
    flops: Option<(usize, f64)>,
    parameters: Option<usize>,
    density: Option<usize>,
    edges_and_nodes: Option<(usize, usize)>,
    dataset: Option<usize>,
    doubtful: Option<usize>,
}

impl Columns {
    fn find(name: &str, header: &StringRecord) -> Result<Self, TableError> {
        let place = |column: &str| header.iter().position(|found| found == column);
        let needed = |column| TableError::column(name, header, column);
        let is_published = place("val_acc_12ep").is_some();
        let [architecture, accuracy, last, seconds, flops, parameters] = if is_published {
            ["arch", "val_acc_12ep", "test_acc_200ep", "train_time_200ep_s", "flops_m", "params"]
        } else {
            ["architecture", "accuracy", "final_accuracy", "seconds", "flops", "parameters"]
        };
        let (epochs, unit) = if is_published { (12.0 / 200.0, 1e6) } else { (1.0, 1.0) };
        Ok(Self {
            architecture: needed(architecture)?,
            accuracy: needed(accuracy)?,
            final_accuracy: place(last),
            seconds: place(seconds).map(|column| (column, epochs)),
            flops: place(flops).map(|column| (column, unit)),
            parameters: place(parameters),
            density: place("density"),
            edges_and_nodes: place("edges").zip(place("nodes")),
            dataset: place("dataset"),
            doubtful: place("odd_cost"),
        })
    }

    /// Reads one row.
    fn entry(&self, fields: &StringRecord) -> Result<TableEntry, String> {
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
        Ok(TableEntry {
            architecture: fields[self.architecture].to_owned(),
            accuracy: number(self.accuracy)?,
            final_accuracy: optional(self.final_accuracy)?,
            seconds: scaled(self.seconds)?,
            flops: scaled(self.flops)?,
            parameters: optional(self.parameters)?,
            density: optional(self.density)?.or(counted),
            doubtful: optional(self.doubtful)?.is_some_and(|value| value != 0.0),
        })
    }
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
        let (_, header) = records.next().ok_or_else(|| row_error(1, "the file is empty".to_owned()))?;
        let columns = Columns::find(name, &header)?;
        let mut table = Self { name: name.to_owned(), digest: String::new(), entries: vec![], index: HashMap::new() };
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
            let entry = columns.entry(&fields).map_err(|message| row_error(line, message))?;
            if table.index.insert(entry.architecture.clone(), table.entries.len()).is_some() {
                return Err(row_error(line, format!("{:?} already has a row", entry.architecture)));
            }
            table.entries.push(entry);
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
        let unknown = || TableError::lacks(&self.name, format!("has no architecture {architecture:?}"));
        self.index.get(architecture).map(|&row| &self.entries[row]).ok_or_else(unknown)
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
}

impl TableEnvironment {
    /// Creates an environment that answers from `table`.
    #[must_use]
    pub fn new(table: impl Into<Arc<Table>>) -> Self {
        Self { table: table.into() }
    }
}

impl<A: fmt::Display> Environment<A> for TableEnvironment {
    type Error = TableError;

    fn evaluate(&mut self, architecture: &A, _context: &TrialContext<'_>) -> Result<Evaluation, TableError> {
        let entry = self.table.entry(&architecture.to_string())?;
        let Some(accuracy) = entry.accuracy else {
            let message = format!("table {} has no accuracy for it", self.table.name);
            return Ok(Evaluation::Infeasible(Infeasibility::Rejected { message }));
        };
        let seconds = entry.seconds.unwrap_or(0.0);
        Ok(Evaluation::Measured(Metrics { seconds, ..Metrics::from_accuracy(accuracy) }))
    }

    fn identity(&self) -> String {
        format!("table {} of {} rows", self.table.digest, self.table.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(csv: &str, dataset: Option<&str>) -> String {
        Table::parse("t.csv", csv, dataset).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_line_or_column_that_is_wrong() {
        for (csv, expected) in [
            ("", "t.csv, line 1: the file is empty"),
            ("architecture,accuracy\n", "the table has no rows"),
            ("architecture,seconds\na,1\n", "no column \"accuracy\"; it has [\"architecture\", \"seconds\"]"),
            ("architecture,accuracy\na,1\nb\n", "line 3: it has 1 fields, but the first line has 2"),
            ("architecture,accuracy\na,high\n", "line 2: \"high\" is not a finite number (field 2)"),
            ("architecture,accuracy\na,inf\n", "line 2: \"inf\" is not a finite number"),
            ("architecture,accuracy\na,1\na,2\n", "line 3: \"a\" already has a row"),
            ("architecture,accuracy\n\"a,1\n", "line 2: a quote is not closed"),
            ("architecture,accuracy,dataset\na,1,x\na,1,y\n", "has rows of several data sets, [\"x\", \"y\"]"),
            ("val_acc_12ep\n1\n", "no column \"arch\""),
        ] {
            let message = error(csv, None);
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
        let message = error("architecture,accuracy,dataset\na,1,x\n", Some("z"));
        assert!(message.contains("no row of data set \"z\"; it has [\"x\"]"), "{message}");
        assert!(error("architecture,accuracy\na,1\n", Some("z")).contains("no row of data set \"z\""));
        let missing = Table::read(Path::new("no/such.csv"), None).unwrap_err().to_string();
        assert!(missing.contains("no/such.csv") && missing.contains("check its path"), "{missing}");
    }

    #[test]
    fn the_columns_of_the_benchmark_are_recognised() {
        let csv = "arch,dataset,val_acc_12ep,test_acc_200ep,flops_m,params,train_time_200ep_s,odd_cost\n\
                   a,cifar10,63.5,85.75,15.5,129306,2000,0\na,cifar100,31.5,52.5,15.5,135156,3000,1\n";
        let table = Table::parse("t.csv", csv, Some("cifar100")).unwrap();
        let expected = TableEntry {
            architecture: "a".to_owned(),
            accuracy: Some(31.5),
            final_accuracy: Some(52.5),
            seconds: Some(180.0),
            flops: Some(15.5e6),
            parameters: Some(135_156.0),
            density: None,
            doubtful: true,
        };
        assert_eq!(table.entries(), [expected]);
    }

    #[test]
    fn an_empty_accuracy_is_infeasible_and_an_unknown_architecture_an_error() {
        let table = Table::parse("t.csv", "seconds,architecture,accuracy\n,a,\n7,b,50\n", None).unwrap();
        let mut environment = TableEnvironment::new(table);
        let graph = crate::space::cell::CellCode::all().next().map(|cell| crate::graph::ToGraph::to_graph(&cell));
        let graph = graph.unwrap();
        let trial = crate::evaluation::Trial { id: 0, seed: 0, fingerprint: graph.fingerprint(), cost: None };
        let mut evaluate = |text: &str| environment.evaluate(&text, &TrialContext::new(&trial));
        assert!(matches!(evaluate("a").unwrap(), Evaluation::Infeasible(Infeasibility::Rejected { .. })));
        let metrics = evaluate("b").unwrap().metrics().unwrap().clone();
        assert_eq!((metrics.value, metrics.seconds), (50.0, 7.0));
        assert!(evaluate("c").unwrap_err().to_string().contains("t.csv has no architecture \"c\""));
    }

    #[test]
    fn tables_have_equal_identities_exactly_if_their_figures_are_equal() {
        let identity = |csv: &str| {
            let environment = TableEnvironment::new(Table::parse("t", csv, None).unwrap());
            Environment::<String>::identity(&environment)
        };
        let one = "architecture,accuracy\na,1\n";
        assert_eq!(identity(one), identity("accuracy,architecture\n1.0,a\n"));
        assert_ne!(identity(one), identity("architecture,accuracy\na,2\n"));
    }
}
