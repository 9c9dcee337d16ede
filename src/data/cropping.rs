//! Square images from pictures of any size: the augmentation and the evaluation of `ImageNet`.

use super::{ImageShape, Picture};
use crate::seed;
use serde::{Deserialize, Serialize};

/// How a picture of any size becomes a square image of one size.
///
/// For training, the shorter side is scaled to a random length and a random square is cut out. For evaluation, it is
/// scaled to a fixed length and the square in the middle is cut out. The random numbers of image `i` in epoch `e`
/// depend on a seed and on `(e, i)` alone.
///
/// ```
/// use blockqnn::data::Cropping;
///
/// let paper = Cropping::imagenet(224);
/// assert_eq!((paper.shortest(), paper.longest()), (256, 480));
/// // Other sizes keep the proportions.
/// assert_eq!((Cropping::imagenet(56).shortest(), Cropping::imagenet(56).longest()), (64, 120));
/// ```
///
/// # References
/// Section "Experiment on `ImageNet`": "we use a simple data augmentation that randomly cropped 224x224 patches from a
/// resized image with its shorter side randomly sampled in [256, 480] with random horizontal flips. For the testing
/// images, we evaluate the accuracy on single 224x224 center crop from an image shorter side re-size to 256." The flip
/// is a part of the recipe ([`Augmentation`](super::Augmentation)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cropping {
    size: u32,
    shortest: u32,
    longest: u32,
}

impl Cropping {
    /// The largest size. Sides of pictures are scaled to at most 480 / 224 of it.
    pub(crate) const MAX_SIZE: u32 = 4_096;

    /// Returns the cropping of the paper for `ImageNet`, at any size. At 224 pixels, the shorter side is drawn
    /// uniformly from 256 to 480 for training, and is 256 for evaluation; at other sizes both are in proportion,
    /// rounded.
    ///
    /// # Panics
    /// If `size` is 0 or above 4,096.
    #[must_use]
    pub fn imagenet(size: u32) -> Self {
        assert!((1..=Self::MAX_SIZE).contains(&size), "a size from 1 to {}", Self::MAX_SIZE);
        Self { size, shortest: (size * 256 + 112) / 224, longest: (size * 480 + 112) / 224 }
    }

    /// Returns the cropping that scales the largest square in the middle to `size` pixels, also in training.
    ///
    /// # Errors
    /// The requested shape, if `size` is 0 or above [`MAX_SIZE`](Self::MAX_SIZE).
    pub(super) fn whole(size: u32) -> Result<Self, ImageShape> {
        let cropping = Self { size, shortest: size, longest: size };
        if (1..=Self::MAX_SIZE).contains(&size) { Ok(cropping) } else { Err(cropping.shape()) }
    }

    /// Returns the side of the square images.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Returns the shorter side of a picture for evaluation, which is also its minimum in training.
    #[must_use]
    pub fn shortest(&self) -> u32 {
        self.shortest
    }

    /// Returns the maximum of the shorter side of a picture in training.
    #[must_use]
    pub fn longest(&self) -> u32 {
        self.longest
    }

    /// Returns the shape of the square images, which have three channels.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        // A side is far below 2^32.
        let side = usize::try_from(self.size).unwrap_or(usize::MAX);
        ImageShape { channels: 3, height: side, width: side }
    }

    /// Cuts out the square for evaluation.
    #[must_use]
    pub(crate) fn center(&self, picture: Picture) -> Picture {
        picture.covering([self.shortest; 2]).middle([self.size; 2])
    }

    /// Cuts out a random square for training, for image `index` in the epoch whose seed is `epoch` (see
    /// [`epoch_seed`](Self::epoch_seed)).
    #[must_use]
    pub(super) fn random(&self, picture: Picture, epoch: u64, index: usize) -> Picture {
        let rng = &mut seed::stream(epoch, "crop", index as u64);
        let sides = self.longest - self.shortest + 1;
        // Both are below 2^32.
        let offset = |rng: &mut dyn rand::Rng, bound: u32| {
            u32::try_from(seed::index(rng, usize::try_from(bound).unwrap_or(usize::MAX))).unwrap_or(u32::MAX)
        };
        let picture = picture.covering([self.shortest + offset(rng, sides); 2]);
        let top = offset(rng, picture.height() - self.size + 1);
        let left = offset(rng, picture.width() - self.size + 1);
        picture.crop(top, left, self.size)
    }

    /// Returns the seed of the crops of an epoch, drawn from the stream `(seed, "crops", epoch)`.
    #[must_use]
    pub(super) fn epoch_seed(seed: u64, epoch: u64) -> u64 {
        rand::Rng::next_u64(&mut seed::stream(seed, "crops", epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a picture whose red is the column and whose green is the row.
    fn ramp(width: u32, height: u32) -> Picture {
        let byte = |value: u32| u8::try_from(value).unwrap();
        let pixels = (0..height).flat_map(|row| (0..width).flat_map(move |column| [byte(column), byte(row), 7]));
        Picture::new(width, height, pixels.collect()).unwrap()
    }

    /// Returns the first row and column of a square that was cut from a ramp.
    fn corner(square: &Picture) -> (u8, u8) {
        (square.pixels()[1], square.pixels()[0])
    }

    #[test]
    fn evaluation_cuts_the_middle_exactly() {
        // The shorter side already has its length, so nothing is scaled.
        let cropping = Cropping { size: 4, shortest: 7, longest: 9 };
        let square = cropping.center(ramp(20, 7));
        assert_eq!((square.width(), square.height(), corner(&square)), (4, 4, (1, 8)));
        let wanted: Vec<u8> = (1..5).flat_map(|row| (8..12).flat_map(move |column| [column, row, 7])).collect();
        assert_eq!(square.pixels(), wanted);
    }

    #[test]
    fn the_shorter_side_is_uniform_and_reaches_both_ends() {
        let cropping = Cropping { size: 3, shortest: 3, longest: 6 };
        let mut counts = [0; 4];
        for index in 0..4_000 {
            // The first draw of an image is its side.
            let rng = &mut seed::stream(Cropping::epoch_seed(7, 0), "crop", index);
            counts[seed::index(rng, 4)] += 1;
        }
        assert!(counts.iter().all(|&count| (880..1_120).contains(&count)), "{counts:?}");
        // A square as long as the shorter side is the whole picture; longer sides leave room for an offset.
        let whole = ramp(3, 3);
        let seen: Vec<bool> = (0..200).map(|index| cropping.random(whole.clone(), 1, index) == whole).collect();
        let unscaled = seen.iter().filter(|&&same| same).count();
        assert!((25..80).contains(&unscaled), "a quarter of 200: {unscaled}");
    }

    #[test]
    fn random_squares_reach_every_place_equally_often() {
        let cropping = Cropping { size: 3, shortest: 5, longest: 5 };
        let picture = ramp(6, 5);
        let mut counts = std::collections::BTreeMap::new();
        for index in 0..6_000 {
            let square = cropping.random(picture.clone(), 1, index);
            assert_eq!((square.width(), square.height()), (3, 3));
            *counts.entry(corner(&square)).or_insert(0) += 1;
        }
        // Three rows times four columns, with 500 expected for each, within five standard deviations.
        assert_eq!(counts.len(), 12);
        assert!(counts.values().all(|count| (390..610).contains(count)), "{counts:?}");
    }

    #[test]
    fn random_crops_depend_on_seed_epoch_and_image() {
        let cropping = Cropping { size: 3, shortest: 40, longest: 80 };
        let picture = ramp(60, 50);
        let crop = |seed, epoch, index| cropping.random(picture.clone(), Cropping::epoch_seed(seed, epoch), index);
        assert_eq!(crop(1, 2, 3), crop(1, 2, 3));
        for other in [crop(2, 2, 3), crop(1, 3, 3), crop(1, 2, 4)] {
            assert_ne!(crop(1, 2, 3), other);
        }
    }

    #[test]
    fn at_224_pixels_the_figures_are_the_papers() {
        let paper = Cropping::imagenet(224);
        assert_eq!((paper.size(), paper.shortest(), paper.longest()), (224, 256, 480));
        for size in 1..=Cropping::MAX_SIZE {
            let cropping = Cropping::imagenet(size);
            assert!(cropping.size <= cropping.shortest && cropping.shortest <= cropping.longest);
        }
        assert_eq!(Cropping::whole(0).unwrap_err().height, 0);
    }
}
