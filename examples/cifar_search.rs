//! A search that trains networks: images, a network around each block, a training recipe, and two workers.
//!
//! Without arguments it searches on the images that come with the crate, for a few minutes on two CPU cores. With a
//! folder it searches on the official binary files of CIFAR-10 or CIFAR-100, or on photographs in one folder per class:
//!
//! ```text
//! cargo run --release --example cifar_search [DATA]
//! ```
//!
//! The search here is small. The program `blockqnn search` does the same with all settings, presets and progress bars.

use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::data::cifar::{self, CifarLabels, Missing};
use blockqnn::data::{BrokenImages, DataError, FolderParts, ImageFolder, ImageSet, Split, embedded};
use blockqnn::environment::BoxError;
use blockqnn::evaluator::ThreadEvaluator;
use blockqnn::files::{self, new_folder};
use blockqnn::graph::{CostLimits, NetworkConfig, StemConfig};
use blockqnn::network::device::default_device;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{Observer, RecordOf, RunFolder, Search, SearchConfig};
use blockqnn::space::block::BlockSpace;
use blockqnn::train::{Recipe, TrainingEnvironment};
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

const SEED: u64 = 1;
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let Err(error) = search(std::env::args_os().nth(1).map(PathBuf::from)) else { return ExitCode::SUCCESS };
    let _ = writeln!(stderr(), "error: {error}");
    ExitCode::FAILURE
}

fn search(folder: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    // A fifth of the images is held out to measure accuracy; a search never reads a test set.
    let set = pictures(folder)?.limit(1_000, SEED)?;
    let validation = set.len() / 5;
    let split = Split::new(set, validation, SEED)?;

    // The network around each block: two stages of one block, with 8 filters. The pool halves the images first.
    let stem = StemConfig { pools: 1, ..StemConfig::default() };
    let network = NetworkConfig { stem, stages: 2, repeats: 1, width: 8, ..NetworkConfig::cifar() };
    let network = network.with_data(split.shape(), split.classes().len());
    // The paper trains each network for 12 epochs; here it is two, in small batches.
    let recipe = Recipe { batch_size: 32, learning_rate: 0.003, ..Recipe::early_stop().scaled_to(2) };

    // Two workers with half of the cores each. The result does not depend on their number.
    let threads = std::thread::available_parallelism()?.get() / WORKERS;
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    let environment = TrainingEnvironment::new(&split, network.clone(), recipe, &default_device()?)?;
    let workers = ThreadEvaluator::new(vec![environment.with_threads(threads); WORKERS])?;

    let space = BlockSpace::paper().with_max_layers(6)?;
    let agent = QLearning::new(QLearningConfig { learning_rate: 0.1, ..QLearningConfig::paper().scaled_to(8) })?;
    // The search counts parameters and FLOPs before anything is trained, and refuses what is too large.
    let limits = CostLimits { flops: Some(20_000_000), ..CostLimits::default() };
    let config =
        SearchConfig { limits, ..SearchConfig::new(32).with_minibatch(4).with_seed(SEED).with_network(network) };
    // Every trial is journalled here as it ends: see the example `resume`.
    let folder = RunFolder::create(new_folder("blockqnn-runs", "cifar_search")?)?;
    let owner = folder.owner();
    let search = Search::with_evaluator(space.clone(), agent, workers, config)
        .with_reward(RedefinedReward::paper())
        .with_run_folder(folder)
        .with_observer(Progress);
    let report = search.run()?;

    files::write(owner.path().join("results.csv"), |out| report.write_csv(&space, out))?;
    let mut out = stdout().lock();
    writeln!(out, "rank  accuracy   reward  parameters       FLOPs  block")?;
    for (rank, record) in (1..).zip(report.best().into_iter().take(10)) {
        let accuracy = record.evaluation.value().unwrap_or_default();
        let reward = record.reward.value();
        let (parameters, flops) = record.cost.map(|cost| (cost.parameters, cost.flops)).unwrap_or_default();
        writeln!(
            out,
            "{rank:4}  {accuracy:6.2} %  {reward:7.3}  {parameters:10}  {flops:10}  {}",
            record.architecture
        )?;
    }
    writeln!(out, "wrote the run to {}", owner.path().display())?;
    Ok(())
}

/// The training images of the folder, or those that come with the crate.
fn pictures(folder: Option<PathBuf>) -> Result<ImageSet, DataError> {
    let Some(folder) = folder else { return Ok(embedded::train()) };
    let has = |name: &str| folder.join(name).exists();
    if has("data_batch_1.bin") || has("cifar-10-batches-bin") {
        return cifar::cifar10_train(&folder, Missing::Refuse);
    }
    if has("train.bin") || has("cifar-100-binary") {
        return cifar::cifar100_train(&folder, CifarLabels::Fine);
    }
    // Photographs: where a folder has parts, such as `train` and `val`, a search reads only the training images.
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let photographs = ImageFolder::open(FolderParts::find(folder)?.training())?;
    let (set, _left_out) = photographs.load(32, BrokenImages::Refuse, threads)?;
    Ok(set)
}

/// Says which trials have ended. An observer can also stop the search, by an error.
struct Progress;

impl Observer<BlockSpace> for Progress {
    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        // If nobody reads it, the search continues.
        let _ =
            writeln!(stderr(), "trial {:2}  reward {:7.3}  {}", record.id, record.reward.value(), record.architecture);
        Ok(())
    }
}
