//! The report of a search: is it learning, what did it find, was it worth it.
//!
//! [`Run::read`] reads a run folder, also of a running search. [`Report`] makes of one or several: a page that stands
//! alone ([`Report::html`]), pictures as SVG and PNG ([`Report::pictures`]), and every series as CSV ([`Report::series`]).
//! [`draw`] draws a single block, [`regret`] how fast agents come near the optimum in a comparison.
//!
//! The page needs no network and no script: pictures are SVG inside it, and text from outside (names, messages) stays text.
//! Where there is a script, tables can be sorted. PNGs are drawn with a font that comes with the crate, so that they look
//! the same on every machine.

mod colours;
mod drawing;
mod figures;
mod kind;
mod page;
mod picture;
mod plot;
mod run;
mod scale;
mod series;
mod text;

pub use drawing::{BlockDrawing, draw};
pub use figures::regret;
pub use picture::Picture;
pub use run::Run;
pub use series::Series;

use crate::files::{self, FolderError, LOCK, OwnedFolder};
use crate::search::RunFolderError;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use text::slug;

/// Blocks of a run whose graphs are kept to be drawn.
const MOST_BEST: usize = 100;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The run folder cannot be read.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// A folder for figures or tables cannot be written to.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file could not be written. The one that was there before still is.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The accuracies of verified blocks cannot be read.
    #[error("line {line} of {} is invalid: {message}; verify the run again to write the file anew, or delete it", path.display())]
    Verified {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// How busy the workers were cannot be read.
    #[error("{} is not a valid record of worker utilisation: {message}. Delete it, or restore it from a copy", path.display())]
    Utilisation {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A chart could not be drawn.
    #[error("cannot draw the chart {name}: {message}")]
    Plot {
        /// Name of the picture.
        name: String,
        /// What plotters says.
        message: String,
    },
    /// A picture could not be turned into a PNG.
    #[error("cannot render the figure {name} as PNG: {message}")]
    Png {
        /// Name of the picture.
        name: String,
        /// What is wrong.
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
/// let names: Vec<String> = report.pictures()?.into_iter().map(|picture| picture.name).collect();
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
    /// A report of these runs, with drawings of the six best blocks of each.
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

    /// The same report with drawings of the `blocks` best blocks of each run, at most 100.
    #[must_use]
    pub fn with_best(mut self, blocks: usize) -> Self {
        self.best = blocks.min(MOST_BEST);
        self
    }

    /// The same report, whose page reloads itself after this many seconds as long as one of its runs is running: for a
    /// page that is written again and again.
    #[must_use]
    pub fn with_refresh(mut self, seconds: u64) -> Self {
        self.refresh = Some(seconds);
        self
    }

    /// The runs.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Whether the search of one of the runs is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.runs.iter().any(|run| run.state == run::State::Running)
    }

    /// The page: self-contained HTML.
    ///
    /// # Errors
    /// [`ReportError::Plot`] if a chart cannot be drawn.
    pub fn html(&self) -> Result<String, ReportError> {
        page::page(self)
    }

    /// All pictures. Those of several runs have the names of their runs before their own.
    ///
    /// # Errors
    /// [`ReportError::Plot`] if a chart cannot be drawn.
    pub fn pictures(&self) -> Result<Vec<Picture>, ReportError> {
        let mut pictures = Vec::new();
        if self.runs.len() > 1 {
            pictures.extend(figures::of_runs(&self.runs)?.pictures().cloned());
        }
        for (run, prefix) in self.runs.iter().zip(self.prefixes()) {
            let figures = figures::of_run(run, self.best)?;
            pictures.extend(figures.pictures().cloned().map(|mut picture| {
                picture.name = format!("{prefix}{}", picture.name);
                picture
            }));
        }
        Ok(pictures)
    }

    /// All series. Those of several runs have the names of their runs before their own.
    #[must_use]
    pub fn series(&self) -> Vec<Series> {
        let runs = self.runs.iter().zip(self.prefixes());
        let named = runs.flat_map(|(run, prefix)| {
            series::all(run).into_iter().map(move |mut series| {
                series.name = format!("{prefix}{}", series.name);
                series
            })
        });
        named.collect()
    }

    /// What stands before the names of a run's pictures and series.
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

    /// Writes the page to a file, replacing it in one step: a browser never reads half a page.
    ///
    /// # Errors
    /// [`ReportError`] if it cannot be drawn or written.
    pub fn write_html(&self, path: impl AsRef<Path>) -> Result<(), ReportError> {
        write(path.as_ref(), self.html()?.as_bytes())
    }

    /// Writes every picture into a folder as `NAME.svg`; returns how many there are.
    ///
    /// The folder is new, empty, or one of an earlier report.
    ///
    /// # Errors
    /// [`ReportError`] if one cannot be drawn or written, the folder has files of others, or another process is writing there.
    pub fn write_svg(&self, folder: impl AsRef<Path>) -> Result<usize, ReportError> {
        let files = self.pictures()?.into_iter().map(|picture| (picture.name, picture.svg.into_bytes()));
        fill(folder.as_ref(), "svg", &files.collect::<Vec<_>>())
    }

    /// Writes every picture into a folder as `NAME.png`; returns how many there are.
    ///
    /// # Errors
    /// As [`write_svg`](Self::write_svg).
    pub fn write_png(&self, folder: impl AsRef<Path>) -> Result<usize, ReportError> {
        let files = self.pictures()?.into_iter().map(|picture| Ok((picture.name.clone(), picture.png()?)));
        fill(folder.as_ref(), "png", &files.collect::<Result<Vec<_>, ReportError>>()?)
    }

    /// Writes every series into a folder as `NAME.csv`; returns how many there are.
    ///
    /// # Errors
    /// As [`write_svg`](Self::write_svg).
    pub fn write_csv(&self, folder: impl AsRef<Path>) -> Result<usize, ReportError> {
        let files = self.series().into_iter().map(|series| (series.name.clone(), series.csv().into_bytes()));
        fill(folder.as_ref(), "csv", &files.collect::<Vec<_>>())
    }
}

/// Writes files with one ending into a folder of figures and tables, which no other process writes to meanwhile.
fn fill(folder: &Path, ending: &str, files: &[(String, Vec<u8>)]) -> Result<usize, ReportError> {
    // Reports of earlier versions have left no lock: their files are known by their names.
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

/// Writes a file, and makes its folder if there is none.
fn write(path: &Path, content: &[u8]) -> Result<(), ReportError> {
    let written = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::create_dir_all(folder),
        _ => Ok(()),
    };
    written
        .and_then(|()| files::write(path, |out| out.write_all(content)))
        .map_err(|source| ReportError::Write { path: path.to_owned(), source })
}
