//! Compares agents on equal budgets.
use blockqnn::comparison::*;
use blockqnn::environment::tabular::Table;
use clap::Parser;
use std::path::PathBuf;
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    table: Option<PathBuf>,
    #[arg(long)]
    dataset: Option<String>,
    #[arg(long, default_value = "50,100,200,500", value_delimiter = ',')]
    budgets: Vec<Budget>,
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    #[arg(long, default_value = "places")]
    synthetic: SyntheticTask,
    #[arg(long, default_value_t = 0.0)]
    noise: f64,
    #[arg(long)]
    agent: Vec<String>,
}
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a = Arguments::parse();
    let config =
        ComparisonConfig { first_seed: a.first_seed, ..ComparisonConfig::new(a.budgets.clone()).with_seeds(a.seeds) };
    let start = std::time::Instant::now();
    for agent in &a.agent {
        let comparison = match &a.table {
            Some(path) => {
                let table = Table::read(path, a.dataset.as_deref())?;
                Comparison::run(&Benchmark::cells(table), &[Contender::named(agent)?], &config, &|_| {})?
            }
            None => Comparison::run(
                &Benchmark::synthetic(a.synthetic, a.noise),
                &[Contender::named(agent)?],
                &config,
                &|_| {},
            )?,
        };
        print!("{comparison}");
        println!("{:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
