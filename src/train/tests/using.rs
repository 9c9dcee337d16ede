use super::*;
use crate::data::ChannelStatistics;
use crate::environment::{Cancellation, Environment, TrialContext};
use crate::evaluation::Trial;
use crate::export::Blueprint;
use crate::train::{ClassifierError, ImageClassifier, TrainingEnvironment};

fn trial() -> Trial {
    let cost = block().cost(&network_config()).unwrap();
    Trial { id: 0, seed: 3, fingerprint: block().fingerprint(), cost }
}

fn environment() -> TrainingEnvironment {
    TrainingEnvironment::new(&split(), network_config(), recipe(), &Device::flex()).unwrap()
}

/// A classifier that tells stripes, and the accuracy that was measured.
fn trained(folder: &std::path::Path) -> (ImageClassifier, f64) {
    let mut environment = environment().with_networks_kept(folder, 1);
    let trial = trial();
    let evaluation = environment.evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    let path = TrainingEnvironment::trial_folder(folder, trial.fingerprint, trial.seed);
    assert!(path.join("epochs.csv").exists() && path.join("checkpoint.safetensors").exists());
    let classifier = ImageClassifier::load(path.join("network.safetensors"), &Device::flex()).unwrap();
    (classifier, evaluation.accuracy().unwrap())
}

#[test]
fn a_kept_network_has_the_accuracy_that_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (classifier, accuracy) = trained(folder.path());
    assert!((classifier.accuracy(split().validation()).unwrap() - accuracy).abs() < 1e-9);
    assert_eq!(classifier.classes(), ["top", "middle", "bottom"]);
    // Keeping networks changes no result and no identity.
    let trial = trial();
    let plain = environment().evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    assert_eq!(plain.accuracy(), Some(accuracy));
    let kept = environment().with_networks_kept(folder.path(), 1);
    assert_eq!(Environment::<LayerGraph>::identity(&kept), Environment::<LayerGraph>::identity(&environment()));
}

#[test]
fn a_cancelled_trial_is_gone_on_with_by_another_worker() {
    let folder = tempfile::tempdir().unwrap();
    let (trial, cancellation) = (trial(), Cancellation::new());
    let heard = std::cell::Cell::new(0);
    let stop = |_| {
        heard.set(heard.get() + 1);
        if heard.get() == 40 {
            cancellation.cancel();
        }
    };
    let context = TrialContext::new(&trial).with_cancellation(cancellation.clone()).with_progress(&stop);
    let mut first = environment().with_networks_kept(folder.path(), 0);
    assert!(matches!(first.evaluate(&block(), &context), Err(TrainError::Cancelled)));
    heard.set(1_000);
    let count = |_| heard.set(heard.get() + 1);
    let context = TrialContext::new(&trial).with_progress(&count);
    let resumed = environment().with_networks_kept(folder.path(), 0).evaluate(&block(), &context).unwrap();
    // 110 reports of a whole training; see `a_trial_hears_of_its_progress`.
    assert_eq!(heard.get(), 1_000 + 110 - 40);
    let whole = environment().evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    assert_eq!(resumed.accuracy(), whole.accuracy());
    assert_eq!(resumed.metrics().unwrap().training_loss, whole.metrics().unwrap().training_loss);
}

#[test]
fn image_files_are_classified_as_their_pixels_are() {
    let folder = tempfile::tempdir().unwrap();
    let (classifier, _) = trained(&folder.path().join("networks"));
    let set = stripes(6, 9);
    let wanted = classifier.classify(&set).unwrap();
    for image in 0..set.len() {
        let picture = image::GrayImage::from_raw(6, 6, set.image(image).to_vec()).unwrap();
        picture.save(folder.path().join(format!("{image}.png"))).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
    let found = classifier.classify_folder(folder.path()).unwrap();
    assert_eq!(found.len(), 6);
    for ((path, found), (image, wanted)) in found.iter().zip(wanted.iter().enumerate()) {
        assert!(path.ends_with(format!("{image}.png")));
        assert_eq!((found.label, &found.class), (wanted.label, &wanted.class));
        assert!((found.probability - wanted.probability).abs() < 1e-5);
        assert!((found.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(found.label, image % CLASSES, "stripes are easy to tell apart");
    }
    // A larger picture of the same stripe is scaled and cropped.
    let large = image::GrayImage::from_fn(30, 18, |_, y| image::Luma([if y < 6 { 150 } else { 50 }]));
    large.save(folder.path().join("large.png")).unwrap();
    assert_eq!(classifier.classify_file(folder.path().join("large.png")).unwrap().class, "top");
}

#[test]
fn image_files_are_turned_as_their_exif_data_say() {
    let folder = tempfile::tempdir().unwrap();
    let (classifier, _) = trained(&folder.path().join("networks"));
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("turned.jpg"), include_bytes!("../../data/picture/turned.jpg")).unwrap();
    let upright = crate::data::Picture::read(path("turned.jpg")).unwrap().into_image();
    upright.save(path("upright.png")).unwrap();
    image::imageops::rotate270(&upright).save(path("lying.png")).unwrap();
    let probabilities = |name: &str| classifier.classify_file(path(name)).unwrap().probabilities;
    assert_eq!(probabilities("turned.jpg"), probabilities("upright.png"));
    assert_ne!(probabilities("turned.jpg"), probabilities("lying.png"));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (classifier, _) = trained(&folder.path().join("networks"));
    let path = folder.path().join("saved.safetensors");
    classifier.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(folder.path().join("cut.safetensors"), &bytes[..bytes.len() - 4]).unwrap();
    let load = |name: &str| ImageClassifier::load(folder.path().join(name), &Device::flex()).unwrap_err();
    for (error, name) in [(load("cut.safetensors"), "cut.safetensors"), (load("none.safetensors"), "none.safetensors")]
    {
        assert!(error.to_string().contains(name), "{error}");
    }
    let bare = classifier.network().to_safetensors(std::collections::HashMap::new()).unwrap();
    std::fs::write(folder.path().join("bare.safetensors"), bare).unwrap();
    assert!(matches!(load("bare.safetensors"), ClassifierError::Unlabelled { .. }));

    let other = ImageSet::new("dot", ImageShape { channels: 1, height: 1, width: 1 }, ["a"], vec![0], vec![0]).unwrap();
    assert!(matches!(classifier.classify(&other), Err(ClassifierError::Images { .. })));
    std::fs::write(folder.path().join("text.png"), "no picture").unwrap();
    let error = classifier.classify_file(folder.path().join("text.png")).unwrap_err().to_string();
    assert!(error.contains("text.png"), "{error}");

    let blueprint = Blueprint::new("block", block(), network_config()).unwrap();
    let statistics = ChannelStatistics { mean: vec![0.5], deviation: vec![0.2] };
    let error = ImageClassifier::new(blueprint, classifier.network().clone(), vec!["a".to_owned()], statistics);
    assert!(matches!(error, Err(ClassifierError::Mismatch { what: "classes", network: 3, given: 1 })));
}
