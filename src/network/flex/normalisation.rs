//! Batch normalisation (Ioffe and Szegedy 2015) in two forward passes and two backward passes.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use super::buffers::take;
use super::vector::load;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// The sizes of a batch; `plane` is height times width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) images: usize,
    pub(super) channels: usize,
    pub(super) plane: usize,
}

impl Sizes {
    fn image(&self) -> usize {
        self.channels * self.plane
    }

    fn count(&self) -> f64 {
        (self.images * self.plane) as f64
    }

    /// Returns the planes of a channel.
    fn planes<'a>(&self, values: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let plane = self.plane;
        values.chunks_exact(self.image()).map(move |image| &image[channel * plane..][..plane])
    }
}

/// Returns the means of the channels over a batch, followed by their variances.
pub(super) fn statistics(sizes: Sizes, input: &[f32]) -> Vec<f32> {
    let arch = Arch::new();
    let of_channel = |channel| {
        let sum: f64 = sizes.planes(input, channel).map(|plane| arch.dispatch(Sum { plane })).sum();
        let mean = single(sum / sizes.count());
        let squares: f64 = sizes.planes(input, channel).map(|plane| arch.dispatch(Squares { plane, mean })).sum();
        (mean, single(squares / sizes.count()))
    };
    let (mut means, variances): (Vec<f32>, Vec<f32>) = (0..sizes.channels).into_par_iter().map(of_channel).unzip();
    means.extend(variances);
    means
}

/// Returns the input, normalised by `statistics`, scaled and shifted.
pub(super) fn normalise(
    sizes: Sizes,
    input: &[f32],
    [scale, shift]: [&[f32]; 2],
    statistics: &[f32],
    epsilon: f64,
) -> Vec<f32> {
    let (means, variances) = statistics.split_at(sizes.channels);
    let factors: Vec<f32> =
        scale.iter().zip(variances).map(|(scale, &variance)| scale * rate(variance, epsilon)).collect();
    let mut output = take(input.len());
    let arch = Arch::new();
    output.par_chunks_mut(sizes.image()).enumerate().for_each(|(image, output)| {
        let input = &input[image * sizes.image()..][..sizes.image()];
        arch.dispatch(|| {
            let planes = output.chunks_exact_mut(sizes.plane).zip(input.chunks_exact(sizes.plane));
            for (channel, (output, input)) in planes.enumerate() {
                let (mean, factor, shift) = (means[channel], factors[channel], shift[channel]);
                output.iter_mut().zip(input).for_each(|(to, &from)| *to = (from - mean) * factor + shift);
            }
        });
    });
    output
}

/// The gradients of [`normalise`] with the statistics of its own input.
pub(super) struct Gradients {
    pub(super) input: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

pub(super) fn gradients(
    sizes: Sizes,
    input: &[f32],
    scale: &[f32],
    statistics: &[f32],
    epsilon: f64,
    gradient: &[f32],
) -> Gradients {
    let (means, variances) = statistics.split_at(sizes.channels);
    let rates: Vec<f32> = variances.iter().map(|&variance| rate(variance, epsilon)).collect();
    let arch = Arch::new();
    let sums: Vec<[f64; 2]> = (0..sizes.channels)
        .into_par_iter()
        .map(|channel| {
            let planes = sizes.planes(gradient, channel).zip(sizes.planes(input, channel));
            planes.fold([0.0; 2], |[sum, product], (gradient, input)| {
                let part = arch.dispatch(Products { gradient, input, mean: means[channel] });
                [sum + part[0], product + part[1] * f64::from(rates[channel])]
            })
        })
        .collect();
    // The input's gradient is factor * (gradient - mean - centred * slope).
    let count = sizes.count();
    let channels: Vec<[f32; 4]> = (0..sizes.channels)
        .map(|channel| {
            let rate = rates[channel];
            let [sum, product] = sums[channel];
            [scale[channel] * rate, single(sum / count), single(product / count * f64::from(rate)), means[channel]]
        })
        .collect();
    let mut output = take(input.len());
    output.par_chunks_mut(sizes.image()).enumerate().for_each(|(image, output)| {
        let image = image * sizes.image()..(image + 1) * sizes.image();
        let (input, gradient) = (&input[image.clone()], &gradient[image]);
        arch.dispatch(|| {
            for (channel, output) in output.chunks_exact_mut(sizes.plane).enumerate() {
                let [factor, offset, slope, mean] = channels[channel];
                let plane = channel * sizes.plane..(channel + 1) * sizes.plane;
                let from = gradient[plane.clone()].iter().zip(&input[plane]);
                for (to, (gradient, input)) in output.iter_mut().zip(from) {
                    *to = factor * (gradient - offset - (input - mean) * slope);
                }
            }
        });
    });
    Gradients {
        input: output,
        scale: sums.iter().map(|[_, product]| single(*product)).collect(),
        shift: sums.iter().map(|[sum, _]| single(*sum)).collect(),
    }
}

/// Returns one over the standard deviation.
fn rate(variance: f32, epsilon: f64) -> f32 {
    single(1.0 / (f64::from(variance) + epsilon).sqrt())
}

#[expect(clippy::cast_possible_truncation, reason = "tensors are in single precision")]
fn single(value: f64) -> f32 {
    value as f32
}

/// Sums `N` numbers over the positions of a plane: first in vectors, then over their lanes.
#[inline(always)]
fn sums<S: Simd, const N: usize>(
    simd: S,
    places: usize,
    vector: impl Fn(usize) -> [S::f32s; N],
    number: impl Fn(usize) -> [f32; N],
) -> [f64; N] {
    let mut sums = [[simd.splat_f32s(0.0); N]; 2];
    let pairs = places / (2 * S::F32_LANES);
    for pair in 0..pairs {
        for (half, sums) in sums.iter_mut().enumerate() {
            let values = vector((2 * pair + half) * S::F32_LANES);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum = simd.add_f32s(*sum, value));
        }
    }
    let mut total: [f64; N] =
        std::array::from_fn(|n| f64::from(simd.reduce_sum_f32s(simd.add_f32s(sums[0][n], sums[1][n]))));
    for place in 2 * pairs * S::F32_LANES..places {
        total.iter_mut().zip(number(place)).for_each(|(total, number)| *total += f64::from(number));
    }
    total
}

struct Sum<'a> {
    plane: &'a [f32],
}

impl WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let Self { plane } = self;
        sums(simd, plane.len(), |at| [load::<S>(plane, at)], |at| [plane[at]])[0]
    }
}

/// The sum of squared distances from the mean.
struct Squares<'a> {
    plane: &'a [f32],
    mean: f32,
}

impl WithSimd for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let Self { plane, mean } = self;
        let means = simd.splat_f32s(mean);
        let square = |at| {
            let centred = simd.sub_f32s(load::<S>(plane, at), means);
            [simd.mul_f32s(centred, centred)]
        };
        sums(simd, plane.len(), square, |at| [(plane[at] - mean) * (plane[at] - mean)])[0]
    }
}

/// The sums of a gradient, and of its products with the centred input.
struct Products<'a> {
    gradient: &'a [f32],
    input: &'a [f32],
    mean: f32,
}

impl WithSimd for Products<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; 2] {
        let Self { gradient, input, mean } = self;
        let means = simd.splat_f32s(mean);
        let product = |at| {
            let gradient = load::<S>(gradient, at);
            [gradient, simd.mul_f32s(gradient, simd.sub_f32s(load::<S>(input, at), means))]
        };
        sums(simd, gradient.len(), product, |at| [gradient[at], gradient[at] * (input[at] - mean)])
    }
}
