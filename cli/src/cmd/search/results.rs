//! The run folder and the table at the end.

use super::Arguments;
use crate::output;
use crate::terminal::quoted;
use blockqnn::data::ImageSet;
use blockqnn::environment::BoxError;
use blockqnn::evaluation::Evaluation;
use blockqnn::evaluator::TrainerCommand;
use blockqnn::experiment::Experiment;
use blockqnn::files;
use blockqnn::search::{Observer, RunFolder, RunFolderError, SearchReport, Start};
use blockqnn::space::block::BlockSpace;
use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where runs without `--out` are.
const RUNS: &str = "blockqnn-runs";

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

/// Writes `results.csv` (all trials, best first), `curves.csv` (their learning curves, if there are any), `best.json`
/// (the complete record of the best one) and `utilisation.json` (how busy the workers were) beside the run.
pub(crate) fn write(run: &Path, space: &BlockSpace, report: &SearchReport<BlockSpace>) -> Result<(), String> {
    write_file(run, "results.csv", |out| report.write_csv(space, out))?;
    let has_curve = |evaluation: &Evaluation| evaluation.metrics().is_some_and(|metrics| !metrics.curve.is_empty());
    if report.records.iter().any(|record| has_curve(&record.evaluation)) {
        write_file(run, "curves.csv", |out| report.write_curves(out))?;
    }
    // A run that had nothing left to do keeps the earlier file.
    if report.utilisation.busy > 0.0 {
        write_file(run, "utilisation.json", |out| Ok(serde_json::to_writer_pretty(out, &report.utilisation)?))?;
    }
    if let Some(best) = report.best().first() {
        write_file(run, "best.json", |out| Ok(serde_json::to_writer_pretty(out, best)?))?;
    }
    Ok(())
}

/// Where trainings keep their states: of blocks that may be promoted, and those by `PyTorch`.
pub(crate) fn checkpoints(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

/// Removes the states of trainings, once all have ended. What stays is of no use, and does no harm.
pub(crate) fn remove_checkpoints(run: &Path) {
    let _ = std::fs::remove_dir_all(checkpoints(run));
}

fn write_file(run: &Path, name: &str, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    let content = |out: &mut dyn Write| {
        content(out)?;
        writeln!(out)
    };
    output::write(&run.join(name), content)
        .map_err(|error| format!("{error}. Finished trials are not lost: --resume continues and writes it again"))
}

/// Remembers the folder of the images when the search begins: a run that is not resumed, because it was started with
/// something else, stays as it was.
pub(crate) struct RememberData {
    pub(crate) run: PathBuf,
    pub(crate) data: Option<PathBuf>,
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
pub(crate) fn print_beginning(experiment: &Experiment, training: &ImageSet, validation: &ImageSet, run: &Path) {
    errln!(
        "{} trials in minibatches of {}, {} epochs each on {} images of {} ({} classes, chance accuracy {:.1} %); \
         validation on {} images; results in {}",
        experiment.search.trials,
        experiment.search.minibatch,
        experiment.recipe.epochs,
        training.len(),
        experiment.data.dataset,
        experiment.network().classes,
        100.0 / experiment.network().classes as f64,
        validation.len(),
        run.display(),
    );
    warn_of_few_images(experiment, training, validation);
}

/// Prints what a search with a trainer is about to do.
pub(crate) fn print_trainer(experiment: &Experiment, command: &TrainerCommand, run: &Path) {
    let (network, objective) = (experiment.network(), &experiment.search.objective);
    errln!(
        "{} trials in minibatches of {}, {} epochs each by the trainer `{command}`, in networks for images of {} and \
         {} classes ({}); results in {}",
        experiment.search.trials,
        experiment.search.minibatch,
        experiment.recipe.epochs,
        network.image,
        network.classes,
        if objective.is_accuracy() {
            format!("chance accuracy {:.1} %", 100.0 / network.classes as f64)
        } else {
            format!("objective {}", objective.label())
        },
        run.display(),
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
pub(crate) fn print_next_steps(run: &Path, has_trainer: bool) {
    let run = quoted(run);
    errln!("next steps:");
    if !has_trainer {
        errln!("  blockqnn verify {run} --top 4                    trains the best blocks to convergence");
    }
    errln!("  blockqnn export {run} --to pytorch --out FILE    writes the best block as PyTorch source");
    errln!("  blockqnn report {run}                            writes a page about the run");
}

/// Prints the best blocks, one per line.
pub(crate) fn print_table(report: &SearchReport<BlockSpace>, top: usize) {
    let (objective, best) = (&report.objective, report.best());
    let metrics = best.iter().filter_map(|record| record.evaluation.metrics());
    let names: BTreeSet<&str> = metrics.flat_map(|metrics| metrics.measurements.keys().map(String::as_str)).collect();
    let measured: Vec<String> = names.iter().map(|name| format!("  {name:>9}")).collect();
    let measured = measured.concat();
    let wide = objective.name.chars().count().max(8);
    outln!("rank  {:>wide$}   reward  parameters        FLOPs{measured}  block", objective.name);
    for (position, record) in best.into_iter().take(top).enumerate() {
        let value = record.evaluation.value().map_or("-".to_owned(), |value| objective.show(value));
        let [parameters, flops] =
            record.cost.map_or_else(Default::default, |cost| [cost.parameters.to_string(), cost.flops.to_string()]);
        let measured = names.iter().map(|name| {
            let value = record.evaluation.measurement(name).map_or("-".to_owned(), |value| format!("{value:.3}"));
            format!("  {value:>0$}", name.chars().count().max(9))
        });
        outln!(
            "{:>4}  {value:>wide$}  {:>7.3}  {parameters:>10}  {flops:>11}{}  {}{}",
            position + 1,
            record.reward.value(),
            measured.collect::<String>(),
            record.architecture,
            if record.evaluation.is_stopped() { "  (stopped early)" } else { "" }
        );
    }
}
