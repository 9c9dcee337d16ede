//! A search on a virtual clock: what more workers, another scheduling or failing machines would do to its time.

use super::{Scheduling, Utilisation};
use crate::seed;
use crate::setting::InvalidSetting;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// What [`simulate`] plays through. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationConfig {
    /// Seed of times and failures.
    pub seed: u64,
    /// Workers, each with one trial at a time.
    pub workers: usize,
    /// When trials are proposed and learned.
    pub scheduling: Scheduling,
    /// Trials in a minibatch.
    pub minibatch: u64,
    /// Trials of the whole run.
    pub trials: u64,
    /// Attempts at a trial before it counts as failed.
    pub attempts: u32,
    /// Controller's time to propose a trial.
    pub propose: f64,
    /// Controller's time to journal a trial and learn from it, including its share of the replay.
    pub learn: f64,
    /// Failures per worker and hour of training.
    pub failures_per_hour: f64,
    /// Time until a failure is detected: the lease of a trial, `ack_wait` with NATS.
    pub lease: f64,
    /// Time until a failed worker is replaced.
    pub replacement: f64,
}

impl SimulationConfig {
    /// The paper's schedule, 178 minibatches of 64, on `workers` workers that never fail, with a controller that takes
    /// no time.
    #[must_use]
    pub fn paper(workers: usize, scheduling: Scheduling) -> Self {
        Self {
            seed: 0,
            workers,
            scheduling,
            minibatch: 64,
            trials: 178 * 64,
            attempts: 3,
            propose: 0.0,
            learn: 0.0,
            failures_per_hour: 0.0,
            lease: 60.0,
            replacement: 300.0,
        }
    }

    fn validate(&self, times: &[f64]) -> Result<(), InvalidSetting> {
        let positive = [
            ("workers", self.workers as u64),
            ("minibatch", self.minibatch),
            ("trials", self.trials),
            ("attempts", self.attempts.into()),
        ];
        for (path, value) in positive {
            InvalidSetting::at_least_one(path, value)?;
        }
        let durations = [
            ("propose", self.propose),
            ("learn", self.learn),
            ("failures_per_hour", self.failures_per_hour),
            ("lease", self.lease),
            ("replacement", self.replacement),
        ];
        for (path, value) in durations {
            let valid = value.is_finite() && value >= 0.0;
            InvalidSetting::check(path, value, valid, "finite and not negative (in seconds, rates per hour)")?;
        }
        InvalidSetting::check("times", "empty", !times.is_empty(), "those of a run with trained trials")?;
        let mut times = times.iter();
        times.try_for_each(|time| {
            InvalidSetting::check("times", time, time.is_finite() && *time > 0.0, "finite and above 0, in seconds")
        })
    }
}

/// Result of a simulation. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Simulated {
    /// How busy the workers were, and the cost of the barrier.
    pub utilisation: Utilisation,
    /// Time the controller worked.
    pub controller: f64,
    /// Failures of workers.
    pub failures: u64,
    /// Training time lost to failures, part of [`Utilisation::busy`].
    pub wasted: f64,
    /// Trials that ended as failed, their attempts used up.
    pub failed: u64,
    /// Trials that ended, failed ones included.
    pub trials: u64,
}

/// Plays a search through on a virtual clock, each training lasting one of `times`, drawn at random.
///
/// The controller does one thing at a time, as the real one does. In minibatches it proposes all, submits all, waits
/// for the last, and learns; rolling, it learns each trial that ends and proposes the next. A worker that fails loses
/// its training; after [`lease`](SimulationConfig::lease) the trial goes to another.
///
/// ```
/// use blockqnn::search::{Scheduling, SimulationConfig, simulate};
///
/// let hours = |scheduling| -> Result<f64, blockqnn::setting::InvalidSetting> {
///     let end = simulate(&SimulationConfig::paper(32, scheduling), &[300.0, 700.0, 1_200.0])?;
///     Ok(end.utilisation.wall / 3_600.0)
/// };
/// assert!(hours(Scheduling::Rolling)? < hours(Scheduling::Minibatch)?);
/// # Ok::<(), blockqnn::setting::InvalidSetting>(())
/// ```
///
/// # Errors
/// [`InvalidSetting`] names the first invalid setting.
pub fn simulate(config: &SimulationConfig, times: &[f64]) -> Result<Simulated, InvalidSetting> {
    config.validate(times)?;
    let mut simulation = Simulation::new(config, times);
    match config.scheduling {
        Scheduling::Minibatch => simulation.run_minibatches(),
        Scheduling::Rolling => simulation.roll(),
    }
    let mut end = simulation.end;
    end.utilisation.workers = config.workers;
    end.utilisation.wall = simulation.now.max(simulation.controller_free);
    Ok(end)
}

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Ended { trial: u64 },
    LeaseOver { trial: u64 },
    WorkerBack,
    HandedOut { trial: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Moment {
    time: f64,
    /// Order of events at one time: that in which they were foreseen.
    number: u64,
    what: What,
}

impl Eq for Moment {}

impl Ord for Moment {
    /// The earliest is the greatest, for it comes first out of a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.time.total_cmp(&self.time).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Simulation<'a> {
    config: &'a SimulationConfig,
    times: &'a [f64],
    now: f64,
    controller_free: f64,
    foreseen: BinaryHeap<Moment>,
    numbers: u64,
    idle: usize,
    queue: VecDeque<u64>,
    attempts: HashMap<u64, u32>,
    proposed: u64,
    /// Trials proposed and not ended.
    under_way: u64,
    end: Simulated,
}

impl<'a> Simulation<'a> {
    fn new(config: &'a SimulationConfig, times: &'a [f64]) -> Self {
        Self {
            config,
            times,
            now: 0.0,
            controller_free: 0.0,
            foreseen: BinaryHeap::new(),
            numbers: 0,
            idle: config.workers,
            queue: VecDeque::new(),
            attempts: HashMap::new(),
            proposed: 0,
            under_way: 0,
            end: Simulated::default(),
        }
    }

    fn run_minibatches(&mut self) {
        while self.proposed < self.config.trials {
            let size = self.config.minibatch.min(self.config.trials - self.proposed);
            let ready = self.work(self.config.propose * size as f64);
            for _ in 0..size {
                self.hand_out(ready);
            }
            while self.under_way > 0 && self.advance(true).is_some() {}
            self.work(self.config.learn * size as f64);
        }
    }

    fn roll(&mut self) {
        for _ in 0..(self.config.workers as u64).min(self.config.trials) {
            let ready = self.work(self.config.propose);
            self.hand_out(ready);
        }
        while self.under_way > 0 {
            let Some(ended) = self.advance(false) else { break };
            if ended {
                let mut ready = self.work(self.config.learn);
                if self.proposed < self.config.trials {
                    ready = ready.max(self.work(self.config.propose));
                    self.hand_out(ready);
                }
            }
        }
    }

    /// Has the controller work for a time as soon as it is free, and returns when it is done.
    fn work(&mut self, seconds: f64) -> f64 {
        self.end.controller += seconds;
        self.controller_free = self.controller_free.max(self.now) + seconds;
        self.controller_free
    }

    fn hand_out(&mut self, time: f64) {
        let trial = self.proposed;
        self.proposed += 1;
        self.under_way += 1;
        self.foresee(time, What::HandedOut { trial });
    }

    fn foresee(&mut self, time: f64, what: What) {
        self.foreseen.push(Moment { time, number: self.numbers, what });
        self.numbers += 1;
    }

    /// Goes on to the next event. Tells whether a trial ended by it, or `None` if nothing will happen any more.
    fn advance(&mut self, barrier: bool) -> Option<bool> {
        let Moment { time, what, .. } = self.foreseen.pop()?;
        // A worker that is replaced when all is done does not lengthen the run.
        if what != What::WorkerBack || self.under_way > 0 {
            // Until trials are handed out it is the controller that is waited for.
            if barrier && self.queue.is_empty() && !matches!(what, What::HandedOut { .. }) {
                self.end.utilisation.barrier += (time - self.now) * self.idle as f64;
            }
            self.now = time;
        }
        let ended = match what {
            What::HandedOut { trial } => {
                self.queue.push_back(trial);
                false
            }
            What::WorkerBack => {
                self.idle += 1;
                false
            }
            What::Ended { .. } => {
                self.idle += 1;
                true
            }
            What::LeaseOver { trial } => {
                let spent = self.attempts.get(&trial).copied().unwrap_or(0) >= self.config.attempts;
                if spent {
                    self.end.failed += 1;
                } else {
                    self.queue.push_front(trial);
                }
                spent
            }
        };
        if ended {
            self.under_way -= 1;
            self.end.trials += 1;
        }
        while self.idle > 0
            && let Some(trial) = self.queue.pop_front()
        {
            self.begin(trial);
        }
        Some(ended)
    }

    /// Has an idle worker begin an attempt.
    fn begin(&mut self, trial: u64) {
        self.idle -= 1;
        let attempt = self.attempts.entry(trial).or_insert(0);
        *attempt += 1;
        // The training of a trial takes as long in every attempt; failures are the worker's.
        let mut of_trial: ChaCha8Rng = seed::stream(self.config.seed, "simulated time", trial);
        let time = self.times[seed::index(&mut of_trial, self.times.len())];
        let number = trial.wrapping_mul(1 << 8).wrapping_add((*attempt).into());
        let mut of_attempt: ChaCha8Rng = seed::stream(self.config.seed, "simulated failure", number);
        let rate = self.config.failures_per_hour / 3_600.0;
        // Exponential: a failure is as likely in any second. At rate 0 it is infinitely far.
        let until_failure = -(1.0 - seed::unit(&mut of_attempt)).ln() / rate;
        if until_failure < time {
            self.end.failures += 1;
            self.end.wasted += until_failure;
            self.end.utilisation.busy += until_failure;
            let failure = self.now + until_failure;
            self.foresee(failure + self.config.lease, What::LeaseOver { trial });
            self.foresee(failure + self.config.replacement, What::WorkerBack);
        } else {
            self.end.utilisation.busy += time;
            self.foresee(self.now + time, What::Ended { trial });
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;

    fn config(workers: usize, scheduling: Scheduling) -> SimulationConfig {
        SimulationConfig { trials: 640, ..SimulationConfig::paper(workers, scheduling) }
    }

    const TIMES: [f64; 4] = [60.0, 120.0, 240.0, 900.0];

    #[test]
    fn one_worker_takes_the_sum_of_its_trainings_and_of_the_controllers_time() {
        for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
            let config = SimulationConfig { propose: 0.25, learn: 0.5, ..config(1, scheduling) };
            let end = simulate(&config, &[8.0]).unwrap();
            assert_eq!(end.trials, 640);
            assert_eq!(end.utilisation.busy, 640.0 * 8.0);
            assert_eq!(end.controller, 640.0 * 0.75);
            // The controller does not overlap with the only worker.
            assert_eq!(end.utilisation.wall, 640.0 * 8.75);
            assert_eq!(end.utilisation.barrier, 0.0);
        }
    }

    #[test]
    fn both_schedulings_do_the_same_work_and_the_barrier_is_what_they_differ_by() {
        let barrier = simulate(&config(32, Scheduling::Minibatch), &TIMES).unwrap();
        let rolling = simulate(&config(32, Scheduling::Rolling), &TIMES).unwrap();
        assert!((barrier.utilisation.busy - rolling.utilisation.busy).abs() < 1e-6);
        assert!(rolling.utilisation.wall < barrier.utilisation.wall);
        assert_eq!(rolling.utilisation.barrier, 0.0);
        let all = barrier.utilisation.wall * 32.0;
        assert!((barrier.utilisation.busy + barrier.utilisation.barrier - all).abs() < 1e-6 * all);
    }

    #[test]
    fn more_workers_than_a_minibatch_stand_idle_at_the_barrier() {
        let config = config(640, Scheduling::Minibatch);
        let end = simulate(&config, &[100.0]).unwrap();
        assert_eq!(end.utilisation.wall, 10.0 * 100.0);
        assert!((end.utilisation.share() - 0.1).abs() < 1e-9);
        let rolling = simulate(&SimulationConfig { scheduling: Scheduling::Rolling, ..config }, &[100.0]).unwrap();
        assert_eq!(rolling.utilisation.wall, 100.0);
    }

    #[test]
    fn failures_cost_time_and_end_trials_only_after_their_attempts() {
        for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
            let sound = simulate(&config(32, scheduling), &TIMES).unwrap();
            let shaky = SimulationConfig { failures_per_hour: 2.0, ..config(32, scheduling) };
            let end = simulate(&shaky, &TIMES).unwrap();
            assert_eq!(end.trials, 640);
            assert!(end.failures > 50 && end.failed < 20, "{end:?}");
            assert!(end.utilisation.wall > sound.utilisation.wall);
            assert!(end.wasted > 0.0 && end.wasted < end.utilisation.busy);
            assert_eq!(simulate(&shaky, &TIMES).unwrap(), end);
            let hopeless = SimulationConfig { failures_per_hour: 1e6, ..config(32, scheduling) };
            let end = simulate(&hopeless, &TIMES).unwrap();
            assert_eq!((end.trials, end.failed, end.failures), (640, 640, 3 * 640));
        }
    }

    #[test]
    fn a_busy_controller_is_what_many_workers_wait_for() {
        let config = SimulationConfig { learn: 1.0, ..config(1_000, Scheduling::Rolling) };
        let end = simulate(&config, &[100.0]).unwrap();
        assert!((end.utilisation.wall - (100.0 + 640.0)).abs() < 1e-9, "{end:?}");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let sound = config(4, Scheduling::Rolling);
        let error = |config: &SimulationConfig, times: &[f64]| simulate(config, times).unwrap_err().to_string();
        assert!(error(&SimulationConfig { workers: 0, ..sound.clone() }, &TIMES).starts_with("workers is 0"));
        assert!(error(&SimulationConfig { lease: -1.0, ..sound.clone() }, &TIMES).starts_with("lease is -1"));
        assert!(error(&SimulationConfig { learn: f64::NAN, ..sound.clone() }, &TIMES).starts_with("learn is NaN"));
        assert!(error(&sound, &[]).starts_with("times is empty"));
        assert!(error(&sound, &[1.0, 0.0]).starts_with("times is 0"));
    }
}
