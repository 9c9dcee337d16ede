//! Comparisons of agents on equal budgets: many searches with each agent, each with its own seed, on a benchmark that
//! answers at once.
//!
//! Each [`Contender`] searches a [`Benchmark`] with the same controller as in a search of days. At every budget, the
//! result is the architecture with the highest reward so far, judged by its *worth*: on a table the final accuracy,
//! which no agent sees. If all trials of a search have failed by then, the worth is 0.
//!
//! A custom agent takes part like any other:
//!
//! ```
//! use blockqnn::agent::{Agent, AgentError, Edit, EpisodeOf, Memory, RandomAgent, TrajectoryOf};
//! use blockqnn::comparison::{Benchmark, Budget, Comparison, ComparisonConfig, Contender, SyntheticTask};
//! use blockqnn::space::SearchSpace;
//! use rand::Rng;
//! use std::io::{Read, Write};
//!
//! /// Edits the best architecture so far.
//! struct Greedy;
//!
//! impl<S: SearchSpace> Agent<S> for Greedy {
//!     fn propose(&mut self, s: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
//!         match memory.episodes().iter().max_by_key(|episode| episode.standing()) {
//!             Some(best) => Edit::random(s, &best.trajectory, rng),
//!             None => RandomAgent.propose(s, memory, rng),
//!         }
//!     }
//!     fn learn(&mut self, _: &S, _: &[EpisodeOf<S>], _: &Memory<S>, _: &mut dyn Rng) -> Result<(), AgentError> {
//!         Ok(())
//!     }
//!     fn save(&self, _: &mut dyn Write) -> Result<(), AgentError> {
//!         Ok(())
//!     }
//!     fn load(&mut self, _: &S, _: &mut dyn Read) -> Result<(), AgentError> {
//!         Ok(())
//!     }
//! }
//!
//! let contenders = [Contender::anytime("greedy", || Greedy), Contender::anytime("random", || RandomAgent)];
//! let config = ComparisonConfig::new([Budget::Evaluations(100)]).with_seeds(5);
//! let comparison = Comparison::run(&Benchmark::synthetic(SyntheticTask::Places, 0.0), &contenders, &config, &|_| {})?;
//! print!("{comparison}");
//! # assert!(comparison.standings[0].estimates[0].mean > comparison.standings[1].estimates[0].mean);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod benchmark;
mod contender;
mod pairs;
mod table;

pub use benchmark::{Benchmark, SyntheticTask};
pub use contender::Contender;
pub use pairs::{calibration_pairs, verified_accuracies};
pub use table::Estimate;

use crate::environment::Cancellation;
use crate::search::{RecordOf, Search, SearchConfig, SearchError, SecondsBudget, StopReason};
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much each search may evaluate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Budget {
    /// A number of distinct architectures.
    Evaluations(u64),
    /// Seconds of evaluation, simulated by the benchmark.
    Seconds(f64),
}

impl FromStr for Budget {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let budget = match text.strip_suffix('s') {
            Some(seconds) => seconds.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0).map(Self::Seconds),
            None => text.parse().ok().filter(|evaluations| *evaluations > 0).map(Self::Evaluations),
        };
        let expected = "a number of evaluations such as 500, or of seconds such as 20000s";
        budget.ok_or_else(|| InvalidSetting::new("the budget", format!("{text:?}"), expected))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluations(evaluations) => write!(f, "{evaluations}"),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// Settings of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonConfig {
    /// The budgets to compare at.
    pub budgets: Vec<Budget>,
    /// Searches with each agent.
    pub seeds: u64,
    /// Seed of the first search; the others have the following numbers.
    pub first_seed: u64,
    /// Number of simultaneous searches. It affects only the time, not the result.
    pub threads: usize,
    /// Number of architectures that an agent proposes before it learns from them, at least 1, as in a search with that
    /// many workers. An agent with a schedule has larger minibatches if its budget would make more of them than the
    /// schedule has.
    pub minibatch: u64,
}

impl ComparisonConfig {
    /// Creates the default settings: 20 searches with each agent, as many at a time as the machine has cores, in
    /// minibatches of one.
    #[must_use]
    pub fn new(budgets: impl Into<Vec<Budget>>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { budgets: budgets.into(), seeds: 20, first_seed: 0, threads, minibatch: 1 }
    }

    /// Sets the number of searches with each agent.
    #[must_use]
    pub fn with_seeds(self, seeds: u64) -> Self {
        Self { seeds, ..self }
    }
}

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComparisonError {
    /// There is nothing to compare.
    #[error("a comparison needs at least one {missing}")]
    Empty {
        /// What is missing.
        missing: &'static str,
    },
    /// A budget is in seconds, but the benchmark has no evaluation times.
    #[error("benchmark {benchmark} has no evaluation times: give budgets in evaluations such as 500, not in seconds")]
    NoSeconds {
        /// Name of the benchmark.
        benchmark: String,
    },
    /// A search failed.
    #[error("the search of {agent} with seed {seed} failed: {source}")]
    Search {
        /// Name of the agent.
        agent: String,
        /// The seed.
        seed: u64,
        /// The error of the search.
        #[source]
        source: Box<SearchError>,
    },
    /// A budget is too small for a single evaluation.
    #[error("no evaluation of {agent} with seed {seed} ends within the budget of {budget}: give a larger budget")]
    NoEvaluation {
        /// Name of the agent.
        agent: String,
        /// The seed.
        seed: u64,
        /// The budget.
        budget: Budget,
    },
}

/// The result of one search at one budget.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BudgetResult {
    /// Seed of the search.
    pub seed: u64,
    /// Worth of the architecture with the highest reward, in percent; 0 if none could be evaluated.
    pub worth: f64,
    /// Evaluations within the budget.
    pub evaluations: u64,
    /// Seconds of those evaluations; 0 if the benchmark has no times.
    pub seconds: f64,
}

/// The results of one agent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// Name of the agent.
    pub agent: String,
    /// Results by budget, then by seed.
    pub results: Vec<Vec<BudgetResult>>,
    /// Mean worth and its standard error by budget.
    pub estimates: Vec<Estimate>,
    /// Mean regret after 1, 2, 3, ... evaluations, in the searches with the largest budget.
    pub regret: Vec<f64>,
}

/// A finished comparison. Its text form is a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Name of the benchmark.
    pub benchmark: String,
    /// The highest worth in the space, in percent.
    pub optimum: f64,
    /// The budgets that were compared at.
    pub budgets: Vec<Budget>,
    /// The results of each agent, in the order given.
    pub standings: Vec<Standing>,
}

/// How far a comparison is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComparisonProgress<'a> {
    /// Number of searches that have ended.
    pub done: usize,
    /// Number of all searches.
    pub total: usize,
    /// Agent of the search that ended last.
    pub agent: &'a str,
}

/// A search to run: its agent, its seed, and the budgets that it serves.
#[derive(Debug, Clone, Copy)]
struct Job {
    contender: usize,
    seed: u64,
    /// The budget that the agent knows.
    budget: usize,
}

/// The outcome of a search: the result at each budget that it serves, and the worth after each evaluation.
struct Finished {
    job: Job,
    results: Vec<(usize, BudgetResult)>,
    curve: Vec<f64>,
}

impl Comparison {
    /// Runs all searches.
    ///
    /// # Errors
    /// [`ComparisonError`] if a setting is invalid, or of the first search that failed.
    pub fn run<S: SearchSpace + Clone>(
        benchmark: &Benchmark<S>,
        contenders: &[Contender<S>],
        config: &ComparisonConfig,
        on_progress: &(dyn Fn(ComparisonProgress<'_>) + Sync),
    ) -> Result<Self, ComparisonError> {
        let missing =
            [("agent", contenders.is_empty()), ("budget", config.budgets.is_empty()), ("seed", config.seeds == 0)];
        if let Some((missing, _)) = missing.into_iter().find(|(_, missing)| *missing) {
            return Err(ComparisonError::Empty { missing });
        }
        if benchmark.mean_seconds.is_none() && config.budgets.iter().any(|b| matches!(b, Budget::Seconds(_))) {
            return Err(ComparisonError::NoSeconds { benchmark: benchmark.name.clone() });
        }
        let plan = Plan { benchmark, contenders, config };
        let jobs = plan.jobs();
        let finished = plan.work(&jobs, on_progress)?;
        let standings = (0..contenders.len()).map(|contender| plan.standing(contender, &finished)).collect();
        Ok(Self {
            benchmark: benchmark.name.clone(),
            optimum: benchmark.optimum,
            budgets: config.budgets.clone(),
            standings,
        })
    }
}

struct Plan<'a, S: SearchSpace> {
    benchmark: &'a Benchmark<S>,
    contenders: &'a [Contender<S>],
    config: &'a ComparisonConfig,
}

impl<S: SearchSpace + Clone> Plan<'_, S> {
    /// The number of evaluations that a budget allows, for schedules.
    fn evaluations(&self, budget: Budget) -> u64 {
        match budget {
            Budget::Evaluations(evaluations) => evaluations,
            Budget::Seconds(seconds) => {
                let mean = self.benchmark.mean_seconds.unwrap_or(1.0);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, from 1")]
                let evaluations = (seconds / mean).round().clamp(1.0, 1e15) as u64;
                evaluations
            }
        }
    }

    /// The budget that allows the most evaluations.
    fn largest(&self) -> usize {
        let budgets = self.config.budgets.iter().enumerate();
        budgets.max_by_key(|(_, budget)| self.evaluations(**budget)).map_or(0, |(place, _)| place)
    }

    /// All searches, the longest first, so that no thread is left with a long one at the end.
    fn jobs(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (contender, agent) in self.contenders.iter().enumerate() {
            let largest = self.largest();
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
        let budget = self.config.budgets[job.budget];
        let evaluations = self.evaluations(budget);
        let (agent, minibatch) = contender.agent(evaluations, self.config.minibatch);
        // Without a schedule the agent proposes the same at every budget, so one search serves all.
        let served = if contender.is_scheduled() { job.budget..job.budget + 1 } else { 0..self.config.budgets.len() };
        let seconds = |budget: &Budget| match budget {
            Budget::Seconds(seconds) => Some(*seconds),
            Budget::Evaluations(_) => None,
        };
        let most_seconds = self.config.budgets[served.clone()].iter().filter_map(seconds).reduce(f64::max);
        // A budget in seconds ends the search itself; the number of trials is only an upper bound.
        let trials = most_seconds.map_or(evaluations, |_| evaluations.saturating_mul(20).saturating_add(1_000));
        let network = self.benchmark.network.clone();
        let settings = SearchConfig { attempts: 1, network, ..SearchConfig::new(trials) };
        let settings = settings.with_minibatch(minibatch).with_seed(job.seed);
        let cancellation = Cancellation::new();
        let mut search = Search::new(self.benchmark.space.clone(), agent, (self.benchmark.environment)(), settings)
            .with_reward(contender.reward())
            .with_cancellation(cancellation.clone());
        if let Some(seconds) = most_seconds {
            search = search.with_observer(SecondsBudget::new(seconds).observer(cancellation));
        }
        let (agent, seed) = (contender.name(), job.seed);
        let failed = |source| ComparisonError::Search { agent: agent.to_owned(), seed, source: Box::new(source) };
        let report = search.run().map_err(failed)?;
        debug_assert!(report.stop != StopReason::Cancelled || most_seconds.is_some());
        let curve = self.curve(&report.records);
        let result = |place: usize| -> Result<_, ComparisonError> {
            let budget = self.config.budgets[place];
            let within = match budget {
                Budget::Evaluations(count) => {
                    &report.records[..report.records.len().min(usize::try_from(count).unwrap_or(usize::MAX))]
                }
                Budget::Seconds(seconds) => SecondsBudget::new(seconds).within(&report.records),
            };
            let last = within.len().checked_sub(1);
            let last = last.ok_or_else(|| ComparisonError::NoEvaluation { agent: agent.to_owned(), seed, budget })?;
            let seconds = within.iter().filter_map(|record| record.evaluation.metrics()).map(|m| m.seconds).sum();
            Ok((place, BudgetResult { seed, worth: curve[last], evaluations: within.len() as u64, seconds }))
        };
        let results = served.map(result).collect::<Result<_, _>>()?;
        Ok(Finished { job, results, curve })
    }

    /// The worth of the best architecture after each trial; before there is one it is 0, as of a network that is always
    /// wrong.
    fn curve(&self, records: &[RecordOf<S>]) -> Vec<f64> {
        let mut best = None;
        let mut worth = 0.0;
        let after = |record: &RecordOf<S>| {
            if record.evaluation.final_value().is_some() && best.is_none_or(|best| record.standing() > best) {
                best = Some(record.standing());
                worth = (self.benchmark.worth)(&record.architecture);
            }
            worth
        };
        records.iter().map(after).collect()
    }

    fn standing(&self, contender: usize, finished: &[Finished]) -> Standing {
        let own: Vec<&Finished> = finished.iter().filter(|finished| finished.job.contender == contender).collect();
        let results: Vec<Vec<BudgetResult>> = (0..self.config.budgets.len())
            .map(|budget| {
                let served = own.iter().flat_map(|finished| &finished.results);
                served.filter(|(place, _)| *place == budget).map(|(_, result)| *result).collect()
            })
            .collect();
        let estimates = results.iter().map(|results| Estimate::of(results.iter().map(|o| o.worth))).collect();
        let largest = self.largest();
        let curves: Vec<&Vec<f64>> =
            own.iter().filter(|finished| finished.job.budget == largest).map(|finished| &finished.curve).collect();
        let longest = curves.iter().map(|curve| curve.len()).max().unwrap_or(0);
        // A search that ended early keeps its last worth.
        let regret = (0..longest).map(|trial| {
            let at = |curve: &&Vec<f64>| curve.get(trial).or(curve.last()).copied();
            let worths: Vec<f64> = curves.iter().filter_map(at).collect();
            self.benchmark.optimum - worths.iter().sum::<f64>() / worths.len().max(1) as f64
        });
        Standing { agent: self.contenders[contender].name().to_owned(), estimates, regret: regret.collect(), results }
    }
}

#[cfg(test)]
mod tests;
