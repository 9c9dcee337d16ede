//! The run folder and the table at the end.

use super::Arguments;
use crate::terminal::quoted;
use blockqnn::data::ImageSet;
use blockqnn::environment::BoxError;
use blockqnn::evaluator::TrainerCommand;
use blockqnn::experiment::Experiment;
use blockqnn::files;
use blockqnn::search::{Observer, RunFolder, RunFolderError, SearchReport, Start};
use blockqnn::space::block::BlockSpace;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where runs without `--out` are.
const RUNS: &str = "blockqnn-runs";

/// The folder that a search writes to: the run folder of the library, with the results beside it.
pub(crate) struct Results {
    path: PathBuf,
}

/// The run folder of `--out`: the one to resume, or a new one.
pub(crate) fn run_folder(arguments: &Arguments, experiment: &Experiment) -> Result<RunFolder, Box<dyn Error>> {
    match &arguments.out {
        Some(path) if arguments.resume => Ok(RunFolder::resume(path)?),
        Some(path) => RunFolder::create(path).map_err(|error| match error {
            RunFolderError::Occupied { done, trials, .. } if done < trials => {
                format!("{error} (continue it with --resume, or choose another folder with --out)").into()
            }
            RunFolderError::Occupied { done, .. } => {
                let trials = 2 * done;
                format!("{error} (extend it with --resume --trials {trials}, or choose another folder with --out)")
                    .into()
            }
            _ => Box::<dyn Error>::from(error),
        }),
        None => {
            let Experiment { data, search, .. } = experiment;
            let name = format!("{}-{}-seed{}", data.dataset.name(), arguments.preset, search.seed);
            Ok(RunFolder::create(files::new_folder(RUNS, &name)?)?)
        }
    }
}

impl Results {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { path: folder.to_owned() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path, as it can be given to a shell.
    pub(crate) fn quoted(&self) -> String {
        quoted(&self.path)
    }

    /// Writes `results.csv` (all trials, best first), `best.json` (the complete record of the best one) and
    /// `utilisation.json` (how busy the workers were).
    pub(crate) fn write(&self, space: &BlockSpace, report: &SearchReport<BlockSpace>) -> Result<(), Box<dyn Error>> {
        self.write_file("results.csv", |out| report.write_csv(space, out))?;
        // A run that had nothing left to do keeps the earlier file.
        if report.utilisation.busy > 0.0 {
            self.write_file("utilisation.json", |out| Ok(serde_json::to_writer_pretty(out, &report.utilisation)?))?;
        }
        if let Some(best) = report.best().first() {
            self.write_file("best.json", |out| Ok(serde_json::to_writer_pretty(out, best)?))?;
        }
        Ok(())
    }

    fn write_file(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Box<dyn Error>> {
        let path = self.path.join(name);
        let content = |out: &mut dyn Write| {
            content(out)?;
            writeln!(out)
        };
        files::write(&path, content).map_err(|error| {
            let path = path.display();
            format!(
                "cannot write {path}: {error}. Finished trials are not lost: --resume continues and writes it again"
            )
            .into()
        })
    }
}

/// Remembers the folder of the images when the search begins: a run that is not resumed, because it was started with
/// something else, stays as it was.
pub(crate) struct RememberData {
    run: PathBuf,
    data: Option<PathBuf>,
}

impl RememberData {
    pub(crate) fn new(results: &Results, data: Option<PathBuf>) -> Self {
        Self { run: results.path.clone(), data }
    }
}

impl Observer<BlockSpace> for RememberData {
    fn on_start(&mut self, _: &Start<'_>) -> Result<(), BoxError> {
        crate::images::remember(&self.run, self.data.as_deref());
        Ok(())
    }
}

/// Fewer training steps than this hardly change a network's initial weights.
const FEW_STEPS: u64 = 30;
/// Standard error of an accuracy, in percentage points, above which the order of blocks is mostly chance.
const LARGE_ERROR: f64 = 5.0;

/// Prints what a search is about to do.
pub(crate) fn print_beginning(experiment: &Experiment, training: &ImageSet, validation: &ImageSet, results: &Results) {
    errln!(
        "{} trials in minibatches of {}, {} epochs each on {} images of {} ({} classes, chance accuracy {:.1} %); \
         validation on {} images; results in {}",
        experiment.search.trials,
        experiment.search.minibatch,
        experiment.recipe.epochs,
        training.len(),
        experiment.data.dataset,
        experiment.search.network.classes,
        100.0 / experiment.search.network.classes as f64,
        validation.len(),
        results.path().display(),
    );
    warn_of_few_images(experiment, training, validation);
}

/// Prints what a search with a trainer is about to do.
pub(crate) fn print_trainer(experiment: &Experiment, command: &TrainerCommand, results: &Results) {
    let network = &experiment.search.network;
    errln!(
        "{} trials in minibatches of {}, {} epochs each by the trainer `{command}`, in networks for images of {} and \
         {} classes (chance accuracy {:.1} %); results in {}",
        experiment.search.trials,
        experiment.search.minibatch,
        experiment.recipe.epochs,
        network.image,
        network.classes,
        100.0 / network.classes as f64,
        results.path().display(),
    );
}

/// Warns about settings with which accuracies say little about the blocks.
fn warn_of_few_images(experiment: &Experiment, training: &ImageSet, validation: &ImageSet) {
    let recipe = &experiment.recipe;
    let batches = training.len().div_ceil(recipe.batch_size.max(1)) as u64;
    let steps = batches * u64::from(recipe.epochs);
    if steps < FEW_STEPS {
        errln!(
            "warning: {batches} batches per epoch and {} epochs are only {steps} training steps per block, so networks \
             are hardly trained (at least {FEW_STEPS} are recommended): increase --epochs or decrease --batch-size",
            recipe.epochs
        );
    }
    // Of an accuracy of 50 %, where it is largest.
    let standard_error = 50.0 / (validation.len().max(1) as f64).sqrt();
    if standard_error >= LARGE_ERROR {
        errln!(
            "warning: on {} validation images an accuracy has a standard error of up to {standard_error:.0} percentage \
             points, and blocks that differ by less than twice that cannot be distinguished: increase --validation, or \
             treat the ranking as approximate",
            validation.len()
        );
    }
}

/// Prints what can be done with a finished run. The program has not seen the images of a trainer.
pub(crate) fn print_next_steps(results: &Results, has_trainer: bool) {
    let run = results.quoted();
    errln!("next steps:");
    if !has_trainer {
        errln!("  blockqnn verify {run} --top 4                    trains the best blocks to convergence");
    }
    errln!("  blockqnn export {run} --to pytorch --out FILE    writes the best block as PyTorch source");
    errln!("  blockqnn report {run}                            writes a page about the run");
}

/// Prints the best blocks, one per line.
pub(crate) fn print_table(report: &SearchReport<BlockSpace>, top: usize) {
    outln!("rank  accuracy   reward  parameters        FLOPs  block");
    for (position, record) in report.best().into_iter().take(top).enumerate() {
        let accuracy = record.evaluation.accuracy().map_or("-".to_owned(), |accuracy| format!("{accuracy:.2} %"));
        outln!(
            "{:>4}  {accuracy:>8}  {:>7.3}  {:>10}  {:>11}  {}",
            position + 1,
            record.reward.value(),
            record.cost.parameters,
            record.cost.flops,
            record.architecture
        );
    }
}
