//! A closure as an environment.

use super::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Metrics};
use std::convert::Infallible;
use std::fmt;

/// An environment that calls a closure; see [`environment_fn`].
#[derive(Clone)]
pub struct EnvironmentFn<F> {
    identity: String,
    function: F,
}

impl<F> fmt::Debug for EnvironmentFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentFn").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Makes an environment from a closure that takes an architecture and a seed and returns an accuracy in percent, or the
/// value of another [`Objective`](crate::evaluation::Objective) of the search.
///
/// A value that is not a finite number is recorded as [`Infeasibility::Rejected`].
///
/// ```
/// use blockqnn::environment::{Environment, environment_fn};
/// use blockqnn::space::block::BlockCode;
///
/// let mut short = environment_fn("prefers short blocks", |block: &BlockCode, _seed| 100.0 - block.len() as f64);
/// # let _: &dyn Environment<BlockCode, Error = std::convert::Infallible> = &short;
/// ```
pub fn environment_fn<A: ?Sized, F>(identity: impl Into<String>, function: F) -> EnvironmentFn<F>
where
    F: FnMut(&A, u64) -> f64 + Send,
{
    EnvironmentFn { identity: identity.into(), function }
}

impl<A: ?Sized, F: FnMut(&A, u64) -> f64 + Send> Environment<A> for EnvironmentFn<F> {
    type Error = Infallible;

    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let value = (self.function)(architecture, context.trial().seed);
        Ok(if value.is_finite() {
            Evaluation::Measured(Metrics::new(value))
        } else {
            let message = format!("the environment returned {value}");
            Evaluation::Infeasible(Infeasibility::Rejected { message })
        })
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }
}
