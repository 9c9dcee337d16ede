//! Regularized evolution: the baseline that learners are measured against.

use super::edit::{is_new, random_trajectory};
use super::{Agent, AgentError, Edit, Memory, TrajectoryOf};
use crate::seed;
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Settings of [`RegularizedEvolution`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvolutionConfig {
    /// Number of architectures that can be parents: the latest ones.
    pub population: usize,
    /// Number of architectures drawn from the population for each child; the best of them is its parent.
    pub sample: usize,
}

impl EvolutionConfig {
    /// Returns a population of 10 with samples of 3: fast, for hundreds of evaluations.
    #[must_use]
    pub fn small() -> Self {
        Self { population: 10, sample: 3 }
    }

    /// Returns a population of 50 with samples of 25.
    #[must_use]
    pub fn large() -> Self {
        Self { population: 50, sample: 25 }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`InvalidSetting`] if a number is 0, or the sample is larger than the population.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let Self { population, sample } = *self;
        let expected = format!("at least 1 and at most the population of {population}");
        InvalidSetting::check("agent.evolution.sample", sample, (1..=population).contains(&sample), expected)
    }
}

/// Regularized evolution: the best of a random sample of the population is mutated, and the oldest dies.
///
/// The first members are random. A mutation is a random [`Edit`] that leads to a new architecture. The population is
/// the end of the [`Memory`], so there is nothing to save.
///
/// ```
/// use blockqnn::agent::{EvolutionConfig, RegularizedEvolution};
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let agent = RegularizedEvolution::new(EvolutionConfig::small())?;
/// let config = SearchConfig::paper().with_trials(100, 1);
/// let report = Search::new(BlockSpace::paper(), agent, Synthetic::new(), config).run()?;
/// assert!(report.best()[0].reward.value() > 60.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
/// E. Real, A. Aggarwal, Y. Huang, Q. V. Le, "Regularized Evolution for Image Classifier Architecture Search",
/// AAAI 2019.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegularizedEvolution {
    config: EvolutionConfig,
}

impl RegularizedEvolution {
    /// Creates an agent with these settings.
    ///
    /// # Errors
    /// [`InvalidSetting`] if the settings are invalid.
    pub fn new(config: EvolutionConfig) -> Result<Self, InvalidSetting> {
        config.validate()?;
        Ok(Self { config })
    }
}

/// Number of edits tried for a child before a random walk takes its place: parents may have no new neighbours left.
const ATTEMPTS: usize = 100;

impl<S: SearchSpace> Agent<S> for RegularizedEvolution {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let EvolutionConfig { population, sample } = self.config;
        let episodes = memory.episodes();
        if memory.known() < population as u64 || episodes.is_empty() {
            return random_trajectory(space, rng);
        }
        let living = &episodes[episodes.len().saturating_sub(population)..];
        for _ in 0..ATTEMPTS {
            let mut places: Vec<usize> = (0..living.len()).collect();
            seed::shuffle(rng, &mut places);
            let drawn = places.iter().take(sample).map(|&place| &living[place]);
            let Some(parent) = drawn.max_by_key(|episode| episode.standing()) else { break };
            let child = Edit::random(space, &parent.trajectory, rng)?;
            if is_new(space, memory, &child)? {
                return Ok(child);
            }
        }
        random_trajectory(space, rng)
    }

    fn identity(&self) -> String {
        crate::identity::with_settings("RegularizedEvolution", &self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_refused() {
        for (population, sample) in [(10, 0), (0, 0), (10, 11)] {
            let error = RegularizedEvolution::new(EvolutionConfig { population, sample }).unwrap_err();
            let expected = format!("it must be at least 1 and at most the population of {population}");
            assert_eq!(error.to_string(), format!("agent.evolution.sample is {sample}: {expected}"));
        }
    }
}
