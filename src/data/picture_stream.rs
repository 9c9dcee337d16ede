//! A stream of pictures that are decoded, scaled and cropped in threads, ahead of the device.

use super::ahead::Ahead;
use super::source::{BatchIterator, BatchSource};
use super::{
    Augmentation, Batches, ChannelStatistics, Cropping, DataError, DeviceSet, ImageSet, ImageShape, Picture, Pictures,
};
use crate::seed;
use burn::tensor::Device;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Batches of pictures that need not fit into memory: threads read, decode, scale and crop them while the device works
/// on earlier batches.
///
/// - **Memory** is bounded: at most [`ahead`](Self::with_ahead) images are ready or being prepared, whatever the number
///   of pictures and however slow the training. In addition, each thread holds the one picture that it decodes.
/// - **Randomness**: the crop of an image depends on the seed, the epoch and the image. Flips
///   and the like are drawn and applied as by a [`DeviceSet`]. Any number of threads therefore gives the same batches.
/// - **Order**: batches come in the requested order.
///
/// A picture that cannot be decoded ends the epoch with an error that names it. In training this happens in the first
/// epoch at the latest, because each epoch visits every image. To leave such pictures out, see
/// [`ImageFolder::without_broken`](super::ImageFolder::without_broken).
///
/// ```
/// use std::sync::Arc;
/// use blockqnn::data::{BatchSource, Batches, Cropping, PictureStream, embedded};
/// # use burn::tensor::Device;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let device = Device::default();
/// // Small images, enlarged. An ImageFolder works as well.
/// let pictures = Arc::new(embedded::train().limit(10, 7)?);
/// let cropping = Cropping::imagenet(56);
/// let statistics = PictureStream::statistics(pictures.clone(), cropping, 10, 2.try_into()?)?;
/// let stream = PictureStream::new(pictures, cropping, &statistics, &device)?.with_threads(2.try_into()?);
/// let batches = Batches::in_order(stream.len(), 8.try_into()?);
/// let (images, labels) = stream.batches(&batches).next().ok_or("ten images")??;
/// assert_eq!((images.dims(), labels.dims()), ([8, 3, 56, 56], [8]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PictureStream {
    pictures: Arc<dyn Pictures>,
    cropping: Cropping,
    statistics: ChannelStatistics,
    device: Device,
    threads: NonZeroUsize,
    ahead: NonZeroUsize,
}

impl PictureStream {
    /// The default number of images that are ready or being prepared (see [`with_ahead`](Self::with_ahead)): two
    /// batches of the paper's 256, which take 77 MB at 224 pixels.
    const DEFAULT_AHEAD: NonZeroUsize = NonZeroUsize::new(512).unwrap();

    /// Creates a stream of square images for a device, normalised by `statistics`. As many threads decode as the
    /// computer has cores.
    ///
    /// # Errors
    /// [`DataError`] if there are no pictures, or `statistics` has not three channels.
    pub fn new(
        pictures: Arc<dyn Pictures>,
        cropping: Cropping,
        statistics: &ChannelStatistics,
        device: &Device,
    ) -> Result<Self, DataError> {
        check(&*pictures)?;
        statistics.check(SET, 3)?;
        Ok(Self {
            pictures,
            cropping,
            statistics: statistics.clone(),
            device: device.clone().without_autodiff(),
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            ahead: Self::DEFAULT_AHEAD,
        })
    }

    /// Sets the number of threads that decode; the batches are the same for any number.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self }
    }

    /// Sets the largest number of images that are ready or being prepared. Less than a batch works, but is slower.
    #[must_use]
    pub fn with_ahead(self, images: NonZeroUsize) -> Self {
        Self { ahead: images, ..self }
    }

    /// Returns the statistics of at most `images` pictures, evenly chosen and cropped as for evaluation. Training and
    /// evaluation are both normalised by them. A few thousand pictures are as good as all.
    ///
    /// # Errors
    /// [`DataError`] if there are no pictures, or one of those chosen cannot be read.
    pub fn statistics(
        pictures: Arc<dyn Pictures>,
        cropping: Cropping,
        images: usize,
        threads: NonZeroUsize,
    ) -> Result<ChannelStatistics, DataError> {
        check(&*pictures)?;
        let (all, count) = (pictures.len(), images.clamp(1, pictures.len()));
        let squares = Ahead::new(count, threads, threads.saturating_mul(threads), move |number| {
            let index = usize::try_from(number as u128 * all as u128 / count as u128).unwrap_or(0);
            pictures.picture(index).map(|picture| cropping.center(picture))
        });
        // Sums of all values and of their squares: exact, in units of a byte.
        let mut sums = [(0u64, 0u64); 3];
        let mut pixels = 0u64;
        for square in squares {
            let square = square?;
            for pixel in square.pixels().chunks_exact(3) {
                for ((sum, squared), &value) in sums.iter_mut().zip(pixel) {
                    *sum += u64::from(value);
                    *squared += u64::from(value) * u64::from(value);
                }
            }
            pixels += square.pixels().len() as u64 / 3;
        }
        Ok(ChannelStatistics::from_sums(&sums, pixels))
    }

    /// Returns the images of `order` from batch `first` on, as bytes; `square` makes one from a picture and its index.
    fn squares(
        &self,
        order: &Batches,
        first: usize,
        square: impl Fn(Picture, usize) -> Picture + Send + Sync + 'static,
    ) -> Ahead<Result<Vec<u8>, DataError>> {
        let indices: Vec<usize> = order.iter().skip(first).flatten().copied().collect();
        let pictures = Arc::clone(&self.pictures);
        Ahead::new(indices.len(), self.threads, self.ahead, move |number| {
            let index = indices[number];
            pictures.picture(index).map(|picture| square(picture, index).planes())
        })
    }

    /// Returns the next batch of images, as a set on the device, and the places of all of them in it.
    fn collect(
        &self,
        indices: &[usize],
        squares: &mut Ahead<Result<Vec<u8>, DataError>>,
    ) -> Result<(DeviceSet, Vec<usize>), DataError> {
        let mut pixels = Vec::with_capacity(indices.len() * self.cropping.shape().bytes().unwrap_or(0));
        for square in squares.take(indices.len()) {
            pixels.extend_from_slice(&square?);
        }
        let labels = indices.iter().map(|&index| self.pictures.label(index)).collect();
        let classes = self.pictures.classes().to_vec();
        let set = ImageSet::new("a batch of pictures", self.cropping.shape(), classes, labels, pixels)?;
        Ok((DeviceSet::new(&set, &self.statistics, &self.device)?, (0..indices.len()).collect()))
    }
}

/// The name of a stream's pictures in errors.
const SET: &str = "the stream of pictures";

fn check(pictures: &dyn Pictures) -> Result<(), DataError> {
    if pictures.is_empty() { Err(DataError::set(SET, "has no images: give at least one")) } else { Ok(()) }
}

impl BatchSource for PictureStream {
    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn shape(&self) -> ImageShape {
        self.cropping.shape()
    }

    fn classes(&self) -> usize {
        self.pictures.classes().len()
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
        let (cropping, epoch_seed) = (self.cropping, Cropping::epoch_seed(seed, epoch));
        let mut squares = self.squares(order, first, move |picture, index| cropping.random(picture, epoch_seed, index));
        let draws = augmentation.draws(self.len(), self.shape(), &mut seed::stream(seed, "augment", epoch));
        Box::new(order.with_places(first).map(move |(places, indices)| {
            let (set, all) = self.collect(indices, &mut squares)?;
            Ok(set.augmented_batch(&all, augmentation, &draws[places]))
        }))
    }

    fn batches<'a>(&'a self, order: &'a Batches) -> BatchIterator<'a> {
        let cropping = self.cropping;
        let mut squares = self.squares(order, 0, move |picture, _| cropping.center(picture));
        Box::new(order.iter().map(move |indices| {
            let (set, all) = self.collect(indices, &mut squares)?;
            Ok(set.batch(&all))
        }))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::data::embedded;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn size(size: usize) -> NonZeroUsize {
        NonZeroUsize::new(size).unwrap()
    }

    fn stream() -> PictureStream {
        let pictures = Arc::new(embedded::train().limit(20, 7).unwrap());
        let cropping = Cropping::imagenet(30);
        let statistics = PictureStream::statistics(pictures.clone(), cropping, 20, size(2)).unwrap();
        PictureStream::new(pictures, cropping, &statistics, &Device::flex()).unwrap()
    }

    fn values(batches: BatchIterator<'_>) -> Vec<(Vec<u32>, Vec<i64>)> {
        batches
            .map(|batch| {
                let (images, labels) = batch.unwrap();
                let images: Vec<f32> = images.into_data().try_into_vec().unwrap();
                (images.into_iter().map(f32::to_bits).collect(), labels.into_data().iter::<i64>().collect())
            })
            .collect()
    }

    #[test]
    fn any_number_of_threads_and_any_memory_give_the_same_batches() {
        let order = Batches::shuffled(20, size(6), 7, 3);
        let augmentation = Augmentation { flip: true, ..Augmentation::default() };
        let train = |stream: &PictureStream| values(stream.training_batches(&order, 0, &augmentation, 7, 3));
        let wanted = train(&stream().with_threads(size(1)));
        assert_eq!(wanted.iter().map(|batch| batch.1.len()).collect::<Vec<_>>(), [6, 6, 6, 2]);
        for (threads, ahead) in [(5, 512), (3, 1), (2, 7)] {
            let stream = stream().with_threads(size(threads)).with_ahead(size(ahead));
            assert_eq!(train(&stream), wanted);
            assert_eq!(values(stream.batches(&order)), values(self::stream().batches(&order)));
        }
    }

    #[test]
    fn a_later_batch_does_not_depend_on_where_the_epoch_starts() {
        let order = Batches::shuffled(20, size(6), 7, 3);
        let augmentation = Augmentation { flip: true, ..Augmentation::default() };
        let stream = stream();
        let whole = values(stream.training_batches(&order, 0, &augmentation, 7, 3));
        assert_eq!(values(stream.training_batches(&order, 2, &augmentation, 7, 3)), whole[2..]);
        assert_ne!(values(stream.training_batches(&order, 0, &augmentation, 8, 3)), whole);
        assert_ne!(values(stream.training_batches(&order, 0, &augmentation, 7, 4)), whole);
    }

    #[test]
    fn evaluation_normalises_the_centre_of_each_picture() {
        let stream = stream();
        let order = Batches::in_order(20, size(20));
        let (images, labels) = &values(stream.batches(&order))[0];
        let picture = stream.cropping.center(stream.pictures.picture(4).unwrap()).planes();
        let plane = 30 * 30;
        for (position, &pixel) in picture.iter().enumerate() {
            let (mean, deviation) = (stream.statistics.mean[position / plane], stream.statistics.deviation[0]);
            let wanted = (f32::from(pixel) / 255.0 - mean) / deviation;
            let found = f32::from_bits(images[4 * 3 * plane + position]);
            assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
        }
        assert_eq!(labels[4], i64::from(stream.pictures.label(4)));
        // All images are in the statistics, so their mean is 0 and their deviation 1.
        let all: Vec<f64> = images.iter().map(|&bits| f64::from(f32::from_bits(bits))).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let square = all.iter().map(|value| value * value).sum::<f64>() / all.len() as f64;
        assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-3, "{mean} {square}");
    }

    /// Pictures that count how many were read; one of them may be broken.
    #[derive(Debug)]
    struct Counted {
        set: ImageSet,
        read: AtomicUsize,
        broken: Option<usize>,
    }

    impl Pictures for Counted {
        fn len(&self) -> usize {
            self.set.len()
        }

        fn classes(&self) -> &[String] {
            self.set.classes()
        }

        fn label(&self, index: usize) -> u16 {
            self.set.label(index)
        }

        fn picture(&self, index: usize) -> Result<Picture, DataError> {
            self.read.fetch_add(1, Ordering::SeqCst);
            if self.broken == Some(index) {
                return Err(DataError::BrokenImage { path: "bad.jpg".into(), message: "it is empty".to_owned() });
            }
            self.set.picture(index)
        }
    }

    fn counted(broken: Option<usize>) -> (Arc<Counted>, PictureStream) {
        let set = embedded::train().limit(200, 7).unwrap();
        let pictures = Arc::new(Counted { set, read: AtomicUsize::new(0), broken });
        let statistics = ChannelStatistics { mean: vec![0.0; 3], deviation: vec![1.0; 3] };
        let stream = PictureStream::new(pictures.clone(), Cropping::imagenet(8), &statistics, &Device::flex()).unwrap();
        (pictures, stream.with_threads(size(3)).with_ahead(size(20)))
    }

    #[test]
    fn a_slow_training_does_not_make_pictures_pile_up() {
        let (pictures, stream) = counted(None);
        let order = Batches::in_order(200, size(10));
        let mut batches = stream.batches(&order);
        for taken in 0..5 {
            std::thread::sleep(Duration::from_millis(20));
            let read = pictures.read.load(Ordering::SeqCst);
            assert!(read <= taken * 10 + 20, "{read} pictures were read when {taken} batches were taken");
            batches.next().unwrap().unwrap();
        }
        drop(batches);
        assert!(pictures.read.load(Ordering::SeqCst) <= 70);
    }

    #[test]
    fn the_batch_of_a_broken_picture_fails_with_its_name() {
        let (_, stream) = counted(Some(14));
        let order = Batches::in_order(200, size(10));
        let mut batches = stream.batches(&order);
        assert!(batches.next().unwrap().is_ok());
        let error = batches.next().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("the image bad.jpg is broken: it is empty"), "{error}");
    }

    #[test]
    fn statistics_must_have_three_channels() {
        let pictures = Arc::new(embedded::train().limit(20, 7).unwrap());
        let one = ChannelStatistics { mean: vec![0.0], deviation: vec![1.0] };
        let error = PictureStream::new(pictures, Cropping::imagenet(8), &one, &Device::flex()).unwrap_err();
        assert!(error.to_string().contains(" has 3 channels, but the statistics are for 1; "), "{error}");
    }
}
