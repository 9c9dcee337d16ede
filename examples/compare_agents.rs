//! A comparison of agents on equal budgets: many searches of each, because one search says little.
//!
//! The task is synthetic: its optimum is known and every evaluation is free. Ends within a minute, and needs no burn:
//!
//! ```text
//! cargo run --release -p blockqnn --no-default-features --example compare_agents
//! ```
//!
//! The program `blockqnn compare` does the same on tables of trained architectures, and writes CSV and SVG.

use blockqnn::agent::{EvolutionConfig, RegularizedEvolution};
use blockqnn::comparison::{Benchmark, Budget, Comparison, ComparisonConfig, Contender, SyntheticTask};
use std::error::Error;
use std::io::{Write, stderr, stdout};

fn main() -> Result<(), Box<dyn Error>> {
    // Accuracy is the similarity to a hidden block, with noise of one percentage point, as a training has.
    let benchmark = Benchmark::synthetic(SyntheticTask::Hidden(1), 1.0);

    // Agents of the crate by name, and any other by a function that makes it. `Contender::scheduled` is for agents
    // whose settings depend on the length of the search, as epsilon schedules do.
    let config = EvolutionConfig { population: 20, sample: 5 };
    let contenders = [
        Contender::named("random")?,
        Contender::named("paper")?,
        Contender::named("best")?,
        Contender::anytime("evolution20", move || RegularizedEvolution::new(config).expect("5 of 20 is valid")),
    ];

    // At each budget, the block with the highest measured accuracy so far counts, with its accuracy without noise.
    let config = ComparisonConfig::new([Budget::Evaluations(50), Budget::Evaluations(100)]).with_seeds(5);
    let comparison = Comparison::run(&benchmark, &contenders, &config, &|progress| {
        // If nobody reads it, the comparison continues.
        let _ = writeln!(stderr(), "{} of {} searches: {}", progress.done, progress.total, progress.agent);
    })?;
    // Mean and standard error over the seeds. Differences of less than two standard errors may be chance.
    writeln!(stdout(), "{comparison}")?;
    Ok(())
}
