//! burn's optimizers, with the numbers and conventions of a [`Recipe`](super::Recipe).

use super::OptimizerConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, SgdConfig};

/// Creates an optimizer without any state.
///
/// Every number is set explicitly: burn's own defaults differ from the paper's (epsilon is 1e-5) and from `PyTorch`'s
/// (dampening is 0.1).
pub(super) fn new_optimizer(config: OptimizerConfig) -> ModuleOptimizer {
    match config {
        OptimizerConfig::Adam { beta_1, beta_2, epsilon } => AdamConfig::new()
            .with_beta_1(single(beta_1))
            .with_beta_2(single(beta_2))
            .with_epsilon(single(epsilon))
            .with_amsgrad(false)
            .init(),
        OptimizerConfig::Sgd { momentum, weight_decay } => {
            let momentum = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0).with_nesterov(false);
            let decay = (weight_decay > 0.0).then(|| WeightDecayConfig::new(single(weight_decay)));
            SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(decay).init()
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "steps are computed in single precision")]
fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::module::{Module, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::{Device, Tensor};

    #[derive(Module, Debug)]
    struct Weights {
        weights: Param<Tensor<1>>,
    }

    /// Returns the weights after one step for each of `gradients`, starting from `weights`.
    fn steps<const N: usize>(config: OptimizerConfig, weights: [f32; 2], gradients: [[f32; 2]; N]) -> [[f32; 2]; N] {
        let device = Device::flex().autodiff();
        let mut module = Weights { weights: Param::from_tensor(Tensor::from_floats(weights, &device)) };
        let mut optimizer = new_optimizer(config);
        gradients.map(|gradient| {
            // The gradient of the sum of w * g is g.
            let loss = (module.weights.val() * Tensor::from_floats(gradient, &device)).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &module);
            module = optimizer.step(0.1, module.clone(), gradients);
            module.weights.val().into_data().try_into_vec::<f32>().unwrap().try_into().unwrap()
        })
    }

    fn assert_close(found: &[[f32; 2]], wanted: &[[f32; 2]]) {
        for (found, wanted) in found.as_flattened().iter().zip(wanted.as_flattened()) {
            assert!((found - wanted).abs() < 2e-6, "{found} {wanted}");
        }
    }

    #[test]
    fn adam_steps_as_computed_by_hand() {
        // Step 1: m = 0.1 g, v = 0.001 g^2; both corrections undo the factors, so a weight moves by
        // 0.1 * g / (|g| + 1e-8): by 0.1 for g = 2, by 0.1 * 2e-8 / 3e-8 for g = 2e-8. With an epsilon of 1e-5 the
        // second would move by 0.0002.
        // Step 2, g = -1: m = 0.9 * 0.2 - 0.1 = 0.08, v = 0.999 * 0.004 + 0.001 = 0.004996;
        // m / 0.19 = 0.42105263, v / 0.001999 = 2.4992496, root 1.5809015: moves by 0.1 * 0.26633708.
        // And g = 0: m / 0.19 = 0.9 * 2e-9 / 0.19 = 9.4736842e-9,
        // v / 0.001999 = 0.999 * 4e-19 / 0.001999 = 1.9989995e-16, root 1.4138598e-8:
        // moves by 0.1 * 9.4736842 / 24.138598 = 0.039247.
        let found = steps(OptimizerConfig::adam(), [1.0, 1.0], [[2.0, 2e-8], [-1.0, 0.0]]);
        assert_close(&found, &[[0.9, 0.933_333_3], [0.873_366_3, 0.894_086_3]]);
    }

    #[test]
    fn sgd_steps_as_computed_by_hand() {
        // No dampening: v = 2 + 0.5 = 2.5 with decay 0.5 * w = 0.5, w = 1 - 0.25 = 0.75;
        // then g = 1 + 0.375 = 1.375, v = 0.9 * 2.5 + 1.375 = 3.625, w = 0.75 - 0.3625 = 0.3875.
        // The second weight: v = 0 + 0.5 * 2 = 1, w = 1.9; g = 0.95, v = 1.85, w = 1.715.
        let config = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.5 };
        let found = steps(config, [1.0, 2.0], [[2.0, 0.0], [1.0, 0.0]]);
        assert_close(&found, &[[0.75, 1.9], [0.3875, 1.715]]);
    }

    #[test]
    fn sgd_without_momentum_and_decay_follows_the_gradient() {
        let config = OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.0 };
        assert_close(&steps(config, [1.0, 2.0], [[2.0, 1.0], [1.0, 1.0]]), &[[0.8, 1.9], [0.7, 1.8]]);
    }
}
