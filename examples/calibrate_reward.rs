//! Fits the coefficients of the redefined reward to pairs of early and final accuracy, and tells what the fit is worth.
//!
//! ```text
//! cargo run --release --no-default-features --example calibrate_reward -- --table nasbench201.csv --dataset cifar100
//! ```
//!
//! A table is CSV as `blockqnn::environment::tabular` describes it, with `final_accuracy`: the `results.csv` of a run with a
//! column more, in which verified blocks have their accuracy and the others nothing.

use blockqnn::comparison::calibration_pairs;
use blockqnn::environment::tabular::Table;
use blockqnn::reward::calibration::{Calibration, CalibrationConfig, Formula, Pair, Term, agreement_in_top, calibrate};
use clap::Parser;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Fit the coefficients of the reward to pairs of early and final accuracy.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A table with early and final accuracies.
    #[arg(long, value_name = "FILE")]
    table: PathBuf,
    /// The data set whose rows count.
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Terms that may get a coefficient: flops, density, parameters, seconds.
    #[arg(long, value_name = "LIST", default_value = "flops,density", value_delimiter = ',', value_parser = term)]
    terms: Vec<Term>,
    /// Architectures of highest early accuracy to rank besides all of them.
    #[arg(long, value_name = "LIST", default_value = "1000,200", value_delimiter = ',')]
    top: Vec<usize>,
    /// Seed of the halves of the cross-validation.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn term(text: &str) -> Result<Term, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected flops, density, parameters or seconds".to_owned())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let table = Table::read(&arguments.table, arguments.dataset.as_deref())?;
    let pairs = calibration_pairs(&table);
    println!(
        "{} pairs of {} rows; density of a cell: its edges, at least 1/2, over 4 nodes",
        pairs.len(),
        table.entries().len()
    );
    let config =
        CalibrationConfig { terms: arguments.terms.clone(), seed: arguments.seed, ..CalibrationConfig::default() };
    let calibration = calibrate(&pairs, &config)?;

    print!("\nKendall's tau (Spearman's rho) with the final accuracy\n| score | all |");
    arguments.top.iter().for_each(|top| print!(" top {top} |"));
    println!("\n| --- | --- |{}", " --- |".repeat(arguments.top.len()));
    row(&pairs, &Formula::accuracy(), &arguments.top)?;
    if pairs.iter().all(|pair| pair.flops.is_some() && pair.density.is_some()) {
        row(&pairs, &Formula::paper(), &arguments.top)?;
        let opposite = Formula { terms: vec![(Term::Flops, 0.5), (Term::Density, 0.5)] };
        row(&pairs, &opposite, &arguments.top)?;
    }
    row(&pairs, &calibration.fitted, &arguments.top)?;
    tell(&calibration, &config);
    Ok(())
}

fn row(pairs: &[Pair], formula: &Formula, tops: &[usize]) -> Result<(), Box<dyn Error>> {
    print!("| {formula} |");
    for top in std::iter::once(&pairs.len()).chain(tops) {
        let found = agreement_in_top(pairs, formula, *top)?;
        print!(" {:.3} ({:.3}) |", found.kendall, found.spearman);
    }
    println!();
    Ok(())
}

fn tell(calibration: &Calibration, config: &CalibrationConfig) {
    let percent = 100.0 * config.top;
    println!("\nOn halves held out, {} splits: Kendall's tau of all, and of the top {percent} %", config.splits);
    for (name, held_out) in ["accuracy alone", "fitted to the other half"].iter().zip(calibration.held_out) {
        println!("  {name}: {:.3}, {:.3}", held_out.all.kendall, held_out.top.kendall);
    }
    println!("recommended: {}", calibration.recommended());
    for warning in calibration.warnings() {
        println!("warning: {warning}");
    }
}
