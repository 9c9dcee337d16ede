//! Top-1 and top-5 accuracy.

use super::{Classifier, TrainError};
use crate::data::{BatchSource, Batches};
use crate::network::KeptBuffers;
use std::num::NonZeroUsize;

/// Returns the position, from 0, of a class when classes are ordered by their logits, highest first; `None` if its
/// logit is NaN.
///
/// Of equal logits the lower class comes first, as in an argmax, so a network that gives all classes the same logit is
/// right only for images of the first class. Other classes whose logits are NaN come last.
///
/// # Panics
/// If there is no logit for the class.
fn place_of(logits: &[f32], class: usize) -> Option<usize> {
    let own = logits[class];
    #[expect(clippy::float_cmp, reason = "ties are exact")]
    let before = |(other, &logit): (usize, &f32)| logit > own || (logit == own && other < class);
    (!own.is_nan()).then(|| logits.iter().enumerate().filter(|&pair| before(pair)).count())
}

/// Returns, for each of `ks`, the share of images whose class is among the `k` most probable ones, in percent.
///
/// Of equal logits the lower class comes first, as in an argmax. With no more than `k` classes every image counts,
/// unless its logit is NaN: the top-5 accuracy of four classes is 100 %. Images are cropped as the source does for
/// evaluation.
///
/// # Errors
/// [`TrainError`] if an image cannot be read or the device fails.
///
/// ```no_run
/// use blockqnn::data::BatchSource;
/// use blockqnn::network::Network;
/// use blockqnn::train::{TrainError, top_k_accuracies};
///
/// fn print(network: &Network, images: &dyn BatchSource) -> Result<(), TrainError> {
///     let accuracies = top_k_accuracies(network, images, 256.try_into().unwrap(), &[1, 5])?;
///     println!("top-1 {:.2} %, top-5 {:.2} %", accuracies[0], accuracies[1]);
///     Ok(())
/// }
/// ```
pub fn top_k_accuracies<M: Classifier>(
    network: &M,
    images: &dyn BatchSource,
    batch_size: NonZeroUsize,
    ks: &[usize],
) -> Result<Vec<f64>, TrainError> {
    let _kept = KeptBuffers;
    let failed = |error: burn::tensor::DataError| TrainError::Device { message: format!("{error:?}") };
    let mut correct = vec![0usize; ks.len()];
    let order = Batches::in_order(images.len(), batch_size);
    for batch in images.batches(&order) {
        let (images, labels) = batch?;
        let logits = network.classify(images);
        let classes = logits.dims()[1];
        let logits =
            logits.try_into_vec_as::<f32>().map_err(|error| TrainError::Device { message: error.to_string() })?;
        let labels = labels.into_data().convert::<i64>().try_into_vec::<i64>().map_err(failed)?;
        for (logits, label) in logits.chunks_exact(classes).zip(labels) {
            let place = usize::try_from(label).ok().and_then(|label| place_of(logits, label));
            for (correct, &k) in correct.iter_mut().zip(ks) {
                *correct += usize::from(place.is_some_and(|place| place < k));
            }
        }
    }
    Ok(correct.into_iter().map(|correct| 100.0 * correct as f64 / images.len() as f64).collect())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::data::{ChannelStatistics, DeviceSet, ImageSet, ImageShape};
    use burn::module::{Module, Param};
    use burn::tensor::{Device, Tensor};

    #[test]
    fn of_equal_logits_the_lower_class_comes_first() {
        let places = |logits: &[f32]| (0..logits.len()).map(|class| place_of(logits, class)).collect::<Vec<_>>();
        assert_eq!(places(&[3.0, 1.0, 2.0]), [Some(0), Some(2), Some(1)]);
        assert_eq!(places(&[1.0, 2.0, 1.0, 2.0]), [Some(2), Some(0), Some(3), Some(1)]);
        assert_eq!(places(&[0.0, -0.0]), [Some(0), Some(1)]);
        assert_eq!(places(&[f32::NAN, 1.0, f32::NEG_INFINITY]), [None, Some(0), Some(1)]);
    }

    /// Returns its pixels as logits.
    #[derive(Module, Debug)]
    struct Pixels {
        factor: Param<Tensor<1>>,
    }

    impl Classifier for Pixels {
        fn classify(&self, images: Tensor<4>) -> Tensor<2> {
            images.flatten(1, 3) * self.factor.val().unsqueeze()
        }
    }

    /// Returns top-k accuracies of images whose pixels are the logits.
    fn accuracies(classes: usize, labels: &[u16], logits: &[u8], ks: &[usize]) -> Vec<f64> {
        let device = Device::flex();
        let shape = ImageShape { channels: 1, height: 1, width: classes };
        let names = (0..classes).map(|class| class.to_string());
        let set = ImageSet::new("logits", shape, names, labels.to_vec(), logits.to_vec()).unwrap();
        let statistics = ChannelStatistics { mean: vec![0.0], deviation: vec![1.0] };
        let set = DeviceSet::new(&set, &statistics, &device).unwrap();
        let network = Pixels { factor: Param::from_tensor(Tensor::ones([1], &device)) };
        top_k_accuracies(&network, &set, NonZeroUsize::new(2).unwrap(), ks).unwrap()
    }

    #[test]
    fn the_true_class_counts_if_it_is_among_the_k_highest() {
        let logits = [[9, 8, 7, 6, 5, 4, 3], [9, 8, 7, 6, 5, 4, 3], [3, 4, 5, 6, 7, 8, 9], [9, 9, 9, 9, 9, 9, 9]];
        // Positions 0, 5, 0, and among seven equal logits 4.
        assert_eq!(accuracies(7, &[0, 5, 6, 4], logits.as_flattened(), &[1, 5, 6]), [50.0, 75.0, 100.0]);
        // Among equal logits class 5 is the sixth.
        assert_eq!(accuracies(7, &[5], &[9; 7], &[1, 5]), [0.0, 0.0]);
    }

    #[test]
    fn with_fewer_than_five_classes_every_image_is_in_the_top_five() {
        assert_eq!(accuracies(3, &[2, 1], &[9, 8, 7, 9, 8, 7], &[1, 2, 5]), [0.0, 50.0, 100.0]);
    }
}
