//! Mixed precision: what is computed in 16 bits, and what is not.

use super::{network_config, parts, recipe};
use crate::data::{DeviceSet, Split, embedded};
use crate::environment::Environment;
use crate::graph::{ImageShape, LayerGraph, NetworkConfig};
use crate::network::{Network, Precision};
use crate::space::block::BlockCode;
use crate::train::{Recipe, Schedule, Trained, Training, TrainingEnvironment};
use crate::{graph::ToGraph, seed};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use std::collections::HashMap;

/// Every kind of layer, a projection, and two leaves.
const BLOCK: &str = "conv3(0) conv1(1) concat(0,2) add(1,3) relu(4) bn(5) plainconv3(6) max3(7) avg3(7) terminal(8)";

fn graph(block: &str) -> LayerGraph {
    block.parse::<BlockCode>().unwrap().to_graph()
}

/// Collects the types of all numbers of a network.
struct Types(Vec<DType>);

impl ModuleVisitor for Types {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().dtype());
    }
}

#[test]
fn logits_weights_and_statistics_are_single_precision_and_the_logits_are_near() {
    let device = Device::flex().autodiff();
    let mut rng = seed::stream(1, "weights", 0);
    let network = Network::new(&graph(BLOCK), &network_config(), &mut rng, &device).unwrap();
    let (training, _) = parts(&Device::flex());
    let images = training.batch(&(0..48).collect::<Vec<_>>()).0;
    let logits = |dtype: FloatDType| {
        let logits = network.forward(images.clone().cast(dtype).autodiff());
        assert_eq!(logits.dtype(), DType::F32);
        logits.into_data().try_into_vec::<f32>().unwrap()
    };
    let (single, mixed) = (logits(FloatDType::F32), logits(FloatDType::BF16));
    assert_ne!(single, mixed);
    let largest = single.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
    for (single, mixed) in single.iter().zip(&mixed) {
        assert!((single - mixed).abs() < 0.03 * largest, "{single} {mixed} of {largest}");
    }
    let mut types = Types(Vec::new());
    network.valid().visit(&mut types);
    assert!(types.0.len() > 20 && types.0.iter().all(|dtype| *dtype == DType::F32), "{:?}", types.0);
    // Written and read like any network.
    let bytes = network.valid().to_safetensors(HashMap::new()).unwrap();
    network.valid().with_safetensors(&bytes).unwrap();
}

/// Trains on ten classes of clothes, with 1,200 images to train on and 600 to measure with, of which more than 256 are
/// classified correctly.
fn train(precision: Precision) -> Trained<Network> {
    let split = Split::new(embedded::train().limit(1_800, 7).unwrap(), 600, 7).unwrap();
    let statistics = split.training().channel_statistics();
    let device = Device::flex();
    let set = |set| DeviceSet::new(set, &statistics, &device).unwrap();
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let mut config = NetworkConfig { stages: 2, repeats: 1, width: 8, ..NetworkConfig::cifar().with_data(image, 10) };
    config.stem.pools = 1;
    let recipe = Recipe {
        epochs: 3,
        batch_size: 32,
        learning_rate: 0.003,
        schedule: Schedule::Cosine,
        label_smoothing: 0.05,
        precision,
        ..Recipe::early_stop()
    };
    let block = graph("conv3(0) conv3(1) add(0,2) terminal(3)");
    let (training, validation) = (set(split.training()), set(split.validation()));
    let outcome = Training::new(&recipe, &training, &validation, 7)
        .fit(|rng, device| Ok(Network::new(&block, &config, rng, device)?));
    outcome.unwrap().trained().unwrap()
}

#[test]
fn a_training_in_mixed_precision_is_as_accurate_as_one_in_single_precision() {
    let [single, mixed] = [Precision::F32, Precision::Bf16].map(train);
    let accuracy = |trained: &Trained<Network>| trained.metrics.value;
    let loss = |trained: &Trained<Network>| trained.epochs[0].training_loss;
    let text = format!(
        "f32 {:.2} % (loss {:.5}), bf16 {:.2} % (loss {:.5})",
        accuracy(&single),
        loss(&single),
        accuracy(&mixed),
        loss(&mixed)
    );
    println!("{text}");
    // More than the 256 that bfloat16 can count to; chance is 10 %. In 600 images one standard error is 2 percentage
    // points.
    let counted = 100.0 * 256.0 / 600.0;
    assert!(accuracy(&single) > counted && accuracy(&mixed) > counted, "{text}");
    assert!((accuracy(&single) - accuracy(&mixed)).abs() < 6.0, "{text}");
    let (single, mixed) = (loss(&single), loss(&mixed));
    assert!(single.to_bits() != mixed.to_bits() && (single - mixed).abs() < 0.03 * single, "{text}");
}

#[test]
fn the_precision_is_part_of_an_environments_identity_and_absent_from_files_where_it_is_single() {
    let split = super::split();
    let identity = |precision| {
        let recipe = Recipe { precision, ..recipe() };
        let environment = TrainingEnvironment::new(&split, network_config(), recipe, &Device::flex()).unwrap();
        Environment::<LayerGraph>::identity(&environment)
    };
    assert_ne!(identity(Precision::F32), identity(Precision::Bf16));
    assert!(!serde_json::to_string(&recipe()).unwrap().contains("precision"));
    let mixed = serde_json::to_string(&Recipe { precision: Precision::Bf16, ..recipe() }).unwrap();
    assert!(mixed.contains(r#""precision":"bf16""#), "{mixed}");
}
