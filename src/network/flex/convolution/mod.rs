//! Convolutions with odd kernels, in groups, strided or dilated, without a matrix of patches.
//!
//! The channels of a group are copied once into planes with a margin of zeros, small enough for the second-level cache.
//! Every output is then a sum, over the weights, of shifted vectors that are loaded from there; eight to twelve vectors
//! of sums stay in registers. This is the inner loop of a matrix product (Goto and van de Geijn 2008), without building
//! the matrix of patches. A depthwise convolution is the case of groups of one channel: there the vectors are many
//! pixels of one output channel, elsewhere a few pixels of several.
//!
//! The order of sums depends only on sizes and on the width of the processor's vectors, never on the number of threads.

mod planes;
mod tiles;
mod weights;

pub(super) use weights::weight_gradient;

use std::array::from_fn;
use tiles::{Around, blocks, run};

/// What a convolution chooses besides the sizes of its tensors. It is padded by half its kernel, times the dilation.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Window {
    /// The distance between neighbouring outputs in pixels of the input, at least 1.
    pub(in super::super) stride: usize,
    /// The distance between the pixels that the kernel reads, at least 1.
    pub(in super::super) dilation: usize,
    /// A divisor of the channels of input and output.
    pub(in super::super) groups: usize,
}

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    images: usize,
    window: Window,
    /// The channels of a group in the input and in the output.
    from: usize,
    to: usize,
    /// Height and width, both odd.
    kernel: [usize; 2],
    /// The distance between neighbouring pixels of the input, with zeros between them: more than 1 only in the gradient
    /// of the input of a strided convolution.
    spread: usize,
    /// Height and width of the input and of the output. Where every output depends on one pixel alone, a plane counts
    /// as one row, which fills vectors better than several.
    input: [usize; 2],
    output: [usize; 2],
    /// Height and width of the output as a tensor.
    shape: [usize; 2],
}

impl Sizes {
    /// Creates the sizes for an input `[images, from, height, width]` and weights `[to, from / groups, height, width]`.
    pub(super) fn new(
        [images, from, height, width]: [usize; 4],
        [to, _, rows, columns]: [usize; 4],
        window: Window,
    ) -> Self {
        let shape = [height, width].map(|side| side.saturating_sub(1) / window.stride + 1);
        let is_flat = [rows, columns, window.stride] == [1; 3];
        let [input, output] = if is_flat { [[1, height * width]; 2] } else { [[height, width], shape] };
        Self {
            images,
            window,
            from: from / window.groups,
            to: to / window.groups,
            kernel: [rows, columns],
            spread: 1,
            input,
            output,
            shape,
        }
    }

    /// Returns the shape of the output.
    pub(super) fn output_shape(&self) -> [usize; 4] {
        [self.images, self.window.groups * self.to, self.shape[0], self.shape[1]]
    }

    /// Returns the sizes of the convolution that computes the gradient of the input from that of the output.
    fn transposed(&self) -> Self {
        Self {
            window: Window { stride: 1, ..self.window },
            from: self.to,
            to: self.from,
            spread: self.window.stride,
            input: self.output,
            output: self.input,
            ..*self
        }
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Returns the number of weights of an output channel.
    fn weights(&self) -> usize {
        self.from * self.taps()
    }

    fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Returns the number of values of the input channels of one image.
    fn input_image(&self) -> usize {
        self.window.groups * self.from * self.input_plane()
    }

    /// Returns the number of values of the output channels of one image.
    fn output_image(&self) -> usize {
        self.window.groups * self.to * self.output_plane()
    }
}

/// Returns the input, rectified first if `rectify` is set, convolved with `[to, from / groups, height, width]`, plus the
/// bias `[to]` if there is one.
pub(super) fn convolve(sizes: Sizes, input: &[f32], weights: &[f32], bias: Option<&[f32]>, rectify: bool) -> Vec<f32> {
    let columns = sizes.weights();
    let packed = pack(&sizes, |group, to, column| weights[(group * sizes.to + to) * columns + column]);
    run(sizes, input, &packed, Around { bias, rectify, mask: None })
}

/// Returns the gradient of the input: 0 where a rectified input was not positive.
pub(super) fn input_gradient(sizes: Sizes, gradient: &[f32], weights: &[f32], rectified: Option<&[f32]>) -> Vec<f32> {
    let taps = sizes.taps();
    let transposed = sizes.transposed();
    // A convolution with the same weights, from outputs to inputs and rotated by 180 degrees.
    let packed = pack(&transposed, |group, from, column| {
        let (to, tap) = (column / taps, column % taps);
        weights[((group * sizes.to + to) * sizes.from + from) * taps + taps - 1 - tap]
    });
    run(transposed, gradient, &packed, Around { bias: None, rectify: false, mask: rectified })
}

/// Returns the weights in the order of the inner loop: for each group, each of its blocks of output channels and each of
/// their weights, one number per channel. Missing channels are 0.
fn pack(sizes: &Sizes, weight: impl Fn(usize, usize, usize) -> f32) -> Vec<[f32; tiles::ROWS]> {
    let (groups, columns) = (sizes.window.groups, sizes.weights());
    let mut packed = Vec::with_capacity(groups * sizes.to.div_ceil(tiles::ROWS) * columns);
    for group in 0..groups {
        for block in blocks(sizes.to) {
            packed.extend((0..columns).map(|column| {
                from_fn(|row| if row < block.len() { weight(group, block.start + row, column) } else { 0.0 })
            }));
        }
    }
    packed
}
