//! The trade-off between accuracy and cost.

use super::{RecordOf, SearchReport};
use crate::graph::CostQuantity;
use crate::space::SearchSpace;

impl<S: SearchSpace> SearchReport<S> {
    /// Returns the Pareto front of accuracy against a cost: the measured trials for which no other is at least as
    /// accurate and cheaper, or as cheap and more accurate. The cheapest comes first, so accuracies ascend; of equal
    /// trials only the earliest is returned. Trials whose cost is not known, and those that were stopped early, are
    /// left out.
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
    ///     println!("{:>12} FLOPs  {:?}", record.cost.unwrap().flops, record.evaluation.accuracy());
    /// }
    /// # assert!(!report.pareto_front(CostQuantity::Flops).is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pareto_front(&self, quantity: CostQuantity) -> Vec<&RecordOf<S>> {
        let place = |record: &RecordOf<S>| {
            let accuracy = record.evaluation.final_accuracy()?;
            Some((record.cost?.quantity(quantity), accuracy, record.id))
        };
        pareto_front(&self.records, place)
    }
}

/// The Pareto front of trials for which `place` gives cost, accuracy and number, if they have been measured; in the
/// order of [`SearchReport::pareto_front`].
pub(crate) fn pareto_front<T>(trials: &[T], place: impl Fn(&T) -> Option<(u64, f64, u64)>) -> Vec<&T> {
    let placed = trials.iter().filter_map(|trial| Some((place(trial)?, trial)));
    let mut placed: Vec<((u64, f64, u64), &T)> = placed.collect();
    placed.sort_by(|((cost, accuracy, id), _), ((other_cost, other_accuracy, other_id), _)| {
        cost.cmp(other_cost).then(other_accuracy.total_cmp(accuracy)).then(id.cmp(other_id))
    });
    let mut best = f64::NEG_INFINITY;
    placed.retain(|((_, accuracy, _), _)| {
        let better = *accuracy > best;
        best = best.max(*accuracy);
        better
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
                record.evaluation.accuracy().map(|accuracy| (record.cost.unwrap().quantity(quantity), accuracy))
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
}
