//! The searches of a comparison: which there are, and how each one runs.

use super::contender::Method;
use super::course::Course;
use super::hyperband::Hyperband;
use super::{
    Benchmark, Budget, BudgetResult, ComparisonConfig, ComparisonError, ComparisonProgress, Contender, Estimate,
    Standing,
};
use crate::agent::Agent;
use crate::environment::{BoxError, Cancellation};
use crate::evaluation::Rung;
use crate::search::{Observer, RecordOf, Rungs, Search, SearchConfig, SearchError, SearchReport, SecondsBudget};
use crate::space::SearchSpace;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most points of a regret curve over epochs.
const MOST_POINTS: u64 = 1_000;

/// A search to run: its agent, its seed, and the budgets that it serves.
#[derive(Debug, Clone, Copy)]
struct Job {
    contender: usize,
    seed: u64,
    /// The budget that the agent knows.
    budget: usize,
}

/// The outcome of a search: the result at each budget that it serves, and how it went.
pub(super) struct Finished {
    job: Job,
    results: Vec<(usize, BudgetResult)>,
    course: Course,
}

pub(super) struct Plan<'a, S: SearchSpace> {
    pub(super) benchmark: &'a Benchmark<S>,
    pub(super) contenders: &'a [Contender<S>],
    pub(super) config: &'a ComparisonConfig,
}

impl<S: SearchSpace + Clone> Plan<'_, S> {
    /// Runs all searches, and returns them in a fixed order.
    pub(super) fn run(
        &self,
        on_progress: &(dyn Fn(ComparisonProgress<'_>) + Sync),
    ) -> Result<Vec<Finished>, ComparisonError> {
        self.work(&self.jobs(), on_progress)
    }

    /// Checks that the benchmark has the epochs of a contender, and that its budgets are fair to it.
    pub(super) fn check(&self, contender: &Contender<S>) -> Result<(), ComparisonError> {
        let epochs = self.epochs(contender);
        let problem = if contender.has_rungs() && epochs.len() < 2 {
            Err("it needs a benchmark with several epochs, and at least two of them".to_owned())
        } else if contender.has_rungs() && self.config.budgets.iter().any(|b| matches!(b, Budget::Evaluations(_))) {
            let epochs = epochs.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ");
            let remedy = "give budgets in epochs such as 4800e";
            Err(format!("its evaluations have {epochs} epochs, so their number says little: {remedy}"))
        } else {
            let checked = if contender.has_rungs() { self.ladder(contender).map(|_| ()) } else { Ok(()) };
            checked.and_then(|()| self.benchmark.environment_at(&epochs).map(|_| ()))
        };
        problem.map_err(|problem| ComparisonError::Epochs { agent: contender.name().to_owned(), problem })
    }

    /// The epochs of a contender's evaluations; none if the benchmark has none.
    fn epochs(&self, contender: &Contender<S>) -> Vec<u32> {
        let known = self.benchmark.epochs();
        match (contender.epochs(), contender.method()) {
            ([], Method::Hyperband) => known.to_vec(),
            ([], Method::Agent(_)) => known.first().copied().into_iter().collect(),
            (given, _) => given.to_vec(),
        }
    }

    fn ladder(&self, contender: &Contender<S>) -> Result<Vec<Rung>, String> {
        let epochs = self.epochs(contender);
        let rungs = contender.rungs(&epochs);
        let settings = SearchConfig::new(1).with_rungs(rungs.clone()).validate();
        let ladder = settings.and_then(|()| rungs.ladder(epochs.last().copied().unwrap_or(0)));
        ladder.map_err(|error| error.to_string())
    }

    /// What a trial is charged: all of its epochs, or those that it adds to the ones at the rung below.
    fn cost(&self, epochs: &[u32], rung: usize, is_promoted: bool) -> u64 {
        let below = if is_promoted && !self.benchmark.begins_again() { epochs[rung - 1] } else { 0 };
        epochs.get(rung).map_or(0, |all| u64::from(all - below))
    }

    /// The number of evaluations that a budget allows a contender, for schedules.
    pub(super) fn evaluations(&self, contender: &Contender<S>, budget: Budget) -> u64 {
        let epochs = self.epochs(contender);
        match budget {
            Budget::Evaluations(evaluations) => evaluations,
            Budget::Epochs(budget) if contender.has_rungs() => {
                let fits = |trials: u64| self.total(&contender.rungs(&epochs), &epochs, trials) <= budget.into();
                // No more fit than if all were what costs least: a promotion may add fewer epochs than the lowest rung
                // has.
                let least = (0..epochs.len()).map(|rung| self.cost(&epochs, rung, rung > 0)).min().unwrap_or(1);
                let (mut least, mut most) = (1, (budget / least.max(1)).saturating_add(2));
                while most - least > 1 {
                    let middle = u64::midpoint(least, most);
                    if fits(middle) { least = middle } else { most = middle }
                }
                least
            }
            Budget::Epochs(budget) => (budget / self.cost(&epochs, 0, false).max(1)).max(1),
            Budget::Seconds(seconds) => {
                let least = self.benchmark.epochs().first().copied().map_or(1.0, f64::from);
                let times = epochs.first().copied().map_or(1.0, f64::from) / least;
                let mean = self.benchmark.mean_seconds.unwrap_or(1.0) * times;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, from 1")]
                let evaluations = (seconds / mean).round().clamp(1.0, 1e15) as u64;
                evaluations
            }
        }
    }

    /// The epochs of so many trials with rungs, if every architecture can be evaluated.
    fn total(&self, rungs: &Rungs, epochs: &[u32], trials: u64) -> u128 {
        let at = rungs.trials_at(epochs.len(), trials, self.config.minibatch);
        let costs = (0..).map(|rung| self.cost(epochs, rung, rung > 0));
        at.into_iter().zip(costs).map(|(trials, cost)| u128::from(trials) * u128::from(cost)).sum()
    }

    /// The budget that allows a contender the most evaluations.
    fn largest(&self, contender: &Contender<S>) -> usize {
        let budgets = self.config.budgets.iter().enumerate();
        let size = |budget: &Budget| match budget {
            Budget::Epochs(epochs) => *epochs,
            other => self.evaluations(contender, *other),
        };
        budgets.max_by_key(|(_, budget)| size(budget)).map_or(0, |(place, _)| place)
    }

    /// All searches, the longest first, so that no thread is left with a long one at the end.
    fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (contender, agent) in self.contenders.iter().enumerate() {
            let largest = self.largest(agent);
            let budgets = if agent.is_scheduled() { 0..self.config.budgets.len() } else { largest..largest + 1 };
            for budget in budgets {
                let seeds = (0..self.config.seeds).map(|seed| self.config.first_seed.wrapping_add(seed));
                jobs.extend(seeds.map(|seed| Job { contender, seed, budget }));
            }
        }
        jobs
    }

    fn work(
        &self,
        jobs: &[Job],
        on_progress: &(dyn Fn(ComparisonProgress<'_>) + Sync),
    ) -> Result<Vec<Finished>, ComparisonError> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = Mutex::new(Vec::with_capacity(jobs.len()));
        let work = || {
            while let Some(&job) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                let result = self.search(job);
                let failed = result.is_err();
                results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(result);
                let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                let agent = self.contenders[job.contender].name();
                on_progress(ComparisonProgress { done, total: jobs.len(), agent });
                if failed {
                    next.store(jobs.len(), Ordering::SeqCst);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.config.threads.clamp(1, jobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut finished = results.into_iter().collect::<Result<Vec<_>, _>>()?;
        finished.sort_by_key(|finished| (finished.job.contender, finished.job.seed, finished.job.budget));
        Ok(finished)
    }

    fn search(&self, job: Job) -> Result<Finished, ComparisonError> {
        let contender = &self.contenders[job.contender];
        let (agent, seed) = (contender.name(), job.seed);
        // Without a schedule the agent proposes the same at every budget, so one search serves all.
        let served = if contender.is_scheduled() { job.budget..job.budget + 1 } else { 0..self.config.budgets.len() };
        let failed = |source| ComparisonError::Search { agent: agent.to_owned(), seed, source: Box::new(source) };
        let course = match contender.method() {
            Method::Agent(make) => {
                let evaluations = self.evaluations(contender, self.config.budgets[job.budget]);
                let (minibatches, size) = contender.minibatches(evaluations, self.config.minibatch);
                self.course_of(contender, make(minibatches, size), size, job, &self.config.budgets[served.clone()])
            }
            Method::Hyperband => self.hyperband(contender, seed),
        };
        let course = course.map_err(failed)?;
        let result = |place: usize| {
            let budget = self.config.budgets[place];
            let none = || ComparisonError::NoEvaluation { agent: agent.to_owned(), seed, budget };
            course.result(seed, budget).map(|result| (place, result)).ok_or_else(none)
        };
        let results = served.map(result).collect::<Result<_, _>>()?;
        Ok(Finished { job, results, course })
    }

    /// Runs a search of this crate with an agent, for as long as the budgets last.
    fn course_of(
        &self,
        contender: &Contender<S>,
        agent: Box<dyn Agent<S>>,
        minibatch: u64,
        job: Job,
        served: &[Budget],
    ) -> Result<Course, SearchError> {
        let evaluations = self.evaluations(contender, self.config.budgets[job.budget]);
        let seconds = served.iter().filter_map(|budget| if let Budget::Seconds(s) = budget { Some(*s) } else { None });
        let epochs = served.iter().filter_map(|budget| if let Budget::Epochs(e) = budget { Some(*e) } else { None });
        let (most_seconds, most_epochs) = (seconds.reduce(f64::max), epochs.max());
        // Such a budget ends the search itself; the number of trials is only an upper bound.
        let is_counted = most_seconds.is_none() && most_epochs.is_none();
        let trials = if is_counted { evaluations } else { evaluations.saturating_mul(20).saturating_add(1_000) };
        let of_trial = self.epochs(contender);
        let rungs = contender.has_rungs().then(|| contender.rungs(&of_trial));
        let network = self.benchmark.network.clone();
        let settings = SearchConfig { attempts: 1, network, rungs, ..SearchConfig::new(trials) };
        let settings = settings.with_minibatch(minibatch).with_seed(job.seed);
        let cancellation = Cancellation::new();
        let environment = match self.benchmark.environment_at(&of_trial) {
            Ok(environment) => environment,
            Err(problem) => unreachable!("it was checked: {problem}"),
        };
        let mut search = Search::new(self.benchmark.space.clone(), agent, environment, settings)
            .with_reward(contender.reward())
            .with_cancellation(cancellation.clone());
        if let Some(seconds) = most_seconds {
            search = search.with_observer(SecondsBudget::new(seconds).observer(cancellation.clone()));
        }
        let charge = |record: &RecordOf<S>| self.charge(&of_trial, record);
        if let Some(most) = most_epochs {
            search = search.with_observer(EpochsObserver { charge: &charge, spent: 0, most, cancellation });
        }
        Ok(self.course(&search.run()?, charge))
    }

    /// What a trial of a search is charged; what was not measured is free.
    fn charge(&self, epochs: &[u32], record: &RecordOf<S>) -> u64 {
        let rung = record.rung.map_or(0, |rung| rung.number as usize);
        record.evaluation.metrics().map_or(0, |_| self.cost(epochs, rung, record.is_promotion()))
    }

    fn course(&self, report: &SearchReport<S>, charge: impl Fn(&RecordOf<S>) -> u64) -> Course {
        let mut course = Course::default();
        for record in &report.records {
            let seconds = record.evaluation.metrics().map_or(0.0, |metrics| metrics.seconds);
            let standing = record.evaluation.final_value().map(|_| record.standing());
            course.push(charge(record), seconds, standing, || (self.benchmark.worth)(&record.architecture));
        }
        course
    }

    /// Runs Hyperband until all budgets are spent.
    fn hyperband(&self, contender: &Contender<S>, seed: u64) -> Result<Course, SearchError> {
        let epochs = self.epochs(contender);
        let (ladder, environment) = match (self.ladder(contender), self.benchmark.environment_at(&epochs)) {
            (Ok(ladder), Ok(environment)) => (ladder, environment),
            (Err(problem), _) | (_, Err(problem)) => unreachable!("it was checked: {problem}"),
        };
        let budgets = &self.config.budgets;
        let most = budgets.iter().map(|budget| self.evaluations(contender, *budget)).max().unwrap_or(0);
        let bound = usize::try_from(most.saturating_mul(20).saturating_add(1_000)).unwrap_or(usize::MAX);
        let search = Hyperband {
            space: &self.benchmark.space,
            environment,
            ladder: &ladder,
            one_in: contender.rungs(&epochs).one_in,
            seed,
            epochs: &|rung: Rung, is_promoted| self.cost(&epochs, rung.number as usize, is_promoted),
            worth: &self.benchmark.worth,
            is_over: &|course: &Course| course.len() > bound || budgets.iter().all(|budget| course.exceeds(*budget)),
        };
        search.run()
    }

    /// How many evaluations or epochs are between two points of a regret curve.
    pub(super) fn regret_every(&self) -> u64 {
        let epochs = |budget: &Budget| if let Budget::Epochs(epochs) = budget { Some(*epochs) } else { None };
        self.config.budgets.iter().filter_map(epochs).max().map_or(1, |most| most.div_ceil(MOST_POINTS).max(1))
    }

    pub(super) fn standing(&self, contender: usize, finished: &[Finished]) -> Standing {
        let own: Vec<&Finished> = finished.iter().filter(|finished| finished.job.contender == contender).collect();
        let results: Vec<Vec<BudgetResult>> = (0..self.config.budgets.len())
            .map(|budget| {
                let served = own.iter().flat_map(|finished| &finished.results);
                served.filter(|(place, _)| *place == budget).map(|(_, result)| *result).collect()
            })
            .collect();
        let estimates = results.iter().map(|results| Estimate::of(results.iter().map(|o| o.worth))).collect();
        let largest = self.largest(&self.contenders[contender]);
        let courses: Vec<&Course> =
            own.iter().filter(|finished| finished.job.budget == largest).map(|finished| &finished.course).collect();
        let agent = self.contenders[contender].name().to_owned();
        Standing { agent, estimates, regret: self.regret(&courses, self.config.budgets[largest]), results }
    }

    /// The mean regret of some searches at each point, up to the end of the budget.
    fn regret(&self, courses: &[&Course], budget: Budget) -> Vec<f64> {
        let mean = |worth: &dyn Fn(&Course) -> f64| {
            let sum: f64 = courses.iter().map(|course| worth(course)).sum();
            self.benchmark.optimum - sum / courses.len().max(1) as f64
        };
        if let Budget::Epochs(most) = budget {
            let every = self.regret_every();
            return (1..=most / every).map(|point| mean(&|course| course.worth_after_epochs(point * every))).collect();
        }
        let longest = courses.iter().map(|course| course.len()).max().unwrap_or(0);
        (1..=longest).map(|trial| mean(&|course| course.worth_after_trials(trial))).collect()
    }
}

/// Ends a search whose trials have used up a budget of epochs.
struct EpochsObserver<F> {
    charge: F,
    spent: u64,
    most: u64,
    cancellation: Cancellation,
}

impl<S: SearchSpace, F: Fn(&RecordOf<S>) -> u64> Observer<S> for EpochsObserver<F> {
    fn on_finished(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        self.spent = self.spent.saturating_add((self.charge)(record));
        if self.spent > self.most {
            self.cancellation.cancel();
        }
        Ok(())
    }
}
