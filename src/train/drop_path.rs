//! Drop-path: for which images a training drops which paths of a network.

use super::Recipe;
use crate::seed;
use rand::Rng;

/// The drops of one epoch.
pub(super) struct Drops {
    rate: f64,
    paths: usize,
    seed: u64,
}

impl Drops {
    /// Returns the drops of an epoch of an attempt in a network of so many paths; `None` if there are none.
    pub(super) fn of_epoch(recipe: &Recipe, paths: usize, seed: u64, restarts: u32, epoch: u32) -> Option<Self> {
        let rate = recipe.drop_path_at(epoch);
        // Each batch has a stream of its own, so that a training can begin with any of them.
        let seed = || seed::stream(seed, "drops", u64::from(restarts) << 32 | u64::from(epoch)).next_u64();
        (rate > 0.0 && paths > 0).then(|| Self { rate, paths, seed: seed() })
    }

    /// Returns the factors of a batch of so many images, `[paths, images]`: 0 for what is dropped. What is kept has a
    /// factor above 1, so that the expectation of a path stays.
    pub(super) fn factors(&self, batch: usize, images: usize) -> Vec<f32> {
        let rng = &mut seed::stream(self.seed, "drop", batch as u64);
        #[expect(clippy::cast_possible_truncation, reason = "networks compute in single precision")]
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        (0..self.paths * images).map(|_| if seed::unit(rng) < self.rate { 0.0 } else { kept }).collect()
    }

    /// Returns the number of paths.
    pub(super) fn paths(&self) -> usize {
        self.paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe { epochs: 4, drop_path: 0.4, ..Recipe::early_stop() }
    }

    #[test]
    fn the_share_of_dropped_paths_rises_with_the_epochs_and_their_expectation_stays() {
        assert!(Drops::of_epoch(&recipe(), 50, 1, 0, 0).is_none());
        assert!(Drops::of_epoch(&recipe(), 0, 1, 0, 3).is_none());
        for (epoch, rate) in [(1, 0.1), (2, 0.2), (3, 0.3)] {
            let factors = Drops::of_epoch(&recipe(), 50, 1, 0, epoch).unwrap().factors(0, 400);
            let dropped = factors.iter().filter(|factor| **factor == 0.0).count() as f64 / factors.len() as f64;
            // 20,000 draws have a deviation of at most 0.0035.
            assert!((dropped - rate).abs() < 0.015, "{epoch}: {dropped}");
            let mean = factors.iter().map(|factor| f64::from(*factor)).sum::<f64>() / factors.len() as f64;
            assert!((mean - 1.0).abs() < 0.03, "{epoch}: {mean}");
        }
    }

    #[test]
    fn each_batch_epoch_restart_and_seed_drops_others_and_the_same_again() {
        let factors = |seed, restarts, epoch, batch| {
            Drops::of_epoch(&recipe(), 3, seed, restarts, epoch).unwrap().factors(batch, 40)
        };
        let base = factors(1, 0, 2, 5);
        assert_eq!(base, factors(1, 0, 2, 5));
        for other in [factors(2, 0, 2, 5), factors(1, 1, 2, 5), factors(1, 0, 2, 6)] {
            assert_ne!(base, other);
        }
        // Another epoch has another rate as well, so the places are compared.
        let zeros = |factors: &[f32]| factors.iter().map(|factor| *factor == 0.0).collect::<Vec<_>>();
        assert_ne!(zeros(&base), zeros(&factors(1, 0, 3, 5)));
    }
}
