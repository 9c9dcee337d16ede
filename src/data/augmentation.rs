//! Random changes to training images.

use super::ImageShape;
use crate::seed;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// The random changes that are made to training images. The default changes nothing.
///
/// The random numbers are drawn on the host, so that they depend on a seed alone; the pixels are changed on the device.
///
/// ```
/// use blockqnn::data::Augmentation;
///
/// let paper = Augmentation::cifar();
/// assert_eq!((paper.pad, paper.flip, paper.cutout), (4, true, 0));
/// assert_eq!(paper, Augmentation { pad: 4, flip: true, ..Augmentation::default() });
/// ```
///
/// # References
/// Section "Experiment on CIFAR": crops of 32x32 from images padded to 40x40, and horizontal flips. `cutout`: `DeVries`
/// and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Black pixels around an image, from which a crop of the original size is taken at random; 0 for none. Paper,
    /// CIFAR: 4.
    pub pad: usize,
    /// Whether half of the images are mirrored, left to right. Paper: yes.
    pub flip: bool,
    /// Side of the square that is blanked (set to the mean of the training images) at a random place, cut off at the
    /// edges of the image; 0 for none. The paper has none.
    pub cutout: usize,
}

/// The random numbers of one image; see [`Augmentation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Draw {
    /// How many pixels the crop begins below the top of the image, from -pad to pad.
    pub(super) down: i32,
    /// How many pixels the crop begins to the right of the image's left edge, from -pad to pad.
    pub(super) right: i32,
    /// Whether the crop is mirrored.
    pub(super) flip: bool,
    /// Row and column of the centre of the blanked square.
    pub(super) hole: (i32, i32),
}

impl Augmentation {
    /// Returns the augmentation of the paper for CIFAR: 4 pixels of padding with random crops, and flips.
    #[must_use]
    pub fn cifar() -> Self {
        Self { pad: 4, flip: true, cutout: 0 }
    }

    /// Draws the random numbers of a number of images of a shape, one image after the other.
    ///
    /// # Panics
    /// If the shape has no pixels.
    pub(super) fn draws(&self, images: usize, shape: ImageShape, rng: &mut dyn Rng) -> Vec<Draw> {
        (0..images).map(|_| self.draw(shape, rng)).collect()
    }

    fn draw(&self, shape: ImageShape, rng: &mut dyn Rng) -> Draw {
        // Sides of images and pads are far below 2^31.
        let small = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        let mut draw = Draw::default();
        if self.pad > 0 {
            draw.down = small(seed::index(rng, 2 * self.pad + 1)) - small(self.pad);
            draw.right = small(seed::index(rng, 2 * self.pad + 1)) - small(self.pad);
        }
        if self.flip {
            draw.flip = seed::index(rng, 2) == 1;
        }
        if self.cutout > 0 {
            draw.hole = (small(seed::index(rng, shape.height)), small(seed::index(rng, shape.width)));
        }
        draw
    }

    /// Returns the first row and column of the blanked square.
    pub(super) fn corner(&self, draw: &Draw) -> (i32, i32) {
        let half = i32::try_from(self.cutout / 2).unwrap_or(i32::MAX);
        (draw.hole.0 - half, draw.hole.1 - half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ChannelStatistics;

    impl Augmentation {
        /// Computes one augmented image on the host: its normalised values, plane by plane. Tests compare the device's
        /// computation with this one.
        ///
        /// # Panics
        /// If `image` or `statistics` do not have `shape`.
        pub(in crate::data) fn apply(
            &self,
            draw: &Draw,
            image: &[u8],
            shape: ImageShape,
            statistics: &ChannelStatistics,
        ) -> Vec<f32> {
            let ImageShape { channels, height, width } = shape;
            let (top, left) = self.corner(draw);
            let inside = |value: i32, begin: i32, length: usize| {
                usize::try_from(i64::from(value) - i64::from(begin)).ok().filter(|&offset| offset < length)
            };
            let mut values = Vec::with_capacity(image.len());
            for channel in 0..channels {
                let plane = &image[channel * height * width..][..height * width];
                let (mean, deviation) = (statistics.mean[channel], statistics.deviation[channel]);
                for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
                    let [y, x] = [row, column].map(|value| i32::try_from(value).unwrap_or(i32::MAX));
                    if inside(y, top, self.cutout).is_some() && inside(x, left, self.cutout).is_some() {
                        values.push(0.0);
                        continue;
                    }
                    let column = if draw.flip { width - 1 - column } else { column };
                    let from_row = inside(y + draw.down, 0, height);
                    let from_column = inside(i32::try_from(column).unwrap_or(i32::MAX) + draw.right, 0, width);
                    let pixel = from_row.zip(from_column).map_or(0, |(row, column)| plane[row * width + column]);
                    values.push((f32::from(pixel) / 255.0 - mean) / deviation);
                }
            }
            values
        }
    }

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 2, width: 3 };
    const IMAGE: [u8; 6] = [10, 20, 30, 40, 50, 60];

    /// Returns the bytes of the augmented image.
    fn apply(augmentation: Augmentation, draw: Draw) -> Vec<i32> {
        let statistics = ChannelStatistics { mean: vec![0.0], deviation: vec![1.0 / 255.0] };
        let values = augmentation.apply(&draw, &IMAGE, SHAPE, &statistics);
        #[expect(clippy::cast_possible_truncation)]
        values.into_iter().map(|value| value.round() as i32).collect()
    }

    #[test]
    fn fixed_draws_move_pixels_exactly() {
        let crop = Augmentation { pad: 2, ..Augmentation::default() };
        assert_eq!(apply(crop, Draw::default()), [10, 20, 30, 40, 50, 60]);
        assert_eq!(apply(crop, Draw { down: 1, ..Draw::default() }), [40, 50, 60, 0, 0, 0]);
        assert_eq!(apply(crop, Draw { right: -2, ..Draw::default() }), [0, 0, 10, 0, 0, 40]);
        let both = Augmentation { flip: true, ..crop };
        assert_eq!(apply(both, Draw { flip: true, ..Draw::default() }), [30, 20, 10, 60, 50, 40]);
        // The crop is taken first and then mirrored.
        assert_eq!(apply(both, Draw { flip: true, right: 1, ..Draw::default() }), [0, 30, 20, 0, 60, 50]);
        let cutout = Augmentation { cutout: 2, ..Augmentation::default() };
        assert_eq!(apply(cutout, Draw { hole: (0, 0), ..Draw::default() }), [0, 20, 30, 40, 50, 60]);
        assert_eq!(apply(cutout, Draw { hole: (1, 2), ..Draw::default() }), [10, 0, 0, 40, 0, 0]);
    }

    #[test]
    fn crops_and_flips_are_uniform() {
        let shape = ImageShape { channels: 3, height: 32, width: 32 };
        let draws = Augmentation { cutout: 8, ..Augmentation::cifar() }.draws(
            81_000,
            shape,
            &mut seed::stream(5, "augment", 0),
        );
        let flipped = draws.iter().filter(|draw| draw.flip).count();
        assert!((40_000..41_000).contains(&flipped), "{flipped}");
        for (down, right) in (-4..=4).flat_map(|down| (-4..=4).map(move |right| (down, right))) {
            let count = draws.iter().filter(|draw| (draw.down, draw.right) == (down, right)).count();
            // 1,000 expected, within five standard deviations.
            assert!((840..1_160).contains(&count), "{down} {right}: {count}");
        }
        let rows = (0..32).map(|row| draws.iter().filter(|draw| draw.hole.0 == row).count());
        assert!(rows.clone().all(|count| (2_280..2_790).contains(&count)), "{:?}", rows.collect::<Vec<_>>());
    }

    #[test]
    fn the_default_draws_nothing() {
        let mut rng = seed::stream(5, "augment", 0);
        let before = rng.clone();
        assert_eq!(Augmentation::default().draws(3, SHAPE, &mut rng), [Draw::default(); 3]);
        assert_eq!(rng, before);
    }
}
