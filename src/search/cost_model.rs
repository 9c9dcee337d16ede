//! Predicts what a trial takes from its network, before it is trained.

use crate::graph::{Cost, NetworkConfig};
use serde::{Deserialize, Serialize};

/// Sweeps of the fit over its coefficients.
const SWEEPS: usize = 10_000;
/// Bytes for each parameter in training with Adam: the weight, its gradient and two moments, all in single precision.
const PARAMETER_BYTES: u64 = 16;

/// A batch of images that a network trains on or classifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Images of the batch.
    pub images: u64,
    /// Multiply-adds of an image, forwards.
    pub flops: u64,
    /// Bytes of the outputs of all operations for an image.
    pub activation_bytes: u64,
    /// Trainable parameters.
    pub parameters: u64,
    /// Nodes of all blocks of the network.
    pub nodes: u64,
}

impl Workload {
    /// A batch of `images` images for a network of this cost.
    #[must_use]
    pub fn new(cost: &Cost, network: &NetworkConfig, images: u64) -> Self {
        let blocks = (network.stages as u64).saturating_mul(network.repeats as u64);
        Self {
            images,
            flops: cost.flops,
            activation_bytes: cost.activation_bytes,
            parameters: cost.parameters,
            nodes: blocks.saturating_mul(cost.nodes),
        }
    }

    /// The components of the time: multiply-adds, bytes moved, parameters, operations, and the batch itself.
    fn features(&self) -> [f64; 5] {
        let images = self.images as f64;
        [
            images * self.flops as f64,
            images * self.activation_bytes as f64,
            self.parameters as f64,
            self.nodes as f64,
            1.0,
        ]
    }

    /// Bytes that training it takes: weights with gradients and the two moments of Adam, and all outputs of the batch.
    ///
    /// It is counted, not measured: an allocator takes more, a device that frees early takes less.
    #[must_use]
    pub fn training_bytes(&self) -> u64 {
        let outputs = self.images.saturating_mul(self.activation_bytes);
        self.parameters.saturating_mul(PARAMETER_BYTES).saturating_add(outputs)
    }
}

/// Seconds for each multiply-add, byte of outputs, parameter, node and batch: none of them negative.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Seconds a multiply-add.
    pub flop: f64,
    /// Seconds a byte of outputs.
    pub byte: f64,
    /// Seconds a parameter.
    pub parameter: f64,
    /// Seconds per node.
    pub node: f64,
    /// Seconds a batch.
    pub batch: f64,
}

impl Rates {
    /// The rates that come nearest to measured seconds, by the sum of squared relative errors.
    ///
    /// Measurements without a positive finite time are ignored; without any, all rates are 0.
    ///
    /// ```
    /// use blockqnn::search::{Rates, Workload};
    ///
    /// let workload = |flops| Workload { images: 32, flops, activation_bytes: 1_000, parameters: 100, nodes: 8 };
    /// let measured: Vec<_> = (1..10u64).map(|n| (workload(n * 1_000), 0.002 + 1e-6 * n as f64)).collect();
    /// let rates = Rates::fit(&measured);
    /// let error = rates.seconds(&workload(5_500)) / (0.002 + 1e-6 * 5.5) - 1.0;
    /// assert!(error.abs() < 0.01);
    /// ```
    #[must_use]
    pub fn fit(measured: &[(Workload, f64)]) -> Self {
        let rows: Vec<[f64; 5]> = measured
            .iter()
            .filter(|(_, seconds)| seconds.is_finite() && *seconds > 0.0)
            .map(|(workload, seconds)| workload.features().map(|feature| feature / seconds))
            .collect();
        let column = |place: usize| rows.iter().map(move |row| row[place]);
        let scales: [f64; 5] = std::array::from_fn(|place| {
            column(place).map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
        });
        // Non-negative least squares by coordinate descent, on columns of length 1; the wanted value of each row is 1.
        let mut weights = [0.0; 5];
        let mut errors = vec![1.0; rows.len()];
        for _ in 0..SWEEPS {
            for place in 0..weights.len() {
                let slope: f64 = errors.iter().zip(column(place)).map(|(error, value)| error * value).sum();
                let weight = (weights[place] + slope / scales[place]).max(0.0);
                let change = (weight - weights[place]) / scales[place];
                weights[place] = weight;
                errors.iter_mut().zip(column(place)).for_each(|(error, value)| *error -= change * value);
            }
        }
        let [flop, byte, parameter, node, batch] = std::array::from_fn(|place| weights[place] / scales[place]);
        Self { flop, byte, parameter, node, batch }
    }

    /// Seconds that a batch takes.
    #[must_use]
    pub fn seconds(&self, workload: &Workload) -> f64 {
        let Self { flop, byte, parameter, node, batch } = *self;
        let rates = [flop, byte, parameter, node, batch];
        workload.features().iter().zip(rates).map(|(feature, rate)| feature * rate).sum()
    }
}

/// How many images a trial trains on and measures with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialSize {
    /// Training images of an epoch.
    pub images: u64,
    /// Images in a batch.
    pub batch: u64,
    /// Epochs.
    pub epochs: u64,
    /// Validation images.
    pub validation: u64,
    /// How often they are evaluated.
    pub evaluations: u64,
}

/// Predicts the seconds of a trial on one device from what its network costs.
///
/// It knows a device from a few measured batches (`train::TrainingEnvironment::cost_model`). Restarts are not foreseen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostModel {
    /// A step of training: forwards, backwards and the optimizer.
    pub training: Rates,
    /// A batch that is classified.
    pub evaluation: Rates,
    /// What a trial consists of.
    pub trial: TrialSize,
}

impl CostModel {
    /// Seconds of a trial whose network has this cost.
    #[must_use]
    pub fn seconds(&self, cost: &Cost, network: &NetworkConfig) -> f64 {
        let TrialSize { images, batch, epochs, validation, evaluations } = self.trial;
        let passes = |rates: &Rates, images: u64, passes: u64| {
            let of = |size: u64| rates.seconds(&Workload::new(cost, network, size));
            let batch = batch.max(1);
            let rest = images % batch;
            let last = if rest > 0 { of(rest) } else { 0.0 };
            passes as f64 * ((images / batch) as f64 * of(batch) + last)
        };
        passes(&self.training, images, epochs) + passes(&self.evaluation, validation, evaluations)
    }
}

/// How accurate the predicted times of some trials were, compared with the measured ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PredictionQuality {
    /// Trials with both times.
    pub trials: usize,
    /// Median of measured over predicted: the factor by which everything took longer, for example on a shared device.
    pub factor: f64,
    /// Median of the relative error that is left when all are scaled by that factor.
    pub median: f64,
    /// Nine tenths of the trials have a smaller one.
    pub ninth_decile: f64,
}

impl PredictionQuality {
    /// The quality of pairs of predicted and measured seconds; pairs that are not both positive and finite are ignored.
    /// Nothing without a pair.
    ///
    /// ```
    /// use blockqnn::search::PredictionQuality;
    ///
    /// let error = PredictionQuality::of([(1.0, 2.2), (2.0, 4.0), (3.0, 5.4)]).ok_or("no pair")?;
    /// assert_eq!((error.trials, error.factor), (3, 2.0));
    /// assert!((error.median - 0.1).abs() < 1e-9);
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let positive = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        let ratios = pairs.into_iter().filter(|&(predicted, measured)| positive(predicted) && positive(measured));
        let mut ratios: Vec<f64> = ratios.map(|(predicted, measured)| measured / predicted).collect();
        ratios.sort_by(f64::total_cmp);
        let factor = *ratios.get(ratios.len() / 2)?;
        let mut errors: Vec<f64> = ratios.iter().map(|ratio| (ratio / factor - 1.0).abs()).collect();
        errors.sort_by(f64::total_cmp);
        let (median, ninth_decile) = (errors[errors.len() / 2], errors[errors.len() * 9 / 10]);
        Some(Self { trials: errors.len(), factor, median, ninth_decile })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{LayerGraph, Node, Operation};

    fn workload(number: u64) -> Workload {
        Workload {
            images: 1 + number % 3,
            flops: 1_000 * (1 + number * number % 7),
            activation_bytes: 500 * (1 + number % 5),
            parameters: 100 * (1 + number % 4),
            nodes: 3 + number % 6,
        }
    }

    #[test]
    fn rates_that_made_the_times_are_found_again() {
        let made = Rates { flop: 3e-9, byte: 2e-9, parameter: 4e-8, node: 1e-6, batch: 2e-6 };
        let measured: Vec<_> = (0..40).map(workload).map(|workload| (workload, made.seconds(&workload))).collect();
        let found = Rates::fit(&measured);
        for number in 40..60 {
            let error = found.seconds(&workload(number)) / made.seconds(&workload(number)) - 1.0;
            assert!(error.abs() < 1e-3, "{error}");
        }
    }

    #[test]
    fn rates_are_never_negative() {
        // More multiply-adds in less time.
        let of = |flops| Workload { flops, ..workload(0) };
        let found = Rates::fit(&[(of(1_000), 2.0), (of(2_000), 1.0)]);
        assert!(found.flop >= 0.0 && found.batch >= 0.0);
        let error = found.seconds(&of(1_500)) / 1.4 - 1.0;
        assert!(error.abs() < 0.3, "{error}");
    }

    #[test]
    fn times_that_are_none_are_left_out() {
        assert_eq!(Rates::fit(&[(workload(1), f64::NAN), (workload(2), 0.0)]), Rates::default());
    }

    #[test]
    fn a_trial_is_its_batches_and_its_evaluations() {
        let graph = LayerGraph::new(vec![Node::new(Operation::Input, []), Node::new(Operation::Output, [0])]);
        let network = NetworkConfig::cifar();
        let cost = graph.unwrap().cost(&network).unwrap();
        let model = CostModel {
            training: Rates { batch: 2.0, ..Rates::default() },
            evaluation: Rates { batch: 0.5, ..Rates::default() },
            trial: TrialSize { images: 100, batch: 32, epochs: 3, validation: 64, evaluations: 2 },
        };
        // Four batches, the last of four images, in each of three epochs; two batches of validation, twice.
        assert!((model.seconds(&cost, &network) - (3.0 * 4.0 * 2.0 + 2.0 * 2.0 * 0.5)).abs() < 1e-9);
    }

    #[test]
    fn the_error_of_no_pair_is_none_and_of_exact_ones_zero() {
        assert_eq!(PredictionQuality::of([(0.0, 1.0), (1.0, f64::NAN)]), None);
        let error = PredictionQuality::of((1..=20).map(|n| (f64::from(n), 3.0 * f64::from(n)))).unwrap();
        assert_eq!((error.trials, error.factor), (20, 3.0));
        assert!(error.ninth_decile < 1e-12, "{error:?}");
    }

    #[test]
    fn memory_is_that_of_parameters_and_outputs() {
        let workload = Workload { images: 10, activation_bytes: 7, parameters: 3, ..workload(0) };
        assert_eq!(workload.training_bytes(), 3 * 16 + 70);
    }
}
