//! The kernels compared with burn's own operations, and with themselves on other numbers of threads.

mod joins;
mod pools;

use super::*;
use crate::seed;
use burn::tensor::activation::relu;
use burn::tensor::module::{batch_norm_train, conv2d};
use burn::tensor::ops::ConvOptions;
use rayon::ThreadPoolBuilder;

fn device() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let mut rng = seed::stream(seed, "kernels", 0);
    #[expect(clippy::cast_possible_truncation)]
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| seed::normal(&mut rng) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    let scale = wanted.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() <= 1e-5 * scale, "{found} {wanted}");
    }
}

/// Returns the output of a function, followed by the gradients of its product with fixed numbers.
fn differentiate<const N: usize>(
    inputs: [Tensor<4>; N],
    function: impl FnOnce([Tensor<4>; N]) -> Tensor<4>,
) -> Vec<Vec<f32>> {
    let inputs = inputs.map(Tensor::require_grad);
    let output = function(inputs.clone());
    let gradients = (output.clone() * random(9, output.dims())).sum().backward();
    let found = inputs.into_iter().map(|input| values(input.grad(&gradients).unwrap()));
    std::iter::once(values(output)).chain(found).collect()
}

/// Sizes with widths below, at and beyond whole vectors, channels that do not fill a tile, and batches that do not fill
/// a group.
const SIZES: [[usize; 6]; 9] = [
    [1, 1, 1, 1, 1, 1],
    [2, 3, 5, 3, 6, 5],
    [3, 4, 4, 3, 7, 7],
    [5, 8, 6, 5, 8, 8],
    [2, 3, 9, 1, 3, 17],
    [2, 2, 7, 3, 32, 32],
    [33, 5, 3, 3, 2, 2],
    [1, 6, 35, 3, 4, 16],
    [17, 2, 66, 1, 1, 3],
];

const DENSE: Window = Window { stride: 1, dilation: 1, groups: 1 };

/// Compares the convolution, and its gradients, of an input and weights of these shapes with burn's.
#[track_caller]
fn assert_is_burns(input: [usize; 4], weights: [usize; 4], window: Window) {
    let Window { stride, dilation, groups } = window;
    for rectify in [false, true] {
        let inputs = || [random(1, input), random(2, weights)];
        let found = differentiate(inputs(), |[input, weights]| convolve(input, weights, window, rectify));
        let wanted = differentiate(inputs(), |[input, weights]| {
            let [_, _, rows, columns] = weights.dims();
            let padding = [rows, columns].map(|side| side / 2 * dilation);
            let options = ConvOptions::new([stride; 2], padding, [dilation; 2], groups);
            conv2d(if rectify { relu(input) } else { input }, weights, None, options)
        });
        found.iter().zip(&wanted).for_each(|(found, wanted)| assert_close(found, wanted));
    }
}

#[test]
fn convolutions_and_their_gradients_are_those_of_burn() {
    for [images, from, to, kernel, height, width] in SIZES {
        assert_is_burns([images, from, height, width], [to, from, kernel, kernel], DENSE);
    }
}

#[test]
fn convolutions_in_groups_and_their_gradients_are_those_of_burn() {
    // Channels of input and output, groups: depthwise, with two filters for each channel, and several in a group.
    for [from, to, groups] in [[8, 8, 8], [3, 6, 3], [8, 8, 2], [12, 8, 4], [16, 16, 8], [4, 70, 2]] {
        for [images, height, width] in [[3, 8, 8], [2, 9, 17], [33, 3, 2]] {
            for kernel in [1, 3, 5, 7] {
                let window = Window { groups, ..DENSE };
                assert_is_burns([images, from, height, width], [to, from / groups, kernel, kernel], window);
            }
        }
    }
}

#[test]
fn strided_and_dilated_convolutions_and_their_gradients_are_those_of_burn() {
    for (groups, stride, dilation) in [(1, 1, 2), (1, 2, 1), (4, 2, 1), (4, 1, 2), (2, 2, 2), (4, 3, 1), (2, 3, 2)] {
        for [height, width] in [[1, 1], [2, 5], [7, 8], [16, 16], [9, 19]] {
            for [rows, columns] in [[1, 1], [3, 3], [5, 5], [7, 7], [1, 7], [3, 1]] {
                let window = Window { stride, dilation, groups };
                assert_is_burns([2, 4, height, width], [8, 4 / groups, rows, columns], window);
            }
        }
    }
}

#[test]
fn normalisations_and_their_gradients_are_those_of_burn() {
    for [images, channels, _, _, height, width] in SIZES {
        if images * height * width == 1 {
            // The variance of one number is 0, and its gradients are noise.
            continue;
        }
        let inputs = || [random(1, [images, channels, height, width]) * 3.0 + 2.0, random(2, [2, channels, 1, 1])];
        let scales = |scales: Tensor<4>| [0, 1].map(|row| scales.clone().narrow(0, row, 1).reshape([channels]));
        let mut found_statistics = Vec::new();
        let found = differentiate(inputs(), |[input, both]| {
            let statistics = statistics(input.clone());
            found_statistics = values(statistics.clone());
            normalise(input, scales(both), statistics, 1e-5)
        });
        let mut wanted_statistics = Vec::new();
        let wanted = differentiate(inputs(), |[input, both]| {
            let [scale, shift] = scales(both);
            let result = batch_norm_train(input, scale, shift, 1e-5);
            wanted_statistics = values(Tensor::cat(vec![result.mean, result.variance], 0));
            result.output
        });
        assert_close(&found_statistics, &wanted_statistics);
        found.iter().zip(&wanted).for_each(|(found, wanted)| assert_close(found, wanted));
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let bits = |threads: usize| {
        ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let depthwise = Window { groups: 37, ..DENSE };
            let windows = [(5, DENSE), (37, depthwise), (37, Window { stride: 2, ..depthwise })];
            let convolved = windows.map(|(from, window)| {
                let inputs = [random(1, [19, from, 9, 11]), random(2, [37, from / window.groups, 3, 3])];
                differentiate(inputs, |[input, weights]| {
                    let output = convolve(input, weights, window, true);
                    let statistics = statistics(output.clone());
                    let [scale, shift] = [3, 4].map(|seed| random(seed, [37]));
                    normalise(output, [scale, shift], statistics, 1e-5)
                })
            });
            let pooled = differentiate([random(1, [40, 7, 19, 21])], |[input]| {
                let halved = max_pool(input, Pool { kernel: 2, stride: 2, padding: 0 });
                average_pool(max_pool(halved, Pool { kernel: 3, stride: 1, padding: 1 }), 3)
            });
            let joined = differentiate([1, 2].map(|seed| random(seed, [40, 9, 17, 19])), |[left, right]| {
                concatenate(vec![add(left.clone(), right.clone()), left, right])
            });
            let all = [convolved.concat(), pooled, joined].concat().concat();
            all.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(5));
}

#[test]
fn nan_passes_through_a_rectifier() {
    let mut pixels = vec![-1.0f32; 9];
    pixels[4] = f32::NAN;
    let input = Tensor::from_data(TensorData::new(pixels, [1, 1, 3, 3]), &Device::flex());
    let output = convolve(input, Tensor::ones([1, 1, 1, 1], &Device::flex()), DENSE, true);
    let output = values(output);
    assert!(output[4].is_nan());
    assert_eq!(output[..4], [0.0; 4]);
}

#[test]
fn inputs_without_gradients_get_no_gradient() {
    let weights = random(2, [3, 2, 3, 3]).require_grad();
    let output = convolve(random(1, [2, 2, 4, 4]), weights.clone(), DENSE, false);
    let gradients = output.sum().backward();
    assert_eq!(weights.grad(&gradients).unwrap().dims(), [3, 2, 3, 3]);
    let plain = convolve(random(1, [2, 2, 4, 4]).inner(), weights.inner(), DENSE, false);
    assert!(!plain.device().is_autodiff());
}
