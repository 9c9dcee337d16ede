//! The mean of each window, over its pixels inside of the image: with an odd kernel, stride 1 and half the kernel as
//! padding.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the dispatched function is compiled without its vectors"
)]

use super::super::buffers::take;
use super::{Pool, Sizes};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Returns the mean of each window.
pub(in super::super) fn average(sizes: Sizes, input: &[f32]) -> Vec<f32> {
    of_planes(sizes, input, Divide::Sums)
}

/// Returns the gradient of the input. As windows reach as far to one side as to the other, a pixel is in the windows of
/// the pixels that are in its own.
pub(in super::super) fn average_gradient(sizes: Sizes, gradient: &[f32]) -> Vec<f32> {
    of_planes(sizes, gradient, Divide::Input)
}

/// What is divided by the number of pixels in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Divide {
    Input,
    Sums,
}

fn of_planes(sizes: Sizes, input: &[f32], divide: Divide) -> Vec<f32> {
    let mut output = take(input.len());
    let (task, arch) = (sizes.task() * sizes.input_plane().max(1), Arch::new());
    let tasks = output.par_chunks_mut(task).zip(input.par_chunks(task));
    tasks.for_each(|(output, input)| arch.dispatch(Sums { sizes, input, output, divide }));
    output
}

/// Returns the pixels of a side that are in the window around one of them.
fn around(pixel: usize, pool: Pool, side: usize) -> Range<usize> {
    pixel.saturating_sub(pool.padding)..(pixel + pool.padding + 1).min(side)
}

/// The sums over the windows of some planes: of each row first, then of its column.
struct Sums<'a> {
    sizes: Sizes,
    input: &'a [f32],
    output: &'a mut [f32],
    divide: Divide,
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { sizes, input, output, divide } = self;
        let Sizes { pool, input: [height, width], .. } = sizes;
        let [rows, columns] = [height, width]
            .map(|side| (0..side).map(|pixel| around(pixel, pool, side).len() as f32).collect::<Vec<f32>>());
        let mut padded = vec![0.0; width + 2 * pool.padding];
        let mut sums = vec![0.0; sizes.input_plane()];
        let planes = input.chunks_exact(sizes.input_plane()).zip(output.chunks_exact_mut(sizes.input_plane()));
        for (input, output) in planes {
            for ((input, sums), rows) in input.chunks_exact(width).zip(sums.chunks_exact_mut(width)).zip(&rows) {
                let inner = &mut padded[pool.padding..][..width];
                inner.copy_from_slice(input);
                if divide == Divide::Input {
                    inner.iter_mut().zip(&columns).for_each(|(number, columns)| *number /= rows * columns);
                }
                sums.copy_from_slice(&padded[..width]);
                for right in 1..pool.kernel {
                    sums.iter_mut().zip(&padded[right..]).for_each(|(sum, number)| *sum += number);
                }
            }
            for ((y, output), rows) in output.chunks_exact_mut(width).enumerate().zip(&rows) {
                let window = around(y, pool, height);
                output.copy_from_slice(&sums[window.start * width..][..width]);
                for below in window.skip(1) {
                    output.iter_mut().zip(&sums[below * width..]).for_each(|(sum, number)| *sum += number);
                }
                if divide == Divide::Sums {
                    output.iter_mut().zip(&columns).for_each(|(sum, columns)| *sum /= rows * columns);
                }
            }
        }
    }
}
