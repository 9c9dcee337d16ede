use super::*;
use crate::data::{Augmentation, Cropping, DataError, ImageFolder, PictureStream, Pictures};
use crate::train::{Checkpoints, top_k_accuracies};
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::Arc;

fn stream(pictures: Arc<dyn Pictures>, threads: usize) -> PictureStream {
    let cropping = Cropping::imagenet(6);
    let threads = NonZeroUsize::new(threads).unwrap();
    let statistics = PictureStream::statistics(Arc::new(stripes(150, 1)), cropping, 150, threads).unwrap();
    PictureStream::new(pictures, cropping, &statistics, &Device::flex()).unwrap().with_threads(threads)
}

/// Trains on streamed stripes, enlarged and cropped.
fn train_streamed(threads: usize, watch: &dyn Watch, folder: Option<&std::path::Path>) -> Outcome<Network> {
    let flip = Augmentation { flip: true, ..Augmentation::default() };
    let recipe = Recipe { augmentation: flip, epochs: 4, ..recipe() };
    let image = ImageShape { channels: 3, height: 6, width: 6 };
    let config = network_config().with_data(image, CLASSES);
    let (training, validation) = (stream(Arc::new(stripes(90, 1)), threads), stream(Arc::new(stripes(60, 2)), threads));
    let build = |rng: &mut dyn rand::Rng, device: &Device| Ok(Network::new(&block(), &config, rng, device)?);
    let checkpoints = folder.map(|folder| Checkpoints::new(folder).with_every(0));
    let training = Training::new(&recipe, &training, &validation, 5).with_watch(watch);
    training.with_checkpoints(checkpoints.as_ref()).fit(build).unwrap()
}

fn weights(trained: &Trained<Network>) -> Vec<u8> {
    trained.network.to_safetensors(std::collections::HashMap::new()).unwrap()
}

#[test]
fn a_training_on_streamed_pictures_learns_and_is_the_same_for_any_number_of_threads() {
    let trained = train_streamed(1, &(), None).trained().unwrap();
    assert!(trained.metrics.value > 60.0, "{:?}", trained.metrics);
    let other = train_streamed(4, &(), None).trained().unwrap();
    assert!(weights(&trained) == weights(&other));
    // Top-1 is the accuracy that the training measured; of three classes all are among the first five.
    let validation = stream(Arc::new(stripes(60, 2)), 2);
    let batch = NonZeroUsize::new(7).unwrap();
    let found = top_k_accuracies(&trained.network, &validation, batch, &[1, 5]).unwrap();
    assert_eq!(found, [trained.metrics.value, 100.0]);
}

#[test]
fn a_training_on_streamed_pictures_that_is_stopped_and_resumed_ends_with_the_same_weights() {
    let whole = train_streamed(2, &(), None).trained().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut stops = 0;
    let resumed = loop {
        match train_streamed(3, &StopAfter(Cell::new(23)), Some(folder.path())) {
            Outcome::Trained(trained) => break trained,
            Outcome::Cancelled => stops += 1,
            outcome => panic!("{outcome:?}"),
        }
    };
    assert!(stops > 1 && weights(&resumed) == weights(&whole));
}

#[test]
fn a_broken_image_ends_a_training_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        let picture = image::RgbImage::from_pixel(9, 9, image::Rgb([40; 3]));
        picture.save(folder.path().join(class).join("1.png")).unwrap();
    }
    std::fs::write(folder.path().join("b/2.jpg"), "words").unwrap();
    let pictures = stream(Arc::new(ImageFolder::open(folder.path()).unwrap()), 2);
    let config = network_config().with_data(ImageShape { channels: 3, height: 6, width: 6 }, 2);
    let build = |rng: &mut dyn rand::Rng, device: &Device| Ok(Network::new(&block(), &config, rng, device)?);
    let error = Training::new(&recipe(), &pictures, &pictures, 5).fit(build).unwrap_err();
    assert!(
        matches!(&error, TrainError::Data(DataError::BrokenImage { path, .. }) if path.ends_with("b/2.jpg")),
        "{error}"
    );
}
