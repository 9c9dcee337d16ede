//! The agent learns: the paper's whole schedule on the synthetic environment, against the random agent.
//!
//! Prints the figures that docs/reproduction.md tells; with `BLOCKQNN_ALL_CREDITS=1` those of all three credits.

use blockqnn::agent::{Agent, QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::BlockSpace;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 20;

/// True qualities of the blocks of a whole run, in the order of proposal.
fn qualities(agent: impl Agent<BlockSpace>, credit: Credit, seed: u64) -> Vec<f64> {
    let config = SearchConfig::paper().with_seed(seed);
    let search = Search::new(BlockSpace::paper(), agent, Synthetic::new().with_noise(2.0), config);
    let report = search.with_reward(RedefinedReward::accuracy(credit)).run().unwrap();
    report.records.iter().map(|record| Synthetic::quality(&record.architecture)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean and standard error.
fn estimate(values: &[f64]) -> (f64, f64) {
    let center = mean(values);
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    let count = values.len() as f64;
    (center, (squares / (count - 1.0) / count).sqrt())
}

/// Mean true quality of the first 95 minibatches and of the last 12, and the best of the run, for each seed.
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

#[test]
fn q_learning_beats_its_own_beginning_and_random_search() {
    let learner = || QLearning::new(QLearningConfig::paper()).unwrap();
    println!("| agent | mean of the first 95 minibatches | mean of the last 12 | best |");
    println!("| --- | --- | --- | --- |");
    let random = run("random", &|seed| qualities(RandomAgent, Credit::Terminal, seed));
    let terminal = run("Q-learning, terminal", &|seed| qualities(learner(), Credit::Terminal, seed));
    if std::env::var_os("BLOCKQNN_ALL_CREDITS").is_some() {
        run("Q-learning, every layer", &|seed| qualities(learner(), Credit::EveryLayer, seed));
        run("Q-learning, shared", &|seed| qualities(learner(), Credit::Shared, seed));
    }

    let gains: Vec<f64> = terminal.iter().map(|row| row[1] - row[0]).collect();
    let (gain, error) = estimate(&gains);
    assert!(gain > 3.0 * error, "{gain} is not three standard errors ({error})");
    let leads: Vec<f64> = terminal.iter().zip(&random).map(|(learnt, random)| learnt[2] - random[2]).collect();
    let (lead, error) = estimate(&leads);
    println!("best of the learner over best of random search, seed by seed: {lead:.2} ± {error:.2}");
    assert!(lead > 0.0, "the learner finds nothing better than random search: {lead} ± {error}");
}
