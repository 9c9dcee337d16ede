//! `compare`: agents on equal budgets, on a table of trained architectures or on a synthetic task with a known optimum.

use super::Outcome;
use crate::output;
use blockqnn::agent::AgentConfig;
use blockqnn::comparison::{Benchmark, Budget, Comparison, ComparisonConfig, Contender, SyntheticTask};
use blockqnn::environment::tabular::Table;
use blockqnn::files;
use blockqnn::space::SearchSpace;
use blockqnn::space::cell::CellCode;
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::io::{self, Write};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Compare agents on equal budgets, by the mean quality of the best architecture found, with its standard error
///
/// On a table, the quality is the final accuracy of the cell with the highest early accuracy so far; agents see only
/// the early accuracy. On a synthetic task it is the accuracy without noise.
///
/// A table may have accuracies after several numbers of epochs: NAS-Bench-201 has them after 12 and 200, a CSV file in
/// the columns accuracy_4ep, accuracy_12ep, ... An agent sees those after the fewest epochs, or after those behind its
/// name: best@200, or with rungs best@12,200, where all cells are trained for 12 epochs and the best of them for 200.
/// Budgets in epochs (4800e) give all agents the same amount of training. With rungs, the quality is that of the cell
/// with the highest accuracy at the highest rung.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Arguments {
    /// CSV table of all cells of NAS-Bench-201 (its own columns, or architecture, accuracy or accuracy_12ep, ...),
    /// instead of a synthetic task
    #[arg(long, value_name = "FILE", conflicts_with_all = ["synthetic", "noise"])]
    table: Option<PathBuf>,
    /// Data set whose rows of the table are used, such as cifar10 or cifar100; required if the table has several
    #[arg(long, value_name = "NAME", requires = "table")]
    dataset: Option<String>,
    /// Charge a promoted cell all epochs of its rung, and not only those that it adds: for a table whose accuracies
    /// after several numbers of epochs come from separate trainings. Those in the columns of NAS-Bench-201 always do
    #[arg(long, requires = "table")]
    separate_trainings: bool,
    /// Synthetic task on the paper's blocks: places, hidden:SEED or motifs:SEED, such as motifs:1
    #[arg(long, value_name = "TASK", default_value = "places")]
    synthetic: SyntheticTask,
    /// Standard deviation of the noise on synthetic accuracies, in percentage points
    #[arg(long, value_name = "POINTS", default_value_t = 0.0, value_parser = crate::args::not_negative,
        allow_negative_numbers = true)]
    noise: f64,
    /// Agent to compare: paper, metaqnn, tuned, rank, best, best-with-priors, random, evolution, evolution50, local or
    /// local10 (repeatable), or hyperband, which is random search in brackets over rungs. On a table with several
    /// numbers of epochs, @ and those of its evaluations may follow: best@200, or with rungs random@12,200
    /// [default: all but hyperband]
    #[arg(long, value_name = "NAME")]
    agent: Vec<String>,
    /// With rungs, promote one in N of the cells of a rung to the next; the eta of hyperband [default: 3]
    #[arg(long, value_name = "N")]
    promote_one_in: Option<u64>,
    /// Budgets, separated by commas: evaluations (500) or, on a table with epochs or training times, epochs of all
    /// trainings (4800e) or simulated seconds (20000s)
    #[arg(long, value_name = "LIST", default_value = "50,100,200,500", value_delimiter = ',')]
    budgets: Vec<Budget>,
    /// Architectures that an agent proposes before it learns from them: 1 favours agents that learn quickly; a search
    /// on N workers uses N or more
    #[arg(long, value_name = "N", default_value = "1", value_parser = crate::args::at_least_one::<NonZeroU64>)]
    minibatch: NonZeroU64,
    /// Number of searches of each agent, each with another random seed
    #[arg(long, value_name = "N", default_value_t = 20)]
    seeds: u64,
    /// Random seed of the first search; the others use the following numbers
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    first_seed: u64,
    /// Simultaneous searches; the result does not depend on it [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = crate::args::at_least_one::<NonZeroUsize>)]
    threads: Option<NonZeroUsize>,
    /// Write the result of every search to this CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the mean regret (percentage points below the optimum) over the evaluations to this SVG file
    /// (requires the feature report, which is on by default)
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn compare --synthetic hidden:1 --agent best --agent local
  blockqnn compare --table nasbench201.csv --dataset cifar100 --svg regret.svg
  blockqnn compare --table nasbench201.csv --dataset cifar100 --budgets 1200e,4800e --agent best --agent best@12,200";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.table {
        Some(path) => {
            let table = cells(path, arguments.dataset.as_deref())?;
            let separate = arguments.separate_trainings || table.has_separate_trainings();
            compare_on(&Benchmark::cells(table.with_separate_trainings(separate)), arguments)
        }
        None => compare_on(&Benchmark::synthetic(arguments.synthetic, arguments.noise), arguments),
    }
}

/// A table of the cells of NAS-Bench-201, all of them.
fn cells(path: &Path, dataset: Option<&str>) -> Result<Table, Box<dyn Error>> {
    let table = Table::read(path, dataset)?;
    if let Some(missing) = CellCode::all().map(|cell| cell.to_string()).find(|cell| table.entry(cell).is_err()) {
        let path = path.display();
        return Err(format!(
            "{path} is not a complete table of NAS-Bench-201: the cell {missing} is missing; give a table with all \
             15625 cells"
        )
        .into());
    }
    Ok(table)
}

fn compare_on<S: SearchSpace + Clone + 'static>(benchmark: &Benchmark<S>, arguments: &Arguments) -> Outcome {
    let all: Vec<&str> = AgentConfig::names().collect();
    let given: Vec<&str> = arguments.agent.iter().map(String::as_str).collect();
    let names = if given.is_empty() { all } else { given };
    let mut contenders = names.into_iter().map(Contender::named).collect::<Result<Vec<_>, _>>()?;
    if let Some(one_in) = arguments.promote_one_in {
        if !contenders.iter().any(Contender::has_rungs) {
            return Err("--promote-one-in is for agents with rungs: give one, such as --agent best@12,200".into());
        }
        contenders = contenders.into_iter().map(|contender| contender.with_one_in(one_in)).collect();
    }
    let mut config = ComparisonConfig::new(arguments.budgets.clone()).with_seeds(arguments.seeds);
    config.minibatch = arguments.minibatch.get();
    config.first_seed = arguments.first_seed;
    config.threads = arguments.threads.map_or(config.threads, NonZeroUsize::get);

    check_outputs(arguments)?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} searches, {elapsed} of about {duration}  {msg}")?;
    let bar = ProgressBar::no_length().with_style(style);
    let start = Instant::now();
    let comparison = Comparison::run(benchmark, &contenders, &config, &|progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.agent.to_owned());
    })?;
    bar.finish_and_clear();

    // The files come first, because whoever reads the table may stop reading; it is printed even if writing them fails.
    let csv = write(arguments.csv.as_deref(), |out| comparison.write_csv(out));
    let svg = write(arguments.svg.as_deref(), |out| out.write_all(regret(&comparison).as_bytes()));
    outln!(
        "{}: mean quality over {} searches, the optimum is {:.2}",
        comparison.benchmark,
        config.seeds,
        comparison.optimum
    );
    outln!("{comparison}");
    outln!("took {:.1} s with {} threads", start.elapsed().as_secs_f64(), config.threads);
    if let Some(path) = csv? {
        outln!("wrote the result of every search to {}", path.display());
    }
    if let Some(path) = svg? {
        outln!("wrote the regret curve to {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The regret curve as SVG.
#[cfg(feature = "report")]
fn regret(comparison: &Comparison) -> String {
    blockqnn::report::regret(comparison).svg
}

/// Never called: [`check_outputs`] has refused `--svg` in a build without the feature `report`.
#[cfg(not(feature = "report"))]
fn regret(_: &Comparison) -> String {
    String::new()
}

/// Checks, before a comparison that may take long, that its files can be written and replace nothing that it reads.
fn check_outputs(arguments: &Arguments) -> Result<(), String> {
    let Arguments { csv, svg, table, .. } = arguments;
    if svg.is_some() && cfg!(not(feature = "report")) {
        return Err("--svg requires the feature report, which this program was built without: omit it".to_owned());
    }
    for path in [csv, svg].into_iter().flatten() {
        if table.as_ref().is_some_and(|table| files::is_same(table, path)) {
            return Err(format!("{} is the table that is read: name another file", path.display()));
        }
        output::check_writable(path)?;
    }
    match (csv, svg) {
        (Some(csv), Some(svg)) if csv == svg || files::is_same(csv, svg) => {
            Err(format!("--csv and --svg are both {}: name two files", csv.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file, if one is asked for, and returns its path.
fn write(path: Option<&Path>, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Option<&Path>, String> {
    path.map(|path| output::write(path, content).map(|()| path)).transpose()
}
