//! Pools, by our own kernels where there are some for the device.

use super::precision::in_single;
use burn::tensor::Tensor;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

/// Takes the largest number of each window of `kernel` by `kernel` pixels. Pixels outside of the image do not count.
///
/// # Shapes
/// - `input`: `[batch, channels, height, width]`
/// - output: `[batch, channels, height, width]`; a side is that of the input plus twice the padding minus the kernel,
///   divided by the stride, rounded down, plus 1
pub(super) fn max_pool(input: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::flex::takes(&input) && kernel <= super::flex::Pool::MAX_KERNEL {
        return super::flex::max_pool(input, super::flex::Pool { kernel, stride, padding });
    }
    // burn takes the maximum of the pixels inside the image, as if the padding were minus infinity.
    max_pool2d(input, MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]))
}

/// Takes the mean of the pixels of the image that are in a square around each pixel, with an odd side.
///
/// # Shapes
/// - `input` and output: `[batch, channels, height, width]`
pub(super) fn average_pool(input: Tensor<4>, kernel: usize) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::flex::takes(&input) {
        return super::flex::average_pool(input, kernel);
    }
    let options = AvgPoolOptions::new([kernel; 2])
        .with_stride([1; 2])
        .with_padding([kernel / 2; 2])
        .with_count_include_pad(false);
    in_single(input, |input| avg_pool2d(input, options))
}

/// Applies a 2x2 max pool with stride 2: halves height and width, rounding down.
pub(super) fn halve(input: Tensor<4>) -> Tensor<4> {
    max_pool(input, 2, 2, 0)
}

#[cfg(all(test, any(feature = "flex", feature = "ndarray")))]
mod tests {
    use super::*;
    use crate::network::device::default_device;
    use burn::tensor::TensorData;

    #[test]
    fn halving_rounds_down() {
        let pixels = TensorData::new(vec![-9f32, -2., -3., -4., -5., -6., -7., -8., -1.], [1, 1, 3, 3]);
        let output = halve(Tensor::from_data(pixels, &default_device().unwrap()));
        assert_eq!(output.dims(), [1, 1, 1, 1]);
        let largest: Vec<f32> = output.into_data().try_to_vec().unwrap();
        assert_eq!(largest, [-2.0]);
    }
}
