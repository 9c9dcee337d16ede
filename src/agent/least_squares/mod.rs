//! The least-squares learner: the best agent for few evaluations.

mod candidates;
mod features;
mod kernel;
mod priors;
mod values;

use super::edit::{is_new, random_trajectory};
use super::q_learning::log_ranks;
use super::{Agent, AgentError, EpisodeOf, Memory, TrajectoryOf, saved};
use crate::evaluation::{Episode, Standing as Worth};
use crate::seed;
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use candidates::better;
use features::{BUCKETS, Features, features};
use kernel::Cholesky;
use priors::{Candidate, Priors, Standing};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use values::Weights;

/// Settings of [`LeastSquares`]. All comparisons with it were made with the default settings, or with these and priors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeastSquaresConfig {
    /// Number of random walks at the beginning. With priors it is half as many, and every other one of them is the best
    /// of 40 by prior; until this number of evaluations is known, candidates of low prior are left out.
    pub uniform: u64,
    /// Number of best architectures so far whose neighbours are candidates.
    pub parents: usize,
    /// Number of random edits of each of them.
    pub edits: usize,
    /// Probability that an edited architecture is edited again, repeatedly, from 0 to 0.9.
    pub further: f64,
    /// Share of proposals, from 0 to 1, whose candidates are edits of a single architecture, the best of ten random
    /// ones of the latest hundred, instead of edits of the best ones.
    pub aside: f64,
    /// Number of rounds in which the candidates with the highest values, as many as there are parents, are edited
    /// again.
    pub rounds: usize,
    /// Number of candidates that are walks guided by the values of single decisions.
    pub walks: usize,
    /// Share of the posterior's deviation that a draw has while all neighbours of the best are new, from 0 to 1. The
    /// share grows to 1 by the time a tenth of them is used up. With 0, a proposal follows the mean while they are new;
    /// with 1, it is Thompson sampling throughout.
    pub curiosity: f64,
    /// Assumed variance of the noise of a standardised reward, above 0.
    pub noise: f64,
    /// Temperature of walks, in standard deviations of the values in a state.
    pub temperature: f64,
    /// Largest number of evaluations that are fitted; of more, the best and the latest are. The time for a proposal
    /// grows with its square.
    pub window: usize,
    /// Whether to use the [priors](SearchSpace::priors) of the space, if it has any. Omitted from files while it is
    /// off, which is what a file without it means.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub priors: bool,
}

impl Default for LeastSquaresConfig {
    fn default() -> Self {
        Self {
            uniform: 20,
            parents: 5,
            edits: 20,
            further: 0.3,
            aside: 0.5,
            rounds: 2,
            walks: 20,
            curiosity: 0.25,
            noise: 0.3,
            temperature: 0.5,
            window: 2_000,
            priors: false,
        }
    }
}

impl LeastSquaresConfig {
    /// Returns the default settings, with the priors of the space in use.
    #[must_use]
    pub fn with_priors() -> Self {
        Self { priors: true, ..Self::default() }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first invalid field.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let candidates = self.parents.saturating_mul(self.edits).saturating_add(self.walks);
        let checks = [
            ("uniform", self.uniform as f64, self.uniform >= 1, "at least 1"),
            ("walks", candidates as f64, candidates >= 1, "at least 1, unless agent.parents and agent.edits are"),
            ("further", self.further, (0.0..=0.9).contains(&self.further), "from 0 to 0.9"),
            ("aside", self.aside, (0.0..=1.0).contains(&self.aside), "from 0 to 1"),
            ("curiosity", self.curiosity, (0.0..=1.0).contains(&self.curiosity), "from 0 to 1"),
            ("noise", self.noise, positive(self.noise), "above 0 and finite"),
            ("temperature", self.temperature, positive(self.temperature), "above 0 and finite"),
            ("window", self.window as f64, self.window >= 8, "at least 8"),
        ];
        checks.into_iter().try_for_each(|(field, value, valid, expected)| {
            InvalidSetting::check(format!("agent.least-squares.{field}"), value, valid, expected)
        })
    }
}

/// Values architectures by least squares over features of walk and graph, and proposes by Thompson sampling.
///
/// After a random beginning, each proposal draws one linear value function from the posterior of a ridge regression on
/// the logarithmic ranks of all rewards. Half of the proposals look around the best architectures: their candidates are
/// random [`Edit`](super::Edit)s of those, and walks that follow the values of single decisions. The other half look
/// around one of the latest, chosen as regularized evolution chooses a parent, so that the search can leave a region
/// where the best ones are all alike. The candidates with the highest values are edited again, twice, and the one with
/// the highest value is proposed. How far a draw may be from the mean of the posterior depends on how much of the
/// neighbourhood is used up: in a space whose architectures have thousands of neighbours the mean leads upwards for a
/// long time, while in one with dozens the search would soon be stuck without curiosity. When nearly all of the
/// neighbourhood is used up, most proposals are neighbours of the next best local optimum that was evaluated, as in
/// local search. The agent learns from finished architectures; it is not a temporal-difference learner.
///
/// Everything that it knows is a function of the [`Memory`], so it saves only the version of its format.
///
/// ```
/// use blockqnn::agent::{LeastSquares, LeastSquaresConfig};
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let agent = LeastSquares::new(LeastSquaresConfig::default())?;
/// let config = SearchConfig::paper().with_trials(100, 1);
/// let report = Search::new(BlockSpace::paper(), agent, Synthetic::new(), config).run()?;
/// assert!(report.best()[0].reward.value() > 70.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LeastSquares<S: SearchSpace> {
    config: LeastSquaresConfig,
    /// The priors of the space, once it is known whether there are any.
    priors: Option<Priors>,
    is_prepared: bool,
    /// Features of all episodes of the memory.
    known: Vec<Arc<Seen>>,
    /// What each of them was worth when it was last looked at.
    worth: Vec<Worth>,
    /// Walks of all episodes, with their numbers.
    evaluated: HashMap<Vec<S::Action>, usize>,
    /// Episodes with a better neighbour or no new one, by number.
    settled: Vec<bool>,
    /// An allocation for weights, which is used again.
    spare: Vec<f64>,
    /// Episodes that are fitted, by number.
    window: Vec<usize>,
    factor: Cholesky,
    /// Architectures met lately, since candidates recur.
    cache: HashMap<Vec<S::Action>, Arc<Seen>>,
    /// A dense vector of zeros, used while a row of the kernel is computed.
    dense: Vec<f32>,
}

/// What the learner sees of an architecture.
struct Seen {
    features: Features,
    /// `None` if it is not to be trained, or there are no priors.
    standing: Option<Standing>,
}

impl<S: SearchSpace> fmt::Debug for LeastSquares<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.len();
        f.debug_struct("LeastSquares").field("config", &self.config).field("known", &known).finish_non_exhaustive()
    }
}

/// Places of features: those that are hashed to, and one for each prior.
const PLACES: usize = BUCKETS + priors::FEATURES;

/// Number of candidates whose features are kept.
const CACHE: usize = 8_192;

/// The share of used neighbours from which on a draw has all of the posterior's deviation. A block has so many
/// neighbours that a search of hundreds of trials stays far below it; a cell of NAS-Bench-201 has 24 and soon exceeds
/// it.
const CROWDED: f64 = 0.1;

/// The probability of leaving is this power of the share of used neighbours, so it is low until nearly all are used.
const LEAVING: i32 = 4;

/// Number of random walks tried when no candidate is new.
const ATTEMPTS: usize = 100;

/// The name of the agent in its saved form.
const NAME: &str = "least-squares";

/// The saved form. Everything that is learned follows from the memory.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    agent: String,
}

impl<S: SearchSpace> LeastSquares<S> {
    /// Creates a learner that has learned nothing yet.
    ///
    /// # Errors
    /// [`InvalidSetting`] if a setting is out of its range.
    pub fn new(config: LeastSquaresConfig) -> Result<Self, InvalidSetting> {
        config.validate()?;
        Ok(Self {
            config,
            priors: None,
            is_prepared: false,
            known: Vec::new(),
            worth: Vec::new(),
            evaluated: HashMap::new(),
            settled: Vec::new(),
            spare: Vec::new(),
            window: Vec::new(),
            factor: Cholesky::default(),
            cache: HashMap::new(),
            dense: vec![0.0; PLACES],
        })
    }

    /// Returns the number of trials at the beginning.
    fn beginning(&self) -> u64 {
        if self.priors.is_some() { self.config.uniform.div_ceil(2) } else { self.config.uniform }
    }

    /// Returns a random walk, or, for every other trial at the beginning, the one of highest prior among several.
    fn begin(&self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let by_prior = memory.known() < self.beginning() && memory.proposals().is_multiple_of(2);
        let Some(priors) = self.priors.as_ref().filter(|_| by_prior) else { return random_trajectory(space, rng) };
        let mut best: Option<(f64, TrajectoryOf<S>)> = None;
        for _ in 0..priors::BEGINNING {
            let walk = random_trajectory(space, rng)?;
            let Some(standing) = priors.standing(space, &space.decode(&walk.actions)?) else { continue };
            let sum = standing.sum();
            if best.as_ref().is_none_or(|(highest, _)| sum > *highest) && is_new(space, memory, &walk)? {
                best = Some((sum, walk));
            }
        }
        best.map_or_else(|| random_trajectory(space, rng), |(_, walk)| Ok(walk))
    }

    fn seen(&mut self, space: &S, actions: &[S::Action]) -> Result<Arc<Seen>, AgentError> {
        if let Some(known) = self.cache.get(actions) {
            return Ok(Arc::clone(known));
        }
        let architecture = space.decode(actions)?;
        let mut features = features(space, actions, space.graph(&architecture).as_ref());
        let standing = self.priors.as_ref().and_then(|priors| priors.standing(space, &architecture));
        if let Some(standing) = &standing {
            standing.append_to(&mut features);
        }
        let found = Arc::new(Seen { features, standing });
        if self.cache.len() >= CACHE {
            self.cache.clear();
        }
        self.cache.insert(actions.to_vec(), Arc::clone(&found));
        Ok(found)
    }

    /// Adds the episodes that were not known before.
    fn catch_up(&mut self, space: &S, memory: &Memory<S>) -> Result<(), AgentError> {
        if !self.is_prepared
            && self.config.priors
            && let Some((network, limits)) = memory.network()
        {
            self.priors = Priors::new(space, network, *limits)?;
        }
        self.is_prepared = true;
        let episodes = memory.episodes();
        let held = self.priors.as_ref().is_none_or(Priors::hold);
        self.follow_promotions(episodes);
        for episode in &episodes[self.known.len()..] {
            let own = self.seen(space, &episode.trajectory.actions)?;
            if let Some(priors) = &mut self.priors {
                priors.learn(own.standing.as_ref(), episode.standing());
            }
            self.evaluated.insert(episode.trajectory.actions.clone(), self.known.len());
            self.known.push(own);
            self.worth.push(episode.standing());
        }
        match self.priors.as_ref().map(Priors::hold) {
            Some(false) if held => tracing::warn!(
                trials = self.known.len(),
                "the evaluations contradict the priors of the space: no candidate is left out for a low prior any more"
            ),
            Some(true) if !held => tracing::info!(trials = self.known.len(), "the priors of the space are used again"),
            _ => {}
        }
        let wanted = window(episodes, self.config.window);
        let kept = self.window.len();
        if wanted.get(..kept) != Some(&self.window[..]) {
            self.window.clear();
            self.factor = Cholesky::default();
        }
        for &number in &wanted[self.window.len()..] {
            self.fit(number);
        }
        Ok(())
    }

    /// Takes note of architectures that were promoted since they were learned.
    fn follow_promotions(&mut self, episodes: &[EpisodeOf<S>]) {
        for ((seen, worth), episode) in self.known.iter().zip(&mut self.worth).zip(episodes) {
            let before = std::mem::replace(worth, episode.standing());
            if before == *worth {
                continue;
            }
            // One that had a better neighbour may now be the better one.
            self.settled.clear();
            if let Some(priors) = &mut self.priors {
                priors.forget(seen.standing.as_ref(), before);
                priors.learn(seen.standing.as_ref(), *worth);
            }
        }
    }

    /// Adds an episode to the regression.
    fn fit(&mut self, number: usize) {
        let own = &self.known[number].features;
        for &(place, value) in own {
            self.dense[usize::from(place)] += value;
        }
        let product = |other: &Features| -> f64 {
            other.iter().map(|&(place, value)| f64::from(self.dense[usize::from(place)] * value)).sum()
        };
        let row = self.window.iter().map(|&other| product(&self.known[other].features)).collect();
        let diagonal = product(own) + self.config.noise;
        for &(place, _) in own {
            self.dense[usize::from(place)] = 0.0;
        }
        self.factor.push(row, diagonal);
        self.window.push(number);
    }

    /// Returns the candidates that were not evaluated, with their values, highest first; those of low prior come last.
    /// In each round, edits of those with the highest values are added.
    fn valued(
        &mut self,
        space: &S,
        mut candidates: Vec<TrajectoryOf<S>>,
        rounds: usize,
        weights: &mut Weights,
        rng: &mut dyn Rng,
    ) -> Result<Vec<Candidate<S>>, AgentError> {
        let mut valued: Vec<Candidate<S>> = Vec::with_capacity(candidates.len());
        let mut met = HashSet::new();
        for round in 0..=rounds {
            for walk in candidates.drain(..) {
                if !self.evaluated.contains_key(&walk.actions) && met.insert(walk.actions.clone()) {
                    let seen = self.seen(space, &walk.actions)?;
                    let prior = seen.standing.as_ref().map(Standing::sum);
                    valued.push(Candidate { value: weights.value(&seen.features), prior, walk });
                }
            }
            valued.sort_by(|a, b| b.value.total_cmp(&a.value));
            if round == rounds
                && let Some(priors) = &self.priors
            {
                // After as many evaluations a learner without priors begins to choose by its own values; so does this.
                let is_early = (self.known.len() as u64) < self.config.uniform;
                priors::filter(&mut valued, if is_early { priors.share() } else { 1.0 });
            }
            if round < rounds {
                let best = valued.iter().take(self.config.parents).map(|candidate| &candidate.walk);
                candidates = self.edited(space, best, rng)?;
            }
        }
        Ok(valued)
    }

    /// Draws from the posterior over value functions, with the deviation from the mean scaled by `scale`.
    fn posterior(&mut self, episodes: &[EpisodeOf<S>], scale: f64, rng: &mut dyn Rng) -> Weights {
        let mut weights = Weights::prior(rng.next_u64(), scale, std::mem::take(&mut self.spare));
        let noise = scale * self.config.noise.sqrt();
        let mut residuals = standardised(log_ranks(self.window.iter().map(|&n| episodes[n].standing())));
        for (residual, &number) in residuals.iter_mut().zip(&self.window) {
            *residual -= weights.value(&self.known[number].features) + noise * seed::normal(rng);
        }
        self.factor.solve(&mut residuals);
        for (residual, &number) in residuals.iter().zip(&self.window) {
            for &(place, value) in &self.known[number].features {
                *weights.weight(place) += residual * f64::from(value);
            }
        }
        weights
    }
}

/// Returns the numbers of the episodes to fit: all of them up to `most`; of more, the latest and, among the older ones,
/// the best third of `most`. The window moves in steps of a third, so the factor need not be recomputed for each
/// episode.
fn window<State, Action>(episodes: &[Episode<State, Action>], most: usize) -> Vec<usize> {
    let count = episodes.len();
    if count <= most {
        return (0..count).collect();
    }
    let step = (most / 3).max(1);
    // The latest episodes: between one and two steps.
    let latest = (count / step - 1) * step;
    let mut best: Vec<usize> = (0..latest).collect();
    best.sort_by(|a, b| better(episodes, *a, *b));
    best.truncate(step);
    best.sort_unstable();
    best.extend(latest..count);
    best
}

/// Scales values to mean 0 and deviation 1, or to 0 if they are all equal.
fn standardised(mut values: Vec<f64>) -> Vec<f64> {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    for value in &mut values {
        *value = if deviation > 0.0 { (*value - mean) / deviation } else { 0.0 };
    }
    values
}

impl<S: SearchSpace> Agent<S> for LeastSquares<S> {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let episodes = memory.episodes();
        self.catch_up(space, memory)?;
        if memory.known() < self.beginning() || episodes.is_empty() {
            return self.begin(space, memory, rng);
        }
        let neighbours = self.neighbours_of_the_best(space, episodes, rng)?;
        // While the neighbours of the best are new, follow the mean with little deviation: there is far to climb. As
        // they are used up, the search must look elsewhere: the deviation grows to that of the posterior, and random
        // walks are added.
        let used = neighbours.iter().filter(|candidate| self.evaluated.contains_key(&candidate.actions)).count();
        let share = used as f64 / neighbours.len().max(1) as f64;
        let scale = self.config.curiosity + (1.0 - self.config.curiosity) * (share / CROWDED).min(1.0).powi(2);
        let mut weights = self.posterior(episodes, scale, rng);
        // Random walks alone would not lead out of a region that the values wrongly rate highest.
        let leave = seed::unit(rng) < share.powi(LEAVING);
        let optimum = if leave { self.neighbours_of_open_optimum(space, memory)? } else { Vec::new() };
        let valued = if optimum.is_empty() {
            let candidates = self.candidates(space, episodes, neighbours, used, &mut weights, rng)?;
            self.valued(space, candidates, self.config.rounds, &mut weights, rng)?
        } else {
            self.valued(space, optimum, 0, &mut weights, rng)?
        };
        self.spare = weights.into_memory();
        for Candidate { walk, .. } in valued {
            if is_new(space, memory, &walk)? {
                return Ok(walk);
            }
        }
        let mut walk = random_trajectory(space, rng)?;
        for _ in 1..ATTEMPTS {
            if is_new(space, memory, &walk)? {
                break;
            }
            walk = random_trajectory(space, rng)?;
        }
        Ok(walk)
    }

    fn learn(
        &mut self,
        space: &S,
        _minibatch: &[EpisodeOf<S>],
        memory: &Memory<S>,
        _rng: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        self.catch_up(space, memory)
    }

    fn priors_hold(&self) -> Option<bool> {
        self.priors.as_ref().map(Priors::hold)
    }

    fn identity(&self) -> String {
        crate::identity::with_settings("LeastSquares", &self.config)
    }

    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        saved::write(out, &Saved { format: 1, agent: NAME.to_owned() })
    }

    fn load(&mut self, _space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        let Saved { format, agent } = saved::read(from)?;
        saved::check_agent(format, &agent, NAME)?;
        *self = Self::new(self.config).map_err(saved::corrupt)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
