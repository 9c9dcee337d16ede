//! Where trials are evaluated: the boundary between the block list controller and its child environments (Figure 1).
//!
//! A search submits trials to an [`Evaluator`] and waits until they end. [`InlineEvaluator`] evaluates in the caller's
//! thread, [`ThreadEvaluator`] in one thread per environment, [`ProcessEvaluator`] in child processes of this machine;
//! `distributed::NatsEvaluator` has trials evaluated on other machines.

mod child;
mod inline;
mod processes;
mod threads;

#[cfg(feature = "nats")]
pub(crate) use child::{ChildProcess, Factory, Line, Program, is_child, prepare, serve, serve_one};
pub use inline::InlineEvaluator;
pub use processes::{
    ChildProblem, PYTHON_WORKER, ProcessConfig, ProcessEvaluator, TrainerCommand, TrainerEnvironment, TrainerFault,
};
pub use threads::ThreadEvaluator;

use crate::environment::{BoxError, Cancellation, EarlyStop, Progress};
use crate::evaluation::{Evaluation, Rung, Trial};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How often a waiting evaluator checks for cancellation.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// An attempt at a trial, and the architecture to evaluate.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Assignment<A> {
    /// The trial.
    pub trial: Trial,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// What to evaluate.
    pub architecture: Arc<A>,
    /// What may stop this attempt early. An evaluator passes it on to the
    /// [context](crate::environment::TrialContext::with_early_stop) of the evaluation; one that does not has trials
    /// that are never stopped.
    pub early_stop: EarlyStop,
    /// The rung of the trial, in a search with [rungs](crate::search::Rungs). An evaluator that says for how many
    /// epochs it [evaluates](Evaluator::full_epochs) passes it on to the
    /// [context](crate::environment::TrialContext::with_rung) of the evaluation.
    pub rung: Option<Rung>,
}

impl<A> Assignment<A> {
    /// Creates attempt number `attempt`, from 1, at `trial` with `architecture`.
    #[must_use]
    pub fn new(trial: Trial, attempt: u32, architecture: Arc<A>) -> Self {
        Self { trial, attempt, architecture, early_stop: EarlyStop::new(), rung: None }
    }

    /// Sets what may stop this attempt early.
    #[must_use]
    pub fn with_early_stop(self, early_stop: EarlyStop) -> Self {
        Self { early_stop, ..self }
    }

    /// Sets the rung of the trial.
    #[must_use]
    pub fn with_rung(self, rung: Option<Rung>) -> Self {
        Self { rung, ..self }
    }
}

/// How an attempt at a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// The environment evaluated the architecture.
    Evaluated(Evaluation),
    /// The environment failed or panicked; the controller decides about another attempt.
    Fault {
        /// Message of the error or panic.
        message: String,
    },
    /// The attempt was cancelled. Used only within the process that cancelled it, never in a file or message.
    #[serde(skip)]
    Cancelled,
}

impl Verdict {
    /// Returns why an attempt measured nothing, for a message.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Fault { message } => message.clone(),
            Self::Evaluated(Evaluation::Infeasible(reason)) => reason.to_string(),
            verdict => format!("{verdict:?}"),
        }
    }
}

impl From<Evaluation> for Verdict {
    fn from(evaluation: Evaluation) -> Self {
        Self::Evaluated(evaluation)
    }
}

/// What an evaluator reports to its controller.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A worker began an attempt.
    Started {
        /// Number of the trial.
        trial: u64,
        /// Name of the worker; see [`Evaluator::workers`].
        worker: String,
    },
    /// An evaluation made progress.
    Progress {
        /// Number of the trial.
        trial: u64,
        /// How far it is.
        progress: Progress,
    },
    /// An attempt ended.
    Ended {
        /// Number of the trial.
        trial: u64,
        /// How it ended.
        verdict: Verdict,
    },
    /// A worker was lost. Its trial is tried again elsewhere, or ends as a fault.
    WorkerLost {
        /// Name of the worker.
        worker: String,
        /// How that was noticed.
        message: String,
    },
    /// Trials are waiting and nothing evaluates them, which the user should know.
    Waiting {
        /// What they wait for and what to do about it.
        message: String,
    },
}

/// The evaluator itself failed: no trial can be evaluated any more.
#[derive(Debug, thiserror::Error)]
#[error("the evaluator failed: {0}")]
pub struct EvaluatorError(#[source] pub BoxError);

impl EvaluatorError {
    /// Returns the error of waiting although nothing was submitted.
    pub(crate) fn idle() -> Self {
        Self("nothing was submitted".into())
    }
}

/// Why an evaluator cannot start its workers: threads or child processes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There are no workers.
    #[error("an evaluator needs at least one environment")]
    NoWorker,
    /// The system could not start a thread or process.
    #[error("cannot start worker {number}: {source}")]
    Start {
        /// Position of the worker, from 0.
        number: usize,
        /// Error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A child process could not create its environment.
    #[error("worker {number} cannot create its environment: {message}")]
    Environment {
        /// Position of the worker, from 0.
        number: usize,
        /// Its error message, or how it ended.
        message: String,
    },
    /// A trainer cannot be used.
    #[error("the trainer `{command}` {problem}")]
    Trainer {
        /// Its command.
        command: String,
        /// What is wrong with it.
        #[source]
        problem: ChildProblem,
    },
    /// Two would give different results, so that a result would depend on who computed it.
    #[error(
        "the environment of worker {number} is {found:?}, but that of another is {expected:?}: all must be the same, \
         so create them from the same data and settings"
    )]
    Different {
        /// Position of the worker, from 0.
        number: usize,
        /// Identity of its environment.
        found: String,
        /// Identity of the other environments.
        expected: String,
    },
}

impl StartError {
    /// Compares the identity of the environment of worker `number` with that of the others.
    fn compare(number: usize, found: String, expected: &str) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Different { number, found, expected: expected.to_owned() })
    }
}

/// Has environments evaluate trials, and returns the verdicts in whatever order they end.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not evaluate architectures of the type `{A}`",
    label = "not an `Evaluator<{A}>`",
    note = "`Search::new` takes an environment, `Search::with_evaluator` an evaluator; their architectures must be those \
            of the search space"
)]
pub trait Evaluator<A> {
    /// Takes a trial and returns at once.
    ///
    /// # Errors
    /// [`EvaluatorError`] if no trial can be evaluated any more.
    fn submit(&mut self, assignment: Assignment<A>) -> Result<(), EvaluatorError>;

    /// Works or waits until one of the submitted trials ends. Calls `listener` with every event, the last of which is
    /// that end.
    ///
    /// Once `cancellation` is raised, running trials soon end as [`Verdict::Cancelled`].
    ///
    /// # Errors
    /// [`EvaluatorError`] if nothing was submitted or nothing can end any more.
    fn wait(&mut self, cancellation: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError>;

    /// Returns the identity of the environments; see
    /// [`Environment::identity`](crate::environment::Environment::identity).
    fn identity(&self) -> String;

    /// Returns the number of epochs of a full evaluation, if the environments can also evaluate for the first of them
    /// alone; see [`Environment::full_epochs`](crate::environment::Environment::full_epochs).
    fn full_epochs(&self) -> Option<u32> {
        None
    }

    /// Returns the epochs that the environments can evaluate for, if these are not any number up to all; see
    /// [`Environment::rung_epochs`](crate::environment::Environment::rung_epochs).
    fn rung_epochs(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Returns how many trials can currently be evaluated at a time, at least 1. With rolling scheduling, that many are
    /// submitted.
    fn workers(&self) -> usize {
        1
    }

    /// Called when the verdict on a trial is safe: in the journal and on disk, if the run has one. An evaluator that
    /// keeps verdicts until they are received may now forget this one.
    ///
    /// # Errors
    /// [`EvaluatorError`] if no trial can be evaluated any more.
    fn acknowledge(&mut self, trial: u64) -> Result<(), EvaluatorError> {
        let _ = trial;
        Ok(())
    }
}

impl<A, V: Evaluator<A> + ?Sized> Evaluator<A> for Box<V> {
    fn submit(&mut self, assignment: Assignment<A>) -> Result<(), EvaluatorError> {
        (**self).submit(assignment)
    }

    fn wait(&mut self, cancellation: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        (**self).wait(cancellation, listener)
    }

    fn identity(&self) -> String {
        (**self).identity()
    }

    fn full_epochs(&self) -> Option<u32> {
        (**self).full_epochs()
    }

    fn rung_epochs(&self) -> Vec<u32> {
        (**self).rung_epochs()
    }

    fn workers(&self) -> usize {
        (**self).workers()
    }

    fn acknowledge(&mut self, trial: u64) -> Result<(), EvaluatorError> {
        (**self).acknowledge(trial)
    }
}
