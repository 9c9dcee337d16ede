//! Agents that take part in a comparison.

use crate::agent::{Agent, AgentConfig, EpsilonSchedule};
use crate::reward::{Credit, RedefinedReward};
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use std::fmt;

/// An agent with a name, created anew for each search.
pub struct Contender<S: SearchSpace> {
    name: String,
    /// Largest number of minibatches of the schedule; without a schedule the agent does not know its budget.
    minibatches: Option<u64>,
    make: Make<S>,
    credit: Credit,
}

/// Creates an agent for a number of minibatches and their size.
type Make<S> = Box<dyn Fn(u64, u64) -> Box<dyn Agent<S>> + Send + Sync>;

impl<S: SearchSpace> fmt::Debug for Contender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).field("credit", &self.credit).finish_non_exhaustive()
    }
}

impl<S: SearchSpace> Contender<S> {
    /// Creates a contender that does not know its budget: a single search with the largest budget serves all of them.
    pub fn anytime<A: Agent<S> + 'static>(
        name: impl Into<String>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        let make: Make<S> = Box::new(move |_, _| Box::new(make()));
        Self { name: name.into(), minibatches: None, make, credit: Credit::Terminal }
    }

    /// Creates a contender with a schedule: each budget is a separate search of up to `minibatches` minibatches, whose
    /// number is passed to `make`.
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
        let make: Make<S> = Box::new(move |minibatches, _| Box::new(make(minibatches)));
        Self { name: name.into(), minibatches: Some(minibatches.max(1)), make, credit: Credit::Terminal }
    }

    /// Creates a contender from one of the [names](AgentConfig::named) of this crate's agents. Here, `paper` has one
    /// round of replay after each minibatch. `paper` and `tuned` learn from Equation 2, the others from the reward at
    /// Terminal alone.
    ///
    /// # Errors
    /// [`InvalidSetting`] lists the names.
    pub fn named(name: &str) -> Result<Self, InvalidSetting>
    where
        S: 'static,
    {
        let (preset, is_paper) = (AgentConfig::preset(name)?, name == "paper");
        let make: Make<S> = Box::new(move |minibatches, size| {
            let mut config = preset(minibatches, size);
            if let (AgentConfig::QLearning(config), true) = (&mut config, is_paper) {
                config.replay.rounds = 1;
            }
            match config.build() {
                Ok(agent) => agent,
                Err(error) => unreachable!("a preset is valid: {error}"),
            }
        });
        let minibatches = make(EpsilonSchedule::paper().minibatches(), 1).scheduled_minibatches();
        let credit = if is_paper || name == "tuned" { Credit::EveryLayer } else { Credit::Terminal };
        Ok(Self { name: name.to_owned(), minibatches, make, credit })
    }

    /// Returns the name of the agent.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the agent's schedule depends on the budget.
    pub(super) fn is_scheduled(&self) -> bool {
        self.minibatches.is_some()
    }

    /// Returns the agent for a budget, and the size of its minibatches, at least `least`.
    pub(super) fn agent(&self, evaluations: u64, least: u64) -> (Box<dyn Agent<S>>, u64) {
        let size = self.minibatches.map_or(1, |minibatches| evaluations.div_ceil(minibatches)).max(least).max(1);
        ((self.make)(evaluations.div_ceil(size), size), size)
    }

    pub(super) fn reward(&self) -> RedefinedReward {
        RedefinedReward::accuracy(self.credit)
    }
}
