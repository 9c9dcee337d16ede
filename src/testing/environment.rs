//! The conformance check of an environment.

use super::{Rule, Violation, samples};
use crate::environment::{Environment, Progress, TrialContext};
use crate::evaluation::{Evaluation, Objective, Rung, Trial};
use crate::search::Rungs;
use crate::space::SearchSpace;
use std::cell::RefCell;

/// Checks an environment on `architectures` random architectures of `space`.
///
/// `make` must return equal environments. Each architecture is evaluated three times: by one environment, by a second
/// one in the opposite order, and by the first again. All evaluations must be the same, except for their times;
/// evaluations that depend on the machine (lack of memory, time limit, failure) are not compared. Accuracies must be
/// between 0 and 100 percent, measurements finite, reported progress must be possible, and both environments must have
/// the same identity. If a training takes a minute, check only a few architectures.
///
/// Of an environment that [can](Environment::full_epochs) evaluate at rungs, the first architecture is also evaluated
/// at three rungs of its epochs, or at those that it [names](Environment::rung_epochs), one after the other, and at the
/// highest alone: none may exceed the epochs of its rung, and both results of the highest must be those of the full
/// evaluation.
///
/// Training on a GPU rarely repeats to the bit, which the check reports as a violation; check it on a CPU. The check
/// does not test that an evaluation returns soon after it [is cancelled](TrialContext::is_cancelled).
///
/// # Errors
/// The first [`Violation`] found.
///
/// # Examples
/// An environment whose ratings depend on how many it has given before:
///
/// ```
/// use blockqnn::environment::environment_fn;
/// use blockqnn::space::block::{BlockCode, BlockSpace};
/// use blockqnn::testing::{Rule, check_environment};
///
/// let space = BlockSpace::paper();
/// let good = || environment_fn("short is good", |block: &BlockCode, _seed| 90.0 - block.len() as f64);
/// assert!(check_environment(&space, good, 20).is_ok());
///
/// let tiring = || {
///     let mut rated = 0;
///     environment_fn("short is good", move |block: &BlockCode, _seed| {
///         rated += 1;
///         90.0 - block.len() as f64 - f64::from(rated) / 100.0
///     })
/// };
/// assert_eq!(check_environment(&space, tiring, 20).unwrap_err().rule, Rule::EvaluationsRepeat);
/// ```
pub fn check_environment<S, E>(space: &S, make: impl FnMut() -> E, architectures: usize) -> Result<(), Violation>
where
    S: SearchSpace,
    E: Environment<S::Architecture>,
{
    check_environment_for(&Objective::default(), space, make, architectures)
}

/// Checks an environment as [`check_environment`] does, for searches with another objective than the accuracy: its
/// values only have to be finite.
///
/// # Errors
/// The first [`Violation`] found.
pub fn check_environment_for<S, E>(
    objective: &Objective,
    space: &S,
    mut make: impl FnMut() -> E,
    architectures: usize,
) -> Result<(), Violation>
where
    S: SearchSpace,
    E: Environment<S::Architecture>,
{
    let (mut one, mut other) = (make(), make());
    let identity = one.identity();
    check_identity(&identity, &[other.identity(), one.identity()])?;
    let samples = samples(space, architectures)?;
    let forth =
        samples.iter().map(|sample| evaluate(objective, &mut one, sample, None)).collect::<Result<Vec<_>, _>>()?;
    let mut back = samples
        .iter()
        .rev()
        .map(|sample| evaluate(objective, &mut other, sample, None))
        .collect::<Result<Vec<_>, _>>()?;
    back.reverse();
    let again =
        samples.iter().map(|sample| evaluate(objective, &mut one, sample, None)).collect::<Result<Vec<_>, _>>()?;
    for (place, (_, architecture)) in samples.iter().enumerate() {
        for (evaluation, what) in
            [(&back[place], "from another environment in another order"), (&again[place], "a second time")]
        {
            let first = &forth[place];
            let comparable = !first.depends_on_machine() && !evaluation.depends_on_machine();
            Rule::EvaluationsRepeat.hold(!comparable || first == evaluation, || {
                format!("{} is {first:?}, and {what} {evaluation:?}", space.describe(architecture))
            })?;
        }
    }
    if let (Some(sample), Some(whole)) = (samples.first(), forth.first()) {
        check_rungs(objective, [&mut one, &mut other], sample, whole)?;
    }
    check_identity(&identity, &[one.identity()])
}

/// Checks that evaluations at rungs are the beginning of the full one, `whole`.
fn check_rungs<A>(
    objective: &Objective,
    [one, other]: [&mut impl Environment<A>; 2],
    sample: &(Trial, A),
    whole: &Evaluation,
) -> Result<(), Violation> {
    let Some(full) = one.full_epochs() else { return Ok(()) };
    let ladder = match one.rung_epochs() {
        any if any.is_empty() => Rungs::new(3).ladder(full).unwrap_or_default(),
        named => Rungs::at(named).ladder(full).map_err(|error| Rule::RungsArePrefixes.broken(error.to_string()))?,
    };
    if ladder.len() < 2 {
        return Ok(());
    }
    let mut climbed = None;
    for rung in &ladder {
        let evaluation = evaluate(objective, one, sample, Some(*rung))?;
        let epochs = evaluation.metrics().map_or(0, |metrics| metrics.epochs);
        Rule::RungsArePrefixes.hold(epochs <= rung.epochs, || format!("{epochs} epochs at {rung:?}"))?;
        climbed = Some(evaluation);
    }
    let alone = evaluate(objective, other, sample, ladder.last().copied())?;
    for (found, how) in climbed.iter().map(|climbed| (climbed, "after the others")).chain([(&alone, "alone")]) {
        let comparable = !whole.depends_on_machine() && !found.depends_on_machine();
        Rule::RungsArePrefixes.hold(!comparable || whole == found, || {
            format!("the full evaluation is {whole:?}, and the highest rung {how} {found:?}")
        })?;
    }
    Ok(())
}

pub(super) fn check_identity(identity: &str, others: &[String]) -> Result<(), Violation> {
    Rule::IdentityIsStable.hold(!identity.trim().is_empty(), || "the identity is empty".to_owned())?;
    match others.iter().find(|other| *other != identity) {
        Some(other) => Err(Rule::IdentityIsStable.broken(format!("{identity:?} first and {other:?} later"))),
        None => Ok(()),
    }
}

/// Returns an evaluation without the time that it took, which must not affect anything.
pub(super) fn timeless(mut evaluation: Evaluation) -> Evaluation {
    if let Evaluation::Measured(metrics) = &mut evaluation {
        metrics.seconds = 0.0;
    }
    evaluation
}

fn evaluate<A>(
    objective: &Objective,
    environment: &mut impl Environment<A>,
    (trial, architecture): &(Trial, A),
    rung: Option<Rung>,
) -> Result<Evaluation, Violation> {
    let impossible = RefCell::new(None);
    let listener = |progress: Progress| {
        if !(0.0..=1.0).contains(&progress.fraction) || progress.epoch > progress.epochs {
            *impossible.borrow_mut() = Some(progress);
        }
    };
    let context = TrialContext::new(trial).with_progress(&listener).with_rung(rung);
    let evaluation = environment
        .evaluate(architecture, &context)
        .map_err(|error| Rule::EvaluationsSucceed.broken(format!("trial {}: {error}", trial.id)))?;
    drop(context);
    if let Some(progress) = impossible.into_inner() {
        return Err(Rule::ProgressIsPossible.broken(format!("{progress:?} was reported")));
    }
    let is_possible = |value: f64| value.is_finite() && (!objective.is_accuracy() || (0.0..=100.0).contains(&value));
    if let Some(metrics) = evaluation.metrics() {
        let (id, name, value) = (trial.id, &objective.name, metrics.value);
        Rule::ValuesArePossible.hold(is_possible(value), || format!("trial {id} has the {name} {value}"))?;
        let wrong = metrics.measurements.iter().find(|(_, value)| !value.is_finite());
        Rule::ValuesArePossible.hold(wrong.is_none(), || format!("trial {id} has the measurement {wrong:?}"))?;
    }
    Ok(timeless(evaluation))
}
