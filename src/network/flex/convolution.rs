//! Convolutions of stride 1 that keep height and width, without a matrix of patches.
//!
//! An image is copied once into planes with a margin of zeros, small enough for the second-level cache. Every output is
//! then a sum, over the weights, of shifted vectors that are loaded from there; twelve vectors of sums stay in
//! registers. This is the inner loop of a matrix product (Goto and van de Geijn 2008), without building the matrix of
//! patches.
//!
//! The order of sums depends only on sizes and on the width of the processor's vectors, never on the number of threads.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use super::vector::{load, store};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// The output channels of a tile, and its vectors of pixels: with two vectors of inputs and one of a weight, their sums
/// fit into the 16 registers of AVX2.
const ROWS: usize = 6;
const COLUMNS: usize = 2;
/// The output channels and weights of a tile of the gradient of the weights.
const GRADIENTS: usize = 4;
const WEIGHTS: usize = 3;
/// The output channels of one task of the gradient of the weights.
const TASK_ROWS: usize = 32;
/// The most parts that a batch is split into for the gradient of the weights.
const PARTS: usize = 16;
/// The most numbers that the parts' gradients may take together.
const PART_NUMBERS: usize = 1 << 22;
/// The pixels over which a tile of the gradient of the weights sums up before its lanes are added, if there are that
/// many.
const RUN_PIXELS: usize = 1024;

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) images: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Odd.
    pub(super) kernel: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Sizes {
    fn plane(&self) -> usize {
        self.height * self.width
    }

    fn input(&self) -> usize {
        self.from * self.plane()
    }

    fn output(&self) -> usize {
        self.to * self.plane()
    }

    /// Returns the number of weights of an output channel.
    fn weights(&self) -> usize {
        self.from * self.kernel * self.kernel
    }
}

/// Returns the input, rectified first if `rectify` is set, convolved with `[to, from, kernel, kernel]`, plus the bias
/// `[to]` if there is one. The output is `[images, to, height, width]`.
pub(super) fn convolve(sizes: Sizes, input: &[f32], weights: &[f32], bias: Option<&[f32]>, rectify: bool) -> Vec<f32> {
    let packed = pack(sizes.to, sizes.weights(), |to, weight| weights[to * sizes.weights() + weight]);
    run(sizes, input, &packed, bias, rectify, None)
}

/// Returns the gradient of the input, `[images, from, height, width]`: 0 where a rectified input was not positive.
pub(super) fn input_gradient(sizes: Sizes, gradient: &[f32], weights: &[f32], rectified: Option<&[f32]>) -> Vec<f32> {
    let taps = sizes.kernel * sizes.kernel;
    // A convolution with the same weights, from outputs to inputs and rotated by 180 degrees.
    let packed = pack(sizes.from, sizes.to * taps, |from, weight| {
        let (to, tap) = (weight / taps, weight % taps);
        weights[(to * sizes.from + from) * taps + taps - 1 - tap]
    });
    run(Sizes { from: sizes.to, to: sizes.from, ..sizes }, gradient, &packed, None, false, rectified)
}

/// Splits the output channels into blocks: as many as are needed, of about equal size.
fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(ROWS);
    (0..count).map(move |block| rows * block / count..rows * (block + 1) / count)
}

/// Returns the weights in the order of the inner loop: for each block of output channels and each of their weights, one
/// number per channel. Missing channels are 0.
fn pack(rows: usize, columns: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<[f32; ROWS]> {
    let mut packed = Vec::with_capacity(rows.div_ceil(ROWS) * columns);
    for block in blocks(rows) {
        packed.extend(
            (0..columns)
                .map(|column| from_fn(|row| if row < block.len() { weight(block.start + row, column) } else { 0.0 })),
        );
    }
    packed
}

fn run(
    sizes: Sizes,
    input: &[f32],
    weights: &[[f32; ROWS]],
    bias: Option<&[f32]>,
    rectify: bool,
    mask: Option<&[f32]>,
) -> Vec<f32> {
    let mut output = vec![0.0; sizes.images * sizes.output()];
    let arch = Arch::new();
    output.par_chunks_mut(sizes.output()).enumerate().for_each_init(Vec::new, |padded, (image, output)| {
        let input = &input[image * sizes.input()..][..sizes.input()];
        let mask = mask.map(|mask| &mask[image * sizes.output()..][..sizes.output()]);
        arch.dispatch(Image { sizes, input, weights, bias, rectify, mask, padded, output });
    });
    output
}

/// Planes with a margin, and where vectors of pixels start in them.
struct Padded {
    row: usize,
    plane: usize,
    /// The number of vectors in a row of pixels; the last may reach into the margin.
    vectors: usize,
}

impl Padded {
    fn new(sizes: &Sizes, lanes: usize) -> Self {
        let vectors = sizes.width.div_ceil(lanes);
        let row = vectors * lanes + sizes.kernel - 1;
        Self { row, plane: row * (sizes.height + sizes.kernel - 1), vectors }
    }

    /// Returns, for each weight of an output channel, the offset of its input pixel from the output pixel.
    fn offsets(&self, sizes: &Sizes) -> Vec<usize> {
        let kernel = sizes.kernel;
        (0..sizes.weights())
            .map(|weight| {
                let (channel, tap) = (weight / (kernel * kernel), weight % (kernel * kernel));
                channel * self.plane + tap / kernel * self.row + tap % kernel
            })
            .collect()
    }

    /// Copies the planes of one image. The margin must be 0 already.
    #[inline(always)]
    fn fill(&self, sizes: &Sizes, input: &[f32], rectify: bool, padded: &mut [f32]) {
        let margin = sizes.kernel / 2;
        for (input, padded) in input.chunks_exact(sizes.plane()).zip(padded.chunks_exact_mut(self.plane)) {
            let rows = padded.chunks_exact_mut(self.row).skip(margin);
            for (input, row) in input.chunks_exact(sizes.width).zip(rows) {
                let row = &mut row[margin..][..sizes.width];
                if rectify {
                    // NaN stays NaN, so that a training that diverges is noticed.
                    row.iter_mut().zip(input).for_each(|(to, &from)| *to = if from < 0.0 { 0.0 } else { from });
                } else {
                    row.copy_from_slice(input);
                }
            }
        }
    }
}

/// The convolution of one image.
struct Image<'a> {
    sizes: Sizes,
    input: &'a [f32],
    weights: &'a [[f32; ROWS]],
    bias: Option<&'a [f32]>,
    rectify: bool,
    mask: Option<&'a [f32]>,
    padded: &'a mut Vec<f32>,
    output: &'a mut [f32],
}

impl WithSimd for Image<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, input, weights, bias, rectify, mask, padded, output } = self;
        let layout = Padded::new(&sizes, S::F32_LANES);
        // The margin stays 0 from image to image.
        padded.resize(layout.plane * sizes.from, 0.0);
        layout.fill(&sizes, input, rectify, padded);
        let offsets = layout.offsets(&sizes);
        let count = layout.vectors * sizes.height;
        for (block, weights) in blocks(sizes.to).zip(weights.chunks_exact(sizes.weights())) {
            let bias = from_fn(|row| bias.filter(|_| row < block.len()).map_or(0.0, |bias| bias[block.start + row]));
            let planes = block.start * sizes.plane()..block.end * sizes.plane();
            let (mask, output) = (mask.map(|mask| &mask[planes.clone()]), &mut output[planes]);
            let mut tiles =
                Tiles { simd, sizes: &sizes, layout: &layout, padded, offsets: &offsets, weights, bias, mask, output };
            match block.len() {
                1 => tiles.all::<1>(count),
                2 => tiles.all::<2>(count),
                3 => tiles.all::<3>(count),
                4 => tiles.all::<4>(count),
                5 => tiles.all::<5>(count),
                _ => tiles.all::<ROWS>(count),
            }
        }
    }
}

/// The tiles of [`ROWS`] output channels.
struct Tiles<'a, S> {
    simd: S,
    sizes: &'a Sizes,
    layout: &'a Padded,
    padded: &'a [f32],
    offsets: &'a [usize],
    weights: &'a [[f32; ROWS]],
    /// What the sums of each channel begin with.
    bias: [f32; ROWS],
    mask: Option<&'a [f32]>,
    output: &'a mut [f32],
}

impl<S: Simd> Tiles<'_, S> {
    /// Computes the outputs of `R` channels.
    #[inline(always)]
    fn all<const R: usize>(&mut self, vectors: usize) {
        let whole = vectors / COLUMNS * COLUMNS;
        for first in (0..whole).step_by(COLUMNS) {
            self.tile::<R, COLUMNS>(first);
        }
        for first in whole..vectors {
            self.tile::<R, 1>(first);
        }
    }

    /// Computes the outputs of `R` channels at `N` vectors of pixels.
    #[inline(always)]
    fn tile<const R: usize, const N: usize>(&mut self, first: usize) {
        let simd = self.simd;
        let places: [(usize, usize); N] =
            from_fn(|n| ((first + n) / self.layout.vectors, (first + n) % self.layout.vectors * S::F32_LANES));
        let begins: [usize; N] = from_fn(|n| places[n].0 * self.layout.row + places[n].1);
        // All slices have one length, so that one bounds check covers them.
        let length = self.padded.len() - begins[N - 1];
        let inputs: [&[f32]; N] = from_fn(|n| &self.padded[begins[n]..][..length]);
        let sums = sum_up::<S, R, N>(simd, inputs, self.offsets, self.weights, &self.bias);
        let plane = self.sizes.plane();
        for (row, sums) in sums.iter().enumerate() {
            for (&(y, x), &sum) in places.iter().zip(sums) {
                let begin = row * plane + y * self.sizes.width + x;
                let length = S::F32_LANES.min(self.sizes.width - x);
                let output = &mut self.output[begin..][..length];
                store(simd, output, sum);
                if let Some(mask) = self.mask {
                    let positive = mask[begin..][..length].iter().map(|&input| input > 0.0);
                    output.iter_mut().zip(positive).for_each(|(to, positive)| *to = if positive { *to } else { 0.0 });
                }
            }
        }
    }
}

/// Computes the sums of a tile: of the bias of `R` output channels, and of each of their weights times its input pixels.
#[inline(always)]
fn sum_up<S: Simd, const R: usize, const N: usize>(
    simd: S,
    inputs: [&[f32]; N],
    offsets: &[usize],
    weights: &[[f32; ROWS]],
    bias: &[f32; ROWS],
) -> [[S::f32s; N]; R] {
    let mut sums: [[S::f32s; N]; R] = from_fn(|r| [simd.splat_f32s(bias[r]); N]);
    for (&offset, weights) in offsets.iter().zip(weights) {
        let inputs: [S::f32s; N] = from_fn(|n| load::<S>(inputs[n], offset));
        let mut next = sums;
        for r in 0..R {
            let weight = simd.splat_f32s(weights[r]);
            for n in 0..N {
                next[r][n] = simd.mul_add_e_f32s(weight, inputs[n], sums[r][n]);
            }
        }
        sums = next;
    }
    sums
}

/// Returns the gradient of the weights, `[to, from, kernel, kernel]`, for the same input as given to [`convolve`].
///
/// The batch is split into parts, whose gradients are added in order.
pub(super) fn weight_gradient(sizes: Sizes, input: &[f32], gradient: &[f32], rectify: bool) -> Vec<f32> {
    let numbers = sizes.to * sizes.weights();
    let parts = (PART_NUMBERS / numbers).clamp(1, PARTS);
    // Several small images are taken at a time, so that lanes are added less often.
    let part = sizes.images.div_ceil(parts).max(RUN_PIXELS.div_ceil(sizes.plane())).min(sizes.images.max(1));
    let tasks = sizes.to.div_ceil(TASK_ROWS);
    let arch = Arch::new();
    let partial: Vec<Vec<f32>> = (0..sizes.images.div_ceil(part) * tasks)
        .into_par_iter()
        .map(|task| {
            let (begin, row) = (task / tasks * part, task % tasks * TASK_ROWS);
            let images = begin..(begin + part).min(sizes.images);
            let rows = row..(row + TASK_ROWS).min(sizes.to);
            let mut output = vec![0.0; rows.len() * sizes.weights()];
            arch.dispatch(Part { sizes, input, gradient, rectify, images, rows, output: &mut output });
            output
        })
        .collect();
    let mut parts = partial.chunks_exact(tasks);
    let mut sum = parts.next().map(<[_]>::concat).unwrap_or_default();
    for part in parts {
        sum.iter_mut().zip(part.iter().flatten()).for_each(|(sum, number)| *sum += number);
    }
    sum
}

/// The contribution of some images to the gradient of the weights of some output channels.
struct Part<'a> {
    sizes: Sizes,
    input: &'a [f32],
    gradient: &'a [f32],
    rectify: bool,
    images: Range<usize>,
    rows: Range<usize>,
    output: &'a mut [f32],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, input, gradient, rectify, images, rows, output } = self;
        let layout = Padded::new(&sizes, S::F32_LANES);
        let offsets = layout.offsets(&sizes);
        let vectors = layout.vectors * sizes.height;
        let plane = vectors * S::F32_LANES;
        let group = RUN_PIXELS.div_ceil(sizes.plane()).min(images.len());
        let mut padded = vec![0.0; group * sizes.from * layout.plane];
        let mut gradients = vec![0.0; group * rows.len() * plane];
        let places: Vec<(usize, usize)> = (0..group * vectors)
            .map(|place| {
                let (image, vector) = (place / vectors, place % vectors);
                let (y, x) = (vector / layout.vectors, vector % layout.vectors * S::F32_LANES);
                let input = image * sizes.from * layout.plane + y * layout.row + x;
                (input, image * rows.len() * plane + vector * S::F32_LANES)
            })
            .collect();
        for begin in images.clone().step_by(group) {
            let count = group.min(images.end - begin);
            for (place, image) in (begin..begin + count).enumerate() {
                let input = &input[image * sizes.input()..][..sizes.input()];
                layout.fill(&sizes, input, rectify, &mut padded[place * sizes.from * layout.plane..]);
                let gradient = &gradient[image * sizes.output() + rows.start * sizes.plane()..];
                let from = gradient[..rows.len() * sizes.plane()].chunks_exact(sizes.width);
                let to = gradients[place * rows.len() * plane..].chunks_exact_mut(layout.vectors * S::F32_LANES);
                from.zip(to).for_each(|(from, to)| to[..sizes.width].copy_from_slice(from));
            }
            let sums = Sums {
                simd,
                offsets: &offsets,
                places: &places[..count * vectors],
                padded: &padded,
                gradients: &gradients,
                rows: rows.len(),
                plane,
            };
            let whole = rows.len() / GRADIENTS * GRADIENTS;
            for row in (0..whole).step_by(GRADIENTS) {
                sums.rows::<GRADIENTS>(row, output);
            }
            for row in whole..rows.len() {
                sums.rows::<1>(row, output);
            }
        }
    }
}

/// Tiles of the gradient of the weights over some images.
struct Sums<'a, S> {
    simd: S,
    offsets: &'a [usize],
    /// Where each vector of pixels starts in the first plane of `padded` and in that of `gradients`.
    places: &'a [(usize, usize)],
    padded: &'a [f32],
    gradients: &'a [f32],
    /// The planes of an image in `gradients`, and the numbers of each.
    rows: usize,
    plane: usize,
}

impl<S: Simd> Sums<'_, S> {
    #[inline(always)]
    fn rows<const R: usize>(&self, row: usize, output: &mut [f32]) {
        let columns = self.offsets.len();
        let whole = columns / WEIGHTS * WEIGHTS;
        for column in (0..whole).step_by(WEIGHTS) {
            self.tile::<R, WEIGHTS>(row, column, output);
        }
        for column in whole..columns {
            self.tile::<R, 1>(row, column, output);
        }
    }

    #[inline(always)]
    fn tile<const R: usize, const C: usize>(&self, row: usize, column: usize, output: &mut [f32]) {
        let simd = self.simd;
        // Each kind of slice has one length, so that one bounds check covers them.
        let length = self.padded.len() - self.offsets[self.offsets.len() - 1];
        let inputs: [&[f32]; C] = from_fn(|c| &self.padded[self.offsets[column + c]..][..length]);
        let length = self.gradients.len() - (self.rows - 1) * self.plane;
        let gradients: [&[f32]; R] = from_fn(|r| &self.gradients[(row + r) * self.plane..][..length]);
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        for &(input, gradient) in self.places {
            let inputs: [S::f32s; C] = from_fn(|c| load::<S>(inputs[c], input));
            let mut next = sums;
            for r in 0..R {
                let gradient = load::<S>(gradients[r], gradient);
                for c in 0..C {
                    next[r][c] = simd.mul_add_e_f32s(gradient, inputs[c], sums[r][c]);
                }
            }
            sums = next;
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                output[(row + r) * self.offsets.len() + column + c] += simd.reduce_sum_f32s(sum);
            }
        }
    }
}
