//! Agents that take part in a comparison.

use crate::agent::{Agent, AgentConfig, EpsilonSchedule};
use crate::reward::{Credit, RedefinedReward};
use crate::search::Rungs;
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use std::fmt;

/// An agent with a name, created anew for each search, and the epochs that it evaluates for.
pub struct Contender<S: SearchSpace> {
    name: String,
    /// Largest number of minibatches of the schedule; without a schedule the agent does not know its budget.
    minibatches: Option<u64>,
    method: Method<S>,
    credit: Credit,
    /// The epochs of its evaluations, several as rungs; none for what the method has by default.
    epochs: Vec<u32>,
    one_in: u64,
}

/// How a contender searches.
pub(super) enum Method<S: SearchSpace> {
    /// With an agent, in a search of this crate.
    Agent(Make<S>),
    /// With random architectures in the brackets of Hyperband.
    Hyperband,
}

/// The name of the baseline that is no agent.
const HYPERBAND: &str = "hyperband";

/// Creates an agent for a number of minibatches and their size.
pub(super) type Make<S> = Box<dyn Fn(u64, u64) -> Box<dyn Agent<S>> + Send + Sync>;

impl<S: SearchSpace> fmt::Debug for Contender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).field("credit", &self.credit).finish_non_exhaustive()
    }
}

impl<S: SearchSpace> Contender<S> {
    fn new(name: impl Into<String>, minibatches: Option<u64>, method: Method<S>) -> Self {
        let (epochs, one_in) = (Vec::new(), Rungs::default().one_in);
        Self { name: name.into(), minibatches, method, credit: Credit::Terminal, epochs, one_in }
    }

    /// Creates a contender that does not know its budget: a single search with the largest budget serves all of them.
    pub fn anytime<A: Agent<S> + 'static>(
        name: impl Into<String>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        let make: Make<S> = Box::new(move |_, _| Box::new(make()));
        Self::new(name, None, Method::Agent(make))
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
        Self::new(name, Some(minibatches.max(1)), Method::Agent(make))
    }

    /// Creates a contender from one of the [names](AgentConfig::named) of this crate's agents, or the baseline
    /// `hyperband`. Here, `paper` has one round of replay after each minibatch. `paper` and `tuned` learn from Equation
    /// 2, the others from the reward at Terminal alone.
    ///
    /// Behind an `@` the name may have the epochs of its evaluations: `best@200`, or with rungs, `best@12,200`; see
    /// [`at_epochs`](Self::at_epochs).
    ///
    /// `hyperband` is random search with successive halving in rounds of brackets: some begin at the lowest rung with
    /// many architectures, some at the highest with few (L. Li et al., "Hyperband: A Novel Bandit-Based Approach to
    /// Hyperparameter Optimization", Journal of Machine Learning Research 18, 2018). Without epochs behind its name its
    /// rungs are all that the benchmark has. It ignores minibatches, since nothing is learned between its trials.
    ///
    /// ```
    /// use blockqnn::comparison::Contender;
    /// use blockqnn::space::cell::CellSpace;
    ///
    /// let halving: Contender<CellSpace> = Contender::named("random@12,200")?.with_one_in(5);
    /// assert!(halving.has_rungs());
    /// # Ok::<(), blockqnn::setting::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidSetting`] lists the names, or says how epochs are written.
    pub fn named(name: &str) -> Result<Self, InvalidSetting>
    where
        S: 'static,
    {
        let Some((agent, epochs)) = name.split_once('@') else { return Self::without_epochs(name) };
        let epochs = epochs.split(',').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>();
        let expected = "the name of an agent, @ and numbers of epochs, such as best@12,200";
        let epochs = epochs.map_err(|_| InvalidSetting::new("the agent", format!("{name:?}"), expected))?;
        let contender = Self::without_epochs(agent)?.at_epochs(epochs);
        Ok(Self { name: name.to_owned(), ..contender })
    }

    fn without_epochs(name: &str) -> Result<Self, InvalidSetting>
    where
        S: 'static,
    {
        if name == HYPERBAND {
            return Ok(Self::new(name, None, Method::Hyperband));
        }
        if AgentConfig::names().all(|known| known != name) {
            let known: Vec<&str> = AgentConfig::names().chain([HYPERBAND]).collect();
            return Err(InvalidSetting::unknown("agent", name, &known));
        }
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
        Ok(Self { credit, ..Self::new(name, minibatches, Method::Agent(make)) })
    }

    /// Sets the epochs of its evaluations, for benchmarks that have several: one number, or rungs, ascending, where all
    /// architectures are evaluated for the fewest epochs and the best for more, by the rule of [`Rungs`]. By default
    /// they are the fewest that the benchmark has.
    #[must_use]
    pub fn at_epochs(self, epochs: impl Into<Vec<u32>>) -> Self {
        Self { epochs: epochs.into(), ..self }
    }

    /// Sets which share of a rung is promoted, one in so many: [`Rungs::one_in`], a third by default, or eta of
    /// Hyperband.
    #[must_use]
    pub fn with_one_in(self, one_in: u64) -> Self {
        Self { one_in, ..self }
    }

    /// Returns whether it evaluates some architectures for more epochs than others.
    #[must_use]
    pub fn has_rungs(&self) -> bool {
        self.epochs.len() > 1 || matches!(self.method, Method::Hyperband)
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

    /// The epochs of its evaluations that were given.
    pub(super) fn epochs(&self) -> &[u32] {
        &self.epochs
    }

    /// Its rungs over these epochs.
    pub(super) fn rungs(&self, epochs: &[u32]) -> Rungs {
        Rungs::at(epochs).with_one_in(self.one_in)
    }

    pub(super) fn method(&self) -> &Method<S> {
        &self.method
    }

    /// Returns the number of minibatches of a search of so many evaluations, and their size, at least `least`.
    pub(super) fn minibatches(&self, evaluations: u64, least: u64) -> (u64, u64) {
        let size = self.minibatches.map_or(1, |minibatches| evaluations.div_ceil(minibatches)).max(least).max(1);
        (evaluations.div_ceil(size), size)
    }

    pub(super) fn reward(&self) -> RedefinedReward {
        RedefinedReward::accuracy(self.credit)
    }
}
