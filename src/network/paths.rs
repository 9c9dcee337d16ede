//! The paths of a network, and what a training multiplies each of them by.

use burn::tensor::Tensor;

/// The factors of the paths of a network, in the order in which the network computes them; none where all paths stay as
/// they are.
pub(super) struct PathFactors {
    /// `[paths, images]`
    factors: Option<Tensor<2>>,
    next: usize,
}

impl PathFactors {
    pub(super) fn new(factors: Option<Tensor<2>>) -> Self {
        Self { factors, next: 0 }
    }

    /// Multiplies the next path, `[images, channels, height, width]`, by its factors.
    pub(super) fn apply(&mut self, path: Tensor<4>) -> Tensor<4> {
        let Some(factors) = &self.factors else { return path };
        let [_, images] = factors.dims();
        let own = factors.clone().narrow(0, self.next, 1).reshape([images, 1, 1, 1]);
        self.next += 1;
        let dtype = path.dtype();
        path * own.cast(dtype)
    }
}
