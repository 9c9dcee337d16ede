//! The seam between the list controller and its child environments.

use crate::environment::{BoxError, Cancellation, Environment, Progress, TrialContext, panic_message};
use crate::evaluation::{Evaluation, Trial};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A trial and what to build for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Assignment<A> {
    /// The trial.
    pub trial: Trial,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// What to evaluate.
    pub architecture: Arc<A>,
}

impl<A> Assignment<A> {
    /// The assignment of `architecture` as an attempt at `trial`.
    #[must_use]
    pub fn new(trial: Trial, attempt: u32, architecture: Arc<A>) -> Self {
        Self { trial, attempt, architecture }
    }
}

/// How an attempt at a trial ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// The environment evaluated the architecture.
    Evaluated(Evaluation),
    /// The environment failed or panicked; the controller decides about another attempt.
    Fault {
        /// What it said.
        message: String,
    },
    /// The attempt was cancelled.
    Cancelled,
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
    /// An evaluation makes progress.
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
    /// A worker is lost. Its trial is tried again elsewhere, or ends as a fault.
    WorkerLost {
        /// Name of the worker.
        worker: String,
        /// How that was found out.
        message: String,
    },
    /// Trials wait, and nothing evaluates them: worth telling whoever started the search.
    Waiting {
        /// What they wait for, and what to do.
        message: String,
    },
}

/// The evaluator itself broke: no trial can be evaluated any more.
#[derive(Debug, thiserror::Error)]
#[error("the evaluator failed: {0}")]
pub struct EvaluatorError(#[source] pub BoxError);

/// Hands trials to environments and brings their verdicts back, in whatever order they end.
pub trait Evaluator<A> {
    /// Takes a trial; returns at once.
    ///
    /// # Errors
    /// [`EvaluatorError`] if no trial can be evaluated any more.
    fn submit(&mut self, assignment: Assignment<A>) -> Result<(), EvaluatorError>;

    /// Works or waits until one of the submitted trials ends. Calls `listener` with every event, that end last.
    ///
    /// Once `cancellation` is raised, running trials end as [`Verdict::Cancelled`], soon.
    ///
    /// # Errors
    /// [`EvaluatorError`] if nothing was submitted or nothing can end any more.
    fn wait(&mut self, cancellation: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError>;

    /// Identity of the environments; see [`Environment::identity`].
    fn identity(&self) -> String;

    /// How many trials can be evaluated at a time now, at least 1. With rolling scheduling that many are under way.
    fn workers(&self) -> usize {
        1
    }

    /// Hears that the verdict on a trial is safe: in the journal and on the disk, if the run has one. An evaluator that
    /// keeps verdicts until they are received may forget this one.
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

    fn workers(&self) -> usize {
        (**self).workers()
    }

    fn acknowledge(&mut self, trial: u64) -> Result<(), EvaluatorError> {
        (**self).acknowledge(trial)
    }
}

/// Evaluates one trial after another in the controller's own thread.
pub struct InlineEvaluator<A, E> {
    environment: E,
    queue: VecDeque<Assignment<A>>,
    architecture: PhantomData<A>,
}

impl<A, E> std::fmt::Debug for InlineEvaluator<A, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InlineEvaluator").field("queued", &self.queue.len()).finish_non_exhaustive()
    }
}

impl<A, E: Environment<A>> InlineEvaluator<A, E> {
    /// Evaluates with `environment`.
    pub fn new(environment: E) -> Self {
        Self { environment, queue: VecDeque::new(), architecture: PhantomData }
    }
}

impl<A, E: Environment<A>> Evaluator<A> for InlineEvaluator<A, E> {
    fn submit(&mut self, assignment: Assignment<A>) -> Result<(), EvaluatorError> {
        self.queue.push_back(assignment);
        Ok(())
    }

    fn wait(&mut self, cancellation: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        let assignment = self.queue.pop_front().ok_or_else(|| EvaluatorError("nothing was submitted".into()))?;
        listener(Event::Started { trial: assignment.trial.id, worker: "controller".to_owned() });
        let verdict = evaluate_once(&mut self.environment, &assignment, cancellation, listener);
        check_condition(&self.environment, &verdict)?;
        listener(Event::Ended { trial: assignment.trial.id, verdict });
        Ok(())
    }

    fn identity(&self) -> String {
        self.environment.identity()
    }
}

/// An environment of this process that is broken ends the search, for every further trial would fail, and be recorded as if it
/// were its own fault. The current trial is treated as not started: a resumed search evaluates it again.
pub(super) fn check_condition<A, E: Environment<A>>(environment: &E, verdict: &Verdict) -> Result<(), EvaluatorError> {
    if !environment.condition().broken {
        return Ok(());
    }
    let message = match verdict {
        Verdict::Fault { message } => message.as_str(),
        _ => "nothing more can be evaluated in this process",
    };
    Err(EvaluatorError(
        format!("{message}. Nothing that is finished is lost: start the program again to continue").into(),
    ))
}

/// Makes one attempt at a trial. A panic of the environment is a fault like an error: training code of others may panic
/// on a shape, and a search of days must not end by it.
pub(crate) fn evaluate_once<A, E: Environment<A>>(
    environment: &mut E,
    assignment: &Assignment<A>,
    cancellation: &Cancellation,
    listener: &mut dyn FnMut(Event),
) -> Verdict {
    if cancellation.is_cancelled() {
        return Verdict::Cancelled;
    }
    let trial = assignment.trial.id;
    let listener = RefCell::new(listener);
    let on_progress = |progress| (listener.borrow_mut())(Event::Progress { trial, progress });
    let context =
        TrialContext::new(&assignment.trial).with_cancellation(cancellation.clone()).with_progress(&on_progress);
    let result = catch_unwind(AssertUnwindSafe(|| environment.evaluate(&assignment.architecture, &context)));
    match result {
        // What a cancelled evaluation returns is worth nothing.
        Ok(_) if cancellation.is_cancelled() => Verdict::Cancelled,
        Ok(Ok(evaluation)) => Verdict::Evaluated(evaluation),
        Ok(Err(error)) => Verdict::Fault { message: error.to_string() },
        Err(panic) => {
            Verdict::Fault { message: format!("panic: {}", panic_message(panic.as_ref()).unwrap_or("no message")) }
        }
    }
}
