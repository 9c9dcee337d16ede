//! Tests of decoding and scaling. The JPEG files were written by Pillow 12.

use super::*;
use image::ImageFormat;
use image::{ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, Rgba};
use std::io::Cursor;

const CMYK: &[u8] = include_bytes!("cmyk.jpg");
const GRAY: &[u8] = include_bytes!("gray.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("progressive.jpg");
/// 24 x 16 pixels, the first eight columns red and the others blue, with an EXIF orientation of 6 (turn right).
const TURNED: &[u8] = include_bytes!("turned.jpg");

fn decoded(bytes: &[u8]) -> Result<Picture, String> {
    decode::decode(Cursor::new(bytes)).map(Picture)
}

fn pixel(picture: &Picture, row: u32, column: u32) -> [u8; 3] {
    picture.0.get_pixel(column, row).0
}

fn close(found: [u8; 3], wanted: [u8; 3]) -> bool {
    found.iter().zip(wanted).all(|(&found, wanted)| found.abs_diff(wanted) <= 4)
}

/// Returns one channel of a picture whose channels are equal.
fn gray(picture: &Picture) -> Vec<u8> {
    assert!(picture.pixels().chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    picture.pixels().iter().step_by(3).copied().collect()
}

fn from_gray(width: u32, height: u32, values: &[u8]) -> Picture {
    Picture::new(width, height, values.iter().flat_map(|&value| [value; 3]).collect()).unwrap()
}

fn png(color: image::ExtendedColorType, width: u32, height: u32, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file).write_image(bytes, width, height, color).unwrap();
    file
}

#[test]
fn grayscale_is_repeated_over_the_channels() {
    let picture = decoded(GRAY).unwrap();
    assert_eq!((picture.width(), picture.height()), (8, 8));
    assert!(gray(&picture).iter().all(|value| value.abs_diff(100) <= 1));
    let picture = decoded(&png(image::ExtendedColorType::L8, 2, 1, &[3, 250])).unwrap();
    assert_eq!(picture.pixels(), [3, 3, 3, 250, 250, 250]);
}

#[test]
fn cmyk_is_multiplied_out() {
    // Full cyan ink and no other.
    let picture = decoded(CMYK).unwrap();
    assert!(close(pixel(&picture, 4, 4), [0, 255, 255]), "{:?}", pixel(&picture, 4, 4));
}

#[test]
fn sixteen_bits_are_rounded_to_eight() {
    // (value + 128) / 257 for 0, 128, 129, 257, 32,768 and 65,535.
    let values: [u16; 6] = [0, 128, 129, 257, 32_768, 65_535];
    let buffer: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_raw(6, 1, values.to_vec()).unwrap();
    let mut file = Cursor::new(Vec::new());
    buffer.write_to(&mut file, ImageFormat::Png).unwrap();
    assert_eq!(gray(&decoded(file.get_ref()).unwrap()), [0, 0, 1, 1, 128, 255]);
    let buffer: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_raw(2, 1, values.to_vec()).unwrap();
    let mut file = Cursor::new(Vec::new());
    buffer.write_to(&mut file, ImageFormat::Png).unwrap();
    assert_eq!(decoded(file.get_ref()).unwrap().pixels(), [0, 0, 1, 1, 128, 255]);
}

#[test]
fn transparency_is_ignored() {
    let buffer: ImageBuffer<Rgba<u8>, _> = ImageBuffer::from_raw(1, 1, vec![10, 20, 30, 0]).unwrap();
    let mut file = Cursor::new(Vec::new());
    buffer.write_to(&mut file, ImageFormat::Png).unwrap();
    assert_eq!(decoded(file.get_ref()).unwrap().pixels(), [10, 20, 30]);
    let buffer: ImageBuffer<LumaA<u8>, _> = ImageBuffer::from_raw(1, 1, vec![10, 128]).unwrap();
    let mut file = Cursor::new(Vec::new());
    buffer.write_to(&mut file, ImageFormat::Png).unwrap();
    assert_eq!(decoded(file.get_ref()).unwrap().pixels(), [10; 3]);
}

#[test]
fn a_picture_is_turned_by_its_exif_orientation() {
    let picture = decoded(TURNED).unwrap();
    assert_eq!((picture.width(), picture.height()), (16, 24));
    // The red columns were on the left; turned right, they are at the top.
    assert!(close(pixel(&picture, 2, 8), [255, 0, 0]), "{:?}", pixel(&picture, 2, 8));
    assert!(close(pixel(&picture, 20, 8), [0, 0, 255]), "{:?}", pixel(&picture, 20, 8));
}

#[test]
fn progressive_files_are_decoded() {
    let picture = decoded(PROGRESSIVE).unwrap();
    assert_eq!((picture.width(), picture.height()), (24, 16));
}

#[test]
fn a_file_that_ends_early_is_broken_wherever_it_ends() {
    for whole in [GRAY, CMYK, PROGRESSIVE, TURNED] {
        for length in 0..whole.len() {
            assert!(decoded(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
        // Bytes that some cameras and editors append are ignored.
        let longer = [whole, &b"appended"[..]].concat();
        assert_eq!(decoded(&longer).unwrap(), decoded(whole).unwrap());
    }
    let whole = png(image::ExtendedColorType::Rgb8, 3, 3, &[9; 27]);
    for length in 0..whole.len() - 12 {
        assert!(decoded(&whole[..length]).is_err(), "{length} of {}", whole.len());
    }
}

#[test]
fn files_that_are_not_pictures_are_refused_with_a_reason() {
    assert_eq!(decoded(b"").unwrap_err(), "it is empty");
    assert_eq!(decoded(b"These are words.").unwrap_err(), "its content is none of JPEG, PNG, WebP, BMP, GIF and TIFF");
    // Radiance is a format of the image library that this crate does not support.
    assert_eq!(decoded(b"#?RADIANCE").unwrap_err(), "its content is none of JPEG, PNG, WebP, BMP, GIF and TIFF");
    let long = png(image::ExtendedColorType::L8, 50, 1, &[0; 50]);
    assert_eq!(
        decoded(&long).unwrap_err(),
        "its size of 50x1 pixels is too elongated: the longer side must be less than 50 times the shorter"
    );
    assert!(decoded(&png(image::ExtendedColorType::L8, 49, 1, &[0; 49])).is_ok());
}

#[test]
fn damaged_files_never_panic() {
    let mut rng = crate::seed::stream(1, "damage", 0);
    for whole in [GRAY, CMYK, PROGRESSIVE, TURNED, &png(image::ExtendedColorType::Rgb8, 3, 3, &[9; 27])] {
        for _ in 0..300 {
            let mut bytes = whole.to_vec();
            let position = crate::seed::index(&mut rng, bytes.len());
            bytes[position] = u8::try_from(crate::seed::index(&mut rng, 256)).unwrap();
            let _ = decoded(&bytes);
        }
    }
}

#[test]
fn halving_a_picture_weights_by_a_triangle() {
    // Each of the two pixels has the weights 3, 3 and 1 in 7 (1/8, 3/8, 3/8, 1/8 away from the edges).
    let row = from_gray(4, 2, &[0, 70, 140, 210, 0, 70, 140, 210]);
    let halved = row.covering([1; 2]);
    assert_eq!((halved.width(), halved.height()), (2, 1));
    assert_eq!(gray(&halved), [50, 160]);
    // Away from the edges: (30 + 3 * 60 + 3 * 90 + 120) / 8.
    let row = from_gray(8, 2, &[[0, 0, 0, 40, 80, 120, 120, 120]; 2].concat());
    assert_eq!(gray(&row.covering([1; 2])), [0, 25, 95, 120]);
}

#[test]
fn doubling_a_picture_interpolates_between_pixel_centres() {
    let doubled = from_gray(2, 1, &[0, 100]).covering([2; 2]);
    assert_eq!((doubled.width(), doubled.height()), (4, 2));
    assert_eq!(gray(&doubled), [0, 25, 75, 100, 0, 25, 75, 100]);
}

#[test]
fn a_flat_picture_stays_flat_at_every_size() {
    for side in [1, 2, 3, 5, 7, 31, 100] {
        let scaled = from_gray(30, 20, &[77; 600]).covering([side; 2]);
        assert_eq!(scaled.height(), side);
        assert!(gray(&scaled).iter().all(|&value| value == 77), "{side}");
    }
}

#[test]
fn the_longer_side_keeps_the_proportion_rounded() {
    let size = |width, height, side| {
        let picture = Picture::new(width, height, vec![0; (width * height * 3) as usize]).unwrap();
        let scaled = picture.covering([side; 2]);
        (scaled.width(), scaled.height())
    };
    assert_eq!(size(500, 375, 256), (341, 256)); // 341.33
    assert_eq!(size(375, 500, 256), (256, 341));
    assert_eq!(size(3, 2, 3), (5, 3)); // 4.5
    assert_eq!(size(64, 64, 256), (256, 256));
    assert_eq!(size(49, 1, 1), (49, 1));
}

#[test]
fn crops_are_exact_and_centre_crops_lean_to_the_first_pixel() {
    let picture = from_gray(5, 4, &(0..20).collect::<Vec<u8>>());
    assert_eq!(gray(&picture.crop(1, 2, 2)), [7, 8, 12, 13]);
    assert_eq!(gray(&picture.middle([2; 2])), [6, 7, 11, 12]); // margins of 1 and 2 columns
    assert_eq!(gray(&picture.middle([3; 2])), [1, 2, 3, 6, 7, 8, 11, 12, 13]); // margins of 0 and 1 rows
    assert_eq!(picture.crop(0, 1, 4).width(), 4);
}

#[test]
fn planes_and_pixels_convert_into_each_other() {
    let shape = ImageShape { channels: 3, height: 1, width: 2 };
    let picture = Picture::from_planes(&[1, 2, 3, 4, 5, 6], shape).unwrap();
    assert_eq!(picture.pixels(), [1, 3, 5, 2, 4, 6]);
    assert_eq!(picture.planes(), [1, 2, 3, 4, 5, 6]);
    let shape = ImageShape { channels: 1, ..shape };
    assert_eq!(Picture::from_planes(&[1, 2], shape).unwrap().pixels(), [1, 1, 1, 2, 2, 2]);
    assert!(Picture::from_planes(&[1, 2, 3, 4], ImageShape { channels: 2, ..shape }).is_none());
    assert!(Picture::new(2, 2, vec![0; 11]).is_none() && Picture::new(2, 2, vec![0; 13]).is_none());
}
