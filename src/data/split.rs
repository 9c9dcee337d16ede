use super::{DataError, ImageSet, ImageShape};
use crate::seed;

/// The training and the validation part of a training set: all the images that a search sees.
///
/// The paper rewards a block by its "validation accuracy" and does not say how the images are split. In our reading,
/// some images are held out of the training set for it, and the test set stays unseen until the best blocks are
/// verified. A split is therefore made from the training images alone, and a [`TestSet`] cannot become one.
///
/// ```
/// use blockqnn::data::{Split, embedded};
///
/// let split = Split::new(embedded::train(), 500, 7)?;
/// assert!(split.validation().class_counts().iter().all(|&count| count == 50));
/// # Ok::<(), blockqnn::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    training: ImageSet,
    validation: ImageSet,
}

impl Split {
    /// Holds `validation` images out of a training set, in proportion to its classes. The choice depends on `seed`
    /// alone.
    ///
    /// Both parts keep the order of the set. The share of a class is rounded down or up, so that the sum is right.
    ///
    /// # Errors
    /// If `validation` is 0 or leaves nothing to train on.
    #[expect(clippy::needless_pass_by_value, reason = "the set is consumed, so that nobody trains on all of it")]
    pub fn new(set: ImageSet, validation: usize, seed: u64) -> Result<Self, DataError> {
        if validation == 0 || validation >= set.len() {
            return Err(DataError::validation(set.name(), validation, set.len()));
        }
        let members = set.shuffled_members("validation", seed);
        let mut held_out = vec![false; set.len()];
        for (images, share) in members.iter().zip(shares(&set.class_counts(), validation, seed)) {
            for &image in &images[..share] {
                held_out[image] = true;
            }
        }
        let part = |wanted: bool, what: &str| {
            let indices: Vec<usize> = (0..set.len()).filter(|&image| held_out[image] == wanted).collect();
            set.select(format!("{} ({what} part)", set.name()), &indices)
        };
        Ok(Self { training: part(false, "training"), validation: part(true, "validation") })
    }

    /// Returns the images to train on.
    #[must_use]
    pub fn training(&self) -> &ImageSet {
        &self.training
    }

    /// Returns the images on which the reward is measured.
    #[must_use]
    pub fn validation(&self) -> &ImageSet {
        &self.validation
    }

    /// Returns the size of every image.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        self.training.shape()
    }

    /// Returns the class names in the order of the labels.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        self.training.classes()
    }

    /// Returns the training part and the validation part.
    #[must_use]
    pub fn into_parts(self) -> (ImageSet, ImageSet) {
        (self.training, self.validation)
    }
}

/// Returns how many of `total` images each class holds out: its proportion by the method of largest remainders, with
/// ties broken at random.
fn shares(counts: &[usize], total: usize, seed: u64) -> Vec<usize> {
    let images: usize = counts.iter().sum();
    let exact = |class: usize| counts[class] as u128 * total as u128;
    // A share is at most its class's count, since `total` is below the number of images.
    let mut shares: Vec<usize> = (0..counts.len()).map(|class| (exact(class) / images as u128) as usize).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    seed::shuffle(&mut seed::stream(seed, "validation classes", 0), &mut order);
    order.sort_by_key(|&class| std::cmp::Reverse(exact(class) % images as u128));
    let missing = total - shares.iter().sum::<usize>();
    for &class in &order[..missing] {
        shares[class] += 1;
    }
    shares
}

/// Images for verifying what a search found, and for nothing else.
///
/// This is a type of its own so that no search is scored on test images by mistake: using them as an [`ImageSet`] takes
/// an explicit call of [`images`](Self::images).
///
/// ```
/// let test = blockqnn::data::embedded::test();
/// assert_eq!(test.images().len(), 1_000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestSet(ImageSet);

impl TestSet {
    /// Declares a set to be a test set.
    #[must_use]
    pub fn new(set: ImageSet) -> Self {
        Self(set)
    }

    /// Returns the test images, to verify blocks that were chosen without them.
    #[must_use]
    pub fn images(&self) -> &ImageSet {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// Makes a set of distinct images, with as many of each class as `counts` says.
    fn set(counts: &[usize]) -> ImageSet {
        let labels: Vec<u16> =
            counts.iter().zip(0..).flat_map(|(&count, label)| std::iter::repeat_n(label, count)).collect();
        let pixels = (0..labels.len()).flat_map(|image| u16::try_from(image).unwrap().to_le_bytes()).collect();
        let shape = ImageShape { channels: 1, height: 1, width: 2 };
        ImageSet::new("set", shape, (0..counts.len()).map(|class| class.to_string()), labels, pixels).unwrap()
    }

    fn images(set: &ImageSet) -> Vec<(u16, &[u8])> {
        (0..set.len()).map(|image| (set.label(image), set.image(image))).collect()
    }

    #[test]
    fn every_image_is_in_exactly_one_part() {
        let whole = set(&[300, 200, 100]);
        let split = Split::new(whole.clone(), 120, 7).unwrap();
        assert_eq!((split.training().len(), split.validation().len()), (480, 120));
        let mut both = [images(split.training()), images(split.validation())].concat();
        both.sort_unstable();
        let mut all = images(&whole);
        all.sort_unstable();
        assert_eq!(both, all);
    }

    #[test]
    fn the_parts_have_the_classes_in_proportion() {
        let split = Split::new(set(&[300, 200, 100]), 120, 7).unwrap();
        assert_eq!(split.validation().class_counts(), [60, 40, 20]);
        let split = Split::new(set(&[100; 10]), 125, 7).unwrap();
        let counts = split.validation().class_counts();
        assert!(counts.iter().all(|&count| count == 12 || count == 13), "{counts:?}");
    }

    #[test]
    fn the_split_is_a_function_of_the_seed() {
        let make = |seed| Split::new(set(&[50; 4]), 20, seed).unwrap();
        assert_eq!(make(1), make(1));
        assert_ne!(make(1).validation(), make(2).validation());
        assert_ne!(make(1).validation().identity(), make(2).validation().identity());
    }

    #[test]
    fn a_split_never_changes() {
        // This value was also computed by an independent program.
        let split = Split::new(crate::data::embedded::train(), 500, 7).unwrap();
        let parts = ["blockqnn split 1", &split.training().identity(), &split.validation().identity()].concat();
        let identity = format!("sha256:{:x}", Sha256::digest(parts));
        assert_eq!(identity, "sha256:ca3d1b44d2fc3b90ee7e015e9bbd0871de406306152e8c901e5b7eb3ea8ddad8");
    }

    #[test]
    fn a_split_may_leave_one_image_to_train_on_but_not_none() {
        assert_eq!(Split::new(set(&[2, 1]), 2, 0).unwrap().training().len(), 1);
        for validation in [0, 3, 4, usize::MAX] {
            let error = Split::new(set(&[2, 1]), validation, 0).unwrap_err();
            assert!(error.to_string().contains(" of its 3 images for validation: "), "{error}");
            assert!(error.to_string().ends_with("hold out 1 to 2 of them"), "{error}");
        }
    }
}
