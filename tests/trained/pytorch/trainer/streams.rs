//! Initial weights, batches and learning rates are those of the crate.

use super::{SEED, block, network, split};
use crate::pytorch::python_with;
use blockqnn::data::{Augmentation, BatchSource, Batches, DeviceSet};
use blockqnn::evaluator::PYTHON_WORKER;
use blockqnn::export::Blueprint;
use blockqnn::graph::{LayerGraph, NetworkConfig, Node, Operation, Reduction, StemConfig, WidthRule};
use blockqnn::network::Network;
use blockqnn::network::device::parse_device;
use blockqnn::seed::{self, Rng};
use blockqnn::train::{Recipe, Restarts, Schedule, TORCH_TRAINER, TorchTraining};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::num::NonZeroUsize;
use std::process::Command;

/// Answers a question in JSON with the functions of the trainer.
const SCRIPT: &str = r#"
import json, sys
import torch_trainer as trainer
question = json.load(open("question.json"))
names = {}
exec(question["source"], names)
network = trainer.initialise(names["Network"](), question["seed"], question["restarts"])
trainer.write_tensors("weights.safetensors", network.state_dict(), {})
images, _, _ = trainer.read_split(question["split"], trainer.torch.device("cpu"))
batches = []
for augmentation in question["augmentations"]:
    epoch = question["epoch"]
    order = trainer.Stream(question["seed"], "epoch", epoch).shuffled(len(images))
    drawn = trainer.draws(augmentation, len(images), images.pixels.shape[2:], question["seed"], epoch)
    pixels, labels = images.batch(order, augmentation, drawn)
    batches.append([pixels.flatten().tolist(), labels.tolist()])
rates = [
    [trainer.learning_rate_at(recipe, epoch, restarts) for restarts in range(3) for epoch in range(recipe["epochs"])]
    for recipe in question["recipes"]
]
drops = [
    trainer.drop_factors(trainer.drop_path_at(recipe, epoch), 5, 7, question["seed"], epoch, 3).tolist()
    for recipe in question["recipes"]
    for epoch in range(1, 4)
]
json.dump({"batches": batches, "rates": rates, "drops": drops}, open("answer.json", "w"))
"#;

/// A block with weights of every kind.
fn every_kind() -> LayerGraph {
    LayerGraph::new(vec![
        Node::new(Operation::Input, []),
        Node::new(Operation::PreActivationConvolution { kernel: 5 }, [0]),
        Node::new(Operation::Convolution { kernel: 3 }, [1]),
        Node::new(Operation::BatchNorm, [2]),
        Node::new(Operation::Concat, [0, 3]),
        Node::new(Operation::Add, [4, 1]),
        Node::new(Operation::PreActivationConvolution { kernel: 1 }, [0]),
        Node::new(Operation::Output, [5]),
    ])
    .unwrap()
}

fn recipes() -> Vec<Recipe> {
    let restarts = Restarts { max: 2, factor: 0.4 };
    let schedules = [
        Schedule::Constant,
        Schedule::Cosine,
        Schedule::Step { every: 5, factor: 0.2 },
        Schedule::Milestones { epochs: vec![3, 4, 9], factor: 0.3 },
    ];
    schedules
        .into_iter()
        .enumerate()
        .map(|(number, schedule)| {
            let warm_up_epochs = u32::try_from(3 * (number % 2)).unwrap();
            let drop_path = 0.3 * number as f64;
            Recipe { schedule, restarts, warm_up_epochs, drop_path, epochs: 23, ..Recipe::early_stop() }
        })
        .collect()
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn weights_batches_and_rates_of_the_trainer_are_the_crates_own() {
    let stem = StemConfig { multiplier: 3, normalised: true, ..StemConfig::default() };
    let strided = NetworkConfig { stem, reduction: Reduction::Convolution, ..network(5, WidthRule::Bounded) };
    for (graph, network) in [
        (every_kind(), network(5, WidthRule::Growing)),
        (every_kind(), network(5, WidthRule::Bounded)),
        (block(), network(5, WidthRule::Growing)),
        (every_kind(), strided.clone()),
        (LayerGraph::named("darts-v2").unwrap(), strided),
    ] {
        let split = split(101, 30);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("blockqnn_worker.py"), PYTHON_WORKER).unwrap();
        fs::write(folder.path().join("torch_trainer.py"), TORCH_TRAINER).unwrap();
        let parts = (split.training(), split.validation());
        TorchTraining::new(Some(folder.path()), parts.0, parts.1, network.clone(), Recipe::early_stop()).unwrap();
        let file = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let file = file.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "safetensors")).unwrap();
        let blueprint = Blueprint::new("block", graph.clone(), network.clone()).unwrap();
        let (restarts, epoch) = (2_u64, 2 << 32 | 5);
        let augmentations = [
            Augmentation::default(),
            Augmentation::cifar(),
            Augmentation { pad: 3, flip: false, cutout: 7 },
            Augmentation { pad: 0, flip: true, cutout: 4 },
        ];
        let question = json!({
            "source": blueprint.to_pytorch(),
            "seed": SEED,
            "restarts": restarts,
            "epoch": epoch,
            "split": { "path": file, "sha256": sha256(&file) },
            "augmentations": augmentations,
            "recipes": recipes(),
        });
        let answer = ask(folder.path(), &question);

        let device = parse_device("flex").unwrap();
        let mut rng = seed::stream(SEED, "weights", restarts);
        let own = Network::new(&graph, &network, &mut rng, &device).unwrap();
        let wanted = own.to_safetensors(HashMap::new()).unwrap();
        let found = fs::read(folder.path().join("weights.safetensors")).unwrap();
        assert_eq!(tensors(&found), tensors(&wanted));

        let set = DeviceSet::new(split.training(), &split.training().channel_statistics(), &device).unwrap();
        let whole = Batches::shuffled(split.training().len(), NonZeroUsize::new(101).unwrap(), SEED, epoch);
        for (augmentation, found) in augmentations.iter().zip(answer["batches"].as_array().unwrap()) {
            let batch = set.training_batches(&whole, 0, augmentation, SEED, epoch).next().unwrap().unwrap();
            let labels: Vec<i64> = batch.1.into_data().iter::<i64>().collect();
            assert_eq!(found[1], json!(labels));
            let pixels = batch.0.into_data().try_into_vec::<f32>().unwrap();
            let found: Vec<f64> = found[0].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
            assert_eq!(found.len(), pixels.len());
            let largest =
                found.iter().zip(pixels).map(|(found, own)| (found - f64::from(own)).abs()).fold(0.0, f64::max);
            assert!(largest < 1e-6, "{augmentation:?}: {largest}");
        }
        for (recipe, found) in recipes().iter().zip(answer["rates"].as_array().unwrap()) {
            let wanted = (0..3).flat_map(|restarts| (0..23).map(move |epoch| recipe.learning_rate_at(epoch, restarts)));
            assert_eq!(*found, json!(wanted.collect::<Vec<f64>>()));
        }
        let recipes = recipes();
        let epochs = recipes.iter().flat_map(|recipe| (1..4).map(move |epoch| (recipe, epoch)));
        let wanted: Vec<_> = epochs.map(|(recipe, epoch)| drops(recipe, epoch)).collect();
        assert_eq!(answer["drops"], json!(wanted));
    }
}

/// The factors of batch 3, of 7 images, in a network of 5 paths.
fn drops(recipe: &Recipe, epoch: u32) -> Vec<Vec<f32>> {
    let rate = recipe.drop_path_at(epoch);
    let epoch_seed = seed::stream(SEED, "drops", epoch.into()).next_u64();
    let mut rng = seed::stream(epoch_seed, "drop", 3);
    #[expect(clippy::cast_possible_truncation, reason = "factors are in single precision")]
    let kept = (1.0 / (1.0 - rate)) as f32;
    let mut factor = || if seed::unit(&mut rng) < rate { 0.0 } else { kept };
    (0..5).map(|_| (0..7).map(|_| factor()).collect()).collect()
}

/// The checksum in the name of a split is that of its contents.
fn sha256(path: &std::path::Path) -> String {
    let output = Command::new("python3")
        .args(["-c", "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"])
        .arg(path)
        .output()
        .unwrap();
    let checksum = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(path.to_string_lossy().contains(&checksum[..16]));
    checksum
}

fn ask(folder: &std::path::Path, question: &Value) -> Value {
    fs::write(folder.join("question.json"), question.to_string()).unwrap();
    fs::write(folder.join("ask.py"), SCRIPT).unwrap();
    let output = Command::new(python_with("torch, numpy")).arg("ask.py").current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&fs::read(folder.join("answer.json")).unwrap()).unwrap()
}

/// The tensors of a safetensors file: name, shape and bytes.
fn tensors(file: &[u8]) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let file = safetensors::SafeTensors::deserialize(file).unwrap();
    let mut tensors: Vec<_> =
        file.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec())).collect();
    tensors.sort();
    tensors
}
