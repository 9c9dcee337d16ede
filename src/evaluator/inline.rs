//! One environment, in the caller's thread.

use super::{Assignment, Evaluator, EvaluatorError, Event, Verdict};
use crate::environment::{Cancellation, Environment, TrialContext, panic_message};
use crate::evaluation::{Evaluation, Metrics};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Evaluates one trial after another in the caller's own thread.
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

impl<A, E> InlineEvaluator<A, E> {
    /// Creates an evaluator with `environment`.
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
        let assignment = self.queue.pop_front().ok_or_else(EvaluatorError::idle)?;
        listener(Event::Started { trial: assignment.trial.id, worker: "controller".to_owned() });
        let verdict = evaluate_once(&mut self.environment, &assignment, cancellation, listener);
        check_condition(&self.environment, &verdict)?;
        listener(Event::Ended { trial: assignment.trial.id, verdict });
        Ok(())
    }

    fn identity(&self) -> String {
        self.environment.identity()
    }

    fn full_epochs(&self) -> Option<u32> {
        self.environment.full_epochs()
    }

    fn rung_epochs(&self) -> Vec<u32> {
        self.environment.rung_epochs()
    }
}

/// Returns an error if the environment, which is in this process, is broken: every further trial would fail and be
/// recorded as if it were at fault. The current trial counts as not started, so a resumed search evaluates it again.
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

/// Makes one attempt at a trial. A panic of the environment is a fault, like an error: third-party training code may
/// panic on a shape, which must not end a search of days.
pub(super) fn evaluate_once<A, E: Environment<A>>(
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
    let context = TrialContext::new(&assignment.trial)
        .with_cancellation(cancellation.clone())
        .with_early_stop(assignment.early_stop.clone())
        .with_rung(assignment.rung)
        .with_progress(&on_progress);
    let result = catch_unwind(AssertUnwindSafe(|| environment.evaluate(&assignment.architecture, &context)));
    match result {
        // The result of a cancelled evaluation is meaningless.
        Ok(_) if cancellation.is_cancelled() => Verdict::Cancelled,
        Ok(Ok(Evaluation::Measured(metrics))) if metrics.curve.is_empty() => {
            Evaluation::Measured(Metrics { curve: context.curve(), ..metrics }).into()
        }
        Ok(Ok(evaluation)) => Verdict::Evaluated(evaluation),
        Ok(Err(error)) => Verdict::Fault { message: error.to_string() },
        Err(panic) => {
            // Rust has printed the panic, which looks as if the search had ended.
            let _ = writeln!(
                std::io::stderr(),
                "(a panic in attempt {} at trial {trial}: it counts as a failed attempt, and the search goes on)",
                assignment.attempt
            );
            Verdict::Fault { message: format!("panic: {}", panic_message(panic.as_ref()).unwrap_or("no message")) }
        }
    }
}
