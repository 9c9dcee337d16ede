//! Hyperband, a baseline for comparisons in epochs.

use super::course::Course;
use crate::agent::{Agent, Memory, RandomAgent};
use crate::environment::{BoxedEnvironment, Environment, TrialContext};
use crate::evaluation::{Evaluation, Reward, Rung, Standing, Trial};
use crate::graph::Fingerprint;
use crate::search::SearchError;
use crate::seed;
use crate::space::SearchSpace;

/// Random architectures drawn in vain after which the space counts as exhausted, as in a search.
const MOST_REPEATS: u64 = 10_000;

/// A bracket: so many random architectures at a rung, of which the best go on to the next, and so on to the highest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bracket {
    /// The number of the rung that it begins at.
    first: usize,
    /// The number of architectures at each rung from there.
    counts: Vec<u64>,
}

/// The brackets of one round of Hyperband over so many rungs, of which one in `one_in` is promoted.
///
/// Bracket s, from the number of the highest rung down to 0, begins s rungs below the highest, with
/// `ceil((s_max + 1) * one_in^s / (s + 1))` architectures (Algorithm 1). There the epochs of a rung are `one_in` times
/// those of the one below, which makes all brackets cost the same; here they are whatever the table has.
fn brackets(rungs: usize, one_in: u64) -> Vec<Bracket> {
    let bracket = |steps: usize| {
        let power = |step: usize| one_in.saturating_pow(u32::try_from(step).unwrap_or(u32::MAX));
        let most = (rungs as u64).saturating_mul(power(steps)).div_ceil(steps as u64 + 1);
        Bracket { first: rungs - 1 - steps, counts: (0..=steps).map(|step| most / power(step)).collect() }
    };
    (0..rungs).rev().map(bracket).collect()
}

/// Random search with Hyperband: rounds of brackets, one after another, each with architectures of its own.
///
/// L. Li, K. Jamieson, G. `DeSalvo`, A. Rostamizadeh, A. Talwalkar, "Hyperband: A Novel Bandit-Based Approach to
/// Hyperparameter Optimization", Journal of Machine Learning Research 18, 2018, Algorithm 1.
pub(super) struct Hyperband<'a, S: SearchSpace> {
    pub(super) space: &'a S,
    pub(super) environment: BoxedEnvironment<S::Architecture>,
    pub(super) ladder: &'a [Rung],
    pub(super) one_in: u64,
    pub(super) seed: u64,
    /// Says what a trial at a rung costs in epochs, given whether its architecture was promoted to it.
    pub(super) epochs: &'a dyn Fn(Rung, bool) -> u64,
    pub(super) worth: &'a dyn Fn(&S::Architecture) -> f64,
    /// Says when the search is over.
    pub(super) is_over: &'a dyn Fn(&Course) -> bool,
}

impl<S: SearchSpace> Hyperband<'_, S> {
    /// Searches until it is over or no new architecture is found.
    pub(super) fn run(mut self) -> Result<Course, SearchError> {
        let (mut course, mut memory) = (Course::default(), Memory::new(1));
        for Bracket { first, counts } in brackets(self.ladder.len(), self.one_in).iter().cycle() {
            let mut candidates = self.draw(counts[0], &mut memory)?;
            if candidates.is_empty() {
                return Ok(course);
            }
            for (step, (rung, count)) in self.ladder[*first..].iter().zip(counts).enumerate() {
                candidates.truncate(usize::try_from(*count).unwrap_or(usize::MAX));
                let mut ranked = Vec::new();
                for candidate in candidates {
                    let reward = self.evaluate(&candidate, *rung, step > 0, &mut course);
                    if (self.is_over)(&course) {
                        return Ok(course);
                    }
                    ranked.extend(reward.map(|reward| (reward, candidate)));
                }
                ranked.sort_by_key(|(reward, _)| std::cmp::Reverse(*reward));
                candidates = ranked.into_iter().map(|(_, candidate)| candidate).collect();
            }
        }
        Ok(course)
    }

    /// Draws random architectures that were not drawn before.
    fn draw(&self, count: u64, memory: &mut Memory<S>) -> Result<Vec<(S::Architecture, Fingerprint)>, SearchError> {
        let mut drawn = Vec::new();
        for _ in 0..count {
            let mut rng = seed::stream(self.seed, "hyperband", memory.proposed());
            for _ in 0..MOST_REPEATS {
                let walk = RandomAgent.propose(self.space, memory, &mut rng)?;
                let architecture = self.space.decode(&walk.actions)?;
                let fingerprint = self.space.fingerprint(&architecture);
                if !memory.contains(&fingerprint) {
                    memory.note_proposed(fingerprint);
                    drawn.push((architecture, fingerprint));
                    break;
                }
            }
        }
        Ok(drawn)
    }

    /// Evaluates an architecture at a rung and returns its reward, if there is one.
    fn evaluate(
        &mut self,
        (architecture, fingerprint): &(S::Architecture, Fingerprint),
        rung: Rung,
        is_promoted: bool,
        course: &mut Course,
    ) -> Option<Reward> {
        let seed = seed::trial_seed(self.seed, fingerprint.as_bytes());
        let trial = Trial { id: course.len() as u64, seed, fingerprint: *fingerprint, cost: None };
        // Without a rung below there is nothing to continue, whatever the number of the rung.
        let number = if is_promoted { rung.number } else { 0 };
        let context = TrialContext::new(&trial).with_rung(Some(Rung { number, ..rung }));
        let evaluation = self.environment.evaluate(architecture, &context).ok();
        let metrics = evaluation.as_ref().and_then(Evaluation::metrics);
        let (epochs, seconds) = metrics.map_or((0, 0.0), |metrics| ((self.epochs)(rung, is_promoted), metrics.seconds));
        let reward = evaluation.as_ref().and_then(Evaluation::final_value).and_then(|value| Reward::new(value).ok());
        let standing = reward.map(|reward| Standing { rung: rung.number, reward });
        course.push(epochs, seconds, standing, || (self.worth)(architecture));
        reward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rungs: usize, one_in: u64) -> Vec<(usize, Vec<u64>)> {
        brackets(rungs, one_in).into_iter().map(|bracket| (bracket.first, bracket.counts)).collect()
    }

    /// R = 81 epochs, of which 1, 3, 9, 27 and 81 are the rungs: `ceil(5 * 3^s / (s + 1))` architectures, by hand.
    #[test]
    fn brackets_of_five_rungs_are_those_of_the_algorithm() {
        let expected =
            [(0, vec![81, 27, 9, 3, 1]), (1, vec![34, 11, 3, 1]), (2, vec![15, 5, 1]), (3, vec![8, 2]), (4, vec![5])];
        assert_eq!(counts(5, 3), expected);
    }

    #[test]
    fn brackets_of_two_rungs_begin_at_both() {
        assert_eq!(counts(2, 3), [(0, vec![3, 1]), (1, vec![2])]);
        assert_eq!(counts(2, 5), [(0, vec![5, 1]), (1, vec![2])]);
        assert_eq!(counts(3, 4), [(0, vec![16, 4, 1]), (1, vec![6, 1]), (2, vec![3])]);
    }
}
