//! The run folder and the table at the end.

use crate::arguments::Arguments;
use blockqnn::experiment::Experiment;
use blockqnn::search::{CostModel, RunFolder, RunFolderError, SearchReport};
use blockqnn::space::block::BlockSpace;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The folder that a search writes to: the run folder of the library, with the results beside it.
pub(crate) struct Results {
    path: PathBuf,
}

/// The run folder of `--out`: the one to resume, or a new one.
pub(crate) fn run_folder(arguments: &Arguments, experiment: &Experiment) -> Result<RunFolder, RunFolderError> {
    match &arguments.out {
        Some(path) if arguments.resume => RunFolder::resume(path),
        Some(path) => RunFolder::create(path),
        None => RunFolder::create(free_folder(&format!(
            "{}-{}-seed{}",
            experiment.data.dataset.name(),
            arguments.preset,
            experiment.search.seed
        ))),
    }
}

impl Results {
    pub(crate) fn new(folder: &RunFolder) -> Self {
        Self { path: folder.path().to_owned() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `results.csv`, all trials best first, `best.json`, the best one whole, and `utilisation.json`, how busy the
    /// workers were.
    pub(crate) fn write(&self, space: &BlockSpace, report: &SearchReport<BlockSpace>) -> Result<(), Box<dyn Error>> {
        self.write_file("results.csv", |out| Ok(report.write_csv(space, out)?))?;
        self.write_file("utilisation.json", |out| Ok(serde_json::to_writer_pretty(out, &report.utilisation)?))?;
        if let Some(best) = report.best().first() {
            self.write_file("best.json", |out| Ok(serde_json::to_writer_pretty(out, best)?))?;
        }
        Ok(())
    }

    /// Writes `cost_model.json`, what foretold the times of the trials: for plans of other searches on the device.
    pub(crate) fn write_cost_model(&self, model: &CostModel) -> Result<(), Box<dyn Error>> {
        self.write_file("cost_model.json", |out| Ok(serde_json::to_writer_pretty(out, model)?))
    }

    fn write_file(
        &self,
        name: &str,
        content: impl Fn(&mut dyn Write) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let path = self.path.join(name);
        let write = || -> Result<(), Box<dyn Error>> {
            let mut out = BufWriter::new(File::create(&path)?);
            content(&mut out)?;
            writeln!(out)?;
            Ok(out.flush()?)
        };
        write().map_err(|error| format!("cannot write {}: {error}", path.display()).into())
    }
}

/// The first folder `blockqnn-runs/NAME`, `blockqnn-runs/NAME-2`, ... that does not exist.
fn free_folder(name: &str) -> PathBuf {
    let folder = Path::new("blockqnn-runs");
    let numbered = (2..).map(|number| folder.join(format!("{name}-{number}")));
    std::iter::once(folder.join(name)).chain(numbered).find(|path| !path.exists()).unwrap_or_default()
}

/// Prints the best blocks, one a line.
pub(crate) fn print_table(report: &SearchReport<BlockSpace>, top: usize) {
    println!("rank  accuracy   reward  parameters        FLOPs  block");
    for (position, record) in report.best().into_iter().take(top).enumerate() {
        let accuracy = record.evaluation.accuracy().map_or("-".to_owned(), |accuracy| format!("{accuracy:.2} %"));
        println!(
            "{:>4}  {accuracy:>8}  {:>7.3}  {:>10}  {:>11}  {}",
            position + 1,
            record.reward.value(),
            record.cost.parameters,
            record.cost.flops,
            record.architecture
        );
    }
}
