//! A decoded photograph of any size, and how it is scaled and cut.

use super::{DataError, ImageShape};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A picture of any size, decoded to eight bits of red, green and blue.
///
/// What a file holds becomes that in this way:
/// - The format, JPEG or PNG, is recognised by the content, regardless of the file's name.
/// - Grayscale is repeated over the three channels.
/// - CMYK and YCCK (JPEG) are multiplied out, as Adobe's programs write them: a channel is its own ink times black.
///   Colour profiles are not applied.
/// - 16 bits a channel (PNG) are rounded to 8: `(value + 128) / 257`.
/// - Transparency (PNG) is left out: the colours under it stand.
/// - The picture is turned as its EXIF orientation says, so that up is up.
/// - A file that ends early is broken, and not half a picture.
///
/// ```
/// use blockqnn::data::Picture;
///
/// // Two rows of four pixels, red above blue.
/// let picture = Picture::new(4, 2, [[255, 0, 0]; 4].into_iter().chain([[0, 0, 255]; 4]).flatten().collect())
///     .ok_or("eight pixels")?;
/// let square = picture.crop(0, 1, 2);
/// assert_eq!((square.width(), square.height()), (2, 2));
/// // Plane by plane, as an ImageSet has it.
/// assert_eq!(square.planes(), [255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture(RgbImage);

impl Picture {
    /// How many times as long as wide a picture may be; a longer one would take absurd memory when its shorter side is
    /// enlarged.
    pub const MAX_ASPECT: u32 = 50;

    /// A picture from its pixels, row by row, three bytes each; `None` if they are not `width * height`, or none.
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
    /// [`DataError::Io`] if it cannot be read, [`DataError::BrokenImage`] if it is not a complete JPEG or PNG picture.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        // A decoder that panics on a damaged file must not take the training with it.
        catch_unwind(AssertUnwindSafe(|| Self::decode(&bytes)))
            .unwrap_or_else(|_| Err("the image decoder crashed on it".to_owned()))
            .map_err(|message| DataError::BrokenImage { path: path.to_owned(), message })
    }

    /// Decodes the content of a file; the error says what is wrong with it.
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
        match reader.format() {
            Some(ImageFormat::Jpeg) if !is_whole_jpeg(bytes) => return Err("it ends early".to_owned()),
            Some(ImageFormat::Jpeg | ImageFormat::Png) => {}
            _ => return Err("its content is neither JPEG nor PNG".to_owned()),
        }
        let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
        // Damaged EXIF data are no reason to refuse a picture.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
        picture.apply_orientation(orientation);
        let (short, long) = (picture.width().min(picture.height()), picture.width().max(picture.height()));
        if short == 0 || long / short >= Self::MAX_ASPECT {
            let (width, height) = (picture.width(), picture.height());
            return Err(format!(
                "its size of {width}x{height} pixels is too elongated: the longer side must be less than {} times the shorter",
                Self::MAX_ASPECT
            ));
        }
        Ok(Self(picture.into_rgb8()))
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.0.width()
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.0.height()
    }

    /// The pixels, row by row, three bytes each.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        self.0.as_raw()
    }

    /// The same picture scaled so that its shorter side is `side`; the longer one keeps the proportion, rounded.
    ///
    /// Scaling is linear; in a smaller picture each pixel is the mean of what it covers, weighted by a triangle of twice
    /// its width.
    ///
    /// # Panics
    /// If `side` is 0.
    #[must_use]
    pub fn with_shorter_side(self, side: u32) -> Self {
        assert!(side > 0, "a picture has a size");
        let (width, height) = (self.width(), self.height());
        let short = width.min(height);
        if short == side {
            return self;
        }
        let scaled = |length: u32| {
            let rounded = (u64::from(length) * u64::from(side) + u64::from(short) / 2) / u64::from(short);
            u32::try_from(rounded).unwrap_or(u32::MAX)
        };
        Self(image::imageops::resize(&self.0, scaled(width), scaled(height), FilterType::Triangle))
    }

    /// The square of `side` pixels whose first row is `top` and whose first column is `left`.
    ///
    /// # Panics
    /// If the picture does not reach so far.
    #[must_use]
    pub fn crop(&self, top: u32, left: u32, side: u32) -> Self {
        assert!(top + side <= self.height() && left + side <= self.width(), "the crop lies inside the picture");
        Self(image::imageops::crop_imm(&self.0, left, top, side, side).to_image())
    }

    /// The square of `side` pixels in the middle; where the margins cannot be equal, the first is the smaller one.
    ///
    /// # Panics
    /// If the picture is smaller.
    #[must_use]
    pub fn center_crop(&self, side: u32) -> Self {
        assert!(side <= self.height() && side <= self.width(), "the crop lies inside the picture");
        self.crop((self.height() - side) / 2, (self.width() - side) / 2, side)
    }

    /// The pixels as three planes, red, green and blue, each row by row: as an [`ImageSet`](super::ImageSet) has them.
    #[must_use]
    pub fn planes(&self) -> Vec<u8> {
        let pixels = self.pixels();
        (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
    }

    /// The pixels, for what this crate has no function for.
    pub(crate) fn into_image(self) -> RgbImage {
        self.0
    }

    /// A picture of an image's planes, of which there are one (gray) or three.
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

/// Whether a JPEG file is complete up to its end marker. The decoder fills up what is missing with gray, and says
/// nothing.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let byte = |position: usize| bytes.get(position).copied();
    // Behind the marker that begins a file come segments; an embedded thumbnail lies within one.
    let mut position = 2;
    let mut scanned = false;
    loop {
        match (byte(position), byte(position + 1)) {
            (Some(0xff), Some(0xd9)) => return scanned,
            // A stuffed byte, a restart marker, or padding: still within a scan, or between segments.
            (Some(0xff), Some(0x00 | 0x01 | 0xd0..=0xd7)) => position += 2,
            (Some(0xff), Some(0xff)) => position += 1,
            (Some(0xff), Some(marker)) => {
                let (Some(high), Some(low)) = (byte(position + 2), byte(position + 3)) else { return false };
                position += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
                scanned |= marker == 0xda;
            }
            // Data of a scan.
            (Some(_), Some(_)) => position += 1,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
