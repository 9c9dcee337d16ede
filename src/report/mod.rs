//! The report of a search: is it learning, what did it find, and was it worth it?
//!
//! [`Run::read`] reads a run folder, also while its search is running. [`Report`] turns one or several runs into a
//! self-contained page ([`Report::html`]), figures as SVG and PNG ([`Report::figures`]), and every series as CSV
//! ([`Report::series`]).
//! [`draw`] draws a single block, [`regret`] how fast agents come near the optimum in a comparison, [`rated`] blocks by
//! cost and accuracy. [`TensorBoard`] watches a search and writes event files for that program.
//!
//! The page needs no network and no script: the figures in it are SVG, and text from outside (names, messages) is never
//! markup. Where scripts run, tables can be sorted. PNGs are drawn with a font that comes with the crate, so that they
//! look the same on every machine.

mod colours;
mod drawing;
mod figure;
mod figures;
mod kind;
mod page;
mod plot;
mod run;
mod scale;
mod series;
mod svg;
mod tensorboard;
mod text;

pub use drawing::{BlockDrawing, draw};
pub use figure::Figure;
pub use figures::{RatedBlock, rated, regret};
pub use run::Run;
pub use series::Series;
pub use tensorboard::TensorBoard;

use crate::environment::tabular::TableError;
use crate::files::{self, FolderError, LOCK, OwnedFolder};
use crate::search::RunFolderError;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use text::slug;

/// The number of best blocks of a run whose graphs are kept for drawing.
const MOST_BEST: usize = 100;

/// The reason why a report cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The run folder cannot be read.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// A folder for figures or tables cannot be written to.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file could not be written. The previous file is unchanged.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The accuracies of verified blocks cannot be read.
    #[error("{0}; verify the run again, or delete the file")]
    Verified(#[source] TableError),
    /// How busy the workers were cannot be read.
    #[error(
        "{} is not a valid record of worker utilisation: {message}. Delete it, or restore it from a copy",
        path.display()
    )]
    Utilisation {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A figure could not be rendered as PNG.
    #[error("cannot render the figure {name} as PNG: {message}")]
    Png {
        /// Name of the figure.
        name: String,
        /// The reason.
        message: String,
    },
}

/// The report of one run, or of several side by side.
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::report::Report;
/// use blockqnn::search::{RunFolder, Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let parent = tempfile::tempdir()?;
/// let path = parent.path().join("run");
/// let config = SearchConfig::paper().with_trials(32, 8);
/// let search = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config);
/// search.with_run_folder(RunFolder::create(&path)?).run()?;
///
/// let report = Report::read([&path])?.with_best(2);
/// report.write_html(&parent.path().join("report.html"))?;
/// let names: Vec<String> = report.figures().into_iter().map(|figure| figure.name).collect();
/// assert!(names.contains(&"learning".to_owned()) && names.contains(&"block-2".to_owned()));
/// assert!(report.series()[0].csv().starts_with("trial,minibatch,accuracy_percent"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Report {
    runs: Vec<Run>,
    best: usize,
    refresh: Option<u64>,
}

impl Report {
    /// Creates a report of these runs, with drawings of the six best blocks of each.
    #[must_use]
    pub fn new(runs: Vec<Run>) -> Self {
        Self { runs, best: 6, refresh: None }
    }

    /// Reads the run folders of block searches; see [`Run::read`].
    ///
    /// # Errors
    /// [`ReportError`] for the first folder that cannot be read.
    pub fn read(folders: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Self, ReportError> {
        Ok(Self::new(folders.into_iter().map(Run::read).collect::<Result<_, _>>()?))
    }

    /// Sets the number of best blocks of each run that are drawn, at most 100.
    #[must_use]
    pub fn with_best(mut self, blocks: usize) -> Self {
        self.best = blocks.min(MOST_BEST);
        self
    }

    /// Makes the page reload itself after this many seconds while one of its runs is running. This is for a page that
    /// is written repeatedly.
    #[must_use]
    pub fn with_refresh(mut self, seconds: u64) -> Self {
        self.refresh = Some(seconds);
        self
    }

    /// Returns the runs.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Returns whether the search of one of the runs is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.runs.iter().any(|run| run.state == run::State::Running)
    }

    /// Returns the page as self-contained HTML.
    #[must_use]
    pub fn html(&self) -> String {
        page::page(self)
    }

    /// Returns all figures. If there are several runs, each name begins with the name of its run.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let together = (self.runs.len() > 1).then(|| figures::of_runs(&self.runs).into_figures());
        let alone = self.runs.iter().zip(self.prefixes()).flat_map(|(run, prefix)| {
            let figures = figures::of_run(run, self.best).into_figures();
            figures.map(move |figure| Figure { name: format!("{prefix}{}", figure.name), ..figure })
        });
        together.into_iter().flatten().chain(alone).collect()
    }

    /// Returns all series. If there are several runs, each name begins with the name of its run.
    #[must_use]
    pub fn series(&self) -> Vec<Series> {
        let runs = self.runs.iter().zip(self.prefixes());
        let named = runs.flat_map(|(run, prefix)| {
            let all = series::all(run).into_iter();
            all.map(move |series| Series { name: format!("{prefix}{}", series.name), ..series })
        });
        named.collect()
    }

    /// Returns the prefix of the names of each run's figures and series.
    fn prefixes(&self) -> Vec<String> {
        if self.runs.len() == 1 {
            return vec![String::new()];
        }
        let mut prefixes: Vec<String> = Vec::new();
        for run in &self.runs {
            let name = slug(&run.name);
            let numbered = (2..).map(|number| format!("{name}-{number}-"));
            let free = std::iter::once(format!("{name}-")).chain(numbered).find(|prefix| !prefixes.contains(prefix));
            prefixes.extend(free);
        }
        prefixes
    }

    /// Writes the page to a file, replacing it atomically, so that a browser never reads half a page.
    ///
    /// # Errors
    /// [`ReportError::Write`] if the file cannot be written.
    pub fn write_html(&self, path: impl AsRef<Path>) -> Result<(), ReportError> {
        write(path.as_ref(), self.html().as_bytes())
    }

    /// Writes every figure into a folder as `NAME.svg`, and returns their number.
    ///
    /// The folder must be new, empty, or that of an earlier report.
    ///
    /// # Errors
    /// [`ReportError`] if a figure cannot be written, the folder contains other files, or another process is
    /// writing there.
    pub fn write_svg(&self, folder: impl AsRef<Path>) -> Result<usize, ReportError> {
        let files = self.figures().into_iter().map(|figure| (figure.name, figure.svg.into_bytes()));
        fill(folder.as_ref(), "svg", &files.collect::<Vec<_>>())
    }

    /// Writes every figure into a folder as `NAME.png`, and returns their number.
    ///
    /// # Errors
    /// Those of [`write_svg`](Self::write_svg).
    pub fn write_png(&self, folder: impl AsRef<Path>) -> Result<usize, ReportError> {
        let files = self.figures().into_iter().map(|figure| Ok((figure.name.clone(), figure.png()?)));
        fill(folder.as_ref(), "png", &files.collect::<Result<Vec<_>, ReportError>>()?)
    }

    /// Writes every series into a folder as `NAME.csv`, and returns their number.
    ///
    /// # Errors
    /// Those of [`write_svg`](Self::write_svg).
    pub fn write_csv(&self, folder: impl AsRef<Path>) -> Result<usize, ReportError> {
        let files = self.series().into_iter().map(|series| (series.name.clone(), series.csv().into_bytes()));
        fill(folder.as_ref(), "csv", &files.collect::<Vec<_>>())
    }
}

/// Writes files with one ending into a folder of figures and tables, to which no other process writes meanwhile.
fn fill(folder: &Path, ending: &str, files: &[(String, Vec<u8>)]) -> Result<usize, ReportError> {
    // Reports of earlier versions left no lock; their files are recognised by their names.
    let is_ours = folder.join(LOCK).exists();
    let own = |file: &OsStr| {
        let file = Path::new(file);
        let is_figure =
            ["svg", "png", "csv"].iter().any(|known| file.extension().is_some_and(|ending| ending == *known));
        let is_known = || files.iter().any(|(name, _)| file.file_stem().is_some_and(|stem| *stem == **name));
        is_figure && (is_ours || is_known())
    };
    let owned = OwnedFolder::create(folder, own)?;
    files.iter().try_for_each(|(name, content)| write(&owned.path().join(format!("{name}.{ending}")), content))?;
    Ok(files.len())
}

/// Writes a file, and creates its folder if there is none.
fn write(path: &Path, content: &[u8]) -> Result<(), ReportError> {
    let written = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder),
        _ => Ok(()),
    };
    written
        .and_then(|()| files::write(path, |out| out.write_all(content)))
        .map_err(|source| ReportError::Write { path: path.to_owned(), source })
}
