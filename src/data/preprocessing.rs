//! The preprocessing of a picture before a network sees it, in a form that can be stored in a file.

use super::{Cropping, ImageShape, Picture};
use serde::{Deserialize, Serialize};

/// How a picture of any size becomes the bytes of an input image. Evaluation, use and the exported `PyTorch` source do
/// the same.
///
/// 1. The picture is decoded and turned upright ([`Picture`]).
/// 2. It is scaled in proportion until it just covers `resize`: for a square, that is its shorter side. The other side
///    is rounded, halves up. The filter is a triangle over the pixels that an output pixel covers, at least two pixels
///    wide (bilinear with antialiasing); a value is rounded once, after both directions.
/// 3. `crop` is cut from the middle; of unequal margins, the upper and the left one are smaller by one.
/// 4. For a network with one channel, colours become gray by the weights of ITU-R BT.601, as in Pillow and torchvision:
///    `(19595 red + 38470 green + 7471 blue + 32768) / 65536`, rounded down.
///
/// The image is then normalised, `(byte / 255 - mean) / deviation`, by [`ChannelStatistics`](super::ChannelStatistics).
///
/// ```
/// use blockqnn::data::{Cropping, Picture, Preprocessing};
/// use blockqnn::graph::ImageShape;
///
/// let paper = Preprocessing::from(Cropping::imagenet(224));
/// assert_eq!((paper.resize(), paper.crop()), ([256, 256], [224, 224]));
///
/// let gray = Preprocessing::whole(ImageShape { channels: 1, height: 1, width: 1 }).ok_or("one channel")?;
/// let red = Picture::new(2, 2, [255, 0, 0].repeat(4)).ok_or("four pixels")?;
/// assert_eq!(gray.apply(red), [76]);
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Facts", into = "Facts")]
pub struct Preprocessing {
    resize: [u32; 2],
    crop: [u32; 2],
    color: Color,
}

/// The channels of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Color {
    #[serde(rename = "rgb")]
    Rgb,
    #[serde(rename = "gray, ITU-R BT.601")]
    Gray,
}

/// The form in a file. Fields that have only one value are there for readers; any other value is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    orientation: Orientation,
    resize: [u32; 2],
    filter: Filter,
    rounding: Rounding,
    crop: [u32; 2],
    color: Color,
}

#[derive(Serialize, Deserialize)]
enum Orientation {
    #[serde(rename = "exif")]
    Exif,
}

#[derive(Serialize, Deserialize)]
enum Filter {
    #[serde(rename = "triangle, antialiased")]
    Triangle,
}

#[derive(Serialize, Deserialize)]
enum Rounding {
    #[serde(rename = "half up, once")]
    HalfUpOnce,
}

impl Preprocessing {
    /// The longest side that a picture may be scaled to: twice as much as for the largest [`Cropping`].
    const MAX_SIDE: u32 = 4 * Cropping::MAX_SIZE;

    /// Creates the preprocessing that scales the largest middle part of a picture with the proportions of `shape` to
    /// that shape. Returns `None` if `shape` has neither one nor three channels, or a side of 0 or above 16,384.
    #[must_use]
    pub fn whole(shape: ImageShape) -> Option<Self> {
        let color = match shape.channels {
            1 => Color::Gray,
            3 => Color::Rgb,
            _ => return None,
        };
        let size = [u32::try_from(shape.height).ok()?, u32::try_from(shape.width).ok()?];
        Self::new(size, size, color).ok()
    }

    fn new(resize: [u32; 2], crop: [u32; 2], color: Color) -> Result<Self, String> {
        let fits = |(cut, side): (u32, u32)| (1..=side).contains(&cut) && side <= Self::MAX_SIDE;
        if !crop.into_iter().zip(resize).all(fits) {
            let limit = Self::MAX_SIDE;
            return Err(format!("crop {crop:?} must lie within resize {resize:?}, whose sides are at most {limit}"));
        }
        Ok(Self { resize, crop, color })
    }

    /// Returns the height and width that the scaled picture covers.
    #[must_use]
    pub fn resize(&self) -> [u32; 2] {
        self.resize
    }

    /// Returns the height and width of the part that is cut from the middle.
    #[must_use]
    pub fn crop(&self) -> [u32; 2] {
        self.crop
    }

    /// Returns the shape of the images.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        let channels = if self.color == Color::Gray { 1 } else { 3 };
        // Both are far below 2^32.
        let [height, width] = self.crop.map(|side| usize::try_from(side).unwrap_or(usize::MAX));
        ImageShape { channels, height, width }
    }

    /// Returns the bytes of the image, plane by plane, each row by row, as in an [`ImageSet`](super::ImageSet).
    #[must_use]
    pub fn apply(&self, picture: Picture) -> Vec<u8> {
        let image = picture.covering(self.resize).middle(self.crop);
        match self.color {
            Color::Rgb => image.planes(),
            Color::Gray => image.pixels().chunks_exact(3).map(gray).collect(),
        }
    }
}

impl From<Cropping> for Preprocessing {
    /// Creates the preprocessing with which a [`Cropping`] evaluates.
    fn from(cropping: Cropping) -> Self {
        Self { resize: [cropping.shortest(); 2], crop: [cropping.size(); 2], color: Color::Rgb }
    }
}

impl TryFrom<Facts> for Preprocessing {
    type Error = String;

    fn try_from(facts: Facts) -> Result<Self, String> {
        Self::new(facts.resize, facts.crop, facts.color)
    }
}

impl From<Preprocessing> for Facts {
    fn from(Preprocessing { resize, crop, color }: Preprocessing) -> Self {
        Self {
            orientation: Orientation::Exif,
            resize,
            filter: Filter::Triangle,
            rounding: Rounding::HalfUpOnce,
            crop,
            color,
        }
    }
}

/// Returns the luma of ITU-R BT.601, with weights in units of 1 / 65536, as Pillow computes it.
fn gray(pixel: &[u8]) -> u8 {
    let weights = [19_595, 38_470, 7_471];
    let sum: u32 = pixel.iter().zip(weights).map(|(&value, weight)| u32::from(value) * weight).sum();
    // The weights sum to 65,536.
    u8::try_from((sum + 0x8000) >> 16).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_in_a_file_are_complete_and_can_be_read_back() {
        let paper = Preprocessing::from(Cropping::imagenet(224));
        let json = serde_json::to_string(&paper).unwrap();
        assert_eq!(
            json,
            "{\"orientation\":\"exif\",\"resize\":[256,256],\"filter\":\"triangle, antialiased\",\"rounding\":\
             \"half up, once\",\"crop\":[224,224],\"color\":\"rgb\"}"
        );
        assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), paper);
        for (from, to) in [
            ("triangle, antialiased", "cubic"),
            ("[224,224]", "[224,257]"),
            ("[224,224]", "[0,224]"),
            ("[256,256]", "[256,4000000000]"),
            ("\"rgb\"", "\"rgb\",\"invert\":true"),
        ] {
            assert!(serde_json::from_str::<Preprocessing>(&json.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn it_is_what_evaluation_does() {
        let picture = Picture::new(50, 40, (0..6_000u32).map(|value| (value * 7 % 251) as u8).collect()).unwrap();
        for cropping in [Cropping::imagenet(16), Cropping::whole(33).unwrap()] {
            let preprocessing = Preprocessing::from(cropping);
            assert_eq!(preprocessing.apply(picture.clone()), cropping.center(picture.clone()).planes());
            assert_eq!(preprocessing.shape(), cropping.shape());
        }
        let shape = ImageShape { channels: 3, height: 33, width: 33 };
        assert_eq!(Preprocessing::whole(shape), Some(Cropping::whole(33).unwrap().into()));
        assert_eq!(Preprocessing::whole(ImageShape { channels: 2, ..shape }), None);
        assert_eq!(Preprocessing::whole(ImageShape { height: 0, ..shape }), None);
    }

    #[test]
    fn shapes_other_than_squares_are_covered_in_proportion() {
        let flat = |width, height| Picture::new(width, height, vec![9; (width * height * 3) as usize]).unwrap();
        for (width, height, rows, columns) in [(90, 40, 10, 30), (40, 90, 10, 30), (7, 7, 10, 30)] {
            let covered = flat(width, height).covering([rows, columns]);
            assert!(covered.height() == rows || covered.width() == columns);
            assert!(covered.height() >= rows && covered.width() >= columns);
        }
        let wide = Preprocessing::whole(ImageShape { channels: 1, height: 2, width: 6 }).unwrap();
        assert_eq!(wide.apply(flat(40, 90)), [9; 12]);
    }

    #[test]
    fn gray_has_the_weights_of_bt_601() {
        // The results of Pillow's `convert("L")` for the same colours.
        let colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 200, 30], [77, 77, 77]];
        assert_eq!(colors.map(|color| gray(&color)), [76, 150, 29, 255, 124, 77]);
    }
}
