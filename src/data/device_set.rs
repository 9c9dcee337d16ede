use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};

use super::{
    Augmentation, BatchIterator, BatchSource, Batches, ChannelStatistics, DataError, Draw, ImageSet, ImageShape,
};
use crate::seed;

/// A whole set on a device, as bytes, from which normalised batches are gathered on the device.
///
/// For each batch the host transfers only its indices; it neither copies pixels nor waits for them.
///
/// Pixels take one byte each on devices that compute with `u8` (`flex`, `ndarray`, CUDA, Vulkan, Metal), and four on
/// others (WebGPU).
///
/// ```
/// use blockqnn::data::{Batches, DeviceSet, embedded};
/// # use burn::tensor::Device;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let device = Device::default();
/// let set = embedded::train().limit(100, 7)?;
/// let resident = DeviceSet::new(&set, &set.channel_statistics(), &device)?;
/// for indices in &Batches::shuffled(set.len(), 32.try_into()?, 7, 0) {
///     let (images, labels) = resident.batch(indices);
///     assert_eq!(images.dims(), [indices.len(), 1, 28, 28]);
///     assert_eq!(labels.dims(), [indices.len()]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DeviceSet {
    /// One image per row.
    pixels: Tensor<2, Int>,
    labels: Tensor<1, Int>,
    /// A pixel `p` becomes `p * scale + offset`, with one value of each per channel.
    scale: Tensor<4>,
    offset: Tensor<4>,
    shape: ImageShape,
    len: usize,
    classes: usize,
    device: Device,
}

impl DeviceSet {
    /// Copies a set to a device, to be normalised with the `statistics` of its training part.
    ///
    /// # Errors
    /// Returns an error if the statistics have a different number of channels.
    pub fn new(set: &ImageSet, statistics: &ChannelStatistics, device: &Device) -> Result<Self, DataError> {
        let shape = set.shape();
        let channels = shape.channels;
        statistics.check(set.name(), channels)?;
        let per_channel = |values: Vec<f32>| {
            Tensor::<4>::from_data(TensorData::new(values, [1, channels, 1, 1]), (device, DType::F32))
        };
        let scale: Vec<f32> = statistics.deviation.iter().map(|deviation| 1.0 / (255.0 * deviation)).collect();
        let offset = statistics.mean.iter().zip(&statistics.deviation).map(|(mean, deviation)| -mean / deviation);
        let byte = if device.supports_dtype(DType::U8) { DType::U8 } else { DType::I32 };
        let pixels = TensorData::new(set.pixels().to_vec(), [set.len(), set.pixels().len() / set.len()]);
        let labels: Vec<i32> = set.labels().iter().map(|&label| label.into()).collect();
        Ok(Self {
            pixels: Tensor::from_data(pixels, (device, byte)),
            labels: Tensor::from_data(TensorData::new(labels, [set.len()]), device),
            offset: per_channel(offset.collect()),
            scale: per_channel(scale),
            shape,
            len: set.len(),
            classes: set.classes().len(),
            device: device.clone(),
        })
    }

    /// Returns the images at `indices` in this order, normalised, and their labels.
    ///
    /// A pixel `p` becomes `(p / 255 - mean) / deviation` with the statistics of its channel, in single precision.
    ///
    /// # Shapes
    /// Images `[indices, channels, height, width]` of `f32`, labels `[indices]` of the device's integer type.
    ///
    /// # Panics
    /// Panics if `indices` is empty or holds one that is not below [`len`](Self::len).
    #[must_use]
    pub fn batch(&self, indices: &[usize]) -> (Tensor<4>, Tensor<1, Int>) {
        let (pixels, labels) = self.gather(indices);
        (self.normalise(pixels), labels)
    }

    /// Returns the same as [`batch`](Self::batch), with each image augmented as drawn for it.
    ///
    /// Padding is black before the normalisation; a blanked square is 0 after it.
    ///
    /// # Panics
    /// Those of [`batch`](Self::batch), or if there are not as many draws as indices.
    pub(super) fn augmented_batch(
        &self,
        indices: &[usize],
        augmentation: &Augmentation,
        draws: &[Draw],
    ) -> (Tensor<4>, Tensor<1, Int>) {
        assert_eq!(indices.len(), draws.len(), "one draw per image");
        let (mut pixels, labels) = self.gather(indices);
        if augmentation.pad > 0 || augmentation.flip {
            pixels = self.crop_and_flip(pixels, draws);
        }
        let mut images = self.normalise(pixels);
        if augmentation.cutout > 0 {
            images = self.cut_out(images, augmentation, draws);
        }
        (images, labels)
    }

    /// Returns the pixels of some images, from 0 to 255, and their labels.
    fn gather(&self, indices: &[usize]) -> (Tensor<4>, Tensor<1, Int>) {
        assert!(!indices.is_empty(), "a batch has at least one image");
        let size = indices.len();
        let indices: Vec<i64> = indices
            .iter()
            .map(|&index| {
                assert!(index < self.len, "image {index} of a set of {}", self.len);
                // The index of an image in memory is far below the largest i64.
                index.try_into().unwrap_or(i64::MAX)
            })
            .collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [size]), &self.device);
        let labels = self.labels.clone().select(0, indices.clone());
        let ImageShape { channels, height, width } = self.shape;
        let images = self.pixels.clone().select(0, indices).reshape([size, channels, height, width]);
        (images.cast(FloatDType::F32), labels)
    }

    fn normalise(&self, pixels: Tensor<4>) -> Tensor<4> {
        pixels * self.scale.clone() + self.offset.clone()
    }

    /// Takes row `y` of an image from its row `y + down`, and column `x` (or `width - 1 - x` in a mirrored image) from
    /// its column `x + right`; pixels from outside are 0.
    fn crop_and_flip(&self, pixels: Tensor<4>, draws: &[Draw]) -> Tensor<4> {
        let [images, channels, height, width] = pixels.dims();
        let (last_row, last_column) = (whole(height) - 1, whole(width) - 1);
        let down = self.column(draws, |draw| draw.down.into());
        let direction = self.column(draws, |draw| if draw.flip { -1 } else { 1 });
        let shift = self.column(draws, |draw| i64::from(draw.right) + if draw.flip { last_column } else { 0 });
        let rows = self.range(height) + down;
        let columns = self.range(width) * direction + shift;
        let (near_rows, near_columns) = (rows.clone().clamp(0, last_row), columns.clone().clamp(0, last_column));
        let inside = |wanted: Tensor<2, Int>, near: Tensor<2, Int>| wanted.equal(near).float();
        let inside_rows = inside(rows, near_rows.clone()).reshape([images, 1, height, 1]);
        let inside_columns = inside(columns, near_columns.clone()).reshape([images, 1, 1, width]);
        let from = near_rows.reshape([images, height, 1]) * whole(width) + near_columns.reshape([images, 1, width]);
        let from = from.reshape([images, 1, height * width]).expand([images, channels, height * width]);
        let moved = pixels.reshape([images, channels, height * width]).gather(2, from);
        moved.reshape([images, channels, height, width]) * (inside_rows * inside_columns)
    }

    fn cut_out(&self, normalised: Tensor<4>, augmentation: &Augmentation, draws: &[Draw]) -> Tensor<4> {
        let [images, _, height, width] = normalised.dims();
        let last = whole(augmentation.cutout) - 1;
        let covered = |side: usize, begin: Tensor<2, Int>| {
            let offset = self.range(side) - begin;
            offset.clone().clamp(0, last).equal(offset).float()
        };
        let rows = covered(height, self.column(draws, |draw| augmentation.corner(draw).0.into()));
        let columns = covered(width, self.column(draws, |draw| augmentation.corner(draw).1.into()));
        let hole = rows.reshape([images, 1, height, 1]) * columns.reshape([images, 1, 1, width]);
        normalised * (hole.neg() + 1.0)
    }

    /// Returns one number per image, `[images, 1]`.
    fn column(&self, draws: &[Draw], number: impl Fn(&Draw) -> i64) -> Tensor<2, Int> {
        let numbers: Vec<i64> = draws.iter().map(number).collect();
        Tensor::from_data(TensorData::new(numbers, [draws.len(), 1]), &self.device)
    }

    /// Returns 0, 1, 2, ... as `[1, side]`.
    fn range(&self, side: usize) -> Tensor<2, Int> {
        Tensor::<1, Int>::arange(0..whole(side), &self.device).reshape([1, side])
    }
}

impl BatchSource for DeviceSet {
    fn len(&self) -> usize {
        self.len
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn training_batches<'a>(
        &'a self,
        order: &'a Batches,
        first: usize,
        augmentation: &'a Augmentation,
        seed: u64,
        epoch: u64,
    ) -> BatchIterator<'a> {
        let draws = augmentation.draws(self.len, self.shape, &mut seed::stream(seed, "augment", epoch));
        Box::new(
            order
                .with_places(first)
                .map(move |(places, indices)| Ok(self.augmented_batch(indices, augmentation, &draws[places]))),
        )
    }

    fn batches<'a>(&'a self, order: &'a Batches) -> BatchIterator<'a> {
        Box::new(order.iter().map(|indices| Ok(self.batch(indices))))
    }
}

/// A size of an image as a signed number; it is far below 2^63.
fn whole(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::data::{Batches, embedded};
    use burn::tensor::IntDType;

    /// Makes a small set of two channels whose images have an odd number of bytes and contain every byte value.
    fn small() -> ImageSet {
        let shape = ImageShape { channels: 2, height: 3, width: 3 };
        let labels = (0..20).map(|image| image % 3).collect();
        let pixels = (0..20 * 18u32).map(|value| u8::try_from(value * 7 % 256).unwrap()).collect();
        ImageSet::new("small", shape, ["a", "b", "c"], labels, pixels).unwrap()
    }

    /// Computes the batch on the host.
    fn on_host(set: &ImageSet, statistics: &ChannelStatistics, indices: &[usize]) -> Vec<f32> {
        let plane = set.shape().height * set.shape().width;
        let images = indices.iter().flat_map(|&index| set.image(index).chunks(plane).enumerate());
        images
            .flat_map(|(channel, values)| {
                let (mean, deviation) = (statistics.mean[channel], statistics.deviation[channel]);
                values.iter().map(move |&value| (f32::from(value) / 255.0 - mean) / deviation)
            })
            .collect()
    }

    fn assert_batches_match(set: &ImageSet, resident: &DeviceSet, size: usize) {
        let statistics = set.channel_statistics();
        let ImageShape { channels, height, width } = set.shape();
        for indices in &Batches::shuffled(set.len(), NonZeroUsize::new(size).unwrap(), 7, 1) {
            let (images, labels) = resident.batch(indices);
            assert_eq!(images.dims(), [indices.len(), channels, height, width]);
            assert_eq!(images.dtype(), DType::F32);
            let images = images.into_data().try_into_vec::<f32>().unwrap();
            for (found, wanted) in images.iter().zip(on_host(set, &statistics, indices)) {
                assert!((found - wanted).abs() < 2e-6, "{found} {wanted}");
            }
            let labels: Vec<i64> = labels.into_data().iter::<i64>().collect();
            assert!(labels.into_iter().eq(indices.iter().map(|&index| i64::from(set.label(index)))));
        }
    }

    #[test]
    fn a_batch_equals_the_hosts_computation() {
        for set in [small(), embedded::train().limit(50, 7).unwrap()] {
            let resident = DeviceSet::new(&set, &set.channel_statistics(), &Device::flex()).unwrap();
            assert_eq!(resident.pixels.dtype(), DType::U8);
            // Of 20 and 50 images, the last batch of 7 is short; of 50 images, it has one image.
            assert_batches_match(&set, &resident, 7);
        }
    }

    #[test]
    fn an_augmented_batch_equals_the_hosts_computation() {
        for (set, pad) in [(small(), 2), (embedded::train().limit(50, 7).unwrap(), 4)] {
            let statistics = set.channel_statistics();
            let resident = DeviceSet::new(&set, &statistics, &Device::flex()).unwrap();
            for augmentation in [
                Augmentation::default(),
                Augmentation { pad, ..Augmentation::default() },
                Augmentation { flip: true, ..Augmentation::default() },
                Augmentation { cutout: pad, ..Augmentation::default() },
                Augmentation { pad, flip: true, cutout: pad + 1 },
            ] {
                let indices: Vec<usize> = (0..set.len()).rev().collect();
                let rng = &mut crate::seed::stream(3, "augment", 0);
                let draws = augmentation.draws(indices.len(), set.shape(), rng);
                let (images, labels) = resident.augmented_batch(&indices, &augmentation, &draws);
                let found = images.into_data().try_into_vec::<f32>().unwrap();
                let wanted = indices
                    .iter()
                    .zip(&draws)
                    .flat_map(|(&index, draw)| augmentation.apply(draw, set.image(index), set.shape(), &statistics));
                for (found, wanted) in found.iter().zip(wanted) {
                    assert!((found - wanted).abs() < 2e-6, "{augmentation:?}: {found} {wanted}");
                }
                assert_eq!(labels.into_data(), resident.batch(&indices).1.into_data());
            }
        }
    }

    #[test]
    fn a_device_without_bytes_gives_the_same_batches() {
        let set = small();
        let bytes = DeviceSet::new(&set, &set.channel_statistics(), &Device::flex()).unwrap();
        let words = DeviceSet { pixels: bytes.pixels.clone().cast(IntDType::I32), ..bytes.clone() };
        let all: Vec<usize> = (0..set.len()).collect();
        assert_eq!(words.batch(&all).0.into_data(), bytes.batch(&all).0.into_data());
    }

    #[test]
    fn an_image_may_be_gathered_twice() {
        let set = small();
        let resident = DeviceSet::new(&set, &set.channel_statistics(), &Device::flex()).unwrap();
        let (images, labels) = resident.batch(&[4, 4]);
        let images = images.into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(images[..18], images[18..]);
        assert_eq!(labels.dims(), [2]);
    }

    #[test]
    fn an_autodiff_device_works_too() {
        let set = small();
        let device = Device::flex().autodiff();
        let resident = DeviceSet::new(&set, &set.channel_statistics(), &device).unwrap();
        assert_batches_match(&set, &resident, 8);
    }

    #[test]
    fn the_normalised_training_set_has_mean_zero_and_deviation_one() {
        let set = embedded::train().limit(500, 7).unwrap();
        let resident = DeviceSet::new(&set, &set.channel_statistics(), &Device::flex()).unwrap();
        let all: Vec<usize> = (0..set.len()).collect();
        let values = resident.batch(&all).0.into_data().try_into_vec::<f32>().unwrap();
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
    }

    #[test]
    fn statistics_of_a_different_number_of_channels_are_refused() {
        let gray = embedded::train().channel_statistics();
        let error = DeviceSet::new(&small(), &gray, &Device::flex()).unwrap_err();
        let problem = "the set small has 2 channels, but the statistics are for 1; ";
        assert!(error.to_string().starts_with(problem), "{error}");
    }

    #[test]
    #[should_panic(expected = "image 20 of a set of 20")]
    fn an_index_beyond_the_set_panics() {
        let _ = DeviceSet::new(&small(), &small().channel_statistics(), &Device::flex()).unwrap().batch(&[20]);
    }
}
