//! Comparisons of agents on equal budgets: many searches with each agent, each with its own seed, on a benchmark that
//! answers at once.
//!
//! Each [`Contender`] searches a [`Benchmark`] with the same controller as in a search of days. At every budget, the
//! result is the architecture with the highest reward so far, judged by its *worth*: on a table the final accuracy,
//! which no agent sees. If all trials of a search have failed by then, the worth is 0.
//!
//! Where evaluations have epochs, [`Budget::Epochs`] gives every agent the same training, whatever it is spent on: an
//! agent [with rungs](Contender::at_epochs) evaluates some architectures for few epochs and some for more, and the
//! result is then the architecture of the highest rung, and there of the highest reward. On a table whose accuracies
//! are [those of one training](crate::environment::tabular::Table::with_separate_trainings), a promoted architecture is
//! charged the epochs that it adds, otherwise all of its epochs.
//!
//! A custom agent takes part like any other:
//!
//! ```
//! use blockqnn::agent::{Agent, AgentError, Edit, EpisodeOf, Memory, RandomAgent, TrajectoryOf};
//! use blockqnn::comparison::{Benchmark, Budget, Comparison, ComparisonConfig, Contender, SyntheticTask};
//! use blockqnn::space::SearchSpace;
//! use rand::Rng;
//! use std::io::{Read, Write};
//!
//! /// Edits the best architecture so far.
//! struct Greedy;
//!
//! impl<S: SearchSpace> Agent<S> for Greedy {
//!     fn propose(&mut self, s: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
//!         match memory.episodes().iter().max_by_key(|episode| episode.standing()) {
//!             Some(best) => Edit::random(s, &best.trajectory, rng),
//!             None => RandomAgent.propose(s, memory, rng),
//!         }
//!     }
//!     fn learn(&mut self, _: &S, _: &[EpisodeOf<S>], _: &Memory<S>, _: &mut dyn Rng) -> Result<(), AgentError> {
//!         Ok(())
//!     }
//!     fn save(&self, _: &mut dyn Write) -> Result<(), AgentError> {
//!         Ok(())
//!     }
//!     fn load(&mut self, _: &S, _: &mut dyn Read) -> Result<(), AgentError> {
//!         Ok(())
//!     }
//! }
//!
//! let contenders = [Contender::anytime("greedy", || Greedy), Contender::anytime("random", || RandomAgent)];
//! let config = ComparisonConfig::new([Budget::Evaluations(100)]).with_seeds(5);
//! let comparison = Comparison::run(&Benchmark::synthetic(SyntheticTask::Places, 0.0), &contenders, &config, &|_| {})?;
//! print!("{comparison}");
//! # assert!(comparison.standings[0].estimates[0].mean > comparison.standings[1].estimates[0].mean);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod benchmark;
mod budget;
mod contender;
mod course;
mod hyperband;
mod pairs;
mod plan;
mod table;

pub use benchmark::{Benchmark, SyntheticTask};
pub use budget::Budget;
pub use contender::Contender;
pub use pairs::{calibration_pairs, verified_accuracies};
pub use table::Estimate;

use crate::search::SearchError;
use crate::space::SearchSpace;
use plan::Plan;

/// Settings of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonConfig {
    /// The budgets to compare at.
    pub budgets: Vec<Budget>,
    /// Searches with each agent.
    pub seeds: u64,
    /// Seed of the first search; the others have the following numbers.
    pub first_seed: u64,
    /// Number of simultaneous searches. It affects only the time, not the result.
    pub threads: usize,
    /// Number of architectures that an agent proposes before it learns from them, at least 1, as in a search with that
    /// many workers. An agent with a schedule has larger minibatches if its budget would make more of them than the
    /// schedule has.
    pub minibatch: u64,
}

impl ComparisonConfig {
    /// Creates the default settings: 20 searches with each agent, as many at a time as the machine has cores, in
    /// minibatches of one.
    #[must_use]
    pub fn new(budgets: impl Into<Vec<Budget>>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { budgets: budgets.into(), seeds: 20, first_seed: 0, threads, minibatch: 1 }
    }

    /// Sets the number of searches with each agent.
    #[must_use]
    pub fn with_seeds(self, seeds: u64) -> Self {
        Self { seeds, ..self }
    }
}

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComparisonError {
    /// There is nothing to compare.
    #[error("a comparison needs at least one {missing}")]
    Empty {
        /// What is missing.
        missing: &'static str,
    },
    /// A budget is in seconds, but the benchmark has no evaluation times.
    #[error("benchmark {benchmark} has no evaluation times: give budgets in evaluations such as 500, not in seconds")]
    NoSeconds {
        /// Name of the benchmark.
        benchmark: String,
    },
    /// A budget is in epochs, but the benchmark has none.
    #[error("benchmark {benchmark} has no epochs: give budgets in evaluations such as 500, not in epochs")]
    NoEpochs {
        /// Name of the benchmark.
        benchmark: String,
    },
    /// Some budgets are in epochs and others are not.
    #[error("some budgets are in epochs and some are not: give budgets in evaluations, in epochs or in seconds alone")]
    Mixed,
    /// An agent is to evaluate for epochs at which the benchmark cannot, or with which its budgets cannot be counted.
    #[error("agent {agent}: {problem}")]
    Epochs {
        /// Name of the agent.
        agent: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A search failed.
    #[error("the search of {agent} with seed {seed} failed: {source}")]
    Search {
        /// Name of the agent.
        agent: String,
        /// The seed.
        seed: u64,
        /// The error of the search.
        #[source]
        source: Box<SearchError>,
    },
    /// A budget is too small for a single evaluation.
    #[error("no evaluation of {agent} with seed {seed} ends within the budget of {budget}: give a larger budget")]
    NoEvaluation {
        /// Name of the agent.
        agent: String,
        /// The seed.
        seed: u64,
        /// The budget.
        budget: Budget,
    },
}

/// The result of one search at one budget.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BudgetResult {
    /// Seed of the search.
    pub seed: u64,
    /// Worth of the architecture with the highest reward, in percent; 0 if none could be evaluated.
    pub worth: f64,
    /// Evaluations within the budget.
    pub evaluations: u64,
    /// Epochs of those evaluations; 0 if the benchmark has none.
    pub epochs: u64,
    /// Seconds of those evaluations; 0 if the benchmark has no times.
    pub seconds: f64,
}

/// The results of one agent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// Name of the agent.
    pub agent: String,
    /// Results by budget, then by seed.
    pub results: Vec<Vec<BudgetResult>>,
    /// Mean worth and its standard error by budget.
    pub estimates: Vec<Estimate>,
    /// Mean regret after 1, 2, 3, ... times [`Comparison::regret_every`] evaluations, or epochs if the budgets are in
    /// epochs, in the searches with the largest budget.
    pub regret: Vec<f64>,
}

/// A finished comparison. Its text form is a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Name of the benchmark.
    pub benchmark: String,
    /// The highest worth in the space, in percent.
    pub optimum: f64,
    /// The budgets that were compared at.
    pub budgets: Vec<Budget>,
    /// The results of each agent, in the order given.
    pub standings: Vec<Standing>,
    /// How far apart the points of [`Standing::regret`] are: one evaluation, or so many epochs.
    pub regret_every: u64,
}

impl Comparison {
    /// Returns whether the budgets are in epochs.
    #[must_use]
    pub fn counts_epochs(&self) -> bool {
        self.budgets.iter().any(Budget::is_epochs)
    }
}

/// How far a comparison is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComparisonProgress<'a> {
    /// Number of searches that have ended.
    pub done: usize,
    /// Number of all searches.
    pub total: usize,
    /// Agent of the search that ended last.
    pub agent: &'a str,
}

impl Comparison {
    /// Runs all searches.
    ///
    /// # Errors
    /// [`ComparisonError`] if a setting is invalid, or of the first search that failed.
    pub fn run<S: SearchSpace + Clone>(
        benchmark: &Benchmark<S>,
        contenders: &[Contender<S>],
        config: &ComparisonConfig,
        on_progress: &(dyn Fn(ComparisonProgress<'_>) + Sync),
    ) -> Result<Self, ComparisonError> {
        let missing =
            [("agent", contenders.is_empty()), ("budget", config.budgets.is_empty()), ("seed", config.seeds == 0)];
        if let Some((missing, _)) = missing.into_iter().find(|(_, missing)| *missing) {
            return Err(ComparisonError::Empty { missing });
        }
        if benchmark.mean_seconds.is_none() && config.budgets.iter().any(|b| matches!(b, Budget::Seconds(_))) {
            return Err(ComparisonError::NoSeconds { benchmark: benchmark.name.clone() });
        }
        let counts_epochs = config.budgets.iter().any(Budget::is_epochs);
        if counts_epochs && benchmark.epochs().is_empty() {
            return Err(ComparisonError::NoEpochs { benchmark: benchmark.name.clone() });
        }
        if counts_epochs && !config.budgets.iter().all(Budget::is_epochs) {
            return Err(ComparisonError::Mixed);
        }
        let plan = Plan { benchmark, contenders, config };
        contenders.iter().try_for_each(|contender| plan.check(contender))?;
        let finished = plan.run(on_progress)?;
        let standings = (0..contenders.len()).map(|contender| plan.standing(contender, &finished)).collect();
        Ok(Self {
            benchmark: benchmark.name.clone(),
            optimum: benchmark.optimum,
            budgets: config.budgets.clone(),
            standings,
            regret_every: plan.regret_every(),
        })
    }
}

#[cfg(test)]
mod tests;
