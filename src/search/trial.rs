//! The two states of a trial: proposed and finished.

use super::{RecordOf, SearchConfig, SearchError};
use crate::agent::TrajectoryOf;
use crate::environment::{EarlyStop, Thresholds};
use crate::evaluation::{Evaluation, Infeasibility, Rung, Trial};
use crate::evaluator::Assignment;
use crate::graph::{Cost, CostError, CostLimits, LayerGraph};
use crate::reward::RewardError;
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use std::sync::Arc;

/// A trial that is proposed and waits for its evaluation.
pub(super) struct Proposed<S: SearchSpace> {
    pub(super) trial: Trial,
    pub(super) rung: Option<Rung>,
    pub(super) trajectory: TrajectoryOf<S>,
    pub(super) architecture: Arc<S::Architecture>,
    /// The cost from which the reward is computed.
    pub(super) priced: Option<Cost>,
    /// Attempts begun.
    pub(super) attempts: u32,
    /// What may stop the last attempt early.
    pub(super) early_stop: EarlyStop,
    /// Whether it is evaluated alone, so that running out of time or memory is final.
    pub(super) alone: bool,
}

/// A trial that is finished but not learned.
pub(super) struct Finished<S: SearchSpace> {
    pub(super) trajectory: TrajectoryOf<S>,
    pub(super) record: RecordOf<S>,
}

/// What becomes of a proposal.
pub(super) enum Entered<S: SearchSpace> {
    /// It is to be evaluated.
    Proposed(Proposed<S>),
    /// Its outcome is known from the journal, from an earlier trial or from its size.
    Finished(Finished<S>),
}

impl<S: SearchSpace> Proposed<S> {
    /// Whether it was evaluated for more epochs than its rung has, as by a worker that knows no rungs.
    pub(super) fn overran(&self, evaluation: &Evaluation) -> bool {
        let epochs = evaluation.metrics().map_or(0, |metrics| metrics.epochs);
        self.rung.is_some_and(|rung| epochs > rung.epochs)
    }

    /// Begins another attempt, which must reach these accuracies or is stopped early.
    pub(super) fn attempt(&mut self, thresholds: &Arc<Thresholds>) -> Assignment<S::Architecture> {
        self.attempts += 1;
        self.early_stop = EarlyStop::new().with_thresholds(Arc::clone(thresholds));
        Assignment::new(self.trial.clone(), self.attempts, Arc::clone(&self.architecture))
            .with_early_stop(self.early_stop.clone())
            .with_rung(self.rung)
    }
}

/// Returns the cost of an architecture, if it is known, and the reason if it must not be trained.
pub(super) fn appraise<S: SearchSpace>(
    space: &S,
    architecture: &S::Architecture,
    config: &SearchConfig,
) -> Result<(Option<Cost>, Option<Infeasibility>), SearchError> {
    let error = match space.cost(architecture, config.network.as_ref()) {
        Ok(Some(cost)) => {
            let refusal = config.limits.check(&cost).err().map(|over| Infeasibility::OverLimit { over });
            return Ok((Some(cost), refusal));
        }
        Ok(None) if config.limits == CostLimits::default() => return Ok((None, None)),
        Ok(None) => {
            let expected = "without limits where no cost is known: set `search.network`, and search a space whose \
                            `graph` returns the layers";
            return Err(InvalidSetting::new("search.limits", format!("{:?}", config.limits), expected).into());
        }
        Err(error) => error,
    };
    let graph = space.graph(architecture);
    let of_graph = |size: fn(&LayerGraph) -> u64| graph.as_ref().map_or(u64::MAX, size);
    let huge = Cost {
        parameters: u64::MAX,
        flops: u64::MAX,
        activation_bytes: u64::MAX,
        depth: of_graph(LayerGraph::longest_convolution_path),
        nodes: of_graph(|graph| graph.node_count() as u64),
        edges: of_graph(|graph| graph.edge_count() as u64),
    };
    let reason = match error {
        CostError::Overflow(overflow) => overflow.into(),
        CostError::Config(error) => Infeasibility::Rejected { message: error.to_string() },
    };
    Ok((Some(huge), Some(reason)))
}

/// Returns why the evaluation failed, if it might succeed with the machine to itself.
pub(super) fn lacked_room(evaluation: &Evaluation) -> Option<&Infeasibility> {
    match evaluation {
        Evaluation::Infeasible(reason @ (Infeasibility::TimedOut { .. } | Infeasibility::OutOfMemory { .. })) => {
            Some(reason)
        }
        _ => None,
    }
}

/// Turns an evaluation into a failed one if a number of it is not finite, for which there is no reward, or if a
/// measurement exceeds its limit. Points of a curve that are not finite are left out, since JSON has no form for them.
pub(super) fn checked(mut evaluation: Evaluation, config: &SearchConfig) -> Result<Evaluation, RewardError> {
    let Evaluation::Measured(metrics) = &mut evaluation else { return Ok(evaluation) };
    metrics.curve.retain(|(_, value)| value.is_finite());
    if !metrics.value.is_finite() {
        let (name, value) = (&config.objective.name, metrics.value);
        return Ok(rejected(format!("the environment reported {value} as its {name}")));
    }
    if let Some((name, value)) = metrics.measurements.iter().find(|(_, value)| !value.is_finite()) {
        return Ok(rejected(format!("the environment reported {value} as its measurement {name:?}")));
    }
    for (name, &limit) in &config.measurement_limits {
        let Some(&measured) = metrics.measurements.get(name) else { return Err(RewardError::missing(name, metrics)) };
        if measured > limit {
            let (measurement, value) = (name.clone(), metrics.value);
            let over = Infeasibility::OverMeasurementLimit { measurement, measured, limit, value };
            return Ok(Evaluation::Infeasible(over));
        }
    }
    Ok(evaluation)
}

fn rejected(message: String) -> Evaluation {
    Evaluation::Infeasible(Infeasibility::Rejected { message })
}
