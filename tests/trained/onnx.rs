//! Networks as ONNX files compute in onnxruntime what they compute here.

use blockqnn::data::{ChannelStatistics, Cropping, DeviceSet, ImageFolder, ImageSet, Pictures, Preprocessing};
use blockqnn::export::{Blueprint, HubError, HubFolder, OnnxError, OnnxOptions};
use blockqnn::files::FolderError;
use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig, Reduction, StemConfig, ToGraph, WidthRule};
use blockqnn::network::Network;
use blockqnn::network::device::parse_device;
use blockqnn::seed::{self, Rng};
use blockqnn::space::block::{BlockCode, BlockSpace, ConvolutionRule};
use blockqnn::space::cell::CellSpace;
use blockqnn::space::{SearchSpace, random_trajectory};
use blockqnn::train::{ImageClassifier, OnnxForm, Recipe, Restarts, TrainError, Training};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const NETWORKS: usize = 48;
const IMAGES: usize = 64;
const CLASSES: [&str; 5] = ["ant", "bee", "cat", "dog", "elk"];

fn config(image: ImageShape, number: usize) -> NetworkConfig {
    let widths = if number.is_multiple_of(2) { WidthRule::Bounded } else { WidthRule::Growing };
    let pools = NetworkConfig {
        stages: 2,
        repeats: 2,
        width: 6,
        widths,
        ..NetworkConfig::cifar().with_data(image, CLASSES.len())
    };
    // Of each kind of architecture, bounded or not, some are in a network with reductions by convolution.
    if number / 6 % 3 < 2 {
        return pools;
    }
    let stem = StemConfig { multiplier: 2, normalised: true, ..StemConfig::default() };
    NetworkConfig { stages: 3, repeats: 1, stem, reduction: Reduction::Convolution, ..pools }
}

/// A random architecture of one of the spaces in turn, or a named one, small enough for a test.
fn architecture(number: usize, config: &NetworkConfig, rng: &mut dyn Rng) -> LayerGraph {
    let paper = BlockSpace::paper().with_max_layers(12).unwrap();
    let small = |graph: &LayerGraph| graph.cost(config).is_ok_and(|cost| cost.parameters < 150_000);
    loop {
        let graph = match number % 6 {
            0 => drawn(&paper, rng),
            1 => drawn(&paper.clone().with_convolution(ConvolutionRule::Separate), rng),
            2 => drawn(&BlockSpace::modern().with_max_layers(12).unwrap(), rng),
            3 => drawn(&BlockSpace::mobile().with_max_layers(8).unwrap(), rng),
            4 => LayerGraph::named(LayerGraph::NAMES[number / 6 % LayerGraph::NAMES.len()]).unwrap(),
            _ => drawn(&CellSpace::new(), rng),
        };
        if graph.node_count() >= 4 && small(&graph) {
            return graph;
        }
    }
}

fn drawn<S: SearchSpace>(space: &S, rng: &mut dyn Rng) -> LayerGraph {
    space.graph(&space.decode(&random_trajectory(space, rng).unwrap().actions).unwrap()).unwrap()
}

fn noise(shape: ImageShape, rng: &mut dyn Rng) -> ImageSet {
    let pixels = (0..IMAGES * shape.bytes().unwrap()).map(|_| u8::try_from(seed::index(rng, 256)).unwrap());
    let labels = (0..IMAGES).map(|image| u16::try_from(image % CLASSES.len()).unwrap()).collect();
    ImageSet::new("noise", shape, CLASSES, labels, pixels.collect()).unwrap()
}

/// A classifier that was trained for a few steps, so that its running statistics have left their start.
fn classifier(number: usize, shape: ImageShape, preprocessing: Preprocessing) -> (ImageClassifier, DeviceSet) {
    let device = parse_device("flex").unwrap();
    let rng = &mut seed::stream(number as u64, "exported network", 0);
    let config = config(shape, number);
    let graph = architecture(number, &config, rng);
    let blueprint = Blueprint::new(format!("network {number}"), graph.clone(), config.clone()).unwrap();
    let statistics = ChannelStatistics { mean: vec![0.5; shape.channels], deviation: vec![0.25; shape.channels] };
    let resident = DeviceSet::new(&noise(shape, rng), &statistics, &device).unwrap();
    let recipe =
        Recipe { epochs: 3, batch_size: 16, restarts: Restarts { max: 0, factor: 1.0 }, ..Recipe::early_stop() };
    let build = |rng: &mut dyn Rng, device: &_| -> Result<Network, TrainError> {
        Ok(Network::new(&graph, &config, rng, device)?)
    };
    let trained = Training::new(&recipe, &resident, &resident, number as u64).fit(build).unwrap().trained().unwrap();
    let classes = CLASSES.map(str::to_owned).to_vec();
    let classifier = ImageClassifier::new(blueprint, trained.network, classes, statistics).unwrap();
    (classifier.with_preprocessing(preprocessing).unwrap(), resident)
}

/// Pictures of several sizes, and the class of each by this crate: one entry for the Python side.
fn pictures(classifier: &ImageClassifier, folder: &Path) -> Vec<serde_json::Value> {
    let found = classifier.classify_folder(folder).unwrap();
    let entry = |(path, prediction): &(PathBuf, Result<blockqnn::train::Prediction, _>)| {
        let prediction = prediction.as_ref().unwrap();
        serde_json::json!({ "path": path, "label": prediction.label, "probabilities": prediction.probabilities })
    };
    found.iter().map(entry).collect()
}

fn write_pictures(folder: &Path) {
    for index in 0..40_u64 {
        let rng = &mut seed::stream(index, "picture", 0);
        let mut side = || 10 + u32::try_from(seed::index(rng, 60)).unwrap();
        let (width, height) = (side(), side());
        // Smooth, so that a crop or a filter that is wrong by a pixel shows, and rounding does not.
        let wave = |at: u32, of: u32| (f64::from(at) / f64::from(of) * (1.0 + index as f64 / 7.0)).sin();
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            let value = |phase: f64| {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 255")]
                let byte = (127.5 * (1.0 + wave(x, width + 3) * (wave(y, height + 5) + phase).cos())) as u8;
                byte
            };
            image::Rgb([value(0.0), value(1.0), value(2.0)])
        });
        picture.save(folder.join(format!("{index}.png"))).unwrap();
    }
}

/// Runs the Python side, which needs onnx, onnxruntime and Pillow.
fn compare(manifest: &[serde_json::Value], folder: &Path) -> String {
    fs::write(folder.join("manifest.json"), serde_json::to_string(manifest).unwrap()).unwrap();
    let python = std::env::var("BLOCKQNN_ONNX_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trained/onnx/compare.py");
    let output = Command::new(python).arg(script).arg(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
#[ignore = "needs onnx, onnxruntime and Pillow (pip install onnx onnxruntime pillow; name that Python with BLOCKQNN_ONNX_PYTHON)"]
fn random_networks_compute_the_same_in_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let photographs = folder.path().join("pictures");
    fs::create_dir(&photographs).unwrap();
    write_pictures(&photographs);
    let mut manifest = Vec::new();
    for number in 0..NETWORKS {
        let colour = ImageShape { channels: 3, height: 12, width: 12 };
        let gray = ImageShape { channels: 1, height: 14, width: 10 };
        let (shape, preprocessing) = match number % 5 {
            0 => (gray, Preprocessing::whole(gray).unwrap()),
            1 => (colour, Preprocessing::from(Cropping::imagenet(12))),
            _ => (colour, Preprocessing::whole(colour).unwrap()),
        };
        let (classifier, resident) = classifier(number, shape, preprocessing);
        let all: Vec<usize> = (0..IMAGES).collect();
        let images = resident.batch(&all).0;
        let logits = classifier.network().forward(images.clone()).into_data().try_to_vec::<f32>().unwrap();
        let values = images.into_data().try_to_vec::<f32>().unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(folder.path().join(format!("{number}.images")), bytes).unwrap();
        for (pixels, fold, name) in
            [(false, false, "plain"), (false, true, "folded"), (true, false, "pixels"), (true, true, "folded_pixels")]
        {
            let file = folder.path().join(format!("{number}.{name}.onnx"));
            fs::write(file, classifier.to_onnx(OnnxForm { pixels, fold }).unwrap()).unwrap();
        }
        manifest.push(serde_json::json!({
            "number": number,
            "block": serde_json::to_value(classifier.blueprint().block()).unwrap(),
            "images": [IMAGES, shape.channels, shape.height, shape.width],
            "logits": logits.chunks(CLASSES.len()).collect::<Vec<_>>(),
            "pictures": pictures(&classifier, &photographs),
            "classes": CLASSES,
        }));
    }
    let text = compare(&manifest, folder.path());
    assert!(text.contains(&format!("{NETWORKS} networks agree")), "{text}");
}

#[test]
fn weights_of_another_network_and_other_images_are_refused() {
    let block = |text: &str| {
        let block: BlockCode = text.parse().unwrap();
        let image = ImageShape { channels: 3, height: 8, width: 8 };
        let config = NetworkConfig { stages: 1, repeats: 1, width: 3, ..NetworkConfig::cifar().with_data(image, 4) };
        Blueprint::new(text, block.to_graph(), config).unwrap()
    };
    let blueprint = block("conv3(0) terminal(1)");
    let device = parse_device("flex").unwrap();
    let rng = &mut seed::stream(1, "weights", 0);
    let network = Network::new(blueprint.block(), blueprint.network(), rng, &device).unwrap();
    let weights = network.to_safetensors(std::collections::HashMap::default()).unwrap();
    let plain = OnnxOptions::default();
    assert!(blueprint.to_onnx(&weights, &plain).is_ok());
    let error = block("conv5(0) terminal(1)").to_onnx(&weights, &plain).unwrap_err();
    let OnnxError::Tensor { name, found, .. } = error else { panic!("{error}") };
    assert_eq!((name.as_str(), found.as_str()), ("stages.0.0.layer1.convolution.weight", "F32 [3, 3, 3, 3]"));
    assert!(matches!(blueprint.to_onnx(&weights[..40], &plain), Err(OnnxError::Weights { .. })));
    let statistics = (vec![0.5; 3], vec![0.25; 3]);
    let pixels = blockqnn::export::PixelInput {
        resize: [9, 9],
        crop: [7, 8],
        gray: false,
        mean: statistics.0,
        deviation: statistics.1,
    };
    let options = OnnxOptions { pixels: Some(pixels), ..plain };
    let error = blueprint.to_onnx(&weights, &options).unwrap_err().to_string();
    assert_eq!(error, "the preprocessing makes images of 3x7x8 (channels, height, width), but the network takes 3x8x8");
}

#[test]
fn the_folder_for_a_model_hub_holds_the_network_and_says_what_is_known_of_it() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("model");
    let shape = ImageShape { channels: 3, height: 12, width: 12 };
    let (classifier, _) = classifier(2, shape, Preprocessing::whole(shape).unwrap());
    let hub = classifier.to_hub().unwrap();
    assert!(hub.card().contains("None are known"));
    let hub = hub.with_figure("accuracy", "50.00 %", "7 images | of a test").with_picture("<svg/>");
    hub.write(&path).unwrap();
    let text = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    let card = text("README.md");
    assert!(
        card.contains("| accuracy | 50.00 % | 7 images \\| of a test |") && card.contains("](block.svg)"),
        "{card}"
    );
    assert!(card.contains("`ant`, `bee`, `cat`, `dog`, `elk`") && card.contains("add it to the head"), "{card}");
    assert_eq!((text("model.py"), text("block.svg")), (classifier.blueprint().to_pytorch(), "<svg/>".to_owned()));
    let config: serde_json::Value = serde_json::from_str(&text("config.json")).unwrap();
    assert_eq!((&config["id2label"]["4"], &config["mean"][0]), (&"elk".into(), &0.5.into()));
    let onnx = classifier.to_onnx(OnnxForm { pixels: true, fold: true }).unwrap();
    assert_eq!(fs::read(path.join("model.onnx")).unwrap(), onnx);
    // The weights are a file as `save` writes it, and load as one.
    classifier.save(parent.path().join("saved")).unwrap();
    let saved = fs::read(parent.path().join("saved")).unwrap();
    assert_eq!(fs::read(path.join("model.safetensors")).unwrap(), saved);
    assert!(matches!(HubFolder::from_weights(saved[..saved.len() - 4].to_vec()), Err(HubError::Weights { .. })));
    let bare = classifier.network().to_safetensors(std::collections::HashMap::default()).unwrap();
    let error = HubFolder::from_weights(bare).unwrap_err().to_string();
    assert!(error.contains("their metadata has no \"classifier\""), "{error}");
    // What is there is not replaced.
    assert!(matches!(hub.write(&path), Err(FolderError::NotEmpty { .. })));
}

/// The class that onnxruntime finds from the bytes of real pictures is that of this crate.
#[test]
#[ignore = "needs what random_networks_compute_the_same_in_onnxruntime does, and BLOCKQNN_DATA: a folder with images/tiny-imagenet-20"]
fn a_thousand_pictures_are_classified_alike_from_their_bytes() {
    let data = std::env::var_os("BLOCKQNN_DATA").expect("BLOCKQNN_DATA names the folder of real data");
    let photographs = PathBuf::from(data).join("images/tiny-imagenet-20/val");
    assert!(ImageFolder::open(&photographs).unwrap().len() >= 1_000);
    let folder = tempfile::tempdir().unwrap();
    let shape = ImageShape { channels: 3, height: 32, width: 32 };
    let (classifier, _) = classifier(0, shape, Preprocessing::from(Cropping::imagenet(32)));
    let file = folder.path().join("0.folded_pixels.onnx");
    fs::write(file, classifier.to_onnx(OnnxForm { pixels: true, fold: true }).unwrap()).unwrap();
    let manifest = serde_json::json!({ "number": 0, "pictures": pictures(&classifier, &photographs), "apart": 2 });
    let text = compare(&[manifest], folder.path());
    assert!(text.contains("1 networks agree"), "{text}");
}
