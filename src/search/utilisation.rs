//! How busy the workers of a search were.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

/// How busy the workers of a search were, in seconds. For information only.
///
/// ```
/// use blockqnn::search::Utilisation;
///
/// let of_four = Utilisation { workers: 4, wall: 10.0, busy: 30.0, barrier: 8.0 };
/// assert_eq!(of_four.share(), 0.75);
/// let text = "4 workers were busy 75 % of the time, and waited 20 % of it for the slowest of a minibatch";
/// assert_eq!(of_four.to_string(), text);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Utilisation {
    /// Largest number of workers at a time.
    pub workers: usize,
    /// Seconds from the submission of the first trial to the end of the last.
    pub wall: f64,
    /// Seconds that workers spent on trials, summed over workers.
    pub busy: f64,
    /// Seconds, summed over workers, that they were idle because others had not finished the minibatch; 0 without a
    /// barrier.
    pub barrier: f64,
}

impl Utilisation {
    /// Returns the share of the workers' time in which they were busy, from 0 to 1, or 0 if no time has passed.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.of_all(self.busy)
    }

    /// Returns the share of the workers' time that the barrier cost, from 0 to 1.
    #[must_use]
    pub fn barrier_share(&self) -> f64 {
        self.of_all(self.barrier)
    }

    fn of_all(&self, seconds: f64) -> f64 {
        let all = self.wall * self.workers as f64;
        if all > 0.0 { (seconds / all).min(1.0) } else { 0.0 }
    }
}

impl fmt::Display for Utilisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (workers, verb) = if self.workers == 1 { ("worker", "was") } else { ("workers", "were") };
        write!(f, "{} {workers} {verb} busy {:.0} % of the time", self.workers, 100.0 * self.share())?;
        if self.barrier_share() >= 0.005 {
            write!(f, ", and waited {:.0} % of it for the slowest of a minibatch", 100.0 * self.barrier_share())?;
        }
        Ok(())
    }
}

/// Adds up times while a search runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sum: Utilisation,
    first: Option<Instant>,
    last: Option<Instant>,
    /// Trials that were submitted and have not ended.
    under_way: usize,
    /// When each running trial was started.
    running: HashMap<u64, Instant>,
}

impl Tally {
    /// Counts a submitted trial, which starts when one of `workers` is free.
    pub(super) fn submitted(&mut self, now: Instant, workers: usize) {
        self.pass(now, workers, false);
        self.first.get_or_insert(now);
        self.under_way += 1;
    }

    /// Counts a trial that a worker started.
    pub(super) fn started(&mut self, now: Instant, trial: u64) {
        self.running.insert(trial, now);
    }

    /// Counts a trial that ended. `barrier` is whether nothing else can start until all submitted trials have ended.
    pub(super) fn ended(&mut self, now: Instant, trial: u64, workers: usize, barrier: bool) {
        self.pass(now, workers, barrier);
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(start) = self.running.remove(&trial) {
            self.sum.busy += (now - start).as_secs_f64();
        }
    }

    /// Adds the time since the last event, during which the number of submitted trials was constant.
    fn pass(&mut self, now: Instant, workers: usize, barrier: bool) {
        self.sum.workers = self.sum.workers.max(workers);
        if let Some(last) = self.last.replace(now)
            && barrier
        {
            self.sum.barrier += (now - last).as_secs_f64() * workers.saturating_sub(self.under_way) as f64;
        }
    }

    /// Returns the sums so far.
    pub(super) fn sum(&self) -> Utilisation {
        let wall = match (self.first, self.last) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        };
        Utilisation { wall, ..self.sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn two_workers_with_one_long_trial_wait_at_the_barrier() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut tally = Tally::default();
        for _ in 0..2 {
            tally.submitted(at(0), 2);
        }
        tally.started(at(0), 0);
        tally.started(at(0), 1);
        tally.ended(at(2), 0, 2, true);
        tally.ended(at(10), 1, 2, true);
        // The controller learns for a while, and the next minibatch has one trial.
        tally.submitted(at(12), 2);
        tally.started(at(12), 2);
        tally.ended(at(16), 2, 2, true);
        let sum = tally.sum();
        assert_eq!((sum.workers, sum.wall, sum.busy, sum.barrier), (2, 16.0, 16.0, 8.0 + 4.0));
        assert_eq!((sum.share(), sum.barrier_share()), (0.5, 12.0 / 32.0));
    }

    #[test]
    fn a_search_that_did_nothing_was_not_busy() {
        assert_eq!(Tally::default().sum(), Utilisation::default());
        assert_eq!(Utilisation::default().to_string(), "0 workers were busy 0 % of the time");
    }
}
