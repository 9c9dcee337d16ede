use super::*;
use crate::data::{ChannelStatistics, DataError, DeviceSet};
use crate::environment::{Cancellation, Environment, TrialContext};
use crate::evaluation::Trial;
use crate::export::Blueprint;
use crate::train::{ClassifierError, ImageClassifier, TrainingEnvironment, top_k_accuracies};
use std::num::NonZeroUsize;

fn trial() -> Trial {
    let cost = block().cost(&network_config()).unwrap();
    Trial { id: 0, seed: 3, fingerprint: block().fingerprint(), cost: Some(cost) }
}

fn environment() -> TrainingEnvironment {
    TrainingEnvironment::new(&split(), network_config(), recipe(), &Device::flex()).unwrap()
}

/// Returns a classifier of stripes, and the accuracy that was measured.
fn trained(folder: &std::path::Path) -> (ImageClassifier, f64) {
    let mut environment = environment().with_networks_kept(folder, 1);
    let trial = trial();
    let evaluation = environment.evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    let path = TrainingEnvironment::trial_folder(folder, trial.fingerprint, trial.seed);
    assert!(path.join("epochs.csv").exists() && path.join("checkpoint.safetensors").exists());
    let classifier = ImageClassifier::load(path.join("network.safetensors"), &Device::flex()).unwrap();
    (classifier, evaluation.value().unwrap())
}

#[test]
fn a_kept_network_has_the_accuracy_that_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (classifier, accuracy) = trained(folder.path());
    assert!((classifier.accuracy(split().validation()).unwrap() - accuracy).abs() < 1e-9);
    let validation = DeviceSet::new(split().validation(), &split().training().channel_statistics(), &Device::flex());
    top_k_accuracies(classifier.network(), &validation.unwrap(), NonZeroUsize::MIN, &[1]).unwrap();
    assert_eq!(crate::network::KeptBuffers::count(), 0, "the thread of the caller keeps no memory");
    assert_eq!(classifier.classes(), ["top", "middle", "bottom"]);
    // Keeping networks changes no result and no identity.
    let trial = trial();
    let plain = environment().evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    assert_eq!(plain.value(), Some(accuracy));
    let kept = environment().with_networks_kept(folder.path(), 1);
    assert_eq!(Environment::<LayerGraph>::identity(&kept), Environment::<LayerGraph>::identity(&environment()));
}

#[test]
fn a_cancelled_trial_is_continued_by_another_worker() {
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
    // A whole training has 112 reports; see `a_trial_reports_its_progress`. One accuracy is reported once more.
    assert_eq!(heard.get(), 1_000 + 112 + 1 - 40);
    let whole = environment().evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    assert_eq!(resumed.value(), whole.value());
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
        let found = found.as_ref().unwrap();
        assert_eq!((found.label, &found.class), (wanted.label, &wanted.class));
        assert!((found.probability - wanted.probability).abs() < 1e-5);
        assert!((found.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(found.label, image % CLASSES, "stripes are easy to distinguish");
    }
    // A larger picture of the same stripe is scaled and cropped.
    let large = image::GrayImage::from_fn(30, 18, |_, y| image::Luma([if y < 6 { 150 } else { 50 }]));
    large.save(folder.path().join("large.png")).unwrap();
    assert_eq!(classifier.classify_file(folder.path().join("large.png")).unwrap().class, "top");
}

#[test]
fn image_files_are_rotated_according_to_their_exif_data() {
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
    assert!(load("bare.safetensors").to_string().contains("bare.safetensors: it does not describe its network"));

    let other = ImageSet::new("dot", ImageShape { channels: 1, height: 1, width: 1 }, ["a"], vec![0], vec![0]).unwrap();
    assert!(matches!(classifier.classify(&other), Err(ClassifierError::Images { .. })));
    std::fs::write(folder.path().join("text.png"), "no picture").unwrap();
    let error = classifier.classify_file(folder.path().join("text.png")).unwrap_err().to_string();
    assert!(error.contains("text.png"), "{error}");

    let blueprint = Blueprint::new("block", block(), network_config()).unwrap();
    let statistics = ChannelStatistics { mean: vec![0.5], deviation: vec![0.2] };
    let error = ImageClassifier::new(blueprint, classifier.network().clone(), vec!["a".to_owned()], statistics);
    assert!(error.unwrap_err().to_string().starts_with("the network has 3 classes, but 1 were given: "));
}

/// A network that was trained when weights files did not yet say how pictures become images.
#[test]
fn a_weights_file_of_an_earlier_version_is_read_and_takes_the_middle_of_pictures() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights-1/network.safetensors");
    let classifier = ImageClassifier::load(&golden, &Device::flex()).unwrap();
    assert_eq!(classifier.classes()[0], "T-shirt/top");
    assert_eq!(classifier.classes().len(), 10);
    assert_eq!(
        classifier.preprocessing(),
        crate::data::Preprocessing::whole(classifier.blueprint().network().image).as_ref()
    );
    // The predictions of the version that wrote it for two pictures.
    let folder = tempfile::tempdir().unwrap();
    let wanted: [(&str, &[u8], &str, [f32; 3]); 2] = [
        (
            "1.jpg",
            include_bytes!("../../data/picture/progressive.jpg"),
            "Sandal",
            [0.043_208_458, 0.086_565_934, 0.183_632_4],
        ),
        (
            "2.jpg",
            include_bytes!("../../data/picture/turned.jpg"),
            "Pullover",
            [0.096_094_88, 0.096_750_76, 0.124_356_17],
        ),
    ];
    for (name, bytes, class, first) in wanted {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let found = classifier.classify_file(folder.path().join(name)).unwrap();
        assert_eq!(found.class, class);
        assert!(found.probabilities.iter().zip(first).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }
    // Saved again, it has the facts.
    let saved = folder.path().join("saved.safetensors");
    classifier.save(&saved).unwrap();
    assert!(String::from_utf8_lossy(&std::fs::read(&saved).unwrap()).contains("triangle, antialiased"));
    assert_eq!(ImageClassifier::load(&saved, &Device::flex()).unwrap().preprocessing(), classifier.preprocessing());
}

#[test]
fn the_preprocessing_of_the_measurement_is_kept_and_used() {
    use crate::data::{Cropping, Picture, Preprocessing};
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights-1/network.safetensors");
    let whole = ImageClassifier::load(golden, &Device::flex()).unwrap();
    let cropping = Cropping::imagenet(8);
    let classifier = whole.clone().with_preprocessing(Preprocessing::from(cropping)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.png");
    let pixels: Vec<u8> = (0..40u8).flat_map(|y| (0..60u8).flat_map(move |x| [x * 4, y * 6, x ^ y])).collect();
    image::RgbImage::from_raw(60, 40, pixels).unwrap().save(&path).unwrap();
    let square = cropping.center(Picture::read(&path).unwrap()).planes();
    let classes = classifier.classes().to_vec();
    let set = ImageSet::new("square", cropping.shape(), classes, vec![0], square).unwrap();
    let wanted = classifier.classify(&set).unwrap();
    let saved = folder.path().join("saved.safetensors");
    classifier.save(&saved).unwrap();
    let loaded = ImageClassifier::load(&saved, &Device::flex()).unwrap();
    assert_eq!(loaded.preprocessing(), Some(&Preprocessing::from(cropping)));
    assert_eq!(loaded.classify_file(&path).unwrap(), wanted[0]);
    assert_ne!(whole.classify_file(&path).unwrap().probabilities, wanted[0].probabilities);
    let error = whole.with_preprocessing(Preprocessing::from(Cropping::imagenet(9))).unwrap_err();
    assert!(matches!(error, ClassifierError::Images { .. }), "{error}");
}

#[test]
fn a_folder_is_classified_as_far_as_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let (classifier, _) = trained(&folder.path().join("networks"));
    let root = folder.path().join("photographs");
    let empty = |error: ClassifierError| {
        let text = error.to_string();
        assert!(matches!(error, ClassifierError::Data(DataError::Folder { .. })), "{text}");
        text
    };
    std::fs::create_dir_all(root.join("top")).unwrap();
    let text = empty(classifier.classify_folder(&root).unwrap_err());
    assert!(text.contains("photographs has no JPEG") && text.ends_with(" files"), "{text}");
    std::fs::write(root.join("top/1.heic"), "x").unwrap();
    assert!(empty(classifier.classify_folder(&root).unwrap_err()).ends_with("(but 1 .heic)"));
    // Pictures in class folders and beside them, with broken ones first, last and between.
    let set = stripes(3, 9);
    for (image, name) in ["top/b.png", "top/d.webp", "z.bmp"].into_iter().enumerate() {
        image::GrayImage::from_raw(6, 6, set.image(image).to_vec()).unwrap().save(root.join(name)).unwrap();
    }
    for name in ["a.png", "top/c.jpg", "zz.gif"] {
        std::fs::write(root.join(name), "words").unwrap();
    }
    std::fs::create_dir_all(root.join("@eaDir")).unwrap();
    std::fs::write(root.join("@eaDir/thumb.jpg"), "x").unwrap();
    let found = classifier.classify_folder(&root).unwrap();
    let names: Vec<_> = found.iter().map(|(path, _)| path.strip_prefix(&root).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.png", "top/b.png", "top/c.jpg", "top/d.webp", "z.bmp", "zz.gif"]);
    let wanted = classifier.classify(&set).unwrap();
    for ((path, found), place) in found.iter().zip([None, Some(0), None, Some(1), Some(2), None]) {
        match (found, place) {
            (Ok(found), Some(place)) => assert_eq!(found.label, wanted[place].label),
            (Err(error), None) => assert!(error.to_string().contains(path.to_str().unwrap()), "{error}"),
            _ => panic!("{}: {found:?}", path.display()),
        }
    }
}

#[test]
fn a_small_file_cannot_request_a_large_network() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights-1/network.safetensors");
    let golden = ImageClassifier::load(golden, &Device::flex()).unwrap();
    let network = NetworkConfig { width: 10_000, ..golden.blueprint().network().clone() };
    let blueprint = Blueprint::new("large", golden.blueprint().block().clone(), network).unwrap();
    let facts = serde_json::json!({
        "architecture": serde_json::from_str::<serde_json::Value>(&blueprint.to_json()).unwrap(),
        "classes": golden.classes(), "mean": [0, 0, 0], "deviation": [1, 1, 1],
    });
    let facts = std::collections::HashMap::from([("classifier".to_owned(), facts.to_string())]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    std::fs::write(&path, golden.network().to_safetensors(facts).unwrap()).unwrap();
    let error = ImageClassifier::load(&path, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("do not fit into its"), "{error}");
}
