//! The agent learns: the paper's whole schedule on the synthetic environments, against the random agent.
//!
//! Prints the figures in docs/evidence/agent-learns.md; with `BLOCKQNN_ALL_CREDITS=1`, those of all three credits.

mod first_layers;

use blockqnn::agent::{Agent, QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::Environment;
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use first_layers::FirstLayers;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 20;

/// A synthetic environment and the true quality of its blocks.
type Rated<E> = (E, fn(&BlockCode) -> f64);

const LENGTH_AND_MEAN: fn() -> Rated<Synthetic> = || (Synthetic::new().with_noise(2.0), Synthetic::quality);
const FIRST_LAYERS: fn() -> Rated<FirstLayers> = || (FirstLayers, FirstLayers::quality);

/// True qualities of the blocks of a whole run, in the order of proposal.
fn qualities<E: Environment<BlockCode>>(
    agent: impl Agent<BlockSpace>,
    (environment, quality): Rated<E>,
    credit: Credit,
    seed: u64,
) -> Vec<f64> {
    let search = Search::new(BlockSpace::paper(), agent, environment, SearchConfig::paper().with_seed(seed));
    let report = search.with_reward(RedefinedReward::accuracy(credit)).run().unwrap();
    report.records.iter().map(|record| quality(&record.architecture)).collect()
}

fn learner() -> QLearning<BlockSpace> {
    QLearning::new(QLearningConfig::paper()).unwrap()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns mean and standard error.
fn estimate(values: &[f64]) -> (f64, f64) {
    let center = mean(values);
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    let count = values.len() as f64;
    (center, (squares / (count - 1.0) / count).sqrt())
}

/// Returns, for each seed, the mean true quality of the first 95 minibatches and of the last 12, and the best of the
/// run.
fn run(name: &str, qualities: &(dyn Fn(u64) -> Vec<f64> + Sync)) -> Vec<[f64; 3]> {
    let next = AtomicU64::new(0);
    let rows = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= SEEDS {
                break;
            }
            let all = qualities(seed);
            let (first, last) = (&all[..95 * 64], &all[all.len() - 12 * 64..]);
            let best = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            rows.lock().unwrap().insert(seed, [mean(first), mean(last), best]);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let rows: Vec<_> = rows.into_inner().unwrap().into_values().collect();
    print!("| {name} |");
    for column in 0..3 {
        let (value, error) = estimate(&rows.iter().map(|row| row[column]).collect::<Vec<_>>());
        print!(" {value:.2} ± {error:.2} |");
    }
    println!();
    rows
}

fn all_credits() -> bool {
    std::env::var_os("BLOCKQNN_ALL_CREDITS").is_some()
}

fn print_head(environment: &str) {
    println!("\n| {environment} | mean of the first 95 minibatches | mean of the last 12 | best |");
    println!("| --- | --- | --- | --- |");
}

/// Returns mean and standard error over seeds of a difference between two figures.
fn lead(differences: impl Iterator<Item = f64>) -> (f64, f64) {
    estimate(&differences.collect::<Vec<_>>())
}

#[test]
fn with_rewards_at_all_layers_the_last_minibatches_beat_the_first_and_with_shares_also_the_best_of_random_search() {
    print_head("the first layers decide");
    let random = run("random", &|seed| qualities(RandomAgent, FIRST_LAYERS(), Credit::EveryLayer, seed));
    let learned =
        run("Q-learning, every layer", &|seed| qualities(learner(), FIRST_LAYERS(), Credit::EveryLayer, seed));
    let shared = run("Q-learning, shared", &|seed| qualities(learner(), FIRST_LAYERS(), Credit::Shared, seed));
    if all_credits() {
        run("Q-learning, terminal", &|seed| qualities(learner(), FIRST_LAYERS(), Credit::Terminal, seed));
    }

    for (credit, learned) in [("every layer", &learned), ("shared", &shared)] {
        let (gain, error) = lead(learned.iter().map(|row| row[1] - row[0]));
        assert!(gain > 3.0 * error, "{credit}: {gain} is not three standard errors ({error})");
        let (lead, error) = lead(learned.iter().zip(&random).map(|(learned, random)| learned[1] - random[2]));
        println!("{credit}: mean of the last 12 over the best of random search, seed by seed: {lead:.2} ± {error:.2}");
        // Processors differ in the last bit of logarithms, and therefore in the result of a seed. The lead of Equation
        // 2 is about two standard errors, too little to hold on all of them.
        if credit == "shared" {
            assert!(
                lead > 2.0 * error,
                "the best of random search is no worse than the last minibatches: {lead} ± {error}"
            );
        }
    }
}

#[test]
fn with_the_reward_at_terminal_the_learner_beats_its_own_beginning_and_finds_better_blocks_than_random_search() {
    print_head("length and mean decide");
    let random = run("random", &|seed| qualities(RandomAgent, LENGTH_AND_MEAN(), Credit::Terminal, seed));
    let terminal = run("Q-learning, terminal", &|seed| qualities(learner(), LENGTH_AND_MEAN(), Credit::Terminal, seed));
    if all_credits() {
        run("Q-learning, every layer", &|seed| qualities(learner(), LENGTH_AND_MEAN(), Credit::EveryLayer, seed));
        run("Q-learning, shared", &|seed| qualities(learner(), LENGTH_AND_MEAN(), Credit::Shared, seed));
    }

    let (gain, error) = lead(terminal.iter().map(|row| row[1] - row[0]));
    assert!(gain > 3.0 * error, "{gain} is not three standard errors ({error})");
    let (lead, error) = lead(terminal.iter().zip(&random).map(|(learned, random)| learned[2] - random[2]));
    println!("best of the learner over best of random search, seed by seed: {lead:.2} ± {error:.2}");
    assert!(lead > 0.0, "the learner finds nothing better than random search: {lead} ± {error}");
}
