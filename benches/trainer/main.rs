//! What training costs on `flex`: a step of several networks, a batch of images, and trainings side by side; and what
//! classifying a batch costs.
//!
//! ```sh
//! cargo bench --bench trainer
//! cargo bench --bench trainer -- "train step"
//! ```
//!
//! A step is forward, backward and Adam on a batch that is there already. Its name says block, images, width and batch.
//! Trainings side by side are timed at the end, unless a filter is given.

mod inference;
mod training;

use blockqnn::data::{Augmentation, BatchSource, Batches, DeviceSet, embedded};
use blockqnn::export::Blueprint;
use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig, StemConfig, ToGraph};
use blockqnn::network::{Precision, device::default_device};
use blockqnn::space::block::BlockCode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use inference::Inference;
use rayon::ThreadPoolBuilder;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use training::{CELLS, Training};

/// Pools and wide kernels.
const POOLS: &str = "max3(0) conv5(1) avg3(0) conv1(3) concat(2,4) terminal(5)";
/// What random blocks of the quick preset are made of.
const SMALL: &str = "conv1(0) conv3(1) max3(2) add(1,3) conv5(0) terminal(4)";

/// A network in training on `flex`.
fn on_flex(graph: &LayerGraph, config: &NetworkConfig, batch: usize) -> Training {
    let device = default_device().expect("flex is built in");
    Training::new(graph, config, batch, Precision::F32, &device).expect("it can be built")
}

fn cifar(width: usize) -> NetworkConfig {
    NetworkConfig { width, repeats: 1, ..NetworkConfig::cifar() }
}

/// The network of the quick preset.
fn quick(width: usize) -> NetworkConfig {
    let stem = StemConfig { pools: 1, ..StemConfig::default() };
    let config = NetworkConfig { stem, stages: 2, repeats: 1, width, ..NetworkConfig::cifar() };
    config.with_data(ImageShape { channels: 1, height: 28, width: 28 }, 10)
}

fn graph(block: &str) -> LayerGraph {
    block.parse::<BlockCode>().expect("it is a block").to_graph()
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("train step");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    for (name, block, config, batch) in [
        ("cells", CELLS, cifar(32), 64),
        ("cells", CELLS, cifar(16), 64),
        ("cells", CELLS, cifar(32), 16),
        ("pools", POOLS, cifar(16), 64),
        ("small", SMALL, quick(8), 32),
        ("small", SMALL, quick(16), 32),
        ("small", SMALL, quick(8), 128),
        ("cells", CELLS, quick(8), 32),
    ] {
        let ImageShape { channels, height, width } = config.image;
        let id = format!("{height}x{width}x{channels}, width {}, batch {batch}", config.width);
        let mut training = on_flex(&graph(block), &config, batch);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::new(name, id), |bencher| bencher.iter(|| training.step()));
    }
    group.finish();
}

fn inference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inference");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for (name, block, config, batch) in [
        ("cells", CELLS, cifar(32), 1),
        ("cells", CELLS, cifar(32), 64),
        ("small", SMALL, quick(8), 1),
        ("small", SMALL, quick(8), 256),
    ] {
        let network = Inference::new(on_flex(&graph(block), &config, batch)).expect("no step was taken");
        group.throughput(Throughput::Elements(batch as u64));
        let id = |kind| BenchmarkId::new(name, format!("{kind}, width {}, batch {batch}", config.width));
        group.bench_function(id("as trained"), |bencher| bencher.iter(|| network.plain()));
        group.bench_function(id("folded"), |bencher| bencher.iter(|| network.folded()));
    }
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    let set = embedded::train();
    let device = default_device().expect("flex is built in");
    let resident = DeviceSet::new(&set, &set.channel_statistics(), &device).expect("the statistics are its own");
    for size in [32, 128] {
        let order = Batches::shuffled(set.len(), NonZeroUsize::new(size).expect("a batch"), 1, 0);
        for (name, augmentation) in [("plain", Augmentation::default()), ("augmented", Augmentation::cifar())] {
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::new(name, format!("28x28x1, batch {size}")), |bencher| {
                let mut source = resident.training_batches(&order, 0, &augmentation, 1, 0);
                bencher.iter(|| {
                    if source.next().is_none() {
                        source = resident.training_batches(&order, 0, &augmentation, 1, 0);
                    }
                });
            });
        }
    }
    group.finish();
}

/// Images a second of `trainings` at once, each with `threads` threads of its own.
fn speed(trainings: usize, threads: usize, graph: &LayerGraph, config: &NetworkConfig, batch: usize) -> f64 {
    let barrier = Barrier::new(trainings);
    let train = || {
        let pool = ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build();
        let _pool = pool.expect("the thread is in no pool yet");
        let mut training = on_flex(graph, config, batch);
        training.step();
        barrier.wait();
        let start = Instant::now();
        let mut steps = 0.0;
        while start.elapsed() < Duration::from_secs(3) {
            training.step();
            steps += 1.0;
        }
        steps * batch as f64 / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..trainings).map(|_| scope.spawn(train)).collect();
        running.into_iter().map(|training| training.join().expect("it does not panic")).sum()
    })
}

fn side_by_side() {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    println!("images a second, best of three rounds: {cores} trainings with one thread each; one with {cores} threads");
    for (name, block, config, batch) in
        [("cells", CELLS, cifar(32), 64), ("pools", POOLS, cifar(16), 64), ("small", SMALL, quick(8), 32)]
    {
        let graph = graph(block);
        let rounds = (0..3).map(|_| [speed(cores, 1, &graph, &config, batch), speed(1, cores, &graph, &config, batch)]);
        let [side_by_side, threaded] =
            rounds.fold([0.0f64; 2], |best, round| [best[0].max(round[0]), best[1].max(round[1])]);
        println!(
            "{name}, width {}, batch {batch}: {side_by_side:.0}; {threaded:.0}; ratio {:.2}",
            config.width,
            side_by_side / threaded
        );
    }
}

/// The other side of `tools/compare_pytorch.py`, which passes the block, its width, its repetitions in a stage and the
/// size of a batch in the environment.
fn peer(folder: &Path) -> Result<(), Box<dyn Error>> {
    let block = std::env::var("BLOCKQNN_PEER_BLOCK")?;
    let [width, repeats] = ["BLOCKQNN_PEER_WIDTH", "BLOCKQNN_PEER_REPEATS"].map(std::env::var);
    let config = NetworkConfig { repeats: repeats?.parse()?, ..cifar(width?.parse()?) };
    let graph = block.parse::<BlockCode>()?.to_graph();
    let blueprint = Blueprint::new("peer", graph.clone(), config.clone())?;
    let training = on_flex(&graph, &config, std::env::var("BLOCKQNN_PEER_BATCH")?.parse()?);
    if std::env::var_os("BLOCKQNN_PEER_INFERENCE").is_some() {
        return Inference::new(training).ok_or("there is no network")?.serve(&blueprint, folder);
    }
    let mut training = training;
    training.serve(&blueprint, folder)
}

criterion_group!(benches, steps, inference, batches);

fn main() {
    if let Some(folder) = std::env::var_os("BLOCKQNN_PEER") {
        peer(Path::new(&folder)).expect("the other side speaks in numbers");
        return;
    }
    let filtered = std::env::args().skip(1).any(|argument| !argument.starts_with('-'));
    benches();
    Criterion::default().configure_from_args().final_summary();
    if !filtered {
        side_by_side();
    }
}
