//! Planes of pixels with a margin of zeros.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use super::super::vector::{load, rectify, store};
use super::{Sizes, Window};
use pulp::Simd;

/// The numbers of a page of memory. If planes are whole pages apart, the vectors at one place of them push each other
/// out of the first-level cache, and the processor does not fetch from page to page ahead.
const PAGE: usize = 1 << 10;

/// The layout of planes with a margin.
///
/// Where the stride is more than 1, the pixels of a row are sorted by their column modulo the stride, so that the pixels
/// which one weight needs for neighbouring outputs are neighbours.
pub(super) struct Planes {
    /// The numbers of a row, of the part of it for one remainder of the column, and of a plane.
    row: usize,
    part: usize,
    pub(super) plane: usize,
    margin: [usize; 2],
    /// Whether a plane is that of a tensor, so that nothing needs to be copied.
    pub(super) is_plain: bool,
}

/// Where a vector of outputs is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The offset of its first input in a plane with a margin.
    pub(super) input: usize,
    /// Its offset in a plane of outputs.
    pub(super) output: usize,
    /// The lanes that are inside of the row.
    pub(super) lanes: usize,
}

impl Planes {
    pub(super) fn new(sizes: &Sizes, lanes: usize) -> Self {
        let Sizes { window: Window { stride, dilation, .. }, kernel, spread, input, output, .. } = *sizes;
        let margin = kernel.map(|side| side / 2 * dilation);
        // The last vector of a row may reach into the margin.
        let part = output[1].next_multiple_of(lanes) + (2 * margin[1]).div_ceil(stride);
        let row = stride * part;
        let mut plane = row * ((input[0].saturating_sub(1) * spread + 1).max(output[0]) + 2 * margin[0]);
        if plane.is_multiple_of(PAGE) {
            plane += lanes;
        }
        let is_plain = stride == 1 && row == input[1] && plane == sizes.input_plane();
        Self { row, part, plane, margin, is_plain }
    }

    /// Returns, for each weight of an output channel, the offset of its input pixel from that of the first weight.
    pub(super) fn offsets(&self, sizes: &Sizes) -> Vec<usize> {
        let Sizes { window: Window { stride, dilation, .. }, kernel: [rows, columns], from, .. } = *sizes;
        let mut offsets = Vec::with_capacity(sizes.weights());
        for channel in 0..from {
            for row in 0..rows {
                offsets.extend((0..columns).map(|column| {
                    let column = column * dilation;
                    channel * self.plane + row * dilation * self.row + column % stride * self.part + column / stride
                }));
            }
        }
        offsets
    }

    /// Returns the places of all vectors of an output plane, row by row.
    pub(super) fn places(&self, sizes: &Sizes, lanes: usize) -> Vec<Place> {
        let [height, width] = sizes.output;
        let mut places = Vec::with_capacity(height * width.div_ceil(lanes));
        for y in 0..height {
            let input = y * sizes.window.stride * self.row;
            places.extend((0..width).step_by(lanes).map(|x| Place {
                input: input + x,
                output: y * width + x,
                lanes: lanes.min(width - x),
            }));
        }
        places
    }

    /// Copies planes of the input. The margin must be 0 already.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&self, simd: S, sizes: &Sizes, input: &[f32], rectify: bool, padded: &mut [f32]) {
        let Sizes { window: Window { stride, .. }, spread, input: [_, width], .. } = *sizes;
        let [top, left] = self.margin;
        for (input, padded) in input.chunks_exact(sizes.input_plane()).zip(padded.chunks_exact_mut(self.plane)) {
            let rows = padded.chunks_exact_mut(self.row).skip(top).step_by(spread);
            for (input, row) in input.chunks_exact(width).zip(rows) {
                match (stride, spread) {
                    (1, 1) => {
                        copy(simd, input, rectify, &mut row[left..][..width]);
                        continue;
                    }
                    (2, 1) => {
                        self.divide(input, left, rectify, row);
                        continue;
                    }
                    _ => {}
                }
                for first in 0..stride.min(width) {
                    // One of stride and spread is 1.
                    let begin = left + first;
                    let part = &mut row[begin % stride * self.part + begin / stride..];
                    for (to, &from) in part.iter_mut().step_by(spread).zip(input[first..].iter().step_by(stride)) {
                        *to = if rectify && from < 0.0 { 0.0 } else { from };
                    }
                }
            }
        }
    }
}

impl Planes {
    /// Copies a row into its parts for even and odd columns; `left` is the margin.
    #[inline(always)]
    fn divide(&self, input: &[f32], left: usize, rectified: bool, row: &mut [f32]) {
        let (zero, one) = row.split_at_mut(self.part);
        let [even, odd] = if left.is_multiple_of(2) { [zero, one] } else { [one, zero] };
        let (even, odd) = (&mut even[left / 2..], &mut odd[left.div_ceil(2)..]);
        let rectify = |number: f32| if rectified && number < 0.0 { 0.0 } else { number };
        let (pairs, last) = input.as_chunks::<2>();
        for ((even, odd), pair) in even.iter_mut().zip(odd).zip(pairs) {
            (*even, *odd) = (rectify(pair[0]), rectify(pair[1]));
        }
        even.iter_mut().skip(pairs.len()).zip(last).for_each(|(to, &from)| *to = rectify(from));
    }
}

/// Copies a row, which is too short for a call of the system's copy to pay off.
#[inline(always)]
fn copy<S: Simd>(simd: S, input: &[f32], rectified: bool, output: &mut [f32]) {
    let whole = input.len() / S::F32_LANES * S::F32_LANES;
    for at in (0..whole).step_by(S::F32_LANES) {
        let vector = load::<S>(input, at);
        let vector = if rectified { rectify(simd, vector) } else { vector };
        store(simd, &mut output[at..at + S::F32_LANES], vector);
    }
    for (to, &from) in output[whole..].iter_mut().zip(&input[whole..]) {
        *to = if rectified && from < 0.0 { 0.0 } else { from };
    }
}
