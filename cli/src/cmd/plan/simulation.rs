//! A search on a virtual clock: how more workers, another scheduling or failing machines would change its duration.

use blockqnn::search::{Scheduling, Utilisation};
use blockqnn::seed;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// Attempts at a trial before it counts as failed.
const ATTEMPTS: u32 = 3;

/// The search that is simulated. Times are in seconds; none is negative.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Seed of times and failures.
    pub(super) seed: u64,
    /// Workers, each with one trial at a time.
    pub(super) workers: usize,
    /// When trials are proposed and learned.
    pub(super) scheduling: Scheduling,
    /// Trials in a minibatch.
    pub(super) minibatch: u64,
    /// Trials of the whole run.
    pub(super) trials: u64,
    /// Controller's time to propose a trial.
    pub(super) propose: f64,
    /// Controller's time to journal a trial and learn from it, including its share of the replay.
    pub(super) learn: f64,
    /// Failures per worker and hour of training.
    pub(super) failures_per_hour: f64,
    /// Time until a failure is detected: the lease of a trial.
    pub(super) lease: f64,
    /// Time until a failed worker is replaced.
    pub(super) replacement: f64,
}

/// The result of a simulated search. Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Simulated {
    /// How busy the workers were, and the cost of the barrier.
    pub(super) utilisation: Utilisation,
    /// Time the controller worked.
    pub(super) controller: f64,
    /// Failures of workers.
    pub(super) failures: u64,
    /// Trials that ended, including those whose attempts were used up.
    pub(super) trials: u64,
}

impl Plan {
    /// Simulates the search, each training lasting one of `times`, drawn at random. There must be at least one.
    ///
    /// The controller does one thing at a time, as the real one does. With minibatches it proposes all trials, submits
    /// all, waits for the last, and learns; with rolling scheduling it learns each trial that ends and proposes the
    /// next. A worker that fails loses its training; when the lease has expired, another worker gets the trial.
    pub(super) fn simulate(&self, times: &[f64]) -> Simulated {
        let mut simulation = Simulation::new(self, times);
        match self.scheduling {
            Scheduling::Minibatch => simulation.run_minibatches(),
            _ => simulation.roll(),
        }
        let mut end = simulation.end;
        end.utilisation.workers = self.workers;
        end.utilisation.wall = simulation.now.max(simulation.controller_free);
        end
    }
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
    /// Events at the same time keep the order in which they were scheduled.
    number: u64,
    what: What,
}

impl Eq for Moment {}

impl Ord for Moment {
    /// The earliest event is the greatest, so that it comes first out of the heap.
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
    plan: &'a Plan,
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
    fn new(plan: &'a Plan, times: &'a [f64]) -> Self {
        Self {
            plan,
            times,
            now: 0.0,
            controller_free: 0.0,
            foreseen: BinaryHeap::new(),
            numbers: 0,
            idle: plan.workers,
            queue: VecDeque::new(),
            attempts: HashMap::new(),
            proposed: 0,
            under_way: 0,
            end: Simulated::default(),
        }
    }

    fn run_minibatches(&mut self) {
        while self.proposed < self.plan.trials {
            let size = self.plan.minibatch.min(self.plan.trials - self.proposed);
            let ready = self.work(self.plan.propose * size as f64);
            for _ in 0..size {
                self.hand_out(ready);
            }
            while self.under_way > 0 && self.advance(true).is_some() {}
            self.work(self.plan.learn * size as f64);
        }
    }

    fn roll(&mut self) {
        for _ in 0..(self.plan.workers as u64).min(self.plan.trials) {
            let ready = self.work(self.plan.propose);
            self.hand_out(ready);
        }
        while self.under_way > 0 {
            let Some(ended) = self.advance(false) else { break };
            if ended {
                let mut ready = self.work(self.plan.learn);
                if self.proposed < self.plan.trials {
                    ready = ready.max(self.work(self.plan.propose));
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

    /// Advances to the next event. Returns whether a trial ended with it, or `None` if nothing is left to happen.
    fn advance(&mut self, barrier: bool) -> Option<bool> {
        let Moment { time, what, .. } = self.foreseen.pop()?;
        // A worker that is replaced when everything is done does not lengthen the run.
        if what != What::WorkerBack || self.under_way > 0 {
            // Until trials are handed out, the workers wait for the controller.
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
                let spent = self.attempts.get(&trial).copied().unwrap_or(0) >= ATTEMPTS;
                if !spent {
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
        // The training of a trial takes equally long in every attempt; failures depend on the worker.
        let mut of_trial = seed::stream(self.plan.seed, "simulated time", trial);
        let time = self.times[seed::index(&mut of_trial, self.times.len())];
        let number = trial.wrapping_mul(1 << 8).wrapping_add((*attempt).into());
        let mut of_attempt = seed::stream(self.plan.seed, "simulated failure", number);
        let rate = self.plan.failures_per_hour / 3_600.0;
        // Exponential: a failure is equally likely in every second. At rate 0 it never happens.
        let until_failure = -(1.0 - seed::unit(&mut of_attempt)).ln() / rate;
        if until_failure < time {
            self.end.failures += 1;
            self.end.utilisation.busy += until_failure;
            let failure = self.now + until_failure;
            self.foresee(failure + self.plan.lease, What::LeaseOver { trial });
            self.foresee(failure + self.plan.replacement, What::WorkerBack);
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

    fn plan(workers: usize, scheduling: Scheduling) -> Plan {
        let (minibatch, lease, replacement) = (64, 60.0, 300.0);
        let (propose, learn, failures_per_hour) = (0.0, 0.0, 0.0);
        Plan {
            seed: 0,
            workers,
            scheduling,
            minibatch,
            trials: 640,
            propose,
            learn,
            failures_per_hour,
            lease,
            replacement,
        }
    }

    const TIMES: [f64; 4] = [60.0, 120.0, 240.0, 900.0];

    #[test]
    fn one_worker_takes_the_sum_of_its_trainings_and_of_the_controllers_time() {
        for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
            let plan = Plan { propose: 0.25, learn: 0.5, ..plan(1, scheduling) };
            let end = plan.simulate(&[8.0]);
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
        let barrier = plan(32, Scheduling::Minibatch).simulate(&TIMES);
        let rolling = plan(32, Scheduling::Rolling).simulate(&TIMES);
        assert!((barrier.utilisation.busy - rolling.utilisation.busy).abs() < 1e-6);
        assert!(rolling.utilisation.wall < barrier.utilisation.wall);
        assert_eq!(rolling.utilisation.barrier, 0.0);
        let all = barrier.utilisation.wall * 32.0;
        assert!((barrier.utilisation.busy + barrier.utilisation.barrier - all).abs() < 1e-6 * all);
    }

    #[test]
    fn more_workers_than_a_minibatch_stand_idle_at_the_barrier() {
        let plan = plan(640, Scheduling::Minibatch);
        let end = plan.simulate(&[100.0]);
        assert_eq!(end.utilisation.wall, 10.0 * 100.0);
        assert!((end.utilisation.share() - 0.1).abs() < 1e-9);
        let rolling = Plan { scheduling: Scheduling::Rolling, ..plan }.simulate(&[100.0]);
        assert_eq!(rolling.utilisation.wall, 100.0);
    }

    #[test]
    fn failures_cost_time_and_end_trials_only_after_their_attempts() {
        for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
            let sound = plan(32, scheduling).simulate(&TIMES);
            let shaky = Plan { failures_per_hour: 2.0, ..plan(32, scheduling) };
            let end = shaky.simulate(&TIMES);
            assert_eq!(end.trials, 640);
            assert!(end.failures > 50, "{end:?}");
            assert!(end.utilisation.wall > sound.utilisation.wall);
            // Lost work counts as work.
            assert!(end.utilisation.busy > sound.utilisation.busy);
            assert_eq!(shaky.simulate(&TIMES), end);
            let hopeless = Plan { failures_per_hour: 1e6, ..plan(32, scheduling) };
            let end = hopeless.simulate(&TIMES);
            assert_eq!((end.trials, end.failures), (640, u64::from(ATTEMPTS) * 640));
        }
    }

    #[test]
    fn a_busy_controller_is_what_many_workers_wait_for() {
        let plan = Plan { learn: 1.0, ..plan(1_000, Scheduling::Rolling) };
        let end = plan.simulate(&[100.0]);
        assert!((end.utilisation.wall - (100.0 + 640.0)).abs() < 1e-9, "{end:?}");
    }
}
