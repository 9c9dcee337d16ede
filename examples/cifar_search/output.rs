//! The run folder and the table at the end.

use crate::arguments::Arguments;
use blockqnn::environment::BoxError;
use blockqnn::experiment::Experiment;
use blockqnn::search::{Observer, RecordOf, SearchReport};
use blockqnn::space::block::BlockSpace;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The folder that a search writes to.
pub(crate) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a new folder and writes `search.json`: every setting, what the results depend on, the version.
    pub(crate) fn create(
        arguments: &Arguments,
        experiment: &Experiment,
        identity: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let path = match &arguments.out {
            Some(path) if path.exists() && fs::read_dir(path)?.next().is_some() => {
                return Err(format!("{} is not empty: choose another --out, or move it away", path.display()).into());
            }
            Some(path) => path.clone(),
            None => free_folder(&format!(
                "{}-{}-seed{}",
                experiment.data.dataset.name(),
                arguments.preset,
                experiment.search.seed
            )),
        };
        fs::create_dir_all(&path).map_err(|error| format!("cannot make the folder {}: {error}", path.display()))?;
        let description = serde_json::json!({
            "format": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "environment": identity,
            "experiment": experiment,
        });
        let folder = Self { path };
        folder.write("search.json", |out| Ok(serde_json::to_writer_pretty(out, &description)?))?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An observer that appends every finished trial to `trials.jsonl`, so that nothing finished is lost.
    pub(crate) fn records(&self) -> Result<TrialLog, Box<dyn Error>> {
        let path = self.path.join("trials.jsonl");
        let file = File::create(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(TrialLog { file, path })
    }

    /// Writes `results.csv`, all trials best first, and `best.json`, the best one whole.
    pub(crate) fn write_results(
        &self,
        space: &BlockSpace,
        report: &SearchReport<BlockSpace>,
    ) -> Result<(), Box<dyn Error>> {
        self.write("results.csv", |out| Ok(report.write_csv(space, out)?))?;
        if let Some(best) = report.best().first() {
            self.write("best.json", |out| Ok(serde_json::to_writer_pretty(out, best)?))?;
        }
        Ok(())
    }

    fn write(
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

/// Appends finished trials to a file, a JSON line each.
pub(crate) struct TrialLog {
    file: File,
    path: PathBuf,
}

impl Observer<BlockSpace> for TrialLog {
    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        let line = serde_json::to_string(record)? + "\n";
        self.file
            .write_all(line.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}; make room and start again", self.path.display()).into())
    }
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
