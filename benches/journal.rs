//! The journal: appending with each durability, loading a run of 100,000 trials, and the bookkeeping of a minibatch.
//!
//! ```sh
//! cargo bench -p blockqnn --no-default-features --bench journal
//! ```
//!
//! Prints trials a second, and seconds. Set `TMPDIR` to a folder on the disk that counts: on a file system in memory an
//! fsync costs nothing.

use blockqnn::agent::{QLearning, QLearningConfig, ReplayConfig};
use blockqnn::environment::BoxError;
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::search::{Durability, MinibatchSummary, Observer, RunFolder, Search, SearchConfig};
use blockqnn::space::block::BlockSpace;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

/// Seconds that a search of `trials` takes, in `folder` if there is one.
fn seconds(folder: Option<RunFolder>, trials: u64) -> f64 {
    let replay = ReplayConfig { rounds: 0, batch: 0 };
    let agent = QLearning::new(QLearningConfig { replay, ..QLearningConfig::paper() }).expect("the settings are valid");
    let config = SearchConfig::paper().with_trials(trials, 64);
    let search = Search::new(BlockSpace::paper(), agent, Synthetic::new(), config);
    let search = match folder {
        Some(folder) => search.with_run_folder(folder),
        None => search,
    };
    let start = Instant::now();
    let report = search.run().expect("the search runs");
    assert_eq!(report.records.len() as u64, trials);
    start.elapsed().as_secs_f64()
}

fn create(path: &Path, durability: Durability) -> RunFolder {
    RunFolder::create(path).expect("the folder is new").with_durability(durability)
}

/// Notes when each minibatch was learned.
struct Clock(Sender<Instant>);

impl Observer<BlockSpace> for Clock {
    fn on_learned(&mut self, _: &MinibatchSummary) -> Result<(), BoxError> {
        Ok(self.0.send(Instant::now())?)
    }
}

/// Everything about a minibatch of the paper's search but its training: proposing, pricing, journal with an fsync a
/// block, learning with the whole replay, checkpoint. The median of the last ten minibatches of 10,240 blocks, in
/// seconds.
fn bookkeeping(path: &Path) -> (u64, f64) {
    let (clock, ticks) = channel();
    let agent = QLearning::new(QLearningConfig::paper()).expect("the settings are valid");
    let config = SearchConfig::paper().with_trials(10_240, 64);
    let search = Search::new(BlockSpace::paper(), agent, Synthetic::new(), config)
        .with_run_folder(create(path, Durability::EveryResult))
        .with_observer(Clock(clock));
    search.run().expect("the search runs");
    let ticks: Vec<Instant> = ticks.iter().collect();
    let mut last: Vec<f64> = ticks.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).skip(149).collect();
    last.sort_by(f64::total_cmp);
    (10_240, last[last.len() / 2])
}

fn main() {
    let parent = tempfile::tempdir().expect("there is a temporary folder");
    println!("in {}", parent.path().display());
    let trials = 2_048;
    // What proposing and learning cost without a journal; the difference is the journal's.
    let bare = seconds(None, trials);
    for (name, durability) in
        [("every result", Durability::EveryResult), ("every minibatch", Durability::EveryMinibatch)]
    {
        let folder = create(&parent.path().join(name), durability).with_checkpoint_every(0);
        let journalled = seconds(Some(folder), trials) - bare;
        println!("append/fsync after {name:<16} {:>9.0} trials/s", trials as f64 / journalled);
    }
    let checkpointed =
        seconds(Some(create(&parent.path().join("checkpoint"), Durability::EveryMinibatch)), trials) - bare;
    println!("append/with checkpoints          {:>9.0} trials/s", trials as f64 / checkpointed);

    let (blocks, median) = bookkeeping(&parent.path().join("bookkeeping"));
    println!("bookkeeping/64 blocks with {blocks} in the memory  {median:>6.3} s");

    let (trials, path) = (100_000, parent.path().join("load"));
    let minibatches = trials / 64 + 1;
    seconds(Some(create(&path, Durability::EveryMinibatch).with_checkpoint_every(minibatches)), trials);
    let bytes = std::fs::metadata(path.join("journal.jsonl")).map_or(0, |metadata| metadata.len());
    let loading = seconds(Some(RunFolder::resume(&path).expect("the run is there")), trials);
    println!("load/{trials} trials, {} MB   {loading:>9.2} s", bytes / 1_000_000);
}
