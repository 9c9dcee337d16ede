//! Tests that every format is decoded, checked for its size first, and checked to be complete. The files were written
//! by Pillow 9.4.

use super::decode::decode;
use super::*;
use image::{ImageFormat, Rgb};
use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

const LOSSY_WEBP: &[u8] = include_bytes!("lossy.webp");
const GIF: &[u8] = include_bytes!("palette.gif");
const CMYK_TIFF: &[u8] = include_bytes!("cmyk.tif");

/// A picture of 24 x 16 pixels, the left half red and the right half blue.
fn two_halves() -> RgbImage {
    RgbImage::from_fn(24, 16, |x, _| if x < 12 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
}

fn written(format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    two_halves().write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.png", written(ImageFormat::Png)),
        ("a.bmp", written(ImageFormat::Bmp)),
        ("a.gif", written(ImageFormat::Gif)),
        ("a.TIFF", written(ImageFormat::Tiff)),
        ("a.WebP", written(ImageFormat::WebP)),
        ("a.jpe", written(ImageFormat::Jpeg)),
        ("lossy.webp", LOSSY_WEBP.to_vec()),
        ("palette.gif", GIF.to_vec()),
        ("cmyk.tif", CMYK_TIFF.to_vec()),
    ]
}

#[test]
fn every_format_is_decoded_to_the_same_pixels() {
    for (name, bytes) in files() {
        assert!(is_picture(Path::new(name)), "{name}");
        let found = decode(Cursor::new(bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.dimensions(), (24, 16), "{name}");
        for (x, y, wanted) in two_halves().enumerate_pixels() {
            // Lossy formats blur the edge between the halves.
            if !(10..14).contains(&x) {
                let found = found.get_pixel(x, y).0;
                assert!(found.iter().zip(wanted.0).all(|(a, b)| a.abs_diff(b) < 16), "{name} at {x}, {y}: {found:?}");
            }
        }
    }
    for name in ["a.heic", "a.svg", "a", "png", "a.txt", "a.jpg.part"] {
        assert!(!is_picture(Path::new(name)), "{name}");
    }
}

#[test]
fn a_truncated_file_is_broken_in_every_format() {
    for (name, whole) in files() {
        let wanted = decode(Cursor::new(whole.clone())).unwrap();
        for length in 0..whole.len() {
            // What follows the pixels may be missing, such as the end marker of a PNG file.
            if let Ok(found) = decode(Cursor::new(&whole[..length])) {
                assert_eq!(found, wanted, "{name} after {length} of {} bytes", whole.len());
            }
        }
        assert!(decode(Cursor::new(&whole[..whole.len() / 2])).is_err(), "{name}");
    }
}

/// Makes a PNG file of black pixels of one bit each, which contains `rows` rows.
fn black_png(width: u32, height: u32, rows: u32) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let row = vec![0; 1 + width.div_ceil(8) as usize];
    (0..rows).for_each(|_| packed.write_all(&row).unwrap());
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", packed.finish().unwrap()), (b"IEND", Vec::new())] {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(&data);
        file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        file.extend(kind);
        file.extend(&data);
        file.extend(sum.sum().to_be_bytes());
    }
    file
}

/// Makes files that declare 20,000 x 20,000 pixels, and one that declares 30,000 x 30,000.
fn huge() -> Vec<(&'static str, Vec<u8>)> {
    const SIDE: u16 = 20_000;
    let long = u32::from(SIDE).to_le_bytes();
    let sides = [SIDE.to_le_bytes(), SIDE.to_le_bytes()].concat();
    // The table of colours, the header of the frame, and the data of one pixel.
    let gif = [
        b"GIF89a",
        &sides[..],
        &[0x80, 0, 0, 0, 0, 0, 9, 9, 9, 0x2c, 0, 0, 0, 0],
        &sides,
        &[0, 2, 2, 0x4c, 1, 0, 0x3b],
    ]
    .concat();
    let bmp = [b"BM", &[0; 8][..], &[54, 0, 0, 0, 40, 0, 0, 0], &long, &long, &[1, 0, 24, 0], &[0; 24]].concat();
    let tag = |tag: u16, kind: u16, value: u32| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    let side = u32::from(SIDE);
    let tags =
        [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, side), (279, side * side)];
    let tags: Vec<u8> = tags.iter().flat_map(|&(name, value)| tag(name, 4, value)).collect();
    let tiff = [b"II*\0\x08\0\0\0", &9u16.to_le_bytes()[..], &tags, &[0; 200]].concat();
    // The size follows the marker of the frame's header.
    let mut jpeg = written(ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[SIDE.to_be_bytes(), SIDE.to_be_bytes()].concat());
    let files = [black_png(20_000, 20_000, 20_000), gif, bmp, tiff, jpeg, black_png(30_000, 30_000, 30_000)];
    HUGE_NAMES.into_iter().zip(files).collect()
}

const HUGE_NAMES: [&str; 6] = ["1.png", "2.gif", "3.bmp", "4.tif", "5.jpg", "6.png"];

/// The variable that is set to the folder of the huge pictures in the process that reads them.
const HUGE: &str = "BLOCKQNN_TEST_HUGE";

#[test]
fn huge_pictures_are_refused_by_their_size_before_memory_is_taken() {
    if let Some(folder) = std::env::var_os(HUGE) {
        for name in HUGE_NAMES {
            let error = Picture::read(PathBuf::from(&folder).join(name)).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("000x") && error.contains("above the limit"), "{error}");
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).map_or(0, |peak| peak.parse::<u64>().unwrap());
        assert!(peak < 300_000, "{peak} kB");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in huge() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    // The peak memory of a process covers all tests in it, so this test runs again alone.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "data::picture::formats::huge_pictures_are_refused_by_their_size_before_memory_is_taken"])
        .env(HUGE, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_picture_within_the_limits_is_read_and_the_limit_is_exact() {
    // 13,377 squared is the largest square within the limit.
    let side = 13_377;
    assert!(u64::from(side) * u64::from(side) <= Picture::MAX_PIXELS);
    let error = |rows| decode(Cursor::new(black_png(side, rows, 0))).unwrap_err();
    assert!(!error(side).contains("limit"), "{}", error(side));
    assert!(
        error(side + 1).contains("its size of 13377x13378 pixels is above the limit of 178 million"),
        "{}",
        error(side + 1)
    );
}
