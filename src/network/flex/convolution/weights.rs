//! The gradient of the weights of a convolution.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use super::super::vector::{arch, load};
use super::Sizes;
use super::planes::Planes;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// The output channels and weights of a tile, and the most weights of a tile of one output channel.
const ROWS: usize = 4;
const COLUMNS: usize = 3;
const SINGLE_COLUMNS: usize = 9;
/// The output channels of one task, if no group has more.
const TASK_ROWS: usize = 32;
/// The most parts that a batch is split into.
const PARTS: usize = 16;
/// The most numbers that the parts' gradients may take together.
const PART_NUMBERS: usize = 1 << 22;
/// The pixels over which a tile sums up before its lanes are added, if there are that many.
const RUN_PIXELS: usize = 1024;

/// Returns the gradient of the weights, `[to, from / groups, height, width]`, for the same input as given to
/// [`convolve`](super::convolve).
///
/// The batch is split into parts, whose gradients are added in order.
pub(in super::super) fn weight_gradient(sizes: Sizes, input: &[f32], gradient: &[f32], rectify: bool) -> Vec<f32> {
    let numbers = sizes.window.groups * sizes.to * sizes.weights();
    let parts = (PART_NUMBERS / numbers).clamp(1, PARTS);
    // Several small images are taken at a time, so that lanes are added less often.
    let part = sizes.images.div_ceil(parts).max(RUN_PIXELS.div_ceil(sizes.output_plane())).min(sizes.images.max(1));
    let channels = channels(&sizes);
    let arch = arch(sizes.output[1]);
    let partial: Vec<Vec<f32>> = (0..sizes.images.div_ceil(part) * channels.len())
        .into_par_iter()
        .map(|task| {
            let (begin, channels) = (task / channels.len() * part, &channels[task % channels.len()]);
            let images = begin..(begin + part).min(sizes.images);
            let mut output = vec![0.0; channels.len() * sizes.weights()];
            arch.dispatch(Part { sizes, input, gradient, rectify, images, channels, output: &mut output });
            output
        })
        .collect();
    let mut parts = partial.chunks_exact(channels.len());
    let mut sum = parts.next().map(<[_]>::concat).unwrap_or_default();
    for part in parts {
        sum.iter_mut().zip(part.iter().flatten()).for_each(|(sum, number)| *sum += number);
    }
    sum
}

/// Output channels of one task: the same of each of some groups.
struct Channels {
    groups: Range<usize>,
    rows: Range<usize>,
}

impl Channels {
    fn len(&self) -> usize {
        self.groups.len() * self.rows.len()
    }
}

/// Splits the output channels into tasks: whole groups together if they are small, parts of a group if it is large.
fn channels(sizes: &Sizes) -> Vec<Channels> {
    let together = (TASK_ROWS / sizes.to.max(1)).max(1);
    let mut tasks = Vec::new();
    for group in (0..sizes.window.groups).step_by(together) {
        let groups = group..(group + together).min(sizes.window.groups);
        let rows = (0..sizes.to).step_by(TASK_ROWS).map(|row| row..(row + TASK_ROWS).min(sizes.to));
        tasks.extend(rows.map(|rows| Channels { groups: groups.clone(), rows }));
    }
    tasks
}

/// The contribution of some images to the gradient of the weights of some output channels.
struct Part<'a> {
    sizes: Sizes,
    input: &'a [f32],
    gradient: &'a [f32],
    rectify: bool,
    images: Range<usize>,
    channels: &'a Channels,
    output: &'a mut [f32],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, input, gradient, rectify, images, channels, output } = self;
        let layout = Planes::new(&sizes, S::F32_LANES);
        let (offsets, places) = (layout.offsets(&sizes), layout.places(&sizes, S::F32_LANES));
        let reach = offsets.iter().copied().max().unwrap_or(0);
        let (rows, plane) = (channels.rows.len(), places.len() * S::F32_LANES);
        let run = RUN_PIXELS.div_ceil(sizes.output_plane()).min(images.len());
        // Tensors that are laid out like the copies are read where they are.
        let copies = [rectify || !layout.is_plain, !sizes.output[1].is_multiple_of(S::F32_LANES)];
        let mut inputs = Source::new(copies[0], [sizes.from * layout.plane, sizes.input_image()], run);
        let mut gradients = Source::new(copies[1], [rows * plane, sizes.output_image()], run);
        let of_image = |image: usize| {
            let begins = [image * inputs.image, image * gradients.image];
            let places = places.iter().enumerate();
            places.map(move |(at, place)| [begins[0] + place.input, begins[1] + at * S::F32_LANES])
        };
        let all_places: Vec<[usize; 2]> = (0..run).flat_map(of_image).collect();
        for begin in images.clone().step_by(run) {
            let count = run.min(images.end - begin);
            for (group, output) in channels.groups.clone().zip(output.chunks_exact_mut(rows * offsets.len())) {
                let input = &input[begin * sizes.input_image() + group * sizes.from * sizes.input_plane()..];
                let channel = group * sizes.to + channels.rows.start;
                let gradient = &gradient[begin * sizes.output_image() + channel * sizes.output_plane()..];
                inputs.copy_inputs(simd, &layout, &sizes, input, rectify, count);
                gradients.copy_gradients(&sizes, gradient, rows, count);
                let sums = Sums {
                    simd,
                    offsets: &offsets,
                    reach,
                    places: &all_places[..count * places.len()],
                    inputs: if inputs.copies { &inputs.copy } else { input },
                    gradients: if gradients.copies { &gradients.copy } else { gradient },
                    plane,
                    rows,
                };
                sums.all(output);
            }
        }
    }
}

/// What some images are read from: the tensor itself, or a copy in another layout.
struct Source {
    copies: bool,
    /// The numbers from image to image.
    image: usize,
    copy: Vec<f32>,
}

impl Source {
    fn new(copies: bool, [of_copy, of_tensor]: [usize; 2], images: usize) -> Self {
        let (image, numbers) = if copies { (of_copy, images * of_copy) } else { (of_tensor, 0) };
        Self { copies, image, copy: vec![0.0; numbers] }
    }

    /// Copies the channels of a group of some images, if they are copied, from where the group begins in the first.
    #[inline(always)]
    fn copy_inputs<S: Simd>(
        &mut self,
        simd: S,
        layout: &Planes,
        sizes: &Sizes,
        input: &[f32],
        rectify: bool,
        images: usize,
    ) {
        if self.copies {
            for (image, copy) in self.copy.chunks_exact_mut(self.image).take(images).enumerate() {
                let input = &input[image * sizes.input_image()..][..sizes.from * sizes.input_plane()];
                layout.fill(simd, sizes, input, rectify, copy);
            }
        }
    }

    /// Copies so many output channels of some images, if they are copied, from where the channels begin in the first.
    fn copy_gradients(&mut self, sizes: &Sizes, gradient: &[f32], rows: usize, images: usize) {
        if self.copies {
            let width = self.image / (rows * sizes.output[0]);
            for (image, copy) in self.copy.chunks_exact_mut(self.image).take(images).enumerate() {
                let gradient = &gradient[image * sizes.output_image()..][..rows * sizes.output_plane()];
                for (row, copy) in gradient.chunks_exact(sizes.output[1]).zip(copy.chunks_exact_mut(width)) {
                    copy[..row.len()].copy_from_slice(row);
                }
            }
        }
    }
}

/// Tiles of the gradient of the weights of a group over some images.
struct Sums<'a, S> {
    simd: S,
    offsets: &'a [usize],
    /// The largest offset.
    reach: usize,
    /// Where each vector of pixels starts in `inputs` and in `gradients`.
    places: &'a [[usize; 2]],
    inputs: &'a [f32],
    gradients: &'a [f32],
    /// The numbers of a plane in `gradients`.
    plane: usize,
    /// The output channels.
    rows: usize,
}

impl<S: Simd> Sums<'_, S> {
    #[inline(always)]
    fn all(&self, output: &mut [f32]) {
        const { assert!(COLUMNS == 3 && SINGLE_COLUMNS == 9, "the arms below are for what such tiles leave over") };
        let columns = self.offsets.len();
        let whole = self.rows / ROWS * ROWS;
        for row in (0..whole).step_by(ROWS) {
            let mut column = 0;
            while column + COLUMNS <= columns {
                self.tile::<ROWS, COLUMNS>(row, column, output);
                column += COLUMNS;
            }
            match columns - column {
                1 => self.tile::<ROWS, 1>(row, column, output),
                2 => self.tile::<ROWS, 2>(row, column, output),
                _ => {}
            }
        }
        let tiles = columns.div_ceil(SINGLE_COLUMNS);
        for row in whole..self.rows {
            for tile in 0..tiles {
                let (column, end) = (columns * tile / tiles, columns * (tile + 1) / tiles);
                match end - column {
                    1 => self.tile::<1, 1>(row, column, output),
                    2 => self.tile::<1, 2>(row, column, output),
                    3 => self.tile::<1, 3>(row, column, output),
                    4 => self.tile::<1, 4>(row, column, output),
                    5 => self.tile::<1, 5>(row, column, output),
                    6 => self.tile::<1, 6>(row, column, output),
                    7 => self.tile::<1, 7>(row, column, output),
                    8 => self.tile::<1, 8>(row, column, output),
                    _ => self.tile::<1, SINGLE_COLUMNS>(row, column, output),
                }
            }
        }
    }

    #[inline(always)]
    fn tile<const R: usize, const C: usize>(&self, row: usize, column: usize, output: &mut [f32]) {
        let simd = self.simd;
        // Each kind of slice has one length, so that one bounds check covers them.
        let length = self.inputs.len() - self.reach;
        let inputs: [&[f32]; C] = from_fn(|c| &self.inputs[self.offsets[column + c]..][..length]);
        let length = self.gradients.len() - (self.rows - 1) * self.plane;
        let gradients: [&[f32]; R] = from_fn(|r| &self.gradients[(row + r) * self.plane..][..length]);
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        for &[input, gradient] in self.places {
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
        // The loop below takes the address of what it goes through. Without this copy that would be the address of the
        // sums, which would then be stored in every round above.
        let sums: [[S::f32s; C]; R] = from_fn(|r| from_fn(|c| sums[r][c]));
        for (r, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                output[(row + r) * self.offsets.len() + column + c] += simd.reduce_sum_f32s(sum);
            }
        }
    }
}
