//! A budget in seconds of evaluation.

use super::{Observer, RecordOf};
use crate::environment::{BoxError, Cancellation};
use crate::space::SearchSpace;

/// Stops a search when its evaluations have used up a budget of seconds, measured or simulated
/// ([`Metrics::seconds`](crate::evaluation::Metrics::seconds)).
///
/// The evaluation that exceeds the budget is the last one. It did not end in time, so count only what
/// [`within`](Self::within) returns.
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::{Cancellation, tabular::{Table, TableEnvironment}};
/// use blockqnn::search::{Search, SearchConfig, SecondsBudget};
/// use blockqnn::space::cell::{CellCode, CellIdentity, CellSpace};
///
/// let rows: String = CellCode::all().map(|cell| format!("{cell},50,40\n")).collect();
/// let table = Table::parse("made up", &format!("architecture,accuracy,seconds\n{rows}"), None)?;
/// let space = CellSpace::new().with_identity(CellIdentity::Code);
/// let (budget, cancellation) = (SecondsBudget::new(1_000.0), Cancellation::new());
/// let report = Search::new(space, RandomAgent, TableEnvironment::new(table), SearchConfig::paper().with_trials(99, 1))
///     .with_cancellation(cancellation.clone())
///     .with_observer(budget.observer(cancellation))
///     .run()?;
/// assert_eq!(budget.within(&report.records).len(), 25);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SecondsBudget {
    seconds: f64,
}

impl SecondsBudget {
    /// Creates a budget of `seconds`.
    #[must_use]
    pub fn new(seconds: f64) -> Self {
        Self { seconds }
    }

    /// Returns the first `records`, as many as fit into the budget if they are evaluated one after another.
    #[must_use]
    pub fn within<Action, Architecture>(
        self,
        records: &[super::Record<Action, Architecture>],
    ) -> &[super::Record<Action, Architecture>] {
        let mut spent = 0.0;
        let fits = |record: &&super::Record<Action, Architecture>| {
            spent += record.evaluation.metrics().map_or(0.0, |metrics| metrics.seconds);
            spent <= self.seconds
        };
        &records[..records.iter().take_while(fits).count()]
    }

    /// Returns an observer that raises `cancellation` once the budget is exceeded; give the search the same flag.
    #[must_use]
    pub fn observer(self, cancellation: Cancellation) -> SecondsObserver {
        SecondsObserver { budget: self, spent: 0.0, cancellation }
    }
}

/// The observer that ends a search at a [`SecondsBudget`].
#[derive(Debug)]
pub struct SecondsObserver {
    budget: SecondsBudget,
    spent: f64,
    cancellation: Cancellation,
}

impl SecondsObserver {
    fn spend<Action, Architecture>(&mut self, record: &super::Record<Action, Architecture>) {
        self.spent += record.evaluation.metrics().map_or(0.0, |metrics| metrics.seconds);
        if self.spent > self.budget.seconds {
            self.cancellation.cancel();
        }
    }
}

impl<S: SearchSpace> Observer<S> for SecondsObserver {
    fn on_restored(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        self.spend(record);
        Ok(())
    }

    fn on_finished(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        self.spend(record);
        Ok(())
    }
}
