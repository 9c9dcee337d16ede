//! Watching a search.

use super::{RecordOf, RungAgreement, SearchConfig, SearchReport};
use crate::environment::{BoxError, Progress};
use crate::evaluation::{Objective, Trial};
use crate::space::SearchSpace;

/// A search is about to begin.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start<'a> {
    /// Settings of the controller.
    pub config: &'a SearchConfig,
    /// What the results depend on; see [`Environment::identity`](crate::environment::Environment::identity).
    pub environment: &'a str,
    /// Settings that are probably a mistake; each is logged as well.
    pub warnings: &'a [String],
}

/// A minibatch was learned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MinibatchSummary {
    /// Number of the minibatch, from 0.
    pub minibatch: u64,
    /// Trials in it.
    pub trials: u64,
    /// Mean value of the objective of the measured trials, if there are any: their accuracy in percent, unless the
    /// search has another objective.
    pub mean: Option<f64>,
    /// Infeasible trials in it.
    pub infeasible: u64,
    /// Trials in it that were stopped early. Their last values are part of the mean, and never the best.
    pub stopped: u64,
    /// Trials in it whose architectures were evaluated at a lower rung before.
    pub promoted: u64,
    /// Best value of the objective in the run so far, if any was measured to the end; in a search with rungs, of those
    /// that have reached the highest.
    pub best: Option<f64>,
    /// Whether the evaluations do not contradict the priors of the space; none if the agent uses none. See
    /// [`Agent::priors_hold`](crate::agent::Agent::priors_hold).
    pub priors_hold: Option<bool>,
    /// How similar the rankings of neighbouring rungs are in the run so far, lowest first.
    pub rungs: Vec<RungAgreement>,
}

impl MinibatchSummary {
    /// Summarises minibatch `minibatch`, whose records are those of `records` from `start` on.
    pub(super) fn of<S: SearchSpace>(
        minibatch: u64,
        records: &[RecordOf<S>],
        start: usize,
        objective: &Objective,
        priors_hold: Option<bool>,
    ) -> Self {
        let measured = |record: &RecordOf<S>| record.evaluation.value();
        let final_value = |record: &RecordOf<S>| record.evaluation.final_value();
        let last = &records[start..];
        let rung = |record: &RecordOf<S>| record.standing().rung;
        let highest = records.iter().map(rung).max().unwrap_or_default();
        let at_the_top = records.iter().filter(|record| rung(record) == highest);
        Self {
            minibatch,
            trials: last.len() as u64,
            mean: SearchReport::<S>::mean_value(last),
            infeasible: last.iter().filter(|record| measured(record).is_none()).count() as u64,
            stopped: last.iter().filter(|record| record.evaluation.is_stopped()).count() as u64,
            promoted: last.iter().filter(|record| record.is_promotion()).count() as u64,
            best: at_the_top.filter_map(final_value).reduce(|one, other| objective.better(one, other)),
            priors_hold,
            rungs: Vec::new(),
        }
    }
}

/// Watches a search. Progress bars and logs, for example, are observers.
///
/// By default every method does nothing. An error stops the search before anything later happens.
///
/// A search takes its observers. To use one afterwards, give it to the search by reference:
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::{BoxError, environment_fn};
/// use blockqnn::search::{Observer, RecordOf, Search, SearchConfig};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
///
/// #[derive(Default)]
/// struct Count(usize);
///
/// impl Observer<BlockSpace> for Count {
///     fn on_finished(&mut self, _: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
///         self.0 += 1;
///         Ok(())
///     }
/// }
///
/// let environment = environment_fn("short is good", |block: &BlockCode, _| 90.0 - block.len() as f64);
/// let mut count = Count::default();
/// let search = Search::new(BlockSpace::paper(), RandomAgent, environment, SearchConfig::new(32));
/// search.with_observer(&mut count).run()?;
/// assert_eq!(count.0, 32);
/// # Ok::<(), blockqnn::search::SearchError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not observe searches of the space `{S}`",
    label = "not an `Observer<{S}>`",
    note = "an observer is a type with `impl Observer<{S}>`, whose methods are all optional; a closure is none"
)]
#[expect(unused_variables, reason = "the default methods name what they are given")]
pub trait Observer<S: SearchSpace> {
    /// The search is about to begin.
    ///
    /// # Errors
    /// Whatever should stop the search.
    fn on_start(&mut self, start: &Start<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    /// A trial was finished before the search was resumed. Called after [`on_start`](Self::on_start), in the order of
    /// proposal; nothing else is reported about such a trial.
    ///
    /// # Errors
    /// Whatever should stop the search.
    fn on_restored(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        Ok(())
    }

    /// An architecture was proposed as a trial.
    ///
    /// # Errors
    /// Whatever should stop the search.
    fn on_proposed(&mut self, trial: &Trial, architecture: &S::Architecture) -> Result<(), BoxError> {
        Ok(())
    }

    /// A worker began to evaluate a trial.
    fn on_started(&mut self, trial: u64, worker: &str) {}

    /// A worker was lost; its trial is tried again elsewhere.
    fn on_worker_lost(&mut self, worker: &str, message: &str) {}

    /// Trials are waiting and nothing evaluates them. Called after a while, and repeatedly.
    fn on_waiting(&mut self, message: &str) {}

    /// The evaluation of a trial made progress. Called often.
    fn on_progress(&mut self, trial: u64, progress: &Progress) {}

    /// Whether a trial should stop early, with what it has measured so far. Asked after each
    /// [`on_progress`](Self::on_progress).
    ///
    /// The trial stops when its environment next looks, if it [can](crate::environment::TrialContext::should_stop), so
    /// a search that is stopped like this is not repeatable; [`MedianStopping`](super::MedianStopping) is. A trial that
    /// has stopped is recorded with its last value and marked
    /// ([`Metrics::stopped`](crate::evaluation::Metrics::stopped)). One for which this comes too late finishes as
    /// usual.
    fn should_stop(&mut self, trial: u64, progress: &Progress) -> bool {
        false
    }

    /// An attempt to evaluate a trial failed; there may be another.
    fn on_fault(&mut self, trial: u64, attempt: u32, message: &str) {}

    /// A trial was finished. Called in the order of completion.
    ///
    /// # Errors
    /// Whatever should stop the search.
    fn on_finished(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        Ok(())
    }

    /// The agent learned a minibatch.
    ///
    /// # Errors
    /// Whatever should stop the search.
    fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
        Ok(())
    }

    /// A trial will not be promoted in this search, so what was kept to continue its evaluation is of no use. Called
    /// after [`on_learned`](Self::on_learned), and in a search that is resumed perhaps again.
    ///
    /// # Errors
    /// Whatever should stop the search.
    fn on_ruled_out(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        Ok(())
    }

    /// The search is over.
    ///
    /// # Errors
    /// Whatever the caller of the search should receive as its error.
    fn on_end(&mut self, report: &SearchReport<S>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The observers of a search, told one after another in the order in which they were added.
pub(super) struct Observers<'o, S>(Vec<Box<dyn Observer<S> + 'o>>);

impl<S> Default for Observers<'_, S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'o, S: SearchSpace> Observers<'o, S> {
    pub(super) fn add(&mut self, observer: impl Observer<S> + 'o) {
        self.0.push(Box::new(observer));
    }
}

/// Implements [`Observer`] for a type that passes everything on to the observers that `$all` gives, one after another.
macro_rules! passes_on {
    ([$($generics:tt)*] $type:ty, $this:ident => $all:expr) => {
        impl<$($generics)*, S: SearchSpace> Observer<S> for $type {
            fn on_start(&mut self, start: &Start<'_>) -> Result<(), BoxError> {
                let $this = self;
                $all.try_for_each(|observer| observer.on_start(start))
            }

            fn on_restored(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
                let $this = self;
                $all.try_for_each(|observer| observer.on_restored(record))
            }

            fn on_proposed(&mut self, trial: &Trial, architecture: &S::Architecture) -> Result<(), BoxError> {
                let $this = self;
                $all.try_for_each(|observer| observer.on_proposed(trial, architecture))
            }

            fn on_started(&mut self, trial: u64, worker: &str) {
                let $this = self;
                $all.for_each(|observer| observer.on_started(trial, worker));
            }

            fn on_worker_lost(&mut self, worker: &str, message: &str) {
                let $this = self;
                $all.for_each(|observer| observer.on_worker_lost(worker, message));
            }

            fn on_waiting(&mut self, message: &str) {
                let $this = self;
                $all.for_each(|observer| observer.on_waiting(message));
            }

            fn on_progress(&mut self, trial: u64, progress: &Progress) {
                let $this = self;
                $all.for_each(|observer| observer.on_progress(trial, progress));
            }

            fn should_stop(&mut self, trial: u64, progress: &Progress) -> bool {
                let $this = self;
                // Each of them is asked.
                $all.fold(false, |stops, observer| observer.should_stop(trial, progress) || stops)
            }

            fn on_fault(&mut self, trial: u64, attempt: u32, message: &str) {
                let $this = self;
                $all.for_each(|observer| observer.on_fault(trial, attempt, message));
            }

            fn on_finished(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
                let $this = self;
                $all.try_for_each(|observer| observer.on_finished(record))
            }

            fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
                let $this = self;
                $all.try_for_each(|observer| observer.on_learned(summary))
            }

            fn on_ruled_out(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
                let $this = self;
                $all.try_for_each(|observer| observer.on_ruled_out(record))
            }

            fn on_end(&mut self, report: &SearchReport<S>) -> Result<(), BoxError> {
                let $this = self;
                $all.try_for_each(|observer| observer.on_end(report))
            }
        }
    };
}

passes_on!(['o] Observers<'o, S>, this => this.0.iter_mut());
passes_on!([O: Observer<S> + ?Sized] &mut O, this => std::iter::once(&mut **this));
passes_on!([O: Observer<S> + ?Sized] Box<O>, this => std::iter::once(&mut **this));
