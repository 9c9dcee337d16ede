//! A search on a virtual clock: how more workers, another scheduling or failing machines would change its duration.

use crate::args::not_negative;
use blockqnn::search::{Scheduling, Utilisation};
use blockqnn::seed;
use std::collections::{BTreeMap, VecDeque};

/// Attempts at a trial before it counts as failed.
const ATTEMPTS: u32 = 3;

/// The search that is simulated. Times are in seconds; none is negative.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Plan {
    /// Blocks that the search evaluates; the default is the paper's whole schedule
    #[arg(long, value_name = "N", default_value_t = 11_392, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) trials: u64,

    /// Blocks in a minibatch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    minibatch: u64,

    /// Failures per worker per hour of training
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = not_negative,
        allow_negative_numbers = true)]
    failures: f64,

    /// Seconds until a failure is detected and the block is given to another worker
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = not_negative,
        allow_negative_numbers = true)]
    lease: f64,

    /// Seconds until a failed worker is replaced
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0, value_parser = not_negative,
        allow_negative_numbers = true)]
    replacement: f64,

    /// Random seed of the drawn times and failures
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
}

/// Seconds that the controller takes for a trial.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Controller {
    /// To propose it.
    pub(super) propose: f64,
    /// To journal it and learn from it, including its share of the replay.
    pub(super) learn: f64,
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
    /// Simulates the search on a number of workers with one trial each at a time, each training lasting one of `times`,
    /// drawn at random. There must be at least one.
    ///
    /// The controller does one thing at a time, as the real one does. With minibatches it proposes all trials, submits
    /// all, waits for the last, and learns; with rolling scheduling it learns each trial that ends and proposes the
    /// next. A worker that fails loses its training; when the lease has expired, another worker gets the trial.
    pub(super) fn simulate(
        &self,
        workers: usize,
        scheduling: Scheduling,
        controller: Controller,
        times: &[f64],
    ) -> Simulated {
        let mut simulation = Simulation {
            plan: self,
            controller,
            times,
            now: 0.0,
            controller_free: 0.0,
            foreseen: BTreeMap::new(),
            idle: workers,
            queue: VecDeque::new(),
            proposed: 0,
            end: Simulated::default(),
        };
        match scheduling {
            Scheduling::Minibatch => simulation.run_minibatches(),
            _ => simulation.roll(workers),
        }
        let mut end = simulation.end;
        end.utilisation.workers = workers;
        end.utilisation.wall = simulation.now.max(simulation.controller_free);
        end
    }
}

/// A trial, and the number of the attempt at it, from 1.
type Attempt = (u64, u32);

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    HandedOut(Attempt),
    Ended,
    LeaseOver(Attempt),
    WorkerBack,
}

struct Simulation<'a> {
    plan: &'a Plan,
    controller: Controller,
    times: &'a [f64],
    now: f64,
    controller_free: f64,
    /// By time, whose bits are in the order of numbers that are not negative, and in the order foreseen at one time.
    foreseen: BTreeMap<u64, VecDeque<What>>,
    idle: usize,
    queue: VecDeque<Attempt>,
    proposed: u64,
    end: Simulated,
}

impl Simulation<'_> {
    fn run_minibatches(&mut self) {
        while self.proposed < self.plan.trials {
            let size = self.plan.minibatch.min(self.plan.trials - self.proposed);
            let ready = self.work(self.controller.propose * size as f64);
            for _ in 0..size {
                self.hand_out(ready);
            }
            while self.is_under_way() && self.advance(true).is_some() {}
            self.work(self.controller.learn * size as f64);
        }
    }

    fn roll(&mut self, workers: usize) {
        for _ in 0..(workers as u64).min(self.plan.trials) {
            let ready = self.work(self.controller.propose);
            self.hand_out(ready);
        }
        while self.is_under_way()
            && let Some(ended) = self.advance(false)
        {
            if ended {
                self.work(self.controller.learn);
            }
            if ended && self.proposed < self.plan.trials {
                let ready = self.work(self.controller.propose);
                self.hand_out(ready);
            }
        }
    }

    /// Whether trials are proposed and not ended.
    fn is_under_way(&self) -> bool {
        self.end.trials < self.proposed
    }

    /// Has the controller work for a time as soon as it is free, and returns when it is done.
    fn work(&mut self, seconds: f64) -> f64 {
        self.end.controller += seconds;
        self.controller_free = self.controller_free.max(self.now) + seconds;
        self.controller_free
    }

    fn hand_out(&mut self, time: f64) {
        self.foresee(time, What::HandedOut((self.proposed, 1)));
        self.proposed += 1;
    }

    fn foresee(&mut self, time: f64, what: What) {
        self.foreseen.entry(time.to_bits()).or_default().push_back(what);
    }

    /// Advances to the next event. Returns whether a trial ended with it, or `None` if nothing is left to happen.
    fn advance(&mut self, barrier: bool) -> Option<bool> {
        let mut first = self.foreseen.first_entry()?;
        let time = f64::from_bits(*first.key());
        let what = first.get_mut().pop_front()?;
        if first.get().is_empty() {
            first.remove();
        }
        // Until trials are handed out, the workers wait for the controller.
        if barrier && self.queue.is_empty() && !matches!(what, What::HandedOut(_)) {
            self.end.utilisation.barrier += (time - self.now) * self.idle as f64;
        }
        self.now = time;
        let ended = match what {
            What::Ended => true,
            What::LeaseOver((_, number)) => number >= ATTEMPTS,
            What::HandedOut(_) | What::WorkerBack => false,
        };
        match what {
            What::HandedOut(attempt) => self.queue.push_back(attempt),
            What::LeaseOver((trial, number)) if !ended => self.queue.push_front((trial, number + 1)),
            What::LeaseOver(_) => {}
            What::Ended | What::WorkerBack => self.idle += 1,
        }
        self.end.trials += u64::from(ended);
        while self.idle > 0
            && let Some(attempt) = self.queue.pop_front()
        {
            self.begin(attempt);
        }
        Some(ended)
    }

    /// Has an idle worker begin an attempt.
    fn begin(&mut self, (trial, number): Attempt) {
        self.idle -= 1;
        // The training of a trial takes equally long in every attempt; failures depend on the worker.
        let mut of_trial = seed::stream(self.plan.seed, "simulated time", trial);
        let time = self.times[seed::index(&mut of_trial, self.times.len())];
        let purpose = trial.wrapping_mul(1 << 8).wrapping_add(number.into());
        let mut of_attempt = seed::stream(self.plan.seed, "simulated failure", purpose);
        let rate = self.plan.failures / 3_600.0;
        // Exponential: a failure is equally likely in every second. At rate 0 it never happens.
        let until_failure = -(1.0 - seed::unit(&mut of_attempt)).ln() / rate;
        if until_failure < time {
            self.end.failures += 1;
            self.end.utilisation.busy += until_failure;
            let failure = self.now + until_failure;
            self.foresee(failure + self.plan.lease, What::LeaseOver((trial, number)));
            self.foresee(failure + self.plan.replacement, What::WorkerBack);
        } else {
            self.end.utilisation.busy += time;
            self.foresee(self.now + time, What::Ended);
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { trials: 640, minibatch: 64, failures: 0.0, lease: 60.0, replacement: 300.0, seed: 0 };

    fn simulate(workers: usize, scheduling: Scheduling, times: &[f64]) -> Simulated {
        PLAN.simulate(workers, scheduling, Controller::default(), times)
    }

    const TIMES: [f64; 4] = [60.0, 120.0, 240.0, 900.0];

    #[test]
    fn one_worker_takes_the_sum_of_its_trainings_and_of_the_controllers_time() {
        for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
            let end = PLAN.simulate(1, scheduling, Controller { propose: 0.25, learn: 0.5 }, &[8.0]);
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
        let barrier = simulate(32, Scheduling::Minibatch, &TIMES);
        let rolling = simulate(32, Scheduling::Rolling, &TIMES);
        assert!((barrier.utilisation.busy - rolling.utilisation.busy).abs() < 1e-6);
        assert!(rolling.utilisation.wall < barrier.utilisation.wall);
        assert_eq!(rolling.utilisation.barrier, 0.0);
        let all = barrier.utilisation.wall * 32.0;
        assert!((barrier.utilisation.busy + barrier.utilisation.barrier - all).abs() < 1e-6 * all);
    }

    #[test]
    fn more_workers_than_a_minibatch_stand_idle_at_the_barrier() {
        let end = simulate(640, Scheduling::Minibatch, &[100.0]);
        assert_eq!(end.utilisation.wall, 10.0 * 100.0);
        assert!((end.utilisation.share() - 0.1).abs() < 1e-9);
        let rolling = simulate(640, Scheduling::Rolling, &[100.0]);
        assert_eq!(rolling.utilisation.wall, 100.0);
    }

    #[test]
    fn failures_cost_time_and_end_trials_only_after_their_attempts() {
        for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
            let with_failures =
                |failures| Plan { failures, ..PLAN }.simulate(32, scheduling, Controller::default(), &TIMES);
            let (sound, end) = (with_failures(0.0), with_failures(2.0));
            assert_eq!(end.trials, 640);
            assert!(end.failures > 50, "{end:?}");
            assert!(end.utilisation.wall > sound.utilisation.wall);
            // Lost work counts as work.
            assert!(end.utilisation.busy > sound.utilisation.busy);
            assert_eq!(with_failures(2.0), end);
            let end = with_failures(1e6);
            assert_eq!((end.trials, end.failures), (640, u64::from(ATTEMPTS) * 640));
        }
    }

    #[test]
    fn a_busy_controller_is_what_many_workers_wait_for() {
        let end = PLAN.simulate(1_000, Scheduling::Rolling, Controller { propose: 0.0, learn: 1.0 }, &[100.0]);
        assert!((end.utilisation.wall - (100.0 + 640.0)).abs() < 1e-9, "{end:?}");
    }
}
