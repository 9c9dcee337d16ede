use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DataError;
use crate::graph::ImageShape;
use crate::seed;

/// The mean and the standard deviation of each channel, in units where a byte of 255 is 1.
///
/// They are computed by [`ImageSet::channel_statistics`] on the training part, and normalise all parts.
///
/// ```
/// use blockqnn::data::embedded;
///
/// let statistics = embedded::train().channel_statistics();
/// assert_eq!(statistics.mean.len(), 1);
/// assert!(statistics.mean[0] > 0.0 && statistics.deviation[0] > 0.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelStatistics {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, at least 1 / 255.
    pub deviation: Vec<f32>,
}

impl ChannelStatistics {
    /// The least deviation, one step of a byte, so that constant images normalise to 0 and not to NaN.
    const SMALLEST_DEVIATION: f32 = 1.0 / 255.0;

    /// Checks that these are the statistics of a set with so many channels.
    pub(super) fn check(&self, set: &str, channels: usize) -> Result<(), DataError> {
        if (self.mean.len(), self.deviation.len()) == (channels, channels) {
            return Ok(());
        }
        let problem = format!("has {channels} channels, but the statistics are for {}", self.mean.len());
        Err(DataError::set(set, format!("{problem}; take the statistics of its training part")))
    }

    /// Computes the statistics of bytes, `count` per channel, from the sum and the sum of squares of each channel.
    pub(super) fn from_sums(sums: &[(u64, u64)], count: u64) -> Self {
        let count = count as f64;
        let mut statistics = Self { mean: Vec::new(), deviation: Vec::new() };
        for &(sum, squares) in sums {
            let mean = sum as f64 / count;
            let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "rounding to single precision is wanted")]
            let (mean, deviation) = ((mean / 255.0) as f32, (deviation / 255.0) as f32);
            statistics.mean.push(mean);
            statistics.deviation.push(deviation.max(Self::SMALLEST_DEVIATION));
        }
        statistics
    }
}

/// Labelled images of one size, as bytes on the host.
///
/// Pixels are stored image by image, each as its channel planes, each plane row by row (NCHW). A value of this type is
/// always valid: it has at least one image, one label per image, and every label is below the number of classes.
///
/// ```
/// use blockqnn::data::ImageSet;
/// use blockqnn::graph::ImageShape;
///
/// let shape = ImageShape { channels: 1, height: 1, width: 2 };
/// let classes = ["dark", "bright"];
/// let set = ImageSet::new("two images", shape, classes, vec![0, 1], vec![0, 9, 255, 250])?;
/// assert_eq!((set.image(1), set.label(1)), (&[255, 250][..], 1));
/// # Ok::<(), blockqnn::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    name: String,
    shape: ImageShape,
    image_bytes: usize,
    classes: Vec<String>,
    labels: Vec<u16>,
    pixels: Vec<u8>,
}

impl ImageSet {
    /// Creates a set: `pixels` holds one image of `shape` for each of `labels`.
    ///
    /// # Errors
    /// If there are no images, there are no classes or more than 65,536, a size of the shape is 0, the number of pixels
    /// does not match, or a label has no class.
    pub fn new<C: Into<String>>(
        name: impl Into<String>,
        shape: ImageShape,
        classes: impl IntoIterator<Item = C>,
        labels: Vec<u16>,
        pixels: Vec<u8>,
    ) -> Result<Self, DataError> {
        let set = name.into();
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        if classes.is_empty() || classes.len() > usize::from(u16::MAX) + 1 {
            return Err(DataError::set(set, format!("has {} classes: give 1 to 65536 class names", classes.len())));
        }
        if labels.is_empty() {
            return Err(DataError::set(set, "has no images: give at least one"));
        }
        let bytes = shape.bytes().and_then(|bytes| Some((bytes, bytes.checked_mul(labels.len())?)));
        let Some((image_bytes, expected)) = bytes else {
            return Err(DataError::shape(set, shape));
        };
        if pixels.len() != expected {
            let (found, labels) = (pixels.len(), labels.len());
            let problem =
                format!("has {found} pixel bytes, but {labels} labels and images of {shape} require {expected}");
            return Err(DataError::set(set, format!("{problem}; give one label and one image for each")));
        }
        if let Some(image) = labels.iter().position(|&label| usize::from(label) >= classes.len()) {
            let (label, classes) = (labels[image], classes.len());
            let problem =
                format!("has the label {label} at image {image} (counted from 0), but only {classes} classes");
            return Err(DataError::set(set, format!("{problem}; correct the label or add the class name")));
        }
        Ok(Self { name: set, shape, image_bytes, classes, labels, pixels })
    }

    /// Returns the name of the set in reports and errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the size of every image.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Returns the number of images, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns `false`: a set without images cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the class names in the order of the labels.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Returns the pixels of an image.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.image_bytes..][..self.image_bytes]
    }

    /// Returns the label of an image.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn label(&self, index: usize) -> u16 {
        self.labels[index]
    }

    /// Returns the labels of all images.
    #[must_use]
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// Returns the pixels of all images, one image after another.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Returns the number of images of each class.
    #[must_use]
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// Returns a balanced part of at most `images` images: its classes have sizes as equal as the set allows.
    ///
    /// The choice depends on `seed` alone, and for the same seed a smaller part is contained in a larger one. The
    /// images keep their order. All classes are kept, even those that got no image.
    ///
    /// # Errors
    /// If `images` is 0.
    ///
    /// ```
    /// use blockqnn::data::embedded;
    ///
    /// let small = embedded::train().limit(25, 7)?;
    /// assert!(small.class_counts().iter().all(|&count| count == 2 || count == 3));
    /// # Ok::<(), blockqnn::data::DataError>(())
    /// ```
    pub fn limit(&self, images: usize, seed: u64) -> Result<Self, DataError> {
        if images == 0 {
            return Err(DataError::set(&self.name, "cannot be limited to 0 images: ask for at least 1"));
        }
        if images >= self.len() {
            return Ok(self.clone());
        }
        let mut members = self.shuffled_members("limit", seed);
        seed::shuffle(&mut seed::stream(seed, "limit classes", 0), &mut members);
        // One image of each class in turn, until there are enough.
        let mut chosen: Vec<usize> = (0..self.len())
            .flat_map(|round| members.iter().filter_map(move |class| class.get(round).copied()))
            .take(images)
            .collect();
        chosen.sort_unstable();
        Ok(self.select(self.name.clone(), &chosen))
    }

    /// Returns a text that identifies the content: it is equal for equal sizes, labels, numbers of classes and pixels,
    /// whatever the name of the set.
    ///
    /// It is the same on every platform and in every release of the same journal format.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"blockqnn images 1");
        for size in [self.shape.channels, self.shape.height, self.shape.width, self.classes.len(), self.len()] {
            hasher.update((size as u64).to_le_bytes());
        }
        for label in &self.labels {
            hasher.update(label.to_le_bytes());
        }
        hasher.update(&self.pixels);
        format!("sha256:{:x}", hasher.finalize())
    }

    /// Returns the mean and the deviation of each channel over all images, exactly summed.
    #[must_use]
    pub fn channel_statistics(&self) -> ChannelStatistics {
        let plane = self.image_bytes / self.shape.channels;
        let mut sums = vec![(0u64, 0u64); self.shape.channels];
        for (index, values) in self.pixels.chunks_exact(plane).enumerate() {
            let (sum, squares) = &mut sums[index % self.shape.channels];
            *sum += values.iter().map(|&value| u64::from(value)).sum::<u64>();
            *squares += values.iter().map(|&value| u64::from(value) * u64::from(value)).sum::<u64>();
        }
        ChannelStatistics::from_sums(&sums, (self.len() * plane) as u64)
    }

    /// Returns the images of each class, as indices in seeded random order.
    pub(super) fn shuffled_members(&self, purpose: &str, seed: u64) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.classes.len()];
        for (index, &label) in self.labels.iter().enumerate() {
            members[usize::from(label)].push(index);
        }
        for (class, images) in members.iter_mut().enumerate() {
            seed::shuffle(&mut seed::stream(seed, purpose, class as u64), images);
        }
        members
    }

    /// Returns the set of the images at `indices`, of which there is at least one.
    pub(super) fn select(&self, name: String, indices: &[usize]) -> Self {
        debug_assert!(!indices.is_empty(), "a set has at least one image");
        let mut pixels = Vec::with_capacity(indices.len() * self.image_bytes);
        for &index in indices {
            pixels.extend_from_slice(self.image(index));
        }
        Self {
            name,
            shape: self.shape,
            image_bytes: self.image_bytes,
            classes: self.classes.clone(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            pixels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 1, width: 2 };

    /// Makes images of the given classes whose every pixel is their index.
    fn numbered(labels: &[u16], classes: usize) -> ImageSet {
        let pixels = (0..labels.len()).flat_map(|image| [u8::try_from(image % 256).unwrap(); 4]).collect();
        let classes = (0..classes).map(|class| class.to_string());
        ImageSet::new("numbered", SHAPE, classes, labels.to_vec(), pixels).unwrap()
    }

    #[test]
    fn only_valid_sets_can_be_made() {
        let make = |shape, classes: &[&str], labels: &[u16], pixels| {
            let set = ImageSet::new("set", shape, classes.iter().copied(), labels.to_vec(), vec![0; pixels]);
            set.unwrap_err().to_string()
        };
        let flat = ImageShape { height: 0, ..SHAPE };
        let huge = ImageShape { channels: usize::MAX, height: 2, width: 1 };
        for (error, wanted) in [
            (make(SHAPE, &[], &[0], 4), "the set set has 0 classes: give 1 to 65536 class names"),
            (make(SHAPE, &["a"], &[], 0), "the set set has no images: give at least one"),
            (make(SHAPE, &["a"], &[0, 0], 7), "has 7 pixel bytes, but 2 labels and images of 2x1x2 require 8; "),
            (make(SHAPE, &["a"], &[0, 1], 8), "has the label 1 at image 1 (counted from 0), but only 1 classes; "),
            (make(flat, &["a"], &[0], 0), "has images of the size 2x0x2: "),
            (make(huge, &["a"], &[0], 0), "has images of the size 18446744073709551615x2x1: "),
        ] {
            assert!(error.contains(wanted) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_image_is_its_planes() {
        let set = ImageSet::new("set", SHAPE, ["a"], vec![0, 0], (0..8).collect()).unwrap();
        assert_eq!((set.image(0), set.image(1)), (&[0, 1, 2, 3][..], &[4, 5, 6, 7][..]));
    }

    #[test]
    fn a_limited_set_is_balanced_and_seeded() {
        let labels: Vec<u16> = (0..100).map(|image| if image < 5 { 2 } else { image % 2 }).collect();
        let set = numbered(&labels, 4);
        let part = set.limit(31, 7).unwrap();
        let counts = part.class_counts();
        assert_eq!((counts[0] + counts[1], counts[2], counts[3]), (26, 5, 0));
        assert_eq!(part.classes().len(), 4);
        assert_eq!(counts[0], counts[1]);
        assert_eq!(part, set.limit(31, 7).unwrap());
        assert_ne!(part, set.limit(31, 8).unwrap());
        assert_eq!(set, set.limit(1_000, 7).unwrap());
        assert!(set.limit(0, 7).unwrap_err().to_string().contains("cannot be limited to 0 images"));
    }

    #[test]
    fn a_smaller_limit_is_contained_in_a_larger_one() {
        let labels: Vec<u16> = (0..100).map(|image| image % 10).collect();
        let set = numbered(&labels, 10);
        let large = set.limit(57, 3).unwrap();
        let small = set.limit(23, 3).unwrap();
        let images = |set: &ImageSet| (0..set.len()).map(|i| set.image(i)[0]).collect::<Vec<_>>();
        assert!(images(&small).iter().all(|image| images(&large).contains(image)));
        assert!(images(&large).is_sorted());
    }

    #[test]
    fn the_identity_depends_on_the_content_and_not_on_the_name() {
        let set = numbered(&[0, 1], 2);
        let make = |name, shape, classes: [&'static str; 2], labels: &[u16], first| {
            ImageSet::new(name, shape, classes, labels.to_vec(), vec![first, 0, 0, 0, 1, 1, 1, 1]).unwrap().identity()
        };
        let identity = make("other", SHAPE, ["x", "y"], &[0, 1], 0);
        assert_eq!(set.identity(), identity);
        assert_eq!(identity, "sha256:121d70d8950ae1006aed5884e2f576a3370ae8c0aa92200950732cfa86853c3e");
        assert_ne!(identity, make("other", SHAPE, ["x", "y"], &[0, 1], 1));
        assert_ne!(identity, make("other", SHAPE, ["x", "y"], &[0, 0], 0));
        let turned = ImageShape { channels: 1, height: 2, width: 2 };
        assert_ne!(identity, make("other", turned, ["x", "y"], &[0, 1], 0));
    }

    #[test]
    fn statistics_are_per_channel_and_scaled_to_one() {
        let set = ImageSet::new("set", SHAPE, ["a"], vec![0, 0], vec![0, 255, 7, 7, 255, 0, 7, 7]).unwrap();
        let statistics = set.channel_statistics();
        assert_eq!(statistics.mean, [0.5, 7.0 / 255.0]);
        assert_eq!(statistics.deviation, [0.5, ChannelStatistics::SMALLEST_DEVIATION]);
    }
}
