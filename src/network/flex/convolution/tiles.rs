//! Outputs of a convolution, in tiles of output channels by vectors of pixels that stay in registers.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use super::super::buffers::take;
use super::super::vector::{arch, keep_positive, load, load_some, store};
use super::Sizes;
use super::planes::{Place, Planes};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// The most output channels of a tile. The vectors of pixels beside them are as many as fit into the 16 registers of
/// AVX2, with vectors of inputs and one of a weight: see [`Tiles::all`].
pub(super) const ROWS: usize = 6;

/// Splits the output channels of a group into blocks: as many as are needed, of about equal size.
pub(super) fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(ROWS);
    (0..count).map(move |block| rows * block / count..rows * (block + 1) / count)
}

/// What is done beside the sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    /// What the sums of each output channel begin with, if not with 0.
    pub(super) bias: Option<&'a [f32]>,
    /// Whether negative inputs count as 0.
    pub(super) rectify: bool,
    /// Numbers of the shape of the output: it is 0 where they are not positive.
    pub(super) mask: Option<&'a [f32]>,
}

/// Returns the output for packed weights.
pub(super) fn run(sizes: Sizes, input: &[f32], weights: &[[f32; ROWS]], around: Around<'_>) -> Vec<f32> {
    let mut output = take(sizes.images * sizes.output_image());
    let arch = arch(sizes.output[1]);
    output.par_chunks_mut(sizes.output_image()).enumerate().for_each_init(Vec::new, |padded, (image, output)| {
        let input = &input[image * sizes.input_image()..][..sizes.input_image()];
        let mask = around.mask.map(|mask| &mask[image * sizes.output_image()..][..sizes.output_image()]);
        arch.dispatch(Image { sizes, input, weights, around: Around { mask, ..around }, padded, output });
    });
    output
}

/// The convolution of one image.
struct Image<'a> {
    sizes: Sizes,
    input: &'a [f32],
    weights: &'a [[f32; ROWS]],
    around: Around<'a>,
    padded: &'a mut Vec<f32>,
    output: &'a mut [f32],
}

impl WithSimd for Image<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, input, weights, around: Around { bias, rectify, mask }, padded, output } = self;
        let layout = Planes::new(&sizes, S::F32_LANES);
        let copies = rectify || !layout.is_plain;
        // The margin stays 0 from group to group and from image to image.
        padded.resize(if copies { layout.plane * sizes.from } else { 0 }, 0.0);
        let (offsets, places) = (layout.offsets(&sizes), layout.places(&sizes, S::F32_LANES));
        let plane = sizes.output_plane();
        let mut blocks_of_weights = weights.chunks_exact(sizes.weights());
        let groups = input.chunks_exact(sizes.from * sizes.input_plane());
        for (input, group) in groups.zip(0..) {
            if copies {
                layout.fill(simd, &sizes, input, rectify, padded);
            }
            let inputs = if copies { padded.as_slice() } else { input };
            for (block, weights) in blocks(sizes.to).zip(&mut blocks_of_weights) {
                let first = group * sizes.to + block.start;
                let begin = first * plane;
                let channels = begin..begin + block.len() * plane;
                let (mask, output) = (mask.map(|mask| &mask[channels.clone()]), &mut output[channels]);
                let bias = bias
                    .map_or([0.0; ROWS], |bias| from_fn(|row| if row < block.len() { bias[first + row] } else { 0.0 }));
                let mut tiles = Tiles { simd, plane, inputs, offsets: &offsets, weights, bias, mask, output };
                match block.len() {
                    1 => tiles.all::<1, 4>(&places),
                    2 => tiles.all::<2, 4>(&places),
                    3 => tiles.all::<3, 3>(&places),
                    4 => tiles.all::<4, 2>(&places),
                    5 => tiles.all::<5, 2>(&places),
                    _ => tiles.all::<ROWS, 2>(&places),
                }
            }
        }
    }
}

/// The tiles of a block of output channels.
struct Tiles<'a, S> {
    simd: S,
    /// The pixels of an output plane.
    plane: usize,
    inputs: &'a [f32],
    offsets: &'a [usize],
    weights: &'a [[f32; ROWS]],
    bias: [f32; ROWS],
    mask: Option<&'a [f32]>,
    output: &'a mut [f32],
}

impl<S: Simd> Tiles<'_, S> {
    /// Computes the outputs of `R` channels, in tiles of `N` vectors of pixels, and of fewer at the end.
    #[inline(always)]
    fn all<const R: usize, const N: usize>(&mut self, places: &[Place]) {
        let (tiles, rest) = places.as_chunks::<N>();
        for places in tiles {
            self.tile::<R, N>(places);
        }
        let (tiles, rest) = rest.as_chunks::<2>();
        for places in tiles {
            self.tile::<R, 2>(places);
        }
        for &place in rest {
            self.tile::<R, 1>(&[place]);
        }
    }

    /// Computes the outputs of `R` channels at `N` vectors of pixels.
    #[inline(always)]
    fn tile<const R: usize, const N: usize>(&mut self, places: &[Place; N]) {
        let simd = self.simd;
        // All slices have one length, so that one bounds check covers them.
        let length = self.inputs.len() - places[N - 1].input;
        let inputs: [&[f32]; N] = from_fn(|n| &self.inputs[places[n].input..][..length]);
        let sums = sum_up::<S, R, N>(simd, inputs, self.offsets, self.weights, &self.bias);
        for (row, sums) in sums.iter().enumerate() {
            for (place, &sum) in places.iter().zip(sums) {
                let pixels = row * self.plane + place.output..row * self.plane + place.output + place.lanes;
                let sum = match self.mask {
                    Some(mask) => keep_positive(simd, load_some(simd, &mask[pixels.clone()]), sum),
                    None => sum,
                };
                store(simd, &mut self.output[pixels], sum);
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
    // The caller's loop over the result takes its address. Without this copy that would be the address of the sums,
    // which would then be stored in every round.
    from_fn(|r| from_fn(|n| sums[r][n]))
}
