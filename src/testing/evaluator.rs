//! The conformance check of an evaluator.

use super::environment::{check_identity, timeless};
use super::{Rule, Violation, samples};
use crate::environment::Cancellation;
use crate::evaluation::Evaluation;
use crate::evaluator::{Assignment, Evaluator, Event, Verdict};
use crate::space::SearchSpace;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;

/// Number of trials in a check.
const TRIALS: usize = 12;

/// Checks an evaluator with a dozen random architectures of `space`.
///
/// `make` must return evaluators with equal environments that evaluate without a fault
/// ([`check_environment`](super::check_environment) checks that). One evaluator gets all trials at once, another gets
/// one at a time, and both must return the same evaluations. Each `wait` must end when one submitted trial ends, no
/// trial may end twice, and events may only concern submitted trials. Waiting must be an error before the first trial
/// and after the last. A third evaluator is cancelled while it holds all trials, and must still end each of them.
///
/// The check cannot detect an evaluator that hangs: it hangs with it.
///
/// # Errors
/// The first [`Violation`] found.
///
/// # Examples
/// An evaluator that drops trials that are submitted while it has work:
///
/// ```
/// use blockqnn::environment::{Cancellation, Environment, environment_fn};
/// use blockqnn::evaluator::{Assignment, Evaluator, EvaluatorError, Event, InlineEvaluator};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
/// use blockqnn::testing::{Rule, check_evaluator};
///
/// struct Forgetful<E>(InlineEvaluator<BlockCode, E>, bool);
///
/// impl<E: Environment<BlockCode>> Evaluator<BlockCode> for Forgetful<E> {
///     fn submit(&mut self, assignment: Assignment<BlockCode>) -> Result<(), EvaluatorError> {
///         if std::mem::replace(&mut self.1, true) { Ok(()) } else { self.0.submit(assignment) }
///     }
///     fn wait(&mut self, stop: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
///         self.1 = false;
///         self.0.wait(stop, listener)
///     }
///     fn identity(&self) -> String {
///         self.0.identity()
///     }
/// }
///
/// let space = BlockSpace::paper();
/// let environment = || environment_fn("short is good", |block: &BlockCode, _seed| 90.0 - block.len() as f64);
/// assert!(check_evaluator(&space, || InlineEvaluator::new(environment())).is_ok());
/// let forgetful = || Forgetful(InlineEvaluator::new(environment()), false);
/// assert_eq!(check_evaluator(&space, forgetful).unwrap_err().rule, Rule::TrialsEnd);
/// ```
pub fn check_evaluator<S, E>(space: &S, mut make: impl FnMut() -> E) -> Result<(), Violation>
where
    S: SearchSpace,
    E: Evaluator<S::Architecture>,
{
    let assignments: Vec<_> = samples(space, TRIALS)?
        .into_iter()
        .map(|(trial, architecture)| Assignment::new(trial, 1, Arc::new(architecture)))
        .collect();
    let quiet = Cancellation::new();

    let mut together = Checked::new(make())?;
    for assignment in &assignments {
        together.submit(assignment)?;
    }
    let expected = together.end_all(&quiet)?;

    let mut apart = Checked::new(make())?;
    check_identity(&together.evaluator.identity(), &[apart.evaluator.identity()])?;
    for assignment in &assignments {
        apart.submit(assignment)?;
        for (id, verdict) in apart.end_all(&quiet)? {
            let (one, other) = (evaluation(&verdict, id)?, evaluation(&expected[&id], id)?);
            Rule::EvaluationsRepeat
                .hold(one == other, || format!("trial {id} is {other:?} among others, but {one:?} alone"))?;
        }
    }

    let mut cancelled = Checked::new(make())?;
    for assignment in &assignments {
        cancelled.submit(assignment)?;
    }
    let raised = Cancellation::new();
    raised.cancel();
    // Trials that ended before the cancellation may be evaluated; what matters is that none is left.
    cancelled.end_all(&raised).map(|_| ())
}

fn evaluation(verdict: &Verdict, id: u64) -> Result<Evaluation, Violation> {
    match verdict {
        Verdict::Evaluated(evaluation) => Ok(timeless(evaluation.clone())),
        other => Err(Rule::EvaluationsSucceed.broken(format!("trial {id} ended as {other:?}"))),
    }
}

/// An evaluator and the trials that it holds.
struct Checked<A, E> {
    evaluator: E,
    in_hand: BTreeSet<u64>,
    architecture: PhantomData<A>,
}

impl<A: Clone, E: Evaluator<A>> Checked<A, E> {
    fn new(evaluator: E) -> Result<Self, Violation> {
        let mut checked = Self { evaluator, in_hand: BTreeSet::new(), architecture: PhantomData };
        checked.has_nothing_to_wait_for()?;
        Ok(checked)
    }

    fn has_nothing_to_wait_for(&mut self) -> Result<(), Violation> {
        let mut told = None;
        let waited = self.evaluator.wait(&Cancellation::new(), &mut |event| told = Some(event));
        Rule::WaitingForNothingIsAnError.hold(waited.is_err(), || format!("it waited, and reported {told:?}"))?;
        Rule::EvaluatorsHaveWorkers.hold(self.evaluator.workers() > 0, || "it reports 0 workers".to_owned())
    }

    fn submit(&mut self, assignment: &Assignment<A>) -> Result<(), Violation> {
        let trial = assignment.trial.id;
        let submitted = self.evaluator.submit(assignment.clone());
        submitted.map_err(|error| Rule::TrialsEnd.broken(format!("trial {trial} is not accepted: {error}")))?;
        self.in_hand.insert(trial);
        Ok(())
    }

    /// Waits for all trials that it holds, and returns how each ended.
    fn end_all(&mut self, cancellation: &Cancellation) -> Result<BTreeMap<u64, Verdict>, Violation> {
        let mut ended = BTreeMap::new();
        while !self.in_hand.is_empty() {
            let mut events = Vec::new();
            let waited = self.evaluator.wait(cancellation, &mut |event| events.push(event));
            waited.map_err(|error| {
                Rule::TrialsEnd.broken(format!("{} trials have not ended, but: {error}", self.in_hand.len()))
            })?;
            let last = events.pop();
            let stray = events.iter().find(|event| match event {
                Event::Started { trial, .. } | Event::Progress { trial, .. } => !self.in_hand.contains(trial),
                Event::Ended { .. } => true,
                Event::WorkerLost { .. } | Event::Waiting { .. } => false,
            });
            let Some(Event::Ended { trial, verdict }) = last else {
                return Err(Rule::WaitEndsOneTrial.broken(format!("the last event of a wait was {last:?}")));
            };
            let expected = stray.is_none() && self.in_hand.remove(&trial);
            Rule::WaitEndsOneTrial.hold(expected, || {
                format!("trial {trial} ended without being submitted, or after an event of another trial: {stray:?}")
            })?;
            self.evaluator
                .acknowledge(trial)
                .map_err(|error| Rule::TrialsEnd.broken(format!("trial {trial} cannot be acknowledged: {error}")))?;
            ended.insert(trial, verdict);
        }
        self.has_nothing_to_wait_for()?;
        Ok(ended)
    }
}
