//! The memory of a search: what was proposed, and the results.

use super::EpisodeOf;
use crate::graph::{CostLimits, Fingerprint, NetworkConfig};
use crate::space::SearchSpace;
use std::collections::HashSet;
use std::fmt;

/// All finished episodes of a search in the order they were learnt, and the fingerprints of everything proposed. An
/// architecture has more than one episode only where repeats count as trials or are learnt again
/// ([`Repeats`](crate::search::Repeats)).
///
/// The controller keeps it and lends it to the agent: it is the replay memory of the Q-learner (Section "Experiment
/// Details") and what a population-based agent chooses parents from.
pub struct Memory<S: SearchSpace> {
    episodes: Vec<EpisodeOf<S>>,
    seen: HashSet<Fingerprint>,
    proposed: u64,
    minibatch_size: u64,
    network: Option<(NetworkConfig, CostLimits)>,
}

impl<S: SearchSpace> fmt::Debug for Memory<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("episodes", &self.episodes.len())
            .field("seen", &self.seen.len())
            .field("proposed", &self.proposed)
            .finish_non_exhaustive()
    }
}

impl<S: SearchSpace> Memory<S> {
    /// An empty memory of a search with minibatches of `minibatch_size` trials.
    #[must_use]
    pub fn new(minibatch_size: u64) -> Self {
        Self { episodes: Vec::new(), seen: HashSet::new(), proposed: 0, minibatch_size, network: None }
    }

    /// The memory of a search whose architectures are trained in `network`, and that refuses what costs more than
    /// `limits`.
    #[must_use]
    pub fn with_network(mut self, network: NetworkConfig, limits: CostLimits) -> Self {
        self.network = Some((network, limits));
        self
    }

    /// The network around every architecture, and what it may cost, if the search has one: the priors of a space need it.
    #[must_use]
    pub fn network(&self) -> Option<&(NetworkConfig, CostLimits)> {
        self.network.as_ref()
    }

    /// Trials in a minibatch: schedules that are written in minibatches need it.
    #[must_use]
    pub fn minibatch_size(&self) -> u64 {
        self.minibatch_size
    }

    /// The finished episodes, oldest first.
    #[must_use]
    pub fn episodes(&self) -> &[EpisodeOf<S>] {
        &self.episodes
    }

    /// Number of trials proposed so far, those still running included.
    #[must_use]
    pub fn proposed(&self) -> u64 {
        self.proposed
    }

    /// Whether an architecture with this fingerprint was proposed before.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.seen.contains(fingerprint)
    }

    /// Notes that an architecture was proposed as the next trial.
    pub fn note_proposed(&mut self, fingerprint: Fingerprint) {
        self.seen.insert(fingerprint);
        self.proposed += 1;
    }

    /// Appends a finished episode.
    pub fn push(&mut self, episode: EpisodeOf<S>) {
        self.episodes.push(episode);
    }
}
