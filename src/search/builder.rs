//! Putting a search together.

use super::observer::Observers;
use super::warm_start::WarmStart;
use super::{History, Observer, RunFolder, SearchConfig};
use crate::environment::Cancellation;
use crate::evaluator::{Evaluator, InlineEvaluator};
use crate::reward::{RedefinedReward, RewardShaper};
use crate::space::SearchSpace;
use std::fmt;

/// A search: space, agent, evaluator, reward and observers, put together and run.
///
/// The agent is an [`Agent`](crate::agent::Agent) for the space, the evaluator an
/// [`Evaluator`](crate::evaluator::Evaluator) of its architectures; [`run`](Self::run) requires both.
///
/// ```
/// use blockqnn::agent::{QLearning, QLearningConfig};
/// use blockqnn::environment::environment_fn;
/// use blockqnn::reward::RedefinedReward;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
///
/// let environment = environment_fn("prefers six layers", |block: &BlockCode, _seed| {
///     90.0 - (block.len() as f64 - 6.0).abs()
/// });
/// let agent = QLearning::new(QLearningConfig::paper().scaled_to(4))?;
/// // The paper's reward needs FLOPs, so the search counts them in the paper's network.
/// let config = SearchConfig::paper().with_seed(1).with_trials(32, 8);
/// let search = Search::new(BlockSpace::paper(), agent, environment, config).with_reward(RedefinedReward::paper());
/// let report = search.run()?;
/// assert_eq!(report.records.len(), 32);
/// println!("{}", report.best()[0].architecture);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Search<'o, S: SearchSpace, G, V> {
    pub(super) space: S,
    pub(super) agent: G,
    pub(super) evaluator: V,
    /// The epochs of a full evaluation, if it can also last for a part of them.
    pub(super) full_epochs: Option<u32>,
    /// The epochs that can be evaluated for; any, if there are none.
    pub(super) rung_epochs: Vec<u32>,
    pub(super) config: SearchConfig,
    pub(super) shaper: Box<dyn RewardShaper + 'o>,
    pub(super) observers: Observers<'o, S>,
    pub(super) cancellation: Cancellation,
    pub(super) folder: Option<RunFolder>,
    pub(super) warm_start: WarmStart<S::Action>,
}

impl<S: SearchSpace, G: fmt::Debug, V> fmt::Debug for Search<'_, S, G, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").field("agent", &self.agent).field("config", &self.config).finish_non_exhaustive()
    }
}

// What the parts must be is stated where they are used, in `run` and `open` alone: a mistake is then one error.

impl<S: SearchSpace, G, E> Search<'_, S, G, InlineEvaluator<S::Architecture, E>> {
    /// Creates a search that evaluates one trial after another in the caller's thread. Its reward is the accuracy at
    /// Terminal; set the paper's with [`with_reward`](Self::with_reward).
    pub fn new(space: S, agent: G, environment: E, config: SearchConfig) -> Self {
        Self::with_evaluator(space, agent, InlineEvaluator::new(environment), config)
    }
}

impl<S: SearchSpace, G, V> Search<'_, S, G, V> {
    /// Creates a search with the given evaluator. Its reward is the accuracy at Terminal.
    pub fn with_evaluator(space: S, agent: G, evaluator: V, config: SearchConfig) -> Self {
        Self::with_parts(space, agent, evaluator, config)
    }
}

impl<S: SearchSpace, G> Search<'_, S, G, String> {
    /// Creates a search whose trials the caller evaluates: [`open`](Self::open) it, then
    /// [`ask`](super::Session::ask) and [`tell`](super::Session::tell). Its reward is the accuracy at Terminal.
    ///
    /// `identity` names what evaluates them and everything that the results depend on, as
    /// [`Environment::identity`](crate::environment::Environment::identity) does.
    pub fn without_evaluator(space: S, agent: G, identity: impl Into<String>, config: SearchConfig) -> Self {
        Self::with_parts(space, agent, identity.into(), config)
    }

    /// Sets the number of epochs of a full evaluation, which a search with [rungs](super::Rungs) needs. Its trials are
    /// then to be evaluated for the epochs of their [rung](crate::evaluator::Assignment::rung).
    #[must_use]
    pub fn with_full_epochs(self, epochs: u32) -> Self {
        Self { full_epochs: Some(epochs), ..self }
    }
}

impl<'o, S: SearchSpace, G, V> Search<'o, S, G, V> {
    fn with_parts(space: S, agent: G, evaluator: V, config: SearchConfig) -> Self {
        Self {
            space,
            agent,
            evaluator,
            full_epochs: None,
            rung_epochs: Vec::new(),
            config,
            shaper: Box::new(RedefinedReward::default()),
            observers: Observers::default(),
            cancellation: Cancellation::new(),
            folder: None,
            warm_start: WarmStart::default(),
        }
    }

    /// Sets the reward.
    #[must_use]
    pub fn with_reward(mut self, shaper: impl RewardShaper + 'o) -> Self {
        self.shaper = Box::new(shaper);
        self
    }

    /// Adds an observer.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer<S> + 'o) -> Self {
        self.observers.add(observer);
        self
    }

    /// Sets the flag that stops the search.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// Records the search in `folder`, and resumes it from there if the folder holds a run.
    #[must_use]
    pub fn with_run_folder(mut self, folder: RunFolder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Adds architectures to evaluate first, before the agent proposes any: walks, such as [`SearchSpace::encode`]
    /// gives for an architecture. They are trials like all others, the first ones of the run, and the agent learns from
    /// them; only one that the history has as well is evaluated nevertheless.
    ///
    /// They are kept in the run folder. A search that is resumed need not be given them again; one that is given others
    /// is refused.
    ///
    /// ```
    /// use blockqnn::agent::RandomAgent;
    /// use blockqnn::environment::synthetic::Synthetic;
    /// use blockqnn::search::{Search, SearchConfig};
    /// use blockqnn::space::block::{BlockCode, BlockSpace};
    ///
    /// let block: BlockCode = "conv3(0) conv3(1) add(0,2) terminal(3)".parse()?;
    /// let search = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), SearchConfig::new(16));
    /// let report = search.enqueue([block.layers().to_vec()]).run()?;
    /// assert_eq!(report.records[0].architecture, block);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn enqueue(mut self, walks: impl IntoIterator<Item = Vec<S::Action>>) -> Self {
        self.warm_start.first.extend(walks);
        self
    }

    /// Sets results from elsewhere, from which the agent learns before its first proposal. They are not part of the
    /// run: neither its records nor its budget, its schedules or its best. Their rewards are computed anew by this
    /// search.
    ///
    /// With [`Repeats::Resample`](super::Repeats::Resample) and [`Repeats::Replay`](super::Repeats::Replay), the
    /// agent's proposals of these architectures are repeats; [`enqueue`](Self::enqueue) those to evaluate again. With
    /// [`Repeats::Reuse`](super::Repeats::Reuse) they are evaluated, since a trial must not have a result from
    /// elsewhere.
    ///
    /// They are kept in the run folder, as with [`enqueue`](Self::enqueue).
    #[must_use]
    pub fn with_history(mut self, history: History<S::Action>) -> Self {
        self.warm_start.set_history(history);
        self
    }

    /// Takes the evaluator out and leaves what the search needs to know of it in its place.
    pub(super) fn split(self) -> (Search<'o, S, G, String>, V)
    where
        V: Evaluator<S::Architecture>,
    {
        let search = Search {
            space: self.space,
            agent: self.agent,
            evaluator: self.evaluator.identity(),
            full_epochs: self.evaluator.full_epochs(),
            rung_epochs: self.evaluator.rung_epochs(),
            config: self.config,
            shaper: self.shaper,
            observers: self.observers,
            cancellation: self.cancellation,
            folder: self.folder,
            warm_start: self.warm_start,
        };
        (search, self.evaluator)
    }
}
