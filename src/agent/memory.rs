//! The memory of a search: what was proposed and with what result.

use super::EpisodeOf;
use crate::graph::{CostLimits, Fingerprint, NetworkConfig};
use crate::space::SearchSpace;
use std::collections::HashSet;
use std::fmt;

/// All finished episodes of a search in the order in which they were learned, after those of its
/// [history](crate::search::History), and the fingerprints of everything proposed. An architecture has more than one
/// episode only if repeats count as trials or are learned again ([`Repeats`](crate::search::Repeats)). In a search with
/// [rungs](crate::search::Rungs), the episode of a higher rung takes the place of the earlier one.
///
/// The controller keeps it and lends it to the agent. It is the replay memory of the Q-learner (Section "Experiment
/// Details"), and a population-based agent chooses parents from it.
pub struct Memory<S: SearchSpace> {
    episodes: Vec<EpisodeOf<S>>,
    /// The place in `episodes` of each one learned, in the order of learning.
    learned: Vec<usize>,
    seen: HashSet<Fingerprint>,
    proposed: u64,
    /// How many of those were promotions.
    promoted: u64,
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
        Self {
            episodes: Vec::new(),
            learned: Vec::new(),
            seen: HashSet::new(),
            proposed: 0,
            promoted: 0,
            elsewhere: 0,
            minibatch_size,
            network: None,
        }
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

    /// Returns the places in [`episodes`](Self::episodes) of the `count` episodes learned last, in the order of
    /// learning. They are the last places, except those of promoted architectures.
    ///
    /// # Panics
    /// If fewer were learned.
    #[must_use]
    pub fn latest(&self, count: usize) -> &[usize] {
        &self.learned[self.learned.len() - count..]
    }

    /// Returns the number of episodes learned so far. It exceeds the number of [`episodes`](Self::episodes) by those
    /// that later ones have replaced.
    #[must_use]
    pub fn learned(&self) -> u64 {
        self.learned.len() as u64
    }

    /// Returns the number of trials so far, including those still running and the promotions of a search with rungs.
    #[must_use]
    pub fn proposed(&self) -> u64 {
        self.proposed
    }

    /// Returns the number of trials so far that an agent proposed, including those still running: all but promotions.
    #[must_use]
    pub fn proposals(&self) -> u64 {
        self.proposed - self.promoted
    }

    /// Returns the number of [`proposals`](Self::proposals) so far and of results from elsewhere
    /// ([`Search::with_history`](crate::search::Search::with_history)). An agent that begins at random does so until
    /// this is enough; schedules count [`proposed`](Self::proposed).
    #[must_use]
    pub fn known(&self) -> u64 {
        self.proposals() + self.elsewhere
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

    /// Records that an architecture was promoted as the next trial.
    pub fn note_promoted(&mut self) {
        self.proposed += 1;
        self.promoted += 1;
    }

    /// Records that an architecture has a result from elsewhere.
    pub fn note_known(&mut self, fingerprint: Fingerprint) {
        self.seen.insert(fingerprint);
        self.elsewhere += 1;
    }

    /// Appends a finished episode.
    pub fn push(&mut self, episode: EpisodeOf<S>) {
        self.learned.push(self.episodes.len());
        self.episodes.push(episode);
    }

    /// Puts the episode of a promoted architecture in the place of its last one, or at the end if there is none.
    pub fn replace(&mut self, episode: EpisodeOf<S>) {
        let place = self.episodes.iter().rposition(|known| known.fingerprint == episode.fingerprint);
        let Some(place) = place else { return self.push(episode) };
        self.learned.push(place);
        self.episodes[place] = episode;
    }
}
