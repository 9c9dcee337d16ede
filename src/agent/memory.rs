//! The memory of a search: what was proposed and with what result.

use super::EpisodeOf;
use crate::graph::{CostLimits, Fingerprint, NetworkConfig};
use crate::space::SearchSpace;
use std::collections::HashSet;
use std::fmt;

/// All finished episodes of a search in the order in which they were learned, after those of its
/// [history](crate::search::History), and the fingerprints of everything proposed. An architecture has more than one
/// episode only if repeats count as trials or are learned again ([`Repeats`](crate::search::Repeats)).
///
/// The controller keeps it and lends it to the agent. It is the replay memory of the Q-learner (Section "Experiment
/// Details"), and a population-based agent chooses parents from it.
pub struct Memory<S: SearchSpace> {
    episodes: Vec<EpisodeOf<S>>,
    seen: HashSet<Fingerprint>,
    proposed: u64,
    /// Results from elsewhere.
    elsewhere: u64,
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
    /// Creates an empty memory for a search with minibatches of `minibatch_size` trials.
    #[must_use]
    pub fn new(minibatch_size: u64) -> Self {
        Self { episodes: Vec::new(), seen: HashSet::new(), proposed: 0, elsewhere: 0, minibatch_size, network: None }
    }

    /// Sets the network in which the architectures of the search are trained, and the limits on its cost.
    #[must_use]
    pub fn with_network(self, network: NetworkConfig, limits: CostLimits) -> Self {
        Self { network: Some((network, limits)), ..self }
    }

    /// Returns the network around every architecture and the limits on its cost, if the search has them. The priors of
    /// a space need both.
    #[must_use]
    pub fn network(&self) -> Option<&(NetworkConfig, CostLimits)> {
        self.network.as_ref()
    }

    /// Returns the number of trials in a minibatch, which schedules in minibatches need.
    #[must_use]
    pub fn minibatch_size(&self) -> u64 {
        self.minibatch_size
    }

    /// Returns the finished episodes, oldest first.
    #[must_use]
    pub fn episodes(&self) -> &[EpisodeOf<S>] {
        &self.episodes
    }

    /// Returns the number of trials proposed so far, including those still running.
    #[must_use]
    pub fn proposed(&self) -> u64 {
        self.proposed
    }

    /// Returns the number of trials proposed so far and of results from elsewhere
    /// ([`Search::with_history`](crate::search::Search::with_history)). An agent that begins at random does so until
    /// this is enough; schedules count [`proposed`](Self::proposed).
    #[must_use]
    pub fn known(&self) -> u64 {
        self.proposed + self.elsewhere
    }

    /// Returns whether an architecture with this fingerprint was proposed before, or has a result from elsewhere.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.seen.contains(fingerprint)
    }

    /// Records that an architecture was proposed as the next trial.
    pub fn note_proposed(&mut self, fingerprint: Fingerprint) {
        self.seen.insert(fingerprint);
        self.proposed += 1;
    }

    /// Records that an architecture has a result from elsewhere.
    pub fn note_known(&mut self, fingerprint: Fingerprint) {
        self.seen.insert(fingerprint);
        self.elsewhere += 1;
    }

    /// Appends a finished episode.
    pub fn push(&mut self, episode: EpisodeOf<S>) {
        self.episodes.push(episode);
    }
}
