//! The agent learns: the paper's whole schedule on the synthetic environment, against the random agent.
//!
//! Prints the figures that docs/reproduction.md tells.

use blockqnn::agent::{Agent, QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::BlockSpace;

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

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn q_learning_beats_its_own_beginning_and_random_search() {
    let run = |name: &str, qualities: &(dyn Fn(u64) -> Vec<f64> + Sync)| -> Vec<[f64; 3]> {
        let next = std::sync::atomic::AtomicU64::new(0);
        let rows = std::sync::Mutex::new(vec![[0.0; 3]; SEEDS as usize]);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        if seed >= SEEDS {
                            break;
                        }
                        let all = qualities(seed);
                        let (first, last) = (&all[..95 * 64], &all[all.len() - 12 * 64..]);
                        rows.lock().unwrap()[seed as usize] = [mean(first), mean(last), best(&all)];
                    }
                });
            }
        });
        let rows = rows.into_inner().unwrap();
        let column = |column: usize| estimate(&rows.iter().map(|row| row[column]).collect::<Vec<_>>());
        let [first, last, best] = [column(0), column(1), column(2)];
        println!(
            "{name:>12}: first 95 minibatches {:.2} +- {:.2}, last 12 {:.2} +- {:.2}, best {:.2} +- {:.2}",
            first.0, first.1, last.0, last.1, best.0, best.1
        );
        rows
    };
    let learner = || QLearning::new(QLearningConfig::paper()).unwrap();
    let random = run("random", &|seed| qualities(RandomAgent, Credit::Terminal, seed));
    let terminal = run("terminal", &|seed| qualities(learner(), Credit::Terminal, seed));
    run("every layer", &|seed| qualities(learner(), Credit::EveryLayer, seed));
    run("shared", &|seed| qualities(learner(), Credit::Shared, seed));

    let gains: Vec<f64> = terminal.iter().map(|row| row[1] - row[0]).collect();
    let (gain, error) = estimate(&gains);
    assert!(gain > 3.0 * error, "{gain} is not three standard errors ({error})");
    let leads: Vec<f64> = terminal.iter().zip(&random).map(|(learnt, random)| learnt[1] - random[2]).collect();
    let (lead, error) = estimate(&leads);
    println!("mean of the last 12 minibatches over random's best: {lead:.2} +- {error:.2}");
    assert!(lead > 0.0, "the last blocks are no better than random search's best: {lead} +- {error}");
}
