//! `calibrate`: the coefficients of the redefined reward, fitted to pairs of early and final accuracy.

use super::Outcome;
use blockqnn::comparison::{calibration_pairs, verified_accuracies};
use blockqnn::environment::tabular::Table;
use blockqnn::reward::calibration::{Calibration, CalibrationConfig, Formula, Pair, Term, calibrate, ranking_in_top};
use blockqnn::search::{RunFolder, RunHistory};
use blockqnn::space::block::BlockSpace;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Fit the coefficients of the reward to pairs of early and final accuracy
///
/// Prints the rank correlation of several scores with the final accuracy, cross-validates the fit, and recommends
/// coefficients.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// CSV table with early and final accuracies in percent: columns architecture, accuracy, `final_accuracy` and, for
    /// the terms, flops, density, parameters, seconds; or NAS-Bench-201's columns
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Data set whose rows of the table are used, such as cifar10; required if the table has several
    #[arg(long, value_name = "NAME", requires = "table")]
    dataset: Option<String>,
    /// Folder of a search whose best blocks `blockqnn verify` has trained to convergence, instead of a table
    #[arg(long, value_name = "RUN", conflicts_with = "table")]
    run: Option<PathBuf>,
    /// Terms of the reward to fit, separated by commas: flops, density, parameters, seconds
    #[arg(long, value_name = "LIST", default_value = "flops,density", value_delimiter = ',')]
    terms: Vec<Term>,
    /// Another formula to rank by, such as flops=2,density=-0.5: the accuracy plus 2 ln(FLOPs) minus 0.5 ln(density)
    /// (repeatable)
    #[arg(long, value_name = "TERM=NUMBER,..", allow_hyphen_values = true)]
    formula: Vec<Formula>,
    /// Numbers of architectures with the highest early accuracy to rank separately, besides all of them
    #[arg(long, value_name = "LIST", default_value = "1000,200", value_delimiter = ',')]
    top: Vec<usize>,
    /// Random seed of the cross-validation's splits into halves
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn calibrate --run RUN
  blockqnn calibrate --run RUN --formula flops=2 --formula flops=1,density=-0.5
  blockqnn calibrate --table nasbench201.csv --dataset cifar100";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let pairs = match (&arguments.run, &arguments.table) {
        (Some(run), _) => of_run(run)?,
        (None, Some(table)) => of_table(table, arguments.dataset.as_deref())?,
        (None, None) => return Err("there are no pairs to fit to: give --table FILE or --run RUN (see --help)".into()),
    };
    let config =
        CalibrationConfig { terms: arguments.terms.clone(), seed: arguments.seed, ..CalibrationConfig::default() };
    let calibration = calibrate(&pairs, &config)?;

    outln!("\nKendall's tau with the final accuracy; then its gain over the accuracy alone, on the same architectures");
    out!("| score | all |");
    arguments.top.iter().for_each(|top| out!(" top {top} |"));
    outln!("\n| --- | --- |{}", " --- |".repeat(arguments.top.len()));
    row(&pairs, &Formula::accuracy(), &arguments.top)?;
    if pairs.iter().all(|pair| pair.flops.is_some() && pair.density.is_some()) {
        row(&pairs, &Formula::paper(), &arguments.top)?;
        let opposite = Formula { terms: vec![(Term::Flops, 0.5), (Term::Density, 0.5)] };
        row(&pairs, &opposite, &arguments.top)?;
    }
    for formula in &arguments.formula {
        row(&pairs, formula, &arguments.top)?;
    }
    row(&pairs, &calibration.fitted, &arguments.top)?;
    print_result(&calibration, &config);
    Ok(ExitCode::SUCCESS)
}

fn of_table(path: &Path, dataset: Option<&str>) -> Result<Vec<Pair>, Box<dyn Error>> {
    let table = Table::read(path, dataset)?;
    let pairs = calibration_pairs(&table);
    if pairs.is_empty() {
        let path = path.display();
        return Err(format!(
            "no row of {path} has both an accuracy and a final_accuracy: add the column final_accuracy, or give --run \
             RUN"
        )
        .into());
    }
    let rows = table.entries().len();
    outln!(
        "{} pairs from {rows} rows; the density of a cell is its edges (at least 1/2) divided by its 4 nodes",
        pairs.len()
    );
    Ok(pairs)
}

/// The pairs of a run's verified blocks: `verified.csv` has a line `trial,accuracy` for each.
fn of_run(run: &Path) -> Result<Vec<Pair>, Box<dyn Error>> {
    let history: RunHistory<BlockSpace> = RunFolder::read(run)?;
    let objective = &history.settings.search.objective;
    if !objective.is_accuracy() {
        return Err(format!(
            "the run in {} has the objective {:?}: only accuracies are verified, and rewards calibrated to them",
            run.display(),
            objective.name
        )
        .into());
    }
    let path = run.join("verified.csv");
    let advice = format!("create it again with `blockqnn verify {}`", run.display());
    let accuracies = verified_accuracies(&path).map_err(|error| format!("{error}; {advice}"))?;
    let mut pairs = Vec::new();
    for (trial, last) in accuracies {
        let record = history.records.iter().find(|record| record.id == trial);
        let measured = record.and_then(|record| Some((record, record.evaluation.metrics()?)));
        let Some((record, metrics)) = measured else {
            let path = path.display();
            return Err(
                format!("{path} has an accuracy of trial {trial}, which the run has not measured: {advice}").into()
            );
        };
        pairs.push(Pair::new(metrics.value, last, record.cost.as_ref(), metrics.seconds));
    }
    outln!("{} verified blocks of {} trials", pairs.len(), history.records.len());
    Ok(pairs)
}

fn row(pairs: &[Pair], formula: &Formula, tops: &[usize]) -> Result<(), Box<dyn Error>> {
    out!("| {formula} |");
    for top in std::iter::once(&pairs.len()).chain(tops) {
        let found = ranking_in_top(pairs, formula, *top)?;
        out!(" {}", found.tau);
        if !formula.terms.is_empty() {
            out!("; {:+}", found.gain);
        }
        out!(" |");
    }
    outln!();
    Ok(())
}

fn print_result(calibration: &Calibration, config: &CalibrationConfig) {
    let percent = 100.0 * config.top;
    outln!(
        "\nOn held-out halves, mean of {} splits: Kendall's tau of all architectures, and of the top {percent} %",
        config.splits
    );
    for (name, held_out) in ["accuracy alone", "fitted to the other half"].iter().zip(calibration.held_out) {
        outln!("  {name}: {:.3}, {:.3}", held_out.all, held_out.top);
    }
    outln!("  gain in tau of all: {:+}", calibration.gain);
    outln!("recommended: {}", calibration.recommended());
    for warning in calibration.warnings() {
        outln!("warning: {warning}");
    }
}
