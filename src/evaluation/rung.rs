//! How far an evaluation goes: for all of its epochs, or for the first of them.

use super::Reward;
use serde::{Deserialize, Serialize};

/// A rung of successive halving: an evaluation for the first `epochs` of all epochs.
///
/// It is a prefix of the full evaluation, schedule and restarts included, and not a short evaluation of its own, so
/// that it can be continued up to the next rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// The number of the rung, from 0, the one with the fewest epochs.
    pub number: u32,
    /// The epochs to evaluate for, counted from the beginning.
    pub epochs: u32,
}

/// What an architecture is worth among others: the rung that it has reached, then its reward there.
///
/// Rewards of different rungs are not comparable, because one that was trained for longer has a higher accuracy.
/// Without rungs, all have reached the same one, and this is the order of rewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// The number of the rung.
    pub rung: u32,
    /// The reward of the evaluation there.
    pub reward: Reward,
}
