//! No finished trial is lost: searches that are killed, cut off, damaged or out of disk space end as if nothing had
//! happened, or say what is wrong.

mod damage;
mod folders;
#[cfg(target_os = "linux")]
mod full_disk;
mod golden;
mod mixed;
mod stops;

use blockqnn::agent::{Agent, EpsilonPhase, EpsilonSchedule, QLearning, QLearningConfig, ReplayConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{BoxError, Cancellation, Environment, TrialContext};
use blockqnn::evaluation::Evaluation;
use blockqnn::graph::{NetworkConfig, WidthRule};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{Durability, Observer, RecordOf, RunFolder, Search, SearchConfig, SearchError};
use blockqnn::space::SearchSpace;
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn agent() -> QLearning<BlockSpace> {
    let phases = [1.0, 0.5, 0.1].map(|epsilon| EpsilonPhase { epsilon, minibatches: 3 });
    let epsilon = EpsilonSchedule::new(phases.to_vec()).unwrap();
    let replay = ReplayConfig { rounds: 2, batch: 16 };
    QLearning::new(QLearningConfig { epsilon, replay, ..QLearningConfig::paper() }).unwrap()
}

/// The golden folders were started when all widths were growing.
fn network() -> NetworkConfig {
    NetworkConfig { widths: WidthRule::Growing, ..NetworkConfig::cifar() }
}

fn config(trials: u64) -> SearchConfig {
    SearchConfig::new(trials).with_network(network()).with_seed(5)
}

fn search(
    trials: u64,
) -> Search<'static, BlockSpace, QLearning<BlockSpace>, impl blockqnn::evaluator::Evaluator<BlockCode>> {
    Search::new(BlockSpace::paper(), agent(), Synthetic::new().with_noise(3.0), config(trials))
        .with_reward(RedefinedReward::paper())
}

/// The outcome of a run: the Q-table's bytes and every bit of every record.
#[derive(Debug, PartialEq)]
struct End {
    table: Vec<u8>,
    records: Vec<String>,
}

/// Runs a search to its end.
fn finish(folder: Option<RunFolder>, trials: u64) -> Result<End, SearchError> {
    let search = search(trials);
    let search = match folder {
        Some(folder) => search.with_run_folder(folder),
        None => search,
    };
    let (report, agent) = search.run_with_agent()?;
    let mut table = Vec::new();
    agent.save(&mut table)?;
    Ok(End { table, records: report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect() })
}

fn resume(path: &Path, trials: u64) -> Result<End, SearchError> {
    finish(Some(RunFolder::resume(path)?), trials)
}

fn journal(path: &Path) -> PathBuf {
    path.join("journal.jsonl")
}

/// A finished run of `trials` trials in `parent/NAME`.
fn finished(parent: &Path, trials: u64, durability: Durability) -> PathBuf {
    let path = parent.join("run");
    finish(Some(RunFolder::create(&path).unwrap().with_durability(durability)), trials).unwrap();
    path
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Raises the flag after a number of finished trials.
struct StopAfter(u64, Cancellation);

impl<S: SearchSpace> Observer<S> for StopAfter {
    fn on_finished(&mut self, _: &RecordOf<S>) -> Result<(), BoxError> {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.cancel();
        }
        Ok(())
    }
}

fn line_breaks(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

/// Counts evaluations.
struct Counted(Arc<AtomicU64>);

impl Environment<BlockCode> for Counted {
    type Error = std::convert::Infallible;
    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Self::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Synthetic::new().with_noise(3.0).evaluate(block, context)
    }
    fn identity(&self) -> String {
        Environment::<BlockCode>::identity(&Synthetic::new().with_noise(3.0))
    }
}

const CHILD: &str = "BLOCKQNN_TEST_RUN";
const CHILD_TRIALS: u64 = 640;

/// Not a test itself: the process that [`stops::a_search_killed_at_60_moments_ends_as_if_it_had_not_been`] kills.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let folder = match RunFolder::resume(&path) {
        Ok(folder) => folder,
        Err(_) => RunFolder::create(&path).unwrap(),
    };
    finish(Some(folder), CHILD_TRIALS).unwrap();
    fs::write(path.with_extension("done"), "").unwrap();
}
