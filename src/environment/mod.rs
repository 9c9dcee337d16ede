//! Environments, which measure how good an architecture is.

mod early_stop;
mod function;
pub mod synthetic;
pub mod tabular;

pub use early_stop::{EarlyStop, Thresholds};
pub use function::{EnvironmentFn, environment_fn};

use crate::evaluation::{Evaluation, Rung, Trial};
use early_stop::Course;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Progress of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Epochs finished in the current attempt.
    pub epoch: u32,
    /// Epochs of the whole attempt.
    pub epochs: u32,
    /// Restarts before the current attempt.
    pub restarts: u32,
    /// Fraction of the current epoch that is done, 0 to 1.
    pub fraction: f64,
    /// The objective's value after `epoch` epochs, usually the validation accuracy in percent, in a report that follows
    /// its measurement.
    #[serde(default, alias = "accuracy", skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

impl Progress {
    /// Creates the progress within epoch `epoch + 1` of `epochs`.
    #[must_use]
    pub fn new(epoch: u32, epochs: u32, restarts: u32, fraction: f64) -> Self {
        Self { epoch, epochs, restarts, fraction, value: None }
    }

    /// Adds the objective's value after the finished epochs, usually the validation accuracy in percent: a point of the
    /// learning curve.
    #[must_use]
    pub fn with_value(self, value: f64) -> Self {
        Self { value: Some(value), ..self }
    }
}

/// A flag that asks an evaluation to stop early. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Creates a flag that is not raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The context of a running evaluation: its trial, the listener for its progress, and whether it should end.
pub struct TrialContext<'a> {
    trial: &'a Trial,
    cancellation: Cancellation,
    on_progress: &'a (dyn Fn(Progress) + 'a),
    early_stop: EarlyStop,
    rung: Option<Rung>,
    course: RefCell<Course>,
}

impl<'a> TrialContext<'a> {
    /// Creates a context that reports progress to nobody and is never cancelled.
    #[must_use]
    pub fn new(trial: &'a Trial) -> Self {
        let (cancellation, early_stop) = (Cancellation::new(), EarlyStop::new());
        Self { trial, cancellation, on_progress: &|_| {}, early_stop, rung: None, course: RefCell::default() }
    }

    /// Sets the flag that cancels the evaluation.
    #[must_use]
    pub fn with_cancellation(self, cancellation: Cancellation) -> Self {
        Self { cancellation, ..self }
    }

    /// Sets the listener to which progress is reported.
    #[must_use]
    pub fn with_progress(self, listener: &'a (dyn Fn(Progress) + 'a)) -> Self {
        Self { on_progress: listener, ..self }
    }

    /// Sets what may stop the evaluation early; it comes with the trial
    /// ([`Assignment::early_stop`](crate::evaluator::Assignment::early_stop)).
    #[must_use]
    pub fn with_early_stop(self, early_stop: EarlyStop) -> Self {
        Self { early_stop, ..self }
    }

    /// Sets the rung of the trial; it comes with the trial
    /// ([`Assignment::rung`](crate::evaluator::Assignment::rung)).
    #[must_use]
    pub fn with_rung(self, rung: Option<Rung>) -> Self {
        Self { rung, ..self }
    }

    /// Returns the rung of the trial, in a search with [rungs](crate::search::Rungs): the evaluation ends after the
    /// first [`Rung::epochs`] of its epochs. Above the first rung, it may continue what the same trial, by fingerprint
    /// and seed, left at the rung below. `None`: it lasts for all epochs.
    #[must_use]
    pub fn rung(&self) -> Option<Rung> {
        self.rung
    }

    /// Returns the trial.
    #[must_use]
    pub fn trial(&self) -> &Trial {
        self.trial
    }

    /// Returns whether the evaluation should return now; what it returns is then discarded.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// Returns whether the evaluation should end early with what it has measured so far: the last value, marked as
    /// [stopped](crate::evaluation::Metrics::stopped), as
    /// [`Metrics::stopped_after`](crate::evaluation::Metrics::stopped_after) makes it of the [curve](Self::curve).
    /// Worth asking after each report of a value. An environment that cannot stop early simply finishes, and its
    /// result counts as usual.
    ///
    /// If the search has a rule for stopping, the answer is a function of the values reported until now, so that a
    /// search can be repeated; the search itself may also have asked at any time
    /// ([`Observer::should_stop`](crate::search::Observer::should_stop)).
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.early_stop.is_asked() || self.course.borrow().is_behind
    }

    /// Returns what may stop the evaluation early, for an environment that has it evaluated elsewhere.
    #[must_use]
    pub fn early_stop(&self) -> &EarlyStop {
        &self.early_stop
    }

    /// Returns the learning curve of the current attempt, as far as it was reported: epochs, from 1, and the objective's
    /// value after each, usually the validation accuracy in percent. It becomes that of the result if the environment returns none of its own.
    #[must_use]
    pub fn curve(&self) -> Vec<(u32, f64)> {
        self.course.borrow().curve.clone()
    }

    /// Reports the progress of the evaluation. Long evaluations should call this at least every few seconds: progress
    /// bars and heartbeats depend on it.
    pub fn report(&self, progress: Progress) {
        self.course.borrow_mut().follow(&progress, self.early_stop.thresholds());
        (self.on_progress)(progress);
    }
}

impl fmt::Debug for TrialContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrialContext")
            .field("trial", &self.trial)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// Evaluates architectures: trains them, looks them up, or computes something.
///
/// `Err` means a fault of the worker (a lost device, an unreadable file): the trial is tried again, a bounded number of
/// times. A fact about the architecture (it is too large, its training diverged) is not an error but
/// [`Evaluation::Infeasible`]: it is recorded and never tried again.
///
/// The result may depend on the architecture and [`Trial::seed`] only, never on time, place or earlier trials. This
/// makes a search repeatable and its cache correct. `examples/custom_environment.rs` shows how to implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an environment for architectures of the type `{A}`",
    label = "not an `Environment<{A}>`",
    note = "a closure becomes one with `environment_fn(\"what it depends on\", |architecture: &{A}, seed| 50.0)`; what \
            can fail, and what returns more than an accuracy, implements `blockqnn::environment::Environment`"
)]
pub trait Environment<A: ?Sized>: Send {
    /// An error that reports a fault of the worker.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Evaluates `architecture`.
    ///
    /// # Errors
    /// If this worker could not evaluate it; another attempt may succeed.
    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, Self::Error>;

    /// Returns a text that names what the results depend on besides architecture and seed: data, recipe, versions. Two
    /// environments with the same identity give the same results; a run is resumed only with the identity it was
    /// started with.
    fn identity(&self) -> String;

    /// Returns the number of epochs of a full evaluation, if this environment can also evaluate for the first of them
    /// alone: for those of [`TrialContext::rung`], as the beginning of the full evaluation. These may be any number,
    /// unless it [names](Self::rung_epochs) those that it has. By default it cannot, and is refused by searches with
    /// [rungs](crate::search::Rungs).
    fn full_epochs(&self) -> Option<u32> {
        None
    }

    /// Returns the epochs that it can evaluate for, ascending up to [all](Self::full_epochs), if these are not any
    /// number: a table has those of its columns. A search with rungs of other epochs is refused. By default empty:
    /// any.
    fn rung_epochs(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Returns the state in which the last evaluation left this environment. By default the environment is assumed to
    /// work.
    fn condition(&self) -> Condition {
        Condition::default()
    }
}

/// The state in which an evaluation left its environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Condition {
    /// Whether this process can evaluate nothing more: a GPU whose driver failed rejects all work until the process
    /// ends. The result of the last evaluation is then treated as a fault.
    pub broken: bool,
    /// Memory that this process holds on its device, in bytes, if the device reports it.
    pub device_bytes: Option<u64>,
}

impl Condition {
    /// Creates the condition of an environment that can evaluate nothing more in this process.
    #[must_use]
    pub fn broken() -> Self {
        Self { broken: true, device_bytes: None }
    }

    /// Creates the condition of an environment that works and holds this many bytes on its device.
    #[must_use]
    pub fn well(device_bytes: Option<u64>) -> Self {
        Self { broken: false, device_bytes }
    }
}

/// The error of any environment, boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The error of a [`BoxedEnvironment`]: that of the environment inside it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AnyError(#[from] BoxError);

/// An environment of any type in a box; made by [`EnvironmentExt::boxed`].
pub type BoxedEnvironment<A> = Box<dyn Environment<A, Error = AnyError>>;

struct EraseError<E>(E);

impl<A: ?Sized, E: Environment<A>> Environment<A> for EraseError<E> {
    type Error = AnyError;

    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, AnyError> {
        self.0.evaluate(architecture, context).map_err(|error| AnyError(Box::new(error)))
    }

    fn identity(&self) -> String {
        self.0.identity()
    }

    fn full_epochs(&self) -> Option<u32> {
        self.0.full_epochs()
    }

    fn rung_epochs(&self) -> Vec<u32> {
        self.0.rung_epochs()
    }

    fn condition(&self) -> Condition {
        self.0.condition()
    }
}

impl<A: ?Sized, E: Environment<A> + ?Sized> Environment<A> for Box<E> {
    type Error = E::Error;

    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, Self::Error> {
        (**self).evaluate(architecture, context)
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

    fn condition(&self) -> Condition {
        (**self).condition()
    }
}

/// Extension methods for every [`Environment`].
pub trait EnvironmentExt<A: ?Sized>: Environment<A> + Sized + 'static {
    /// Boxes the environment, so that environments of several types fit into one list.
    ///
    /// ```
    /// use blockqnn::environment::{BoxedEnvironment, EnvironmentExt, environment_fn};
    /// use blockqnn::space::block::BlockCode;
    ///
    /// let constant = environment_fn("constant", |_: &BlockCode, _| 50.0);
    /// let environments: Vec<BoxedEnvironment<BlockCode>> = vec![constant.boxed()];
    /// assert_eq!(environments.len(), 1);
    /// ```
    fn boxed(self) -> BoxedEnvironment<A> {
        Box::new(EraseError(self))
    }
}

impl<A: ?Sized, E: Environment<A> + Sized + 'static> EnvironmentExt<A> for E {}

/// Returns the message of a panic that was caught, if it has one. This is for callers of environments or other code
/// that may panic.
///
/// ```
/// use blockqnn::environment::panic_message;
///
/// let panic = std::panic::catch_unwind(|| panic!("on {} images", 3)).unwrap_err();
/// assert_eq!(panic_message(panic.as_ref()), Some("on 3 images"));
/// ```
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}
