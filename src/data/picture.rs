//! A decoded picture of any size, and how it is scaled and cropped.

mod decode;

use super::{DataError, ImageShape};
use image::RgbImage;
use image::imageops::FilterType;
use std::path::Path;

pub(crate) use decode::{FORMATS, is_picture};

/// A picture of any size, decoded to eight bits of red, green and blue.
///
/// Files are decoded by these rules:
/// - The format is JPEG, PNG, WebP, BMP, GIF or TIFF, recognised by the content, whatever the name of the file. Of
///   several frames or pages, the first one is used.
/// - Grayscale is repeated over the three channels.
/// - CMYK and YCCK are multiplied out, as Adobe's programs write them: a channel is its own ink times black.
///   Colour profiles are not applied.
/// - 16 bits per channel are rounded to 8: `(value + 128) / 257`.
/// - Transparency is ignored; the colours under it are kept.
/// - The picture is turned upright by its EXIF orientation.
/// - A file that ends early is broken, and not half a picture.
/// - The size is checked before anything is decoded: a picture with more than 178,956,970 pixels, or whose pixels take
///   more than 1 GiB, is refused.
///
/// ```
/// use blockqnn::data::Picture;
///
/// // Two rows of four pixels, red above blue.
/// let picture = Picture::new(4, 2, [[255, 0, 0]; 4].into_iter().chain([[0, 0, 255]; 4]).flatten().collect())
///     .ok_or("eight pixels")?;
/// assert_eq!((picture.width(), picture.height()), (4, 2));
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture(RgbImage);

impl Picture {
    /// The limit on the sides of a picture: the longer one must be less than this many times the shorter. A longer
    /// picture would take far too much memory when its shorter side is enlarged.
    pub(super) const MAX_ASPECT: u32 = 50;
    /// The largest number of pixels of a picture: at most 512 MiB as bytes of red, green and blue. Pillow has the same
    /// limit.
    pub(super) const MAX_PIXELS: u64 = 178_956_970;
    /// The largest number of bytes that the pixels of a file may take, at up to 16 bytes per pixel.
    pub(super) const MAX_BYTES: u64 = 1 << 30;

    /// Creates a picture from its pixels, row by row, three bytes each. Returns `None` if there are none, or not
    /// exactly `width * height`.
    #[must_use]
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let exact = u64::from(width) * u64::from(height) * 3 == pixels.len() as u64;
        RgbImage::from_raw(width, height, pixels)
            .filter(|image| exact && image.width() > 0 && image.height() > 0)
            .map(Self)
    }

    /// Reads and decodes a file.
    ///
    /// # Errors
    /// [`DataError::BrokenImage`] if the file is not a regular file that may be read, not a complete picture, or too
    /// large; [`DataError::Io`] if it does not exist, or the system fails to read it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        decode::read(path.as_ref()).map(Self)
    }

    /// Returns the number of columns.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.0.width()
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.0.height()
    }

    /// Returns the pixels, row by row, three bytes each.
    #[must_use]
    pub(super) fn pixels(&self) -> &[u8] {
        self.0.as_raw()
    }

    /// Scales the picture in proportion to the smallest size that covers `rows` and `columns`: one of its sides has
    /// exactly that length; the other one is rounded.
    ///
    /// Scaling is linear. When the picture becomes smaller, each new pixel is the mean of the pixels that it covers,
    /// weighted by a triangle of twice its width.
    ///
    /// # Panics
    /// If `rows` or `columns` is 0.
    #[must_use]
    pub(super) fn covering(self, [rows, columns]: [u32; 2]) -> Self {
        assert!(rows > 0 && columns > 0, "a picture has a size");
        let [height, width] = [self.height(), self.width()];
        let scaled = |length: u32, to: u32, from: u32| {
            let rounded = (u64::from(length) * u64::from(to) + u64::from(from) / 2) / u64::from(from);
            u32::try_from(rounded).unwrap_or(u32::MAX)
        };
        let wide = u64::from(width) * u64::from(rows) >= u64::from(height) * u64::from(columns);
        let [height, width] =
            if wide { [rows, scaled(width, rows, height)] } else { [scaled(height, columns, width), columns] };
        if [height, width] == [self.height(), self.width()] {
            return self;
        }
        Self(image::imageops::resize(&self.0, width, height, FilterType::Triangle))
    }

    /// Cuts out the square of `side` pixels whose first row is `top` and whose first column is `left`.
    ///
    /// # Panics
    /// If the square does not lie inside the picture.
    #[must_use]
    pub(super) fn crop(&self, top: u32, left: u32, side: u32) -> Self {
        assert!(top + side <= self.height() && left + side <= self.width(), "the crop lies inside the picture");
        Self(image::imageops::crop_imm(&self.0, left, top, side, side).to_image())
    }

    /// Cuts `rows` and `columns` out of the middle. If the margins cannot be equal, the upper and the left one are
    /// smaller.
    ///
    /// # Panics
    /// If the picture is smaller.
    #[must_use]
    pub(super) fn middle(&self, [rows, columns]: [u32; 2]) -> Self {
        assert!(rows <= self.height() && columns <= self.width(), "the crop lies inside the picture");
        let (top, left) = ((self.height() - rows) / 2, (self.width() - columns) / 2);
        Self(image::imageops::crop_imm(&self.0, left, top, columns, rows).to_image())
    }

    /// Returns the pixels as three planes, red, green and blue, each row by row, as in an
    /// [`ImageSet`](super::ImageSet).
    #[must_use]
    pub fn planes(&self) -> Vec<u8> {
        let pixels = self.pixels();
        (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
    }

    /// Returns the pixels, for tests that change them.
    #[cfg(test)]
    pub(crate) fn into_image(self) -> RgbImage {
        self.0
    }

    /// Creates a picture from the planes of an image, of which there are one (gray) or three.
    pub(super) fn from_planes(planes: &[u8], shape: ImageShape) -> Option<Self> {
        let plane = shape.height * shape.width;
        let channel = |channel: usize| if shape.channels == 1 { 0 } else { channel };
        if !matches!(shape.channels, 1 | 3) || planes.len() != plane * shape.channels {
            return None;
        }
        let pixels = (0..plane).flat_map(|pixel| (0..3).map(move |color| planes[channel(color) * plane + pixel]));
        Self::new(shape.width.try_into().ok()?, shape.height.try_into().ok()?, pixels.collect())
    }
}

#[cfg(test)]
mod formats;
#[cfg(test)]
mod tests;
