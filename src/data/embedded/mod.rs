//! A real data set that comes with the crate: 3,000 training and 1,000 test images of Fashion-MNIST.
//!
//! The images are 28 by 28 gray pixels of ten kinds of clothing, equally many of each. They are a part of the original
//! set, so results on them must not be compared with published ones. `README.md` beside the files says how the part was
//! made and gives its licence (MIT).
//!
//! # References
//! H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
//! 2017, arXiv:1708.07747.
//!
//! # Examples
//!
//! ```
//! use blockqnn::data::embedded;
//!
//! let train = embedded::train();
//! assert_eq!((train.len(), train.shape().to_string()), (3_000, "1x28x28".to_owned()));
//! assert_eq!(train.classes()[usize::from(train.label(0))], "Ankle boot");
//! ```

use std::path::Path;

use super::{ImageSet, TestSet, idx};

/// Returns the embedded training images.
#[must_use]
pub fn train() -> ImageSet {
    unpack(
        "Fashion-MNIST part, train",
        include_bytes!("train-images-idx3-ubyte.gz"),
        include_bytes!("train-labels-idx1-ubyte.gz"),
    )
}

/// Returns the embedded test images, for verifying what a search found.
#[must_use]
pub fn test() -> TestSet {
    TestSet::new(unpack(
        "Fashion-MNIST part, test",
        include_bytes!("t10k-images-idx3-ubyte.gz"),
        include_bytes!("t10k-labels-idx1-ubyte.gz"),
    ))
}

fn unpack(name: &str, images: &[u8], labels: &[u8]) -> ImageSet {
    let classes = idx::FASHION_MNIST_CLASSES.map(str::to_owned).to_vec();
    let images = (Path::new("(embedded images)"), images);
    let labels = (Path::new("(embedded labels)"), labels);
    match idx::decode(name.to_owned(), images, labels, classes) {
        Ok(set) => set,
        Err(error) => unreachable!("the bytes are a part of the crate, and a test reads them: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_embedded_sets_are_balanced() {
        assert_eq!(train().class_counts(), [300; 10]);
        assert_eq!(test().images().class_counts(), [100; 10]);
    }

    #[test]
    fn the_embedded_sets_are_pinned() {
        assert_eq!(train().identity(), "sha256:26feebbf3a76b2251d7052faf61d3a6e2e265d6386e2618935c195dc1f5c7504");
        assert_eq!(
            test().images().identity(),
            "sha256:1764124a8753bb33bb4cab94b021910def852c63a5c24b1c74d7af1b50150002"
        );
    }

    #[test]
    fn the_training_images_are_those_of_the_readme() {
        let mut content = Vec::new();
        for number in [0x803u32, 3_000, 28, 28] {
            content.extend(number.to_be_bytes());
        }
        content.extend(train().pixels());
        let hash = format!("{:x}", Sha256::digest(&content));
        let readme = include_str!("README.md");
        assert!(readme.contains(&hash));
    }

    #[test]
    fn the_packed_files_are_small() {
        let bytes = include_bytes!("train-images-idx3-ubyte.gz").len()
            + include_bytes!("train-labels-idx1-ubyte.gz").len()
            + include_bytes!("t10k-images-idx3-ubyte.gz").len()
            + include_bytes!("t10k-labels-idx1-ubyte.gz").len();
        assert!(bytes < 2_000_000, "{bytes}");
    }

    #[test]
    fn no_test_image_is_a_training_image() {
        let (train, test) = (train(), test());
        let seen: std::collections::HashSet<&[u8]> = (0..train.len()).map(|image| train.image(image)).collect();
        let test = test.images();
        assert!((0..test.len()).all(|image| !seen.contains(test.image(image))));
    }
}
