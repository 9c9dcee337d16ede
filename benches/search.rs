//! The cost of a search apart from training: proposing, learning, decoding, fingerprints and costs of blocks.
//!
//! ```sh
//! cargo bench -p blockqnn --no-default-features --bench search
//! ```
//!
//! All on one core, with 10,000 blocks in the memory: about as many as a search of the paper's size ends with.

use blockqnn::agent::{Agent, Memory, QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::evaluation::{Episode, Reward};
use blockqnn::graph::{NetworkConfig, ToGraph};
use blockqnn::reward::{RedefinedReward, RewardShaper};
use blockqnn::seed;
use blockqnn::space::SearchSpace;
use blockqnn::space::block::{BlockCode, BlockSpace, LayerCode};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const REMEMBERED: u32 = 10_000;
const MINIBATCH: u32 = 64;

/// Random blocks as a search would remember them.
fn memory(space: &BlockSpace) -> Memory<BlockSpace> {
    let mut memory = Memory::new(MINIBATCH.into());
    let shaper = RedefinedReward::paper();
    for number in 0..REMEMBERED {
        let mut rng = seed::stream(1, "bench", number.into());
        let trajectory = RandomAgent.propose(space, &memory, &mut rng).expect("a random walk");
        let block = space.decode(&trajectory.actions).expect("a valid block");
        let reward = Reward::new(Synthetic::quality(&block)).expect("a finite reward");
        let fingerprint = block.to_graph().fingerprint();
        let rewards = shaper.credit(reward, trajectory.len());
        memory.note_proposed(fingerprint);
        memory.push(Episode { trajectory, rewards, reward, fingerprint, rung: 0 });
    }
    memory
}

/// The paper's learner after all of `memory`.
fn learner(space: &BlockSpace, memory: &Memory<BlockSpace>) -> QLearning<BlockSpace> {
    let mut agent = QLearning::new(QLearningConfig::paper()).expect("the settings are valid");
    let mut rng = seed::stream(1, "bench learns", 0);
    agent.learn(space, memory.episodes(), memory, &mut rng).expect("the episodes are of the space");
    agent
}

fn agent(criterion: &mut Criterion) {
    let space = BlockSpace::paper();
    let memory = memory(&space);
    let mut agent = learner(&space, &memory);
    let layers: usize = memory.episodes().iter().map(|episode| episode.trajectory.len()).sum();
    println!("{:.1} layers a block, Terminal included", layers as f64 / f64::from(REMEMBERED));

    let mut group = criterion.benchmark_group("agent");
    group.throughput(Throughput::Elements(MINIBATCH.into()));
    group.bench_function("propose/64 blocks", |bencher| {
        let mut number = 0;
        bencher.iter(|| {
            number += 1;
            let mut rng = seed::stream(2, "bench proposes", number);
            for _ in 0..MINIBATCH {
                black_box(agent.propose(&space, &memory, &mut rng).expect("a walk"));
            }
        });
    });
    let minibatch = &memory.episodes()[(REMEMBERED - MINIBATCH) as usize..];
    // 64 updates in order, and 64 rounds of 128.
    group.throughput(Throughput::Elements(u64::from(MINIBATCH) + 64 * 128));
    group.bench_function("learn/64 blocks and replay of 64 x 128", |bencher| {
        let mut number = 0;
        bencher.iter(|| {
            number += 1;
            let mut rng = seed::stream(2, "bench learns", number);
            agent.learn(&space, minibatch, &memory, &mut rng).expect("the episodes are of the space");
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("save/checkpoint", |bencher| {
        bencher.iter(|| {
            let mut bytes = Vec::new();
            agent.save(&mut bytes).expect("memory takes all");
            bytes.len()
        });
    });
    group.finish();
}

fn blocks(criterion: &mut Criterion) {
    let space = BlockSpace::paper();
    let memory = memory(&space);
    let walks: Vec<&[LayerCode]> = memory.episodes().iter().map(|e| e.trajectory.actions.as_slice()).collect();
    let blocks: Vec<BlockCode> = walks.iter().map(|walk| space.decode(walk).expect("a valid block")).collect();
    let graphs: Vec<_> = blocks.iter().map(ToGraph::to_graph).collect();
    let network = NetworkConfig::cifar();
    let mut group = criterion.benchmark_group("block");
    let mut next = (0..walks.len()).cycle();
    let mut any = move || next.next().expect("a cycle has no end");
    group.bench_function(BenchmarkId::new("decode", "random blocks"), |bencher| {
        bencher.iter(|| space.decode(walks[any()]).expect("a valid block"));
    });
    group.bench_function(BenchmarkId::new("to_graph", "random blocks"), |bencher| {
        bencher.iter(|| blocks[any()].to_graph());
    });
    group.bench_function(BenchmarkId::new("fingerprint", "random blocks"), |bencher| {
        bencher.iter(|| graphs[any()].fingerprint());
    });
    // Blocks whose size overflows give an error, and take as long.
    group.bench_function(BenchmarkId::new("cost", "random blocks"), |bencher| {
        bencher.iter(|| graphs[any()].cost(&network).is_ok());
    });
    group.finish();
}

criterion_group!(benches, agent, blocks);
criterion_main!(benches);
