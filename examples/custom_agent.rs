//! Your own agent: what proposes the next architecture, given all earlier ones and their rewards.
//!
//! One function is required, [`Agent::propose`]. The agent below edits one of the best architectures so far. It works
//! in any space, and the crate's own checks tell whether it keeps the rules that a resumed search relies on. Needs no
//! burn:
//!
//! ```text
//! cargo run --release -p blockqnn --no-default-features --example custom_agent
//! ```
//!
//! An agent that learns something besides what is in the memory also implements `learn`, `save` and `load`.

use blockqnn::agent::{Agent, AgentError, Edit, Memory, RandomAgent, TrajectoryOf};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::identity;
use blockqnn::search::{Search, SearchConfig, SearchReport};
use blockqnn::space::SearchSpace;
use blockqnn::space::block::BlockSpace;
use blockqnn::testing::check_agent;
use rand::{Rng, RngExt};
use std::cmp::Reverse;
use std::error::Error;
use std::io::{Write, stdout};

/// Edits one of the `parents` best architectures, after as many random ones.
struct Climber {
    parents: usize,
}

impl<S: SearchSpace> Agent<S> for Climber {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        // All randomness comes from `rng`, so that the same seed gives the same search, also when it is resumed.
        let mut episodes: Vec<_> = memory.episodes().iter().collect();
        if episodes.len() < self.parents {
            return RandomAgent.propose(space, memory, rng);
        }
        episodes.sort_by_key(|episode| Reverse(episode.reward));
        let parent = episodes[rng.random_range(0..self.parents)];
        // Replaces, inserts or removes a layer at random. If the result was proposed before, the controller asks again.
        Edit::random(space, &parent.trajectory, rng)
    }

    /// What the proposals depend on: a run is resumed only by an agent with the same identity.
    fn identity(&self) -> String {
        identity::with_settings("climber 1", &self.parents)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // In your crate this is a test.
    check_agent(&BlockSpace::paper(), || Climber { parents: 5 })?;
    let mut out = stdout().lock();
    writeln!(out, "best accuracy after 200 blocks in the synthetic environment, where 100 is the optimum")?;
    writeln!(out, "seed  climber  random")?;
    for seed in 0..5 {
        writeln!(out, "{seed:4}  {:7.2}  {:6.2}", best(Climber { parents: 5 }, seed)?, best(RandomAgent, seed)?)?;
    }
    Ok(())
}

fn best(agent: impl Agent<BlockSpace>, seed: u64) -> Result<f64, Box<dyn Error>> {
    let config = SearchConfig::paper().with_seed(seed).with_trials(200, 10);
    let report: SearchReport<_> = Search::new(BlockSpace::paper(), agent, Synthetic::new(), config).run()?;
    Ok(report.best()[0].evaluation.value().unwrap_or_default())
}
