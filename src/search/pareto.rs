//! The trade between accuracy and cost.

use super::{RecordOf, SearchReport};
use crate::graph::CostQuantity;
use crate::space::SearchSpace;

impl<S: SearchSpace> SearchReport<S> {
    /// The Pareto front of accuracy against a cost: the measured trials to which no other is at least as accurate and
    /// cheaper, or as cheap and more accurate. Cheapest first, so that accuracies ascend; among equals the earlier trial.
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
    ///     println!("{:>12} FLOPs  {:?}", record.cost.flops, record.evaluation.accuracy());
    /// }
    /// # assert!(!report.pareto_front(CostQuantity::Flops).is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pareto_front(&self, quantity: CostQuantity) -> Vec<&RecordOf<S>> {
        let measured = |record: &&RecordOf<S>| record.evaluation.accuracy().is_some();
        let accuracy = |record: &RecordOf<S>| record.evaluation.accuracy().unwrap_or(f64::NEG_INFINITY);
        let mut records: Vec<&RecordOf<S>> = self.records.iter().filter(measured).collect();
        records.sort_by(|a, b| {
            let cheaper = a.cost.quantity(quantity).cmp(&b.cost.quantity(quantity));
            cheaper.then(accuracy(b).total_cmp(&accuracy(a))).then(a.id.cmp(&b.id))
        });
        let mut best = f64::NEG_INFINITY;
        records.retain(|record| {
            let better = accuracy(record) > best;
            best = best.max(accuracy(record));
            better
        });
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::RandomAgent;
    use crate::environment::synthetic::Synthetic;
    use crate::search::{Search, SearchConfig};
    use crate::space::block::BlockSpace;

    #[test]
    fn the_front_is_what_no_other_trial_dominates() {
        let config = SearchConfig::paper().with_seed(2).with_trials(150, 50);
        let report = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config).run().unwrap();
        for quantity in [CostQuantity::Parameters, CostQuantity::Flops, CostQuantity::ActivationBytes] {
            let point = |record: &RecordOf<BlockSpace>| {
                record.evaluation.accuracy().map(|accuracy| (record.cost.quantity(quantity), accuracy))
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
