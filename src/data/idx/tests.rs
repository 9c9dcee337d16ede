use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

const CLASSES: [&str; 3] = ["a", "b", "c"];

fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let numbers = std::iter::once(&magic).chain(sizes);
    numbers.flat_map(|number| number.to_be_bytes()).chain(data.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn images() -> Vec<u8> {
    idx(0x803, &[2, 1, 3], &[1, 2, 3, 4, 5, 6])
}

fn labels() -> Vec<u8> {
    idx(0x801, &[2], &[2, 0])
}

fn load_bytes(images: &[u8], labels: &[u8]) -> Result<ImageSet, DataError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("images"), images).unwrap();
    fs::write(folder.path().join("labels"), labels).unwrap();
    let result = load("set", folder.path().join("images"), folder.path().join("labels"), CLASSES);
    if let Err(error) = &result {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    result
}

#[test]
fn plain_and_gzipped_files_give_the_same_set() {
    let set = load_bytes(&images(), &labels()).unwrap();
    assert_eq!(set, load_bytes(&gzip(&images()), &gzip(&labels())).unwrap());
    assert_eq!(set.shape(), ImageShape { channels: 1, height: 1, width: 3 });
    assert_eq!((set.image(1), set.labels()), (&[4, 5, 6][..], &[2, 0][..]));
}

#[test]
fn swapped_files_are_refused() {
    let error = load_bytes(&labels(), &images()).unwrap_err();
    assert!(error.to_string().contains("of labels: it begins with 0x00000803 instead of 0x00000801; "), "{error}");
}

#[test]
fn another_format_is_refused() {
    let error = load_bytes(b"not an idx file", &labels()).unwrap_err();
    assert!(error.to_string().contains("is not an IDX file of images: "), "{error}");
    let error = load_bytes(&images(), &[8]).unwrap_err();
    assert!(error.to_string().contains("of labels: it begins with 0x00000000 instead "), "{error}");
}

#[test]
fn an_empty_file_is_refused() {
    assert!(load_bytes(b"", &labels()).unwrap_err().to_string().contains("images is empty: "));
}

#[test]
fn a_truncated_header_is_refused() {
    let error = load_bytes(&images()[..9], &labels()).unwrap_err();
    assert!(
        error.to_string().contains("is truncated: after 0 records of 16 bytes there are 9 bytes left over; "),
        "{error}"
    );
}

#[test]
fn truncated_data_is_refused() {
    for zipped in [false, true] {
        let bytes = &images()[..18];
        let bytes = if zipped { gzip(bytes) } else { bytes.to_vec() };
        let error = load_bytes(&bytes, &labels()).unwrap_err();
        assert!(error.to_string().contains("declares 6 bytes of data, and 2 follow; "), "{error}");
    }
}

#[test]
fn data_after_the_end_is_refused() {
    for zipped in [false, true] {
        let mut bytes = images();
        bytes.push(7);
        let bytes = if zipped { gzip(&bytes) } else { bytes };
        let error = load_bytes(&bytes, &labels()).unwrap_err();
        assert!(error.to_string().contains("and more follow"), "{error}");
    }
}

#[test]
fn a_header_that_declares_too_much_allocates_nothing() {
    let error = load_bytes(&idx(0x803, &[u32::MAX, u32::MAX, u32::MAX], &[1]), &labels()).unwrap_err();
    assert!(error.to_string().contains("declares 18446744073709551615 bytes of data, more than "), "{error}");
    let error = load_bytes(&images(), &idx(0x801, &[1 << 30], &[1])).unwrap_err();
    assert!(error.to_string().contains("declares 1073741824 bytes of data, and 1 follow; "), "{error}");
}

#[test]
fn there_must_be_as_many_images_as_labels() {
    let error = load_bytes(&images(), &idx(0x801, &[3], &[0, 1, 2])).unwrap_err();
    assert!(
        error.to_string().contains("holds 2 images, but ") && error.to_string().contains("labels holds 3 labels; "),
        "{error}"
    );
}

#[test]
fn a_label_out_of_range_is_refused() {
    let error = load_bytes(&images(), &idx(0x801, &[2], &[0, 3])).unwrap_err();
    assert!(error.to_string().contains("has the label 3 in record 1 (counted from 0), "), "{error}");
}

#[test]
fn files_without_images_are_refused() {
    let error = load_bytes(&idx(0x803, &[0, 1, 3], &[]), &idx(0x801, &[0], &[])).unwrap_err();
    assert!(error.to_string().contains("has no images: "), "{error}");
    let error = load_bytes(&idx(0x803, &[2, 0, 3], &[]), &labels()).unwrap_err();
    assert!(error.to_string().contains("has images of the size 1x0x3: "), "{error}");
}

#[test]
fn a_damaged_gzip_file_is_refused() {
    let mut wrong = gzip(&images());
    let sum = wrong.len() - 8;
    wrong[sum] ^= 1;
    let whole = gzip(&images());
    for bytes in [&wrong[..], &whole[..whole.len() - 12]] {
        let error = load_bytes(bytes, &labels()).unwrap_err();
        assert!(error.to_string().contains("images is a damaged gzip file ("), "{error}");
    }
}

fn fashion_folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn fashion_mnist_is_found_by_its_file_names() {
    let folder = fashion_folder(&[
        ("train-images-idx3-ubyte.gz", gzip(&images())),
        ("train-labels-idx1-ubyte", labels()),
        ("t10k-images-idx3-ubyte", images()),
    ]);
    let train = fashion_mnist_train(folder.path()).unwrap();
    assert_eq!((train.len(), train.classes()[2].as_str()), (2, "Pullover"));
    let error = fashion_mnist_test(folder.path()).unwrap_err();
    assert!(error.to_string().contains(" does not contain t10k-labels-idx1-ubyte.gz: "), "{error}");
    let error = fashion_mnist_test(folder.path().join("nothing")).unwrap_err();
    assert!(matches!(error, DataError::MissingFolder { .. }), "{error}");
}
