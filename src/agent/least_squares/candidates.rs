//! The candidates among which the least-squares learner chooses its proposals.

use super::values::{Guide, Weights};
use super::{LeastSquares, LeastSquaresConfig};
use crate::agent::edit::{Edit, is_new, random_trajectory};
use crate::agent::{AgentError, EpisodeOf, Memory, TrajectoryOf};
use crate::evaluation::Episode;
use crate::seed;
use crate::space::SearchSpace;
use rand::Rng;
use std::cmp::Ordering;

/// Besides the neighbours of the best, those of one other architecture are candidates: the best of a random [`SAMPLE`]
/// of the latest this many.
const POPULATION: usize = 100;

/// See [`POPULATION`].
const SAMPLE: usize = 10;

impl<S: SearchSpace> LeastSquares<S> {
    /// Returns random edits of the best architectures so far.
    pub(super) fn neighbours_of_the_best(
        &self,
        space: &S,
        episodes: &[EpisodeOf<S>],
        rng: &mut dyn Rng,
    ) -> Result<Vec<TrajectoryOf<S>>, AgentError> {
        let LeastSquaresConfig { parents, .. } = self.config;
        let mut order: Vec<usize> = (0..episodes.len()).collect();
        let better = |a: &usize, b: &usize| better(episodes, *a, *b);
        if order.len() > parents && parents > 0 {
            order.select_nth_unstable_by(parents - 1, better);
        }
        order.truncate(parents);
        order.sort_by(better);
        self.edited(space, order.into_iter().map(|number| &episodes[number].trajectory), rng)
    }

    /// Returns the first candidates of a proposal: the neighbours of the best and walks, or the neighbours of another.
    pub(super) fn candidates(
        &self,
        space: &S,
        episodes: &[EpisodeOf<S>],
        of_the_best: Vec<TrajectoryOf<S>>,
        used: usize,
        weights: &mut Weights,
        rng: &mut dyn Rng,
    ) -> Result<Vec<TrajectoryOf<S>>, AgentError> {
        if seed::unit(rng) < self.config.aside && !of_the_best.is_empty() {
            return self.neighbours_of_one_of_the_latest(space, episodes, rng);
        }
        let mut candidates = of_the_best;
        let mut guide = Guide::new(self.config.temperature);
        for _ in 0..self.config.walks {
            candidates.push(guide.walk(space, weights, rng)?);
        }
        // If only candidates of high prior were edited, nothing but random walks would show whether the priors are
        // wrong.
        let random = if self.priors.is_some() { used.max(self.config.walks) } else { used };
        for _ in 0..random {
            candidates.push(random_trajectory(space, rng)?);
        }
        Ok(candidates)
    }

    /// Returns as many random edits of a single architecture, chosen as regularized evolution chooses a parent. The
    /// best architectures of a search tend to be alike, while the latest ones are more varied.
    fn neighbours_of_one_of_the_latest(
        &self,
        space: &S,
        episodes: &[EpisodeOf<S>],
        rng: &mut dyn Rng,
    ) -> Result<Vec<TrajectoryOf<S>>, AgentError> {
        let latest = episodes.len().min(POPULATION);
        let mut sample = || episodes.len() - latest + seed::index(rng, latest);
        let drawn: Vec<usize> = (0..SAMPLE).map(|_| sample()).collect();
        let parent =
            drawn.into_iter().min_by(|a, b| better(episodes, *a, *b)).map(|number| &episodes[number].trajectory);
        self.edited(space, parent.into_iter().cycle().take(self.config.parents), rng)
    }

    /// Returns random edits of each of these walks.
    pub(super) fn edited<'w>(
        &self,
        space: &S,
        walks: impl Iterator<Item = &'w TrajectoryOf<S>>,
        rng: &mut dyn Rng,
    ) -> Result<Vec<TrajectoryOf<S>>, AgentError>
    where
        S::State: 'w,
        S::Action: 'w,
    {
        let mut edited = Vec::with_capacity(self.config.parents * self.config.edits);
        for walk in walks {
            for _ in 0..self.config.edits {
                let mut neighbour = Edit::random(space, walk, rng)?;
                while seed::unit(rng) < self.config.further {
                    neighbour = Edit::random(space, &neighbour, rng)?;
                }
                edited.push(neighbour);
            }
        }
        Ok(edited)
    }

    /// Returns new neighbours of the best open local optimum: the architecture that is worth most among those that
    /// have new neighbours and no better one. Empty if there is none.
    ///
    /// As many random edits are drawn as for a proposal. The draws depend only on the number of the episode, so which
    /// episodes are settled is a function of the memory.
    pub(super) fn neighbours_of_open_optimum(
        &mut self,
        space: &S,
        memory: &Memory<S>,
    ) -> Result<Vec<TrajectoryOf<S>>, AgentError> {
        let episodes = memory.episodes();
        self.settled.resize(episodes.len(), false);
        let mut order: Vec<usize> = (0..episodes.len()).filter(|&number| !self.settled[number]).collect();
        order.sort_by(|a, b| better(episodes, *a, *b));
        for number in order {
            let Episode { trajectory, .. } = &episodes[number];
            let mut rng = seed::stream(0, "neighbours", number as u64);
            let mut new = Vec::new();
            let mut optimum = true;
            for _ in 0..self.config.parents * self.config.edits {
                let neighbour = Edit::random(space, trajectory, &mut rng)?;
                match self.evaluated.get(&neighbour.actions) {
                    Some(&other) if episodes[other].standing() > episodes[number].standing() => {
                        optimum = false;
                        break;
                    }
                    None if is_new(space, memory, &neighbour)? => new.push(neighbour),
                    Some(_) | None => {}
                }
            }
            if optimum && !new.is_empty() {
                return Ok(new);
            }
            // A better neighbour remains better until one of the two is promoted, and an evaluated one remains
            // evaluated.
            self.settled[number] = true;
        }
        Ok(Vec::new())
    }
}

/// Compares episodes by what they are worth, highest first, and the earlier first among equals.
pub(super) fn better<State, Action>(episodes: &[Episode<State, Action>], a: usize, b: usize) -> Ordering {
    episodes[b].standing().cmp(&episodes[a].standing()).then(a.cmp(&b))
}
