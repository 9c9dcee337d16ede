//! How long a trial takes.

/// Trials that count: what a machine does beside the search changes, and blocks grow as the agent learns.
const MEMORY: f64 = 128.0;

/// The mean time of the last trials, in which older ones count less and less.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pace {
    trials: f64,
    seconds: f64,
}

impl Pace {
    pub(super) fn add(&mut self, seconds: f64) {
        let kept = 1.0 - 1.0 / MEMORY;
        self.trials = kept * self.trials + 1.0;
        self.seconds = kept * self.seconds + seconds;
    }

    /// Returns the mean seconds of a trial, with parts of trials that are running. `None` while nothing is known.
    pub(super) fn mean_with(&self, trials: f64, seconds: f64) -> Option<f64> {
        let trials = self.trials + trials;
        (trials > 0.0).then(|| (self.seconds + seconds) / trials)
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn the_mean_is_exact_for_few_trials_and_forgets_old_ones() {
        let mut pace = Pace::default();
        assert_eq!(pace.mean_with(0.0, 0.0), None);
        assert_eq!(pace.mean_with(0.5, 2.0), Some(4.0));
        (0..20).for_each(|_| pace.add(7.0));
        assert!((pace.mean_with(0.0, 0.0).unwrap() - 7.0).abs() < 1e-9);
        (0..1_000).for_each(|_| pace.add(1.0));
        assert!((pace.mean_with(0.0, 0.0).unwrap() - 1.0).abs() < 0.01);
    }
}
