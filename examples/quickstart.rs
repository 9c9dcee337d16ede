//! The five parts of a search: space, agent, environment, settings and reward.
//!
//! A formula replaces the training here, so that 256 blocks take less than a second. Needs no burn:
//!
//! ```text
//! cargo run --release -p blockqnn --no-default-features --example quickstart
//! ```

use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::environment::environment_fn;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::error::Error;
use std::io::{Write, stdout};

fn main() -> Result<(), Box<dyn Error>> {
    // What can be designed: the blocks of the paper's Table 1.
    let space = BlockSpace::paper();
    // Who proposes blocks: the paper's Q-learner. Its epsilon schedule, of 178 minibatches, is scaled to the 16 of this
    // search.
    let agent = QLearning::new(QLearningConfig::paper().scaled_to(16))?;
    // How good a block is, as an accuracy in percent. The name states what results depend on; a resumed search checks
    // it.
    let environment =
        environment_fn("prefers six layers", |block: &BlockCode, _seed| 90.0 - (block.len() as f64 - 6.0).abs());
    // How long to search: 256 blocks, 16 before the agent learns from each. The same seed gives the same blocks.
    let config = SearchConfig::paper().with_seed(1).with_trials(256, 16);
    // What the agent learns from: the paper's formula 1, the accuracy minus a price for FLOPs and density, which the
    // settings count in the paper's network. Without it the reward is the accuracy.
    let search = Search::new(space, agent, environment, config).with_reward(RedefinedReward::paper());

    let report = search.run()?;
    let mut out = stdout().lock();
    writeln!(out, "rank  reward  block")?;
    for (rank, record) in (1..).zip(report.best().into_iter().take(5)) {
        writeln!(out, "{rank:4}  {:6.2}  {}", record.reward.value(), record.architecture)?;
    }
    Ok(())
}
