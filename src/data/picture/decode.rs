//! Decoding of files: which formats are supported, which pictures are too large, and which files are incomplete.

use super::super::DataError;
use super::Picture;
use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The supported formats, in words.
pub(crate) const FORMATS: &str = "JPEG, PNG, WebP, BMP, GIF and TIFF";
/// The endings of their file names.
const ENDINGS: [&str; 10] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff"];
const DECODED: [ImageFormat; 6] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::Tiff];
/// The largest file: no picture of permitted size needs as much.
const MAX_FILE: u64 = 2 * Picture::MAX_BYTES;
/// The part of a JPEG file that is searched for the size of the picture before the whole file is read.
const JPEG_HEAD: u64 = 1 << 20;

/// Returns whether a file is named like a picture in a supported format.
pub(crate) fn is_picture(name: &Path) -> bool {
    let ending = name.extension();
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Reads and decodes a file.
pub(super) fn read(path: &Path) -> Result<RgbImage, DataError> {
    let broken = |message: String| DataError::BrokenImage { path: path.to_owned(), message };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied => broken(source.to_string()),
        _ if path.is_symlink() => broken(format!("it is a link that leads to nothing ({source})")),
        _ => DataError::Io { path: path.to_owned(), source },
    };
    // The check comes before opening, because opening a named pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(broken("it is not a regular file".to_owned()));
    }
    if metadata.len() > MAX_FILE {
        return Err(broken(format!("its file of {} MiB is larger than {} MiB", metadata.len() >> 20, MAX_FILE >> 20)));
    }
    let file = BufReader::new(File::open(path).map_err(failed)?);
    // A decoder that panics on a damaged file must not end the training.
    catch_unwind(AssertUnwindSafe(|| decode(file)))
        .unwrap_or_else(|_| Err("the image decoder crashed on it".to_owned()))
        .map_err(broken)
}

/// Decodes the content of a file; the error says what is wrong with it.
pub(super) fn decode(mut source: impl BufRead + Seek) -> Result<RgbImage, String> {
    if source.fill_buf().map_err(text)?.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut reader = ImageReader::new(source).with_guessed_format().map_err(text)?;
    match reader.format() {
        Some(ImageFormat::Jpeg) => decode_jpeg(reader.into_inner()),
        Some(format) if DECODED.contains(&format) => {
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(Picture::MAX_BYTES);
            reader.limits(limits);
            finish(reader.into_decoder().map_err(text)?)
        }
        _ => Err(format!("its content is none of {FORMATS}")),
    }
}

/// Decodes a JPEG file. The decoder reads the whole file into memory, so the size of the picture is checked at its
/// beginning first.
fn decode_jpeg(mut source: impl BufRead) -> Result<RgbImage, String> {
    let mut bytes = Vec::new();
    source.by_ref().take(JPEG_HEAD).read_to_end(&mut bytes).map_err(text)?;
    if let Ok(decoder) = JpegDecoder::new(Cursor::new(&bytes)) {
        check_size(&decoder)?;
    }
    source.read_to_end(&mut bytes).map_err(text)?;
    if !is_whole_jpeg(&bytes) {
        return Err("it ends early".to_owned());
    }
    finish(JpegDecoder::new(Cursor::new(bytes)).map_err(text)?)
}

fn finish(mut decoder: impl ImageDecoder) -> Result<RgbImage, String> {
    check_size(&decoder)?;
    // Damaged EXIF data is no reason to refuse a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(text)?;
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Checks that the size of a picture is within the limits, before memory is allocated for it.
fn check_size(decoder: &impl ImageDecoder) -> Result<(), String> {
    let (width, height) = decoder.dimensions();
    let (short, long) = (width.min(height), width.max(height));
    if u64::from(width) * u64::from(height) > Picture::MAX_PIXELS {
        return Err(format!(
            "its size of {width}x{height} pixels is above the limit of {} million pixels: scale it down",
            Picture::MAX_PIXELS / 1_000_000
        ));
    }
    if decoder.total_bytes() > Picture::MAX_BYTES {
        return Err(format!(
            "its {width}x{height} pixels take {} MiB, more than the limit of {} MiB: scale it down, or store it with \
             8 bits per channel",
            decoder.total_bytes() >> 20,
            Picture::MAX_BYTES >> 20
        ));
    }
    if short == 0 || long / short >= Picture::MAX_ASPECT {
        return Err(format!(
            "its size of {width}x{height} pixels is too elongated: the longer side must be less than {} times the \
             shorter",
            Picture::MAX_ASPECT
        ));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Returns whether a JPEG file is complete up to its end marker. The decoder silently fills what is missing with gray.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let byte = |position: usize| bytes.get(position).copied();
    // The marker at the start of a file is followed by segments; an embedded thumbnail lies within one.
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
