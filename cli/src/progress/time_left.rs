//! The time left. Proposed trials count as the cost model predicts, corrected by the trials that have ended; trials not
//! yet proposed count as the mean of the others.

use super::done;
use blockqnn::environment::Progress;
use blockqnn::evaluation::Trial;
use blockqnn::graph::NetworkConfig;
use blockqnn::search::CostModel;
use std::collections::BTreeMap;

/// What is known about the times of a search's trials, in seconds.
pub(crate) struct TimeLeft {
    model: Option<CostModel>,
    network: NetworkConfig,
    /// Predicted times of the trials that were proposed and have not ended.
    open: BTreeMap<u64, f64>,
    /// Trials that ended.
    ended: u64,
    /// Trials whose time was measured, the sum of their times, and the sum of the predicted times.
    measured: u64,
    seconds: f64,
    predicted: f64,
}

impl TimeLeft {
    pub(crate) fn new(model: Option<CostModel>, network: NetworkConfig) -> Self {
        Self { model, network, open: BTreeMap::new(), ended: 0, measured: 0, seconds: 0.0, predicted: 0.0 }
    }

    pub(crate) fn proposed(&mut self, trial: &Trial) {
        if let Some(model) = &self.model {
            self.open.insert(trial.id, model.seconds(&trial.cost, &self.network));
        }
    }

    /// A trial ended, after this many seconds if it was trained.
    pub(crate) fn finished(&mut self, trial: u64, seconds: Option<f64>) {
        let predicted = self.open.remove(&trial);
        self.ended += 1;
        if let Some(seconds) = seconds {
            self.measured += 1;
            self.seconds += seconds;
            self.predicted += predicted.unwrap_or_default();
        }
    }

    /// Seconds until `trials` trials have ended on `workers` workers; `None` as long as nothing is known.
    pub(crate) fn seconds(&self, trials: u64, workers: usize, running: &BTreeMap<u64, Progress>) -> Option<f64> {
        // Simultaneous trials take longer than the calibration, which had the device to itself.
        let correction = if self.predicted > 0.0 { self.seconds / self.predicted } else { 1.0 };
        let mean = if self.measured > 0 {
            self.seconds / self.measured as f64
        } else if self.open.is_empty() {
            return None;
        } else {
            self.open.values().sum::<f64>() / self.open.len() as f64
        };
        let open: f64 = self
            .open
            .iter()
            .map(|(trial, seconds)| correction * seconds * (1.0 - running.get(trial).map_or(0.0, done)).max(0.0))
            .sum();
        let unknown = trials.saturating_sub(self.ended + self.open.len() as u64);
        Some((open + mean * unknown as f64) / workers.max(1) as f64)
    }
}
