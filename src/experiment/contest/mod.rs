//! Contests: blocks from anywhere, found or published, compared at equal cost.

mod environment;
mod report;
mod width;

pub use environment::ContestEnvironment;
pub use report::{ContestReport, ContestRow};
pub use width::EqualCost;

use crate::agent::ListedAgent;
use crate::graph::{Cost, CostError, Fingerprint, LayerGraph, NetworkConfig};
use crate::identity;
use crate::search::{Scheduling, SearchConfig};
use crate::setting::InvalidSetting;
use crate::space::{SearchSpace, SpaceError, Step, walk};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A block that takes part in a [`Contest`], and the network around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entrant {
    /// Its name in tables.
    pub name: String,
    /// The block.
    pub block: LayerGraph,
    /// The network around the block.
    pub network: NetworkConfig,
}

/// One training of an entrant: the architecture of the search that a contest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContestTraining {
    /// What is trained.
    pub entrant: Entrant,
    /// Which of its trainings this is, from 0; each has other weights, other batches, other distortions of images.
    pub repetition: u64,
}

impl fmt::Display for ContestTraining {
    /// Writes the name of the entrant and, from 1, which of its trainings it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, training {}", self.entrant.name, self.repetition + 1)
    }
}

/// Blocks from anywhere, each in a network of the same cost, and a search that trains each of them several times.
///
/// It is the list that a search goes through, as a [`Verification`](super::Verification) is, so it is journalled,
/// resumed and distributed over workers like any other, and can be extended to more repetitions. All blocks are trained
/// once before the first is trained again.
///
/// ```
/// use blockqnn::environment::environment_fn;
/// use blockqnn::experiment::{Contest, ContestTraining, Entrant, EqualCost};
/// use blockqnn::graph::{LayerGraph, NetworkConfig};
/// use blockqnn::search::Search;
///
/// let entrant = |name: &str| -> Result<Entrant, Box<dyn std::error::Error>> {
///     Ok(Entrant { name: name.to_owned(), block: LayerGraph::named(name)?, network: NetworkConfig::cifar() })
/// };
/// let entrants = vec![entrant("resnet-basic")?, entrant("mobilenet-v2")?];
/// let contest = Contest::new(entrants, EqualCost::Flops(100_000_000), 2)?;
/// // An inverted bottleneck costs less, so its network is wider.
/// let [residual, inverted] = contest.entrants() else { unreachable!() };
/// assert!(residual.network.width < inverted.network.width);
///
/// // Instead of a training.
/// let accuracy = |run: &ContestTraining| 90.0 - run.entrant.network.width as f64 / 10.0;
/// let trained = environment_fn("narrow is good", move |run: &ContestTraining, _| accuracy(run));
/// let search = Search::new(contest.clone(), contest.agent(), trained, contest.config(0));
/// let report = contest.report(&search.run()?);
/// assert_eq!((report.rows.len(), report.rows[0].accuracies.len()), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Contest {
    entrants: Vec<Entrant>,
    repetitions: u64,
}

impl Contest {
    /// The largest deviation from the cost to reach, as a share of it.
    pub const TOLERANCE: f64 = 0.05;
    /// The most repetitions: the trainings are listed in memory. A standard error over so many is far below what tells
    /// two blocks apart.
    pub const MOST_REPETITIONS: u64 = 1_000;

    /// Creates a contest of these blocks, in networks whose width is chosen for each so that they cost the same.
    /// Stages, blocks per stage and all other settings of their networks are kept. Each is trained `repetitions` times.
    ///
    /// # Errors
    /// [`InvalidSetting`] if there is no entrant, no repetition or more than
    /// [`MOST_REPETITIONS`](Self::MOST_REPETITIONS), two have the same name, a network is not valid, or no width brings
    /// an entrant within [`TOLERANCE`](Self::TOLERANCE) of the cost.
    pub fn new(entrants: Vec<Entrant>, equal: EqualCost, repetitions: u64) -> Result<Self, InvalidSetting> {
        InvalidSetting::at_least_one("contest.entrants", entrants.len() as u64)?;
        let (most, possible) = (Self::MOST_REPETITIONS, 1..=Self::MOST_REPETITIONS);
        let expected = format!("from 1 to {most}");
        InvalidSetting::check("contest.repetitions", repetitions, possible.contains(&repetitions), expected)?;
        for (place, entrant) in entrants.iter().enumerate() {
            let is_new = entrants[..place].iter().all(|earlier| earlier.name != entrant.name);
            let expected = "the name of one entrant alone";
            InvalidSetting::check("contest.entrants", &entrant.name, is_new, expected)?;
        }
        let fitted = entrants.into_iter().map(|entrant| entrant.fitted(equal));
        Ok(Self { entrants: fitted.collect::<Result<_, _>>()?, repetitions })
    }

    /// Returns the blocks with their networks, in the order in which they were given.
    #[must_use]
    pub fn entrants(&self) -> &[Entrant] {
        &self.entrants
    }

    /// Returns the agent that goes through the trainings.
    #[must_use]
    pub fn agent(&self) -> ListedAgent<Self> {
        let trainings = self.actions(&0).into_iter().map(|number| vec![number]);
        ListedAgent::new(self, trainings).unwrap_or_else(|error| unreachable!("every training is a walk: {error}"))
    }

    /// Returns the settings of the search that trains them.
    #[must_use]
    pub fn config(&self, seed: u64) -> SearchConfig {
        let config = SearchConfig { max_resamples: 1, ..SearchConfig::new(self.trainings()) };
        config.with_seed(seed).with_scheduling(Scheduling::Rolling)
    }

    fn trainings(&self) -> u64 {
        self.repetitions * self.entrants.len() as u64
    }
}

/// An action is the number of a training; entrants follow each other, then the next repetition.
impl SearchSpace for Contest {
    type State = u8;
    type Action = u64;
    type Architecture = ContestTraining;

    fn initial_state(&self) -> u8 {
        0
    }

    fn actions(&self, _: &u8) -> Vec<u64> {
        (0..self.trainings()).collect()
    }

    fn step(&self, state: &u8, action: &u64) -> Result<Step<u8>, SpaceError> {
        if *action < self.trainings() { Ok(Step::Terminal) } else { Err(SpaceError::illegal(state, action)) }
    }

    fn decode(&self, actions: &[u64]) -> Result<ContestTraining, SpaceError> {
        let number = walk(self, actions)?.actions[0];
        let count = self.entrants.len() as u64;
        let (repetition, place) = (number / count, usize::try_from(number % count).unwrap_or_default());
        Ok(ContestTraining { entrant: self.entrants[place].clone(), repetition })
    }

    /// Repetitions may be added.
    fn identity(&self) -> String {
        identity::with_settings("contest 1", &self.entrants)
    }

    fn describe(&self, run: &ContestTraining) -> String {
        run.entrant.name.clone()
    }

    fn graph(&self, run: &ContestTraining) -> Option<LayerGraph> {
        Some(run.entrant.block.clone())
    }

    fn cost(&self, run: &ContestTraining, _: Option<&NetworkConfig>) -> Result<Option<Cost>, CostError> {
        run.entrant.cost().map(Some)
    }

    /// Each training counts as one of its own, since the block alone does not tell them apart.
    fn fingerprint(&self, run: &ContestTraining) -> Fingerprint {
        Fingerprint::of_json(run).unwrap_or_else(|error| unreachable!("plain data has a JSON form: {error}"))
    }
}

#[cfg(test)]
mod tests;
