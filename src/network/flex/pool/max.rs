//! The largest number of each window.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use super::super::buffers::take;
use super::super::vector::{larger, load, select, store};
use super::{Pool, Sizes};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// For each output of each task, the place of its number in the window, row by row.
pub(in super::super) type Places = Vec<Vec<u8>>;

/// Returns the largest number of each window, and its place if `keep` is set: the first of equal numbers. NaN counts as
/// larger than any number, and the last one counts, as burn has it.
pub(in super::super) fn max(sizes: Sizes, input: &[f32], keep: bool) -> (Vec<f32>, Places) {
    let mut output = take(sizes.planes * sizes.output_plane());
    if output.is_empty() {
        return (output, Vec::new());
    }
    let arch = Arch::new();
    let inputs = input.par_chunks(sizes.task() * sizes.input_plane());
    let places = output
        .par_chunks_mut(sizes.task() * sizes.output_plane())
        .zip(inputs)
        .map_init(Vec::new, |padded, (output, input)| arch.dispatch(Largest { sizes, input, output, padded, keep }))
        .collect();
    (output, places)
}

/// Returns the gradient of the input.
pub(in super::super) fn max_gradient(sizes: Sizes, places: &Places, gradient: &[f32]) -> Vec<f32> {
    if gradient.is_empty() {
        return vec![0.0; sizes.planes * sizes.input_plane()];
    }
    let mut output = take(sizes.planes * sizes.input_plane());
    let arch = Arch::new();
    output
        .par_chunks_mut(sizes.task() * sizes.input_plane())
        .zip(gradient.par_chunks(sizes.task() * sizes.output_plane()).zip(places))
        .for_each(|(output, (gradient, places))| arch.dispatch(InputGradient { sizes, places, gradient, output }));
    output
}

/// Copies of planes with a margin of minus infinity. The pixels of a row are sorted by their column modulo the stride,
/// so that the pixels that one place of neighbouring windows needs are neighbours.
struct Padded {
    pool: Pool,
    /// The numbers of a row, of the part of it for one remainder of the column, and of a plane.
    row: usize,
    part: usize,
    plane: usize,
}

impl Padded {
    fn new(sizes: &Sizes, lanes: usize) -> Self {
        let Sizes { pool, output: [height, width], .. } = *sizes;
        // The last vector of a row may reach beyond it.
        let part = width.next_multiple_of(lanes) + (pool.kernel - 1) / pool.stride;
        let row = pool.stride * part;
        Self { pool, row, part, plane: row * ((height - 1) * pool.stride + pool.kernel) }
    }

    /// Returns, for each place of a window, its offset from the begin of the window's row.
    fn offsets(&self) -> Vec<usize> {
        let Pool { kernel, stride, .. } = self.pool;
        let offset = |place| (place / kernel, place % kernel);
        let places = (0..kernel * kernel).map(offset);
        places.map(|(row, column)| row * self.row + column % stride * self.part + column / stride).collect()
    }

    #[inline(always)]
    fn fill(&self, input: &[f32], width: usize, padded: &mut [f32]) {
        let Pool { stride, padding, .. } = self.pool;
        let rows = padded.chunks_exact_mut(self.row).skip(padding);
        for (input, padded) in input.chunks_exact(width).zip(rows) {
            if stride == 1 {
                padded[padding..padding + width].copy_from_slice(input);
            } else if stride == 2 && padding == 0 {
                let (even, odd) = padded.split_at_mut(self.part);
                let (pairs, last) = input.as_chunks::<2>();
                for ((even, odd), pair) in even.iter_mut().zip(odd).zip(pairs) {
                    [*even, *odd] = *pair;
                }
                even.iter_mut().skip(pairs.len()).zip(last).for_each(|(to, from)| *to = *from);
            } else {
                for (remainder, part) in padded.chunks_exact_mut(self.part).enumerate() {
                    let first = first_column(self.pool, remainder);
                    let columns = input.iter().skip(first).step_by(stride);
                    part[(first + padding) / stride..].iter_mut().zip(columns).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// Returns the first column of the image that has a remainder modulo the stride, counted from the padding.
fn first_column(pool: Pool, remainder: usize) -> usize {
    (remainder + pool.stride - pool.padding % pool.stride) % pool.stride
}

/// The largest numbers of some planes.
struct Largest<'a> {
    sizes: Sizes,
    input: &'a [f32],
    output: &'a mut [f32],
    padded: &'a mut Vec<f32>,
    keep: bool,
}

impl WithSimd for Largest<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<u8> {
        let Self { sizes, input, output, padded, keep } = self;
        let Sizes { pool: Pool { kernel, stride, padding }, input: [height, _], output: [_, width], .. } = sizes;
        let layout = Padded::new(&sizes, S::F32_LANES);
        padded.resize(layout.plane, f32::NEG_INFINITY);
        let offsets = layout.offsets();
        // A window begins with its first pixel inside of the image, whatever its number.
        let begins: Vec<f32> =
            (0..width.next_multiple_of(S::F32_LANES)).map(|x| padding.saturating_sub(x * stride) as f32).collect();
        let mut chosen = vec![0.0; begins.len()];
        let mut places = Vec::with_capacity(if keep { output.len() } else { 0 });
        let inputs = input.chunks_exact(sizes.input_plane());
        for (input, output) in inputs.zip(output.chunks_exact_mut(sizes.output_plane())) {
            layout.fill(input, sizes.input[1], padded);
            for (y, output) in output.chunks_exact_mut(width).enumerate() {
                let rows = inside(y * stride, padding, kernel, height);
                let row = Row {
                    simd,
                    pixels: &padded[y * stride * layout.row..],
                    offsets: &offsets[rows.start * kernel..rows.end * kernel],
                    first: rows.start * kernel,
                    begins: &begins,
                };
                if keep {
                    row.largest::<true>(output, &mut chosen);
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places have 8 bits")]
                    places.extend(chosen[..width].iter().map(|&place| place as u8));
                } else {
                    row.largest::<false>(output, &mut chosen);
                }
            }
        }
        places
    }
}

/// Returns the rows of a window that are inside of the image; `begin` counts from the padding.
fn inside(begin: usize, padding: usize, kernel: usize, height: usize) -> Range<usize> {
    padding.saturating_sub(begin)..kernel.min(height + padding - begin)
}

/// A row of windows.
struct Row<'a, S> {
    simd: S,
    /// The padded pixels from the first row of the windows on.
    pixels: &'a [f32],
    /// The offsets of the places from `first` on.
    offsets: &'a [usize],
    first: usize,
    /// The first column of each window that is inside of the image.
    begins: &'a [f32],
}

impl<S: Simd> Row<'_, S> {
    /// Writes the largest number of each window, and its place if `KEEP` is set.
    #[inline(always)]
    fn largest<const KEEP: bool>(&self, output: &mut [f32], chosen: &mut [f32]) {
        let Self { simd, pixels, offsets, first, begins } = *self;
        for (at, output) in output.chunks_mut(S::F32_LANES).enumerate() {
            let x = at * S::F32_LANES;
            let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
            let mut place = simd.add_f32s(load::<S>(begins, x), simd.splat_f32s(first as f32));
            let mut number = simd.splat_f32s(first as f32);
            for offset in offsets {
                let pixel = load::<S>(pixels, offset + x);
                let is_larger = larger(simd, pixel, largest);
                largest = select(simd, is_larger, pixel, largest);
                if KEEP {
                    place = select(simd, is_larger, number, place);
                    number = simd.add_f32s(number, simd.splat_f32s(1.0));
                }
            }
            store(simd, output, largest);
            if KEEP {
                store(simd, &mut chosen[x..x + S::F32_LANES], place);
            }
        }
    }
}

/// The gradient of the input of some planes: each pixel adds up the gradients of the windows that chose it, in the
/// order of the windows.
struct InputGradient<'a> {
    sizes: Sizes,
    places: &'a [u8],
    gradient: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, places, gradient, output } = self;
        let Sizes { pool, input: [_, width], output: [rows, columns], .. } = sizes;
        let layout = Windows::new(&sizes, S::F32_LANES);
        let all = layout.all(&sizes);
        let [mut gradients, mut chosen] = [0.0, -1.0].map(|margin| vec![margin; rows * layout.row]);
        let mut sums = vec![0.0; pool.stride * layout.count];
        let planes = gradient.chunks_exact(sizes.output_plane()).zip(places.chunks_exact(sizes.output_plane()));
        for ((gradient, places), output) in planes.zip(output.chunks_exact_mut(sizes.input_plane())) {
            let copies = gradients.chunks_exact_mut(layout.row).zip(chosen.chunks_exact_mut(layout.row));
            let from = gradient.chunks_exact(columns).zip(places.chunks_exact(columns));
            for ((gradients, chosen), (gradient, places)) in copies.zip(from) {
                gradients[layout.margin..][..columns].copy_from_slice(gradient);
                chosen[layout.margin..].iter_mut().zip(places).for_each(|(to, &place)| *to = f32::from(place));
            }
            for (output, parts) in output.chunks_exact_mut(width).zip(all.chunks_exact(pool.stride)) {
                if pool.stride == 1 {
                    add_up(simd, &parts[0], &gradients, &chosen, output);
                    continue;
                }
                for (windows, sums) in parts.iter().zip(sums.chunks_exact_mut(layout.count)) {
                    add_up(simd, windows, &gradients, &chosen, sums);
                }
                layout.interleave(pool, &sums, output);
            }
        }
    }
}

/// The windows of a plane, with a margin of windows that choose nothing.
struct Windows {
    /// The numbers of a row, and how many of them come before its first window.
    row: usize,
    margin: usize,
    /// The window of a row whose place 0 is the first pixel, or one in the padding before it, and the number of columns
    /// with one remainder modulo the stride.
    first: usize,
    count: usize,
}

/// For a row of pixels with one remainder: where the windows that reach it begin, and their places that do.
type Reaching = Vec<(usize, f32)>;

impl Windows {
    fn new(sizes: &Sizes, lanes: usize) -> Self {
        let Sizes { pool: Pool { kernel, stride, padding }, input: [_, width], output: [_, columns], .. } = *sizes;
        let margin = (kernel - 1) / stride;
        let first = padding / stride;
        let count = (width + padding).div_ceil(stride) - first;
        Self { row: margin + columns.max(first + count.next_multiple_of(lanes)), margin, first, count }
    }

    /// Returns the windows for each row of pixels and each remainder of its columns.
    fn all(&self, sizes: &Sizes) -> Vec<Reaching> {
        let Sizes { pool: Pool { kernel, stride, padding }, input: [height, _], output: [rows, _], .. } = *sizes;
        let mut all = Vec::with_capacity(height * stride);
        for y in padding..padding + height {
            // Windows from above to below, and from left to right.
            let above = (0..kernel.min(y + 1)).rev().map(|down| (down, y - down));
            let above: Vec<_> = above.filter(|(_, begin)| begin % stride == 0 && begin / stride < rows).collect();
            for remainder in 0..stride {
                let mut reaching = Vec::with_capacity(above.len() * kernel.div_ceil(stride));
                for (down, begin) in &above {
                    let row = begin / stride * self.row + self.margin + self.first;
                    for right in (remainder..kernel).step_by(stride).rev() {
                        reaching.push((row - right / stride, (down * kernel + right) as f32));
                    }
                }
                all.push(reaching);
            }
        }
        all
    }

    /// Puts the parts of a row of pixels into the order of their columns.
    #[inline(always)]
    fn interleave(&self, pool: Pool, parts: &[f32], output: &mut [f32]) {
        let Pool { stride, padding, .. } = pool;
        if stride == 2 && padding == 0 {
            let (even, odd) = parts.split_at(self.count);
            let (pairs, last) = output.as_chunks_mut::<2>();
            for last in last {
                *last = even[pairs.len()];
            }
            for (pair, (even, odd)) in pairs.iter_mut().zip(even.iter().zip(odd)) {
                *pair = [*even, *odd];
            }
            return;
        }
        for (remainder, part) in parts.chunks_exact(self.count).enumerate() {
            let first = first_column(pool, remainder);
            let part = &part[(first + padding) / stride - self.first..];
            output.iter_mut().skip(first).step_by(stride).zip(part).for_each(|(to, from)| *to = *from);
        }
    }
}

/// Adds up, for each pixel of a row, the gradients of the windows that chose it.
#[inline(always)]
fn add_up<S: Simd>(simd: S, windows: &Reaching, gradients: &[f32], chosen: &[f32], output: &mut [f32]) {
    let zero = simd.splat_f32s(0.0);
    for (at, output) in output.chunks_mut(S::F32_LANES).enumerate() {
        let x = at * S::F32_LANES;
        let mut sum = zero;
        for &(begin, place) in windows {
            let is_chosen = simd.equal_f32s(load::<S>(chosen, begin + x), simd.splat_f32s(place));
            sum = simd.add_f32s(sum, select(simd, is_chosen, load::<S>(gradients, begin + x), zero));
        }
        store(simd, output, sum);
    }
}
