//! A real search is a function of its configuration and seed: it gives the same bits twice, even next to other
//! trainings.

use blockqnn::agent::{EpsilonPhase, EpsilonSchedule, QLearning, QLearningConfig};
use blockqnn::data::{Split, embedded};
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::Trial;
use blockqnn::graph::{CostLimits, ImageShape, NetworkConfig, ToGraph};
use blockqnn::network::device::parse_device;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{RecordOf, Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::train::{Recipe, TrainingEnvironment};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn network() -> NetworkConfig {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    NetworkConfig { width: 4, repeats: 1, stages: 2, ..NetworkConfig::cifar().with_data(image, 10) }
}

/// One epoch on 80 of the embedded images, measured on 40.
fn environment() -> TrainingEnvironment {
    let split = Split::new(embedded::train().limit(120, 7).unwrap(), 40, 7).unwrap();
    let recipe = Recipe { epochs: 1, batch_size: 16, ..Recipe::early_stop() };
    TrainingEnvironment::new(&split, network(), recipe, &parse_device("flex").unwrap()).unwrap()
}

/// Four trials: two at random, and two that depend on what was learned from them.
fn search(environment: TrainingEnvironment, seed: u64) -> Vec<RecordOf<BlockSpace>> {
    let phases = [1.0, 0.5].map(|epsilon| EpsilonPhase { epsilon, minibatches: 1 });
    let epsilon = EpsilonSchedule::new(phases.to_vec()).unwrap();
    let agent = QLearning::new(QLearningConfig { epsilon, ..QLearningConfig::paper() }).unwrap();
    let limits = CostLimits { flops: Some(20_000_000), ..CostLimits::default() };
    let config =
        SearchConfig { limits, ..SearchConfig::new(4).with_minibatch(2).with_network(network()).with_seed(seed) };
    let space = BlockSpace::paper().with_max_layers(6).unwrap();
    let search = Search::new(space, agent, environment, config).with_reward(RedefinedReward::paper());
    search.run().unwrap().records
}

/// The decisions of a search, as text and bits. Seconds are left out, since nothing depends on them.
fn trace(records: &[RecordOf<BlockSpace>]) -> Vec<(String, u64, Option<[u64; 2]>, u64)> {
    let bits = |record: &RecordOf<BlockSpace>| {
        let metrics = record.evaluation.metrics()?;
        Some([metrics.value, metrics.training_loss.unwrap_or(-1.0)].map(f64::to_bits))
    };
    let line = |record: &RecordOf<BlockSpace>| {
        (record.architecture.to_string(), record.seed, bits(record), record.reward.value().to_bits())
    };
    records.iter().map(line).collect()
}

#[test]
fn one_seed_gives_one_search_bit_by_bit_and_another_seed_another() {
    let environment = environment();
    let first = trace(&search(environment.clone(), 1));
    assert_eq!(first.len(), 4);
    assert!(first.iter().any(|(_, _, bits, _)| bits.is_some()), "something must have been trained: {first:?}");
    assert_eq!(first, trace(&search(environment.clone(), 1)));

    let blocks = |trace: &[(String, u64, _, _)]| trace.iter().map(|line| line.0.clone()).collect::<Vec<_>>();
    assert_ne!(blocks(&first), blocks(&trace(&search(environment, 2))));
}

#[test]
fn a_search_keeps_its_bits_while_two_other_trainings_run() {
    let environment = environment();
    let alone = trace(&search(environment.clone(), 1));
    let graph = "conv3(0) add(0,1) terminal(2)".parse::<BlockCode>().unwrap().to_graph();
    let (done, trainings) = (AtomicBool::new(false), AtomicUsize::new(0));
    let beside = std::thread::scope(|scope| {
        for seed in [1, 2] {
            let (mut environment, graph, done, trainings) = (environment.clone(), &graph, &done, &trainings);
            scope.spawn(move || {
                let cost = graph.cost(&network()).unwrap();
                let trial = Trial { id: 0, seed, fingerprint: graph.fingerprint(), cost: Some(cost) };
                while !done.load(Ordering::SeqCst) {
                    environment.evaluate(graph, &TrialContext::new(&trial)).unwrap();
                    trainings.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let beside = std::panic::catch_unwind(|| trace(&search(environment.clone(), 1)));
        done.store(true, Ordering::SeqCst);
        beside
    });
    assert_eq!(beside.unwrap(), alone);
    assert!(trainings.into_inner() >= 2, "both others trained");
}
