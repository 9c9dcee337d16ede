//! A search that survives being killed.
//!
//! ```text
//! cargo run --release -p blockqnn --no-default-features --example resume
//! ```
//!
//! Kill it in the middle (Ctrl-C, or `kill -9`), and start it again: it continues where it was, and ends with the
//! blocks and rewards of a search that was never killed. The run folder contains the settings, a journal with every
//! trial that has ended, and a checkpoint of the agent.

use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::environment::{BoxError, environment_fn};
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Observer, RecordOf, RunFolder, Search, SearchConfig, SearchReport};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let path = Path::new("blockqnn-runs/resume");
    let folder = RunFolder::open(path)?;

    // Each block takes as long as a very short training. The name is compared when the run is resumed, as are the
    // settings, the agent, the space and the reward: a run is never continued as another one by mistake.
    let environment = environment_fn("slow, prefers six layers", |block: &BlockCode, _seed| {
        std::thread::sleep(Duration::from_millis(50));
        90.0 - (block.len() as f64 - 6.0).abs()
    });
    let agent = QLearning::new(QLearningConfig::paper().scaled_to(12))?;
    // Only the number of trials may grow: a finished run that is resumed with more of them continues.
    let config = SearchConfig::new(96).with_minibatch(8).with_seed(1);
    let search = Search::new(BlockSpace::paper(), agent, environment, config)
        .with_reward(RedefinedReward::accuracy(Credit::EveryLayer))
        .with_run_folder(folder)
        .with_observer(Counter::default());
    let report = search.run()?;
    writeln!(stdout(), "the best block is {}", report.best()[0].architecture)?;
    writeln!(stdout(), "delete {} to start from the beginning", path.display())?;
    Ok(())
}

/// Counts the trials that were evaluated now, and those that the journal already had.
#[derive(Default)]
struct Counter {
    restored: usize,
    evaluated: usize,
}

impl Observer<BlockSpace> for Counter {
    fn on_restored(&mut self, _: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.restored += 1;
        Ok(())
    }

    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.evaluated += 1;
        if record.id.is_multiple_of(8) {
            writeln!(stdout(), "trial {}", record.id)?;
        }
        Ok(())
    }

    fn on_end(&mut self, _: &SearchReport<BlockSpace>) -> Result<(), BoxError> {
        writeln!(stdout(), "{} trials were in the journal, {} were evaluated now", self.restored, self.evaluated)?;
        Ok(())
    }
}
