//! Agents that take part in a comparison.

use crate::agent::{Agent, EpsilonSchedule, QLearning, QLearningConfig, ReplayConfig, Searcher};
use crate::reward::{Credit, RedefinedReward};
use crate::space::SearchSpace;
use std::fmt;

/// An agent with a name, created again for each search.
pub struct Contender<S: SearchSpace> {
    name: String,
    /// Minibatches that a schedule has at most; without a schedule the agent does not know its budget.
    minibatches: Option<u64>,
    make: Make<S>,
    credit: Credit,
}

/// Makes an agent for a number of minibatches of a size.
type Make<S> = Box<dyn Fn(u64, u64) -> Box<dyn Agent<S>> + Send + Sync>;

impl<S: SearchSpace> fmt::Debug for Contender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).field("credit", &self.credit).finish_non_exhaustive()
    }
}

/// There is no agent of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown agent {name:?}: choose one of {}", Contender::<crate::space::block::BlockSpace>::NAMES.join(", "))]
#[non_exhaustive]
pub struct UnknownAgent {
    /// The name.
    pub name: String,
}

impl<S: SearchSpace> Contender<S> {
    /// Names that [`named`](Self::named) knows.
    pub const NAMES: [&'static str; 10] =
        ["paper", "metaqnn", "tuned", "rank", "best", "random", "evolution", "evolution50", "local", "local10"];

    /// An agent that does not know its budget: one search to the largest budget serves all, and learns after each
    /// minibatch.
    pub fn anytime<A: Agent<S> + 'static>(
        name: impl Into<String>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        let make: Make<S> = Box::new(move |_, _| Box::new(make()));
        Self { name: name.into(), minibatches: None, make, credit: Credit::Terminal }
    }

    /// An agent with a schedule: each budget is a separate search, of up to `minibatches` minibatches; `make` is given
    /// how many there are.
    ///
    /// ```
    /// use blockqnn::agent::{QLearning, QLearningConfig};
    /// use blockqnn::comparison::Contender;
    /// use blockqnn::space::block::BlockSpace;
    ///
    /// let make = |minibatches| QLearning::new(QLearningConfig::tuned(minibatches)).expect("valid");
    /// let contender: Contender<BlockSpace> = Contender::scheduled("tuned", 100, make);
    /// assert_eq!(contender.name(), "tuned");
    /// ```
    pub fn scheduled<A: Agent<S> + 'static>(
        name: impl Into<String>,
        minibatches: u64,
        make: impl Fn(u64) -> A + Send + Sync + 'static,
    ) -> Self {
        Self::scheduled_in(name, minibatches, move |minibatches, _| make(minibatches))
    }

    /// The same for an agent that also depends on the size of a minibatch, which `make` is given second.
    fn scheduled_in<A: Agent<S> + 'static>(
        name: impl Into<String>,
        minibatches: u64,
        make: impl Fn(u64, u64) -> A + Send + Sync + 'static,
    ) -> Self {
        let make: Make<S> = Box::new(move |minibatches, size| Box::new(make(minibatches, size)));
        Self { name: name.into(), minibatches: Some(minibatches.max(1)), make, credit: Credit::Terminal }
    }

    /// The same agent, learning from rewards that are spread by `credit`; at Terminal alone unless set.
    #[must_use]
    pub fn with_credit(mut self, credit: Credit) -> Self {
        self.credit = credit;
        self
    }

    /// An agent of this crate, by name:
    ///
    /// - `paper`: the paper's learner with Equation 2, its schedule of 178 minibatches shortened to the budget, one
    ///   round of replay
    /// - `metaqnn`: [`QLearningConfig::metaqnn`], with the reward at Terminal alone, the same schedule, and one round of
    ///   replay for each evaluation, as MetaQNN has it
    /// - `tuned`: [`QLearningConfig::tuned`], with Equation 2
    /// - `rank`: [`QLearningConfig::rank`]
    /// - `best`: [`LeastSquares`](crate::agent::LeastSquares)
    /// - `random`: [`RandomAgent`](crate::agent::RandomAgent)
    /// - `local`, `local10`: [`LocalSearch`](crate::agent::LocalSearch), whose climbs begin at one random architecture, and at the best of ten
    /// - `evolution`, `evolution50`: [`RegularizedEvolution`](crate::agent::RegularizedEvolution), 3 of 10 and 25 of 50
    ///
    /// # Errors
    /// [`UnknownAgent`] lists the names.
    pub fn named(name: &str) -> Result<Self, UnknownAgent>
    where
        S: 'static,
    {
        let schedule = EpsilonSchedule::paper().minibatches();
        let paper = |minibatches| QLearningConfig {
            replay: ReplayConfig { rounds: 1, batch: 128 },
            ..QLearningConfig::paper().scaled_to(minibatches)
        };
        let metaqnn = |minibatches, size: u64| QLearningConfig {
            replay: ReplayConfig { rounds: u32::try_from(size).unwrap_or(u32::MAX), batch: 128 },
            ..QLearningConfig::metaqnn().scaled_to(minibatches)
        };
        Ok(match name {
            "paper" => Self::scheduled(name, schedule, move |m| tabular(paper(m))).with_credit(Credit::EveryLayer),
            "metaqnn" => Self::scheduled_in(name, schedule, move |m, size| tabular(metaqnn(m, size))),
            "tuned" => {
                Self::scheduled(name, schedule, |m| tabular(QLearningConfig::tuned(m))).with_credit(Credit::EveryLayer)
            }
            "rank" => Self::anytime(name, || tabular(QLearningConfig::rank())),
            _ => {
                let searcher = Searcher::named(name).map_err(|_| UnknownAgent { name: name.to_owned() })?;
                Self::anytime(name, move || match searcher.agent() {
                    Ok(agent) => agent,
                    Err(error) => unreachable!("a preset is valid: {error}"),
                })
            }
        })
    }

    /// Name of the agent.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the agent's schedule depends on the budget.
    pub(super) fn is_scheduled(&self) -> bool {
        self.minibatches.is_some()
    }

    /// The agent for a budget, and the size of its minibatches: at least `least`.
    pub(super) fn agent(&self, evaluations: u64, least: u64) -> (Box<dyn Agent<S>>, u64) {
        let size = self.minibatches.map_or(1, |minibatches| evaluations.div_ceil(minibatches)).max(least).max(1);
        ((self.make)(evaluations.div_ceil(size), size), size)
    }

    pub(super) fn reward(&self) -> RedefinedReward {
        RedefinedReward::accuracy(self.credit)
    }
}

fn tabular<S: SearchSpace>(config: QLearningConfig) -> QLearning<S> {
    match QLearning::new(config) {
        Ok(agent) => agent,
        Err(error) => unreachable!("a preset is valid: {error}"),
    }
}
