//! Pools over square windows: the largest number, or the mean.
//!
//! Planes are independent, so that the number of threads changes nothing. A thread works on several of them at a time.

mod average;
mod max;

pub(super) use average::{average, average_gradient};
pub(super) use max::{Places, max, max_gradient};

/// The window of a pool. Pixels outside of the image do not count.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Pool {
    /// Height and width, at most [`MAX_KERNEL`](Self::MAX_KERNEL).
    pub(in super::super) kernel: usize,
    /// The distance between neighbouring windows in pixels, at least 1.
    pub(in super::super) stride: usize,
    /// How far windows reach out of the image on each side, at most half the kernel.
    pub(in super::super) padding: usize,
}

impl Pool {
    /// A place in a window is kept in 8 bits.
    pub(in super::super) const MAX_KERNEL: usize = 15;

    fn output(&self, side: usize) -> usize {
        (side + 2 * self.padding).checked_sub(self.kernel).map_or(0, |left| left / self.stride + 1)
    }
}

/// The sizes of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Images times channels.
    planes: usize,
    pool: Pool,
    /// Height and width of the input and of the output.
    input: [usize; 2],
    output: [usize; 2],
}

/// The pixels that a thread works on at a time, if a plane has not more.
const TASK_PIXELS: usize = 1 << 15;

impl Sizes {
    /// Creates the sizes for an input `[images, channels, height, width]`.
    pub(super) fn new([images, channels, height, width]: [usize; 4], pool: Pool) -> Self {
        let input = [height, width];
        Self { planes: images * channels, pool, input, output: input.map(|side| pool.output(side)) }
    }

    /// Returns height and width of the output.
    pub(super) fn output(&self) -> [usize; 2] {
        self.output
    }

    fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Returns the number of planes of a task.
    fn task(&self) -> usize {
        (TASK_PIXELS / self.input_plane().max(1)).max(1)
    }
}
