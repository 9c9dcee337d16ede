//! What is measured is what is shipped: the accuracies of a training, of the saved classifier on the files, and of the
//! exported source with its preprocessing in torch are the same.

use super::python_with;
use blockqnn::data::{Cropping, FolderParts, ImageFolder, Picture, PictureStream, Pictures, Preprocessing};
use blockqnn::export::Blueprint;
use blockqnn::graph::{ImageShape, NetworkConfig, ToGraph};
use blockqnn::network::Network;
use blockqnn::network::device::parse_device;
use blockqnn::seed;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{ImageClassifier, OptimizerConfig, Outcome, Recipe, Schedule, Training, top_k_accuracies};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// By how many pictures the accuracies may differ: decoders round differently, and so do convolutions of other batches.
const APART: f64 = 2.0;

fn number(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// Trains a network on a folder with parts, and returns the measured accuracy. `out` then holds the files of a user.
fn train(data: &Path, size: u32, epochs: u32, out: &Path) -> f64 {
    let device = parse_device("flex").unwrap();
    let parts = FolderParts::find(data).unwrap();
    let training = Arc::new(ImageFolder::open(parts.training()).unwrap());
    let validation = Arc::new(training.open_part(parts.validation().unwrap()).unwrap());
    let classes = training.classes().to_vec();
    let cropping = Cropping::imagenet(size);
    let statistics = PictureStream::statistics(training.clone(), cropping, 500, number(2)).unwrap();
    let stream = |pictures| PictureStream::new(pictures, cropping, &statistics, &device).unwrap();
    let (training, validation) = (stream(training), stream(validation));

    let block: BlockCode = "conv3(0) conv3(1) add(0,2) terminal(3)".parse().unwrap();
    let config = NetworkConfig {
        stages: 2,
        repeats: 1,
        width: 8,
        ..NetworkConfig::cifar().with_data(cropping.shape(), classes.len())
    };
    let blueprint = Blueprint::new(block.to_string(), block.to_graph(), config.clone()).unwrap();
    let recipe = Recipe {
        batch_size: 32,
        optimizer: OptimizerConfig::adam(),
        learning_rate: 0.004,
        schedule: Schedule::Cosine,
        ..Recipe::imagenet().scaled_to(epochs)
    };
    let build = |rng: &mut dyn seed::Rng, device: &_| Ok(Network::new(blueprint.block(), &config, rng, device)?);
    let outcome = Training::new(&recipe, &training, &validation, 1).fit(build).unwrap();
    let Outcome::Trained(trained) = outcome else { panic!("{outcome:?}") };
    let measured = top_k_accuracies(&trained.network, &validation, number(50), &[1]).unwrap()[0];

    fs::write(out.join("block.py"), blueprint.to_pytorch()).unwrap();
    let classifier = ImageClassifier::new(blueprint, trained.network, classes, statistics).unwrap();
    let classifier = classifier.with_preprocessing(Preprocessing::from(cropping)).unwrap();
    classifier.save(out.join("block.safetensors")).unwrap();
    measured
}

/// The percentage of pictures whose predicted class is that of their folder.
fn accuracy<'a>(found: impl Iterator<Item = (PathBuf, &'a str)>, pictures: usize) -> f64 {
    let found: Vec<bool> = found.map(|(path, class)| path.parent().unwrap().ends_with(class)).collect();
    assert_eq!(found.len(), pictures, "every picture has an answer");
    100.0 * found.iter().filter(|right| **right).count() as f64 / pictures as f64
}

/// The Python code of the README that uses an exported block.
fn snippet() -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut snippets = readme.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    snippets.find(|snippet| snippet.contains("block.load(")).expect("the README uses block.load")
}

/// Compares the three accuracies and returns them.
fn check(data: &Path, size: u32, epochs: u32) -> [f64; 3] {
    let out = tempfile::tempdir().unwrap();
    let measured = train(data, size, epochs, out.path());
    let part = FolderParts::find(data).unwrap().validation().unwrap().to_owned();
    let pictures = ImageFolder::open(&part).unwrap().len();
    let near = |accuracy: f64| (accuracy - measured).abs() * pictures as f64 <= 100.0 * APART + 1e-6;

    let device = parse_device("flex").unwrap();
    let classifier = ImageClassifier::load(out.path().join("block.safetensors"), &device).unwrap();
    let found = classifier.classify_folder(&part).unwrap();
    let found = found.iter().map(|(path, prediction)| (path.clone(), prediction.as_ref().unwrap().class.as_str()));
    let of_files = accuracy(found, pictures);
    assert!(near(of_files), "measured {measured} %, by classify_folder {of_files} %");

    let python = python_with("torch, PIL");
    // As a reader would do it: the snippet, the exported files and the pictures are in one folder.
    copy(&part, &out.path().join("photographs"));
    let output = Command::new(python).args(["-c", &snippet()]).current_dir(out.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().map(|line| line.rsplit_once(' ').unwrap());
    let of_torch = accuracy(found.map(|(path, class)| (PathBuf::from(path), class)), pictures);
    assert!(near(of_torch), "measured {measured} %, in torch {of_torch} %");
    println!("{pictures} pictures: measured {measured:.2} %, classify_folder {of_files:.2} %, torch {of_torch:.2} %");
    [measured, of_files, of_torch]
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { fs::copy(entry.path(), to).map(drop).unwrap() }
    }
}

/// A noisy picture with a spot somewhere that is slightly brighter in one of the three channels.
fn spot(class: usize, index: u64) -> image::RgbImage {
    let rng = &mut seed::stream(index, "spot", class as u64);
    let mut draw = |least: u32, below: u32| least + u32::try_from(seed::index(rng, (below - least) as usize)).unwrap();
    let (width, height) = (draw(30, 90), draw(30, 90));
    let (x0, y0) = (draw(width / 4, 3 * width / 4), draw(height / 4, 3 * height / 4));
    image::RgbImage::from_fn(width, height, |x, y| {
        let near = x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2) < (width.min(height) / 4).pow(2);
        let light = |channel: usize| if near && channel == class { 12 } else { 0 };
        image::Rgb([0, 1, 2].map(|channel| u8::try_from(draw(0, 200) + light(channel)).unwrap()))
    })
}

#[test]
#[ignore = "needs torch and Pillow (Debian: python3-torch python3-pil; or name a Python with BLOCKQNN_PYTHON)"]
fn made_up_pictures_are_classified_alike_by_measurement_files_and_torch() {
    let data = tempfile::tempdir().unwrap();
    for (class, name) in ["red", "green", "blue"].into_iter().enumerate() {
        for (part, images) in [("train", 60), ("val", 40)] {
            let folder = data.path().join(part).join(name);
            fs::create_dir_all(&folder).unwrap();
            for index in 0..images {
                let ending = ["jpg", "png", "webp", "bmp"][usize::try_from(index % 4).unwrap()];
                let picture = spot(class, index + if part == "val" { 1_000 } else { 0 });
                picture.save(folder.join(format!("{index}.{ending}"))).unwrap();
            }
        }
    }
    let [measured, ..] = check(data.path(), 24, 12);
    // Neither guessing nor easy, so that a different crop would be noticed.
    assert!((45.0..99.0).contains(&measured), "{measured}");
}

#[test]
#[ignore = "needs torch, Pillow and real pictures: BLOCKQNN_DATA names a folder with images/tiny-imagenet-20"]
fn a_thousand_pictures_are_classified_alike_by_measurement_files_and_torch() {
    let data = std::env::var_os("BLOCKQNN_DATA").expect("BLOCKQNN_DATA names the folder of real data");
    let [measured, ..] = check(&PathBuf::from(data).join("images/tiny-imagenet-20"), 32, 3);
    assert!(measured > 15.0, "{measured} %, where guessing gives 5 %");
}

/// The pixels themselves, to within one step of 255 where the decoder has no freedom.
#[test]
#[ignore = "needs torch and Pillow (Debian: python3-torch python3-pil; or name a Python with BLOCKQNN_PYTHON)"]
fn the_exported_preprocessing_makes_the_same_images() {
    let python = python_with("torch, PIL");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    spot(0, 1).save(path("small.png")).unwrap();
    image::imageops::resize(&spot(1, 2), 301, 203, image::imageops::FilterType::Nearest)
        .save(path("large.bmp"))
        .unwrap();
    image::DynamicImage::from(spot(2, 3)).to_luma8().save(path("gray.png")).unwrap();
    image::DynamicImage::from(spot(2, 4)).to_luma16().save(path("gray16.png")).unwrap();
    image::DynamicImage::from(spot(0, 5)).to_rgba8().save(path("alpha.tif")).unwrap();
    spot(0, 6).save(path("spot.gif")).unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data/picture");
    fs::copy(pictures.join("turned.jpg"), path("turned.jpg")).unwrap();

    let mut cases = Vec::new();
    for (shape, cropping) in [
        (ImageShape { channels: 3, height: 20, width: 20 }, Some(Cropping::imagenet(20))),
        (ImageShape { channels: 3, height: 50, width: 31 }, None),
        (ImageShape { channels: 1, height: 28, width: 28 }, None),
    ] {
        let preprocessing = cropping.map_or_else(|| Preprocessing::whole(shape).unwrap(), Preprocessing::from);
        for name in ["small.png", "large.bmp", "gray.png", "gray16.png", "alpha.tif", "spot.gif", "turned.jpg"] {
            let bytes = preprocessing.apply(Picture::read(path(name)).unwrap());
            // Normalised such that the values are the bytes again.
            let facts = serde_json::json!({
                "architecture": { "network": { "image": shape } }, "preprocessing": preprocessing,
                "mean": vec![0.0; shape.channels], "deviation": vec![1.0 / 255.0; shape.channels],
            });
            cases.push(serde_json::json!({ "name": name, "facts": facts, "bytes": bytes }));
        }
    }
    let block: BlockCode = "conv1(0) terminal(1)".parse().unwrap();
    let blueprint = Blueprint::new("any", block.to_graph(), NetworkConfig::cifar()).unwrap();
    fs::write(path("block.py"), blueprint.to_pytorch()).unwrap();
    fs::write(path("cases.json"), serde_json::to_string(&cases).unwrap()).unwrap();
    let script = "
import json, torch, block
for case in json.load(open('cases.json')):
    found = block.preprocess(case['name'], case['facts'])
    wanted = torch.tensor(case['bytes'], dtype=torch.float32).reshape(found.shape)
    apart = (found - wanted).abs()
    limit = 6 if case['name'].endswith('jpg') else 1
    share = (apart > 0.5).float().mean().item()
    print(case['name'], list(found.shape), 'at most', round(apart.max().item()), 'share', share)
    assert apart.max() <= limit + 0.1 and (limit > 1 or (apart > 0.5).float().mean() < 0.01), case['name']
";
    let output = Command::new(python).args(["-c", script]).current_dir(folder.path()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
