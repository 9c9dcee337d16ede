//! Compares agents on equal budgets: on a table of trained architectures, or on a synthetic task whose best is known.
//!
//! ```text
//! cargo run --release --no-default-features --example compare_agents -- --synthetic hidden:1 --agent best --agent local
//! cargo run --release --no-default-features --example compare_agents -- --table nasbench201.csv --dataset cifar100
//! ```
//!
//! A table is CSV as `blockqnn::environment::tabular` describes it. An agent of your own takes part by a few lines of Rust:
//! see `blockqnn::comparison`.

#[path = "compare_agents/svg.rs"]
mod svg;

use blockqnn::comparison::{Benchmark, Budget, Comparison, ComparisonConfig, Contender, SyntheticTask};
use blockqnn::environment::tabular::Table;
use blockqnn::space::SearchSpace;
use blockqnn::space::block::BlockSpace;
use blockqnn::space::cell::CellCode;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Compare agents on equal budgets: mean worth of what they find, with its standard error.
///
/// On a table, the worth is the final accuracy of the cell with the highest early accuracy so far; agents see the early
/// accuracy alone. On a synthetic task it is the quality without noise.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A table of cells (CSV, NAS-Bench-201's columns or the general ones), in place of a synthetic task.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["synthetic", "noise"])]
    table: Option<PathBuf>,
    /// The data set whose rows of the table count, such as cifar10 or cifar100; not needed if the table has one alone.
    #[arg(long, value_name = "NAME", requires = "table")]
    dataset: Option<String>,
    /// The synthetic task on the paper's blocks: places, hidden:SEED or motifs:SEED.
    #[arg(long, value_name = "TASK", default_value = "places")]
    synthetic: SyntheticTask,
    /// Standard deviation of the noise on synthetic accuracies, in percent points.
    #[arg(long, value_name = "POINTS", default_value_t = 0.0)]
    noise: f64,
    /// An agent: paper, metaqnn, tuned, rank, best, random, evolution, evolution50, local or local10. Repeatable; all, unless given.
    #[arg(long, value_name = "NAME")]
    agent: Vec<String>,
    /// Budgets, with commas between them: evaluations (500) or, on a table with times, simulated seconds (20000s).
    #[arg(long, value_name = "LIST", default_value = "50,100,200,500", value_delimiter = ',')]
    budgets: Vec<Budget>,
    /// Architectures that an agent proposes before it learns of them: 1 favours agents that learn quickly, a search on N
    /// workers has N or more.
    #[arg(long, value_name = "N", default_value = "1")]
    minibatch: NonZeroU64,
    /// Searches of each agent.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Seed of the first of them.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    first_seed: u64,
    /// Searches at a time; all cores, unless given. It changes nothing but the time.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write the outcome of every search as CSV.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the mean regret (percent points of worth below the optimum) by evaluation as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
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
    match &arguments.table {
        Some(path) => compare(&Benchmark::cells(cells(path, arguments.dataset.as_deref())?), arguments),
        None => compare(&Benchmark::synthetic(arguments.synthetic, arguments.noise), arguments),
    }
}

/// A table of the cells of NAS-Bench-201, all of them.
fn cells(path: &Path, dataset: Option<&str>) -> Result<Table, Box<dyn Error>> {
    let table = Table::read(path, dataset)?;
    if let Some(missing) = CellCode::all().map(|cell| cell.to_string()).find(|cell| table.entry(cell).is_err()) {
        let path = path.display();
        return Err(format!("{path} is no table of all cells of NAS-Bench-201: {missing} is not in it").into());
    }
    Ok(table)
}

fn compare<S: SearchSpace + Clone + 'static>(
    benchmark: &Benchmark<S>,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let all = Contender::<BlockSpace>::NAMES.map(str::to_owned);
    let names = if arguments.agent.is_empty() { &all[..] } else { &arguments.agent };
    let contenders = names.iter().map(|name| Contender::named(name)).collect::<Result<Vec<_>, _>>()?;
    let mut config = ComparisonConfig::new(arguments.budgets.clone()).with_seeds(arguments.seeds);
    config.minibatch = arguments.minibatch.get();
    config.first_seed = arguments.first_seed;
    config.threads = arguments.threads.unwrap_or(config.threads);

    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} searches, {elapsed} of about {duration}  {msg}")?;
    let bar = ProgressBar::no_length().with_style(style);
    let start = Instant::now();
    let comparison = Comparison::run(benchmark, &contenders, &config, &|progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.agent.to_owned());
    })?;
    bar.finish_and_clear();

    println!(
        "{}: mean worth of {} searches, the optimum is {:.2}",
        comparison.benchmark(),
        config.seeds,
        comparison.optimum()
    );
    println!("{comparison}");
    println!("{:.1} s with {} threads", start.elapsed().as_secs_f64(), config.threads);
    let failed = |path: &PathBuf, error: &dyn Error| format!("cannot write {}: {error}", path.display());
    if let Some(path) = &arguments.csv {
        let mut csv = Vec::new();
        comparison.write_csv(&mut csv)?;
        fs::write(path, csv).map_err(|error| failed(path, &error))?;
        println!("every search: {}", path.display());
    }
    if let Some(path) = &arguments.svg {
        fs::write(path, svg::regret(&comparison)).map_err(|error| failed(path, &error))?;
        println!("regret curve: {}", path.display());
    }
    Ok(())
}
