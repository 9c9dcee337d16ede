//! The trade-off between the objective and a cost or a measurement.

use super::{RecordOf, SearchReport};
use crate::evaluation::Direction;
use crate::graph::CostQuantity;
use crate::space::SearchSpace;

impl<S: SearchSpace> SearchReport<S> {
    /// Returns the Pareto front of the objective, usually the accuracy, against a cost: the measured trials for which no
    /// other is at least as good and cheaper, or as cheap and better. The cheapest comes first, so values become better
    /// along the front; of equal trials only the earliest is returned. Trials whose cost is not known, and those that were
    /// stopped early, are left out.
    ///
    /// ```
    /// use blockqnn::agent::RandomAgent;
    /// use blockqnn::environment::synthetic::Synthetic;
    /// use blockqnn::graph::CostQuantity;
    /// use blockqnn::search::{Search, SearchConfig};
    /// use blockqnn::space::block::BlockSpace;
    ///
    /// let config = SearchConfig::paper().with_trials(50, 10);
    /// let report = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config).run()?;
    /// for record in report.pareto_front(CostQuantity::Flops) {
    ///     println!("{:>12} FLOPs  {:?}", record.cost.unwrap().flops, record.evaluation.value());
    /// }
    /// # assert!(!report.pareto_front(CostQuantity::Flops).is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pareto_front(&self, quantity: CostQuantity) -> Vec<&RecordOf<S>> {
        let value = self.at_the_top();
        let place = |record: &RecordOf<S>| Some((record.cost?.quantity(quantity), value(record)?, record.id));
        pareto_front(&self.records, self.objective.direction, place)
    }

    /// Returns the Pareto front of the objective against a measurement of which less is better, such as a latency; as
    /// [`pareto_front`](Self::pareto_front). Of an F1 score, say, more is better: then give [`Direction::Maximise`], and
    /// the highest comes first.
    ///
    /// ```
    /// use blockqnn::evaluation::{Direction, Evaluation, Metrics};
    /// use blockqnn::search::{Search, SearchConfig};
    /// use blockqnn::agent::RandomAgent;
    /// use blockqnn::space::block::BlockSpace;
    ///
    /// let search = Search::without_evaluator(BlockSpace::paper(), RandomAgent, "by hand", SearchConfig::new(32));
    /// let mut session = search.open()?;
    /// while let Some(asked) = session.ask()? {
    ///     let layers = asked.architecture.len() as f64;
    ///     let metrics = Metrics::from_accuracy(90.0 - (layers - 6.0).abs()).with("latency_ms", layers);
    ///     session.tell(asked.trial.id, Evaluation::Measured(metrics))?;
    /// }
    /// let report = session.finish()?;
    /// let front = report.measurement_front("latency_ms", Direction::Minimise);
    /// assert!(front.iter().map(|record| record.evaluation.measurement("latency_ms")).is_sorted());
    /// # assert!(front.len() > 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn measurement_front(&self, name: &str, direction: Direction) -> Vec<&RecordOf<S>> {
        let value = self.at_the_top();
        let place = |record: &RecordOf<S>| {
            let measured = record.evaluation.measurement(name)?;
            let cost = if direction == Direction::Maximise { -measured } else { measured };
            Some((cost, value(record)?, record.id))
        };
        pareto_front(&self.records, self.objective.direction, place)
    }

    /// Returns the values of trials that were measured to the end, in a search with rungs at the highest that any
    /// reached.
    fn at_the_top(&self) -> impl Fn(&RecordOf<S>) -> Option<f64> + use<S> {
        let highest = self.records.iter().map(|record| record.standing().rung).max().unwrap_or_default();
        move |record| record.evaluation.final_value().filter(|_| record.standing().rung == highest)
    }
}

/// The Pareto front of trials for which `place` gives cost, value and number, if they have been measured; in the order
/// of [`SearchReport::pareto_front`]. `direction` says which values are better.
pub(crate) fn pareto_front<T, C: PartialOrd>(
    trials: &[T],
    direction: Direction,
    place: impl Fn(&T) -> Option<(C, f64, u64)>,
) -> Vec<&T> {
    let placed = trials.iter().filter_map(|trial| Some((place(trial)?, trial)));
    let mut placed: Vec<((C, f64, u64), &T)> = placed.collect();
    placed.sort_by(|((cost, value, id), _), ((other_cost, other_value, other_id), _)| {
        let by_cost = cost.partial_cmp(other_cost).unwrap_or(std::cmp::Ordering::Equal);
        by_cost.then(direction.compare(*other_value, *value)).then(id.cmp(other_id))
    });
    let mut best: Option<f64> = None;
    placed.retain(|((_, value, _), _)| {
        let is_better = best.is_none_or(|best| direction.compare(*value, best).is_gt());
        if is_better {
            best = Some(*value);
        }
        is_better
    });
    placed.into_iter().map(|(_, trial)| trial).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::RandomAgent;
    use crate::environment::synthetic::Synthetic;
    use crate::search::{Search, SearchConfig};
    use crate::space::block::BlockSpace;

    #[test]
    fn the_front_holds_the_trials_that_no_other_dominates() {
        let config = SearchConfig::paper().with_seed(2).with_trials(150, 50);
        let report = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config).run().unwrap();
        for quantity in [CostQuantity::Parameters, CostQuantity::Flops, CostQuantity::ActivationBytes] {
            let point = |record: &RecordOf<BlockSpace>| {
                record.evaluation.value().map(|accuracy| (record.cost.unwrap().quantity(quantity), accuracy))
            };
            let points: Vec<(u64, f64)> = report.records.iter().filter_map(point).collect();
            let dominates = |a: &(u64, f64), b: &(u64, f64)| a != b && a.0 <= b.0 && a.1 >= b.1;
            let mut expected: Vec<_> =
                points.iter().filter(|point| !points.iter().any(|other| dominates(other, point))).copied().collect();
            expected.sort_by_key(|point| point.0);
            expected.dedup();
            let front: Vec<_> = report.pareto_front(quantity).into_iter().filter_map(point).collect();
            assert_eq!(front, expected);
            assert!(front.len() > 1);
        }
    }

    #[test]
    fn a_front_obeys_both_directions() {
        let trials = [(1.0, 5.0), (2.0, 3.0), (2.0, 4.0), (3.0, 6.0), (4.0, 1.0), (0.5, 9.0)];
        let front = |direction| {
            let place = |&(cost, value): &(f64, f64)| Some((cost, value, 0));
            pareto_front(&trials, direction, place).into_iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(front(Direction::Minimise), [(0.5, 9.0), (1.0, 5.0), (2.0, 3.0), (4.0, 1.0)]);
        assert_eq!(front(Direction::Maximise), [(0.5, 9.0)]);
    }
}
