//! The trainer with `PyTorch` and the crate's own trainings: the same weights, batches and rates, and so the same
//! losses.

mod streams;

use super::python_with;
use blockqnn::data::{Augmentation, DeviceSet, Split, embedded};
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Infeasibility, Rung, Trial};
use blockqnn::evaluator::{ProcessConfig, TrainerEnvironment};
use blockqnn::graph::{
    ImageShape, LayerGraph, NetworkConfig, Node, Operation, Reduction, StemConfig, ToGraph, WidthRule,
};
use blockqnn::network::Network;
use blockqnn::network::device::parse_device;
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, ConnectionRule, ConvolutionRule, TerminalRule};
use blockqnn::space::cell::CellSpace;
use blockqnn::space::{SearchSpace, random_trajectory};
use blockqnn::train::{
    ImageClassifier, OptimizerConfig, Recipe, Restarts, Schedule, TorchTraining, Trained, Training, TrainingEnvironment,
};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const BLOCKS: usize = 10;
const STEPS: u32 = 10;
const BATCH: usize = 24;
const SEED: u64 = 11;

fn network(width: usize, widths: WidthRule) -> NetworkConfig {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    NetworkConfig { stages: 2, repeats: 1, width, widths, ..NetworkConfig::cifar().with_data(image, 10) }
}

fn split(training: usize, validation: usize) -> Split {
    Split::new(embedded::train().limit(training + validation, 7).unwrap(), validation, 7).unwrap()
}

fn config() -> ProcessConfig {
    ProcessConfig::new().with_patience(Duration::from_mins(1))
}

/// Trainings with `PyTorch`, and the folder of their files.
fn torch(split: &Split, network: &NetworkConfig, recipe: &Recipe) -> (TorchTraining, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (network, recipe) = (network.clone(), recipe.clone());
    let torch = TorchTraining::new(Some(folder.path()), split.training(), split.validation(), network, recipe).unwrap();
    (torch.with_python(python_with("torch, numpy")).with_networks_kept(folder.path().join("networks")), folder)
}

fn start(torch: &TorchTraining) -> TrainerEnvironment<LayerGraph> {
    torch.environment(Some("cpu"), config()).unwrap()
}

fn trial(id: u64, graph: &LayerGraph, network: &NetworkConfig) -> Trial {
    let cost = graph.cost(network).unwrap();
    Trial { id, seed: SEED + id, fingerprint: graph.fingerprint(), cost: Some(cost) }
}

/// A convolution with a shortcut.
fn block() -> LayerGraph {
    "conv3(0) add(0,1) terminal(2)".parse::<BlockCode>().unwrap().to_graph()
}

/// Random architectures of a space, small enough for a test.
fn graphs<S: SearchSpace>(space: &S, network: &NetworkConfig) -> Vec<LayerGraph>
where
    S::Architecture: ToGraph,
{
    let mut rng = seed::stream(31, "graphs", 0);
    let mut graphs: Vec<LayerGraph> = Vec::new();
    while graphs.len() < BLOCKS {
        let trajectory = random_trajectory(space, &mut rng).unwrap();
        let graph = space.decode(&trajectory.actions).unwrap().to_graph();
        let is_small = graph.cost(network).is_ok_and(|cost| cost.parameters < 50_000 && cost.flops < 20_000_000);
        if graph.node_count() >= 5 && is_small && !graphs.contains(&graph) {
            graphs.push(graph);
        }
    }
    graphs
}

/// Trains with the crate's own backend, by the seed of a trial.
fn flex(split: &Split, recipe: &Recipe, network: &NetworkConfig, graph: &LayerGraph, seed: u64) -> Trained<Network> {
    let device = parse_device("flex").unwrap();
    let statistics = split.training().channel_statistics();
    let set = |part| DeviceSet::new(part, &statistics, &device).unwrap();
    let (training, validation) = (set(split.training()), set(split.validation()));
    let build = |rng: &mut dyn rand::Rng, device: &_| Ok(Network::new(graph, network, rng, device)?);
    Training::new(recipe, &training, &validation, seed).fit(build).unwrap().trained().unwrap()
}

/// The learning rates, losses and accuracies of the log of a training.
fn log(networks: &Path, trial: &Trial) -> Vec<(f64, f64, Option<f64>)> {
    let folder = TrainingEnvironment::trial_folder(networks, trial.fingerprint, trial.seed);
    let text = fs::read_to_string(folder.join("epochs.csv")).unwrap();
    let number = |text: &str| text.parse::<f64>();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (number(fields[1]).unwrap(), number(fields[2]).unwrap(), number(fields[3]).ok())
    };
    text.lines().skip(1).map(line).collect()
}

/// One step an epoch, so that the log has the loss of each step.
fn one_step_an_epoch() -> [Recipe; 2] {
    let restarts = Restarts { max: 0, factor: 1.0 };
    let paper = Recipe { epochs: STEPS, batch_size: BATCH, restarts, ..Recipe::early_stop() };
    let other = Recipe {
        optimizer: OptimizerConfig::sgd(),
        learning_rate: 0.02,
        schedule: Schedule::Cosine,
        warm_up_epochs: 3,
        label_smoothing: 0.1,
        weight_averaging: Some(0.8),
        augmentation: Augmentation { pad: 2, flip: true, cutout: 6 },
        drop_path: 0.4,
        ..paper.clone()
    };
    [paper, other]
}

/// Compares the losses of all steps, and the rates, which must be equal. Half of the blocks are trained by each recipe.
fn compare(name: &str, graphs: &[LayerGraph], network: &NetworkConfig) {
    let split = split(BATCH, 10);
    let mut largest = 0.0;
    for (number, recipe) in one_step_an_epoch().into_iter().enumerate() {
        let (torch, folder) = torch(&split, network, &recipe);
        let mut environment = start(&torch);
        for (id, graph) in (0..).zip(graphs).skip(number).step_by(2) {
            let trial = trial(id, graph, network);
            environment.evaluate(graph, &TrialContext::new(&trial)).unwrap();
            let found = log(&folder.path().join("networks"), &trial);
            let wanted = flex(&split, &recipe, network, graph, trial.seed).epochs;
            assert_eq!(found.len(), wanted.len());
            for ((rate, loss, _), epoch) in found.iter().zip(&wanted) {
                assert_eq!(rate.to_bits(), epoch.learning_rate.to_bits());
                let difference = (loss - epoch.training_loss).abs();
                assert!(difference < 1e-3, "{name}, block {id}: {loss} in PyTorch, {} here", epoch.training_loss);
                largest = f64::max(largest, difference);
            }
        }
    }
    println!("{name}: losses differ by at most {largest:.1e}");
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn the_first_ten_losses_of_ten_blocks_of_every_space_are_those_of_flex() {
    let paper = BlockSpace::paper().with_max_layers(10).unwrap();
    let growing = network(4, WidthRule::Growing);
    let spaces = [
        ("paper", paper.clone()),
        ("unconnected terminal", paper.clone().with_terminal(TerminalRule::Unconnected)),
        ("separate convolutions", paper.clone().with_convolution(ConvolutionRule::Separate)),
        ("equal inputs", paper.clone().with_connections(ConnectionRule::Equal)),
        ("any inputs", paper.clone().with_connections(ConnectionRule::Any)),
    ];
    for (name, space) in spaces {
        compare(name, &graphs(&space, &growing), &growing);
    }
    let bounded = network(4, WidthRule::Bounded);
    compare("bounded widths", &graphs(&paper, &bounded), &bounded);
    compare("cells", &graphs(&CellSpace::new(), &growing), &growing);
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn the_first_ten_losses_are_those_of_flex_with_later_layers_and_reductions_by_convolution() {
    let bounded = network(4, WidthRule::Bounded);
    let stem = StemConfig { multiplier: 3, normalised: true, ..StemConfig::default() };
    let strided = NetworkConfig { stem, reduction: Reduction::Convolution, ..bounded.clone() };
    let modern = BlockSpace::modern().with_max_layers(6).unwrap();
    compare("modern", &graphs(&modern, &bounded), &bounded);
    compare("reductions by convolution", &graphs(&modern, &strided), &strided);
    let named = ["resnet-basic", "darts-v2"].map(|name| LayerGraph::named(name).unwrap());
    compare("two inputs", &named, &NetworkConfig { width: 2, ..strided });
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn compiled_networks_that_should_drop_paths_are_refused() {
    let (split, network) = (split(64, 32), network(4, WidthRule::Growing));
    let (torch, _folder) = torch(&split, &network, &Recipe { drop_path: 0.2, ..Recipe::early_stop() });
    let error = torch.with_compilation().environment::<LayerGraph>(Some("cpu"), config()).unwrap_err().to_string();
    assert!(error.contains("set recipe.drop_path to 0"), "{error}");
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn ten_whole_trainings_are_as_good_as_those_of_flex() {
    let (split, network) = (split(320, 200), network(4, WidthRule::Growing));
    let recipe = Recipe { epochs: 3, batch_size: 32, learning_rate: 0.003, ..Recipe::early_stop() };
    let graphs = graphs(&BlockSpace::paper().with_max_layers(8).unwrap(), &network);
    let (torch, _folder) = torch(&split, &network, &recipe);
    let mut environment = start(&torch);
    let pairs = (0..).zip(&graphs).map(|(id, graph)| {
        let trial = trial(id, graph, &network);
        let found = environment.evaluate(graph, &TrialContext::new(&trial)).unwrap().value().unwrap();
        (found, flex(&split, &recipe, &network, graph, trial.seed).metrics.value)
    });
    let pairs: Vec<(f64, f64)> = pairs.collect();
    let count = pairs.len() as f64;
    let mean = |value: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / count;
    let (here, there) = (mean(&|pair| pair.1), mean(&|pair| pair.0));
    let covariance = mean(&|pair| (pair.0 - there) * (pair.1 - here));
    let spread = (mean(&|pair| (pair.0 - there).powi(2)) * mean(&|pair| (pair.1 - here).powi(2))).sqrt();
    let difference = there - here;
    // Of the mean of ten differences, and at least that of ten images in doubt.
    let deviation = (mean(&|pair| (pair.0 - pair.1 - difference).powi(2)) * count / (count - 1.0)).sqrt();
    let error = f64::max(deviation / count.sqrt(), 100.0 / split.validation().len() as f64 / count.sqrt());
    println!(
        "{pairs:?}\nmeans {there:.2} % in PyTorch, {here:.2} % here, standard error {error:.2} %, correlation {:.3}",
        covariance / spread
    );
    assert!(difference.abs() <= 2.0 * error, "{difference} {error}");
    assert!(covariance / spread > 0.8, "{}", covariance / spread);
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn what_was_trained_is_loaded_with_the_accuracy_that_was_measured() {
    let (split, network) = (split(400, 200), network(4, WidthRule::Growing));
    let recipe = Recipe { epochs: 2, batch_size: 32, weight_averaging: Some(0.9), ..Recipe::early_stop() };
    let (torch, folder) = torch(&split, &network, &recipe);
    let (graph, trial) = (block(), trial(0, &block(), &network));
    let accuracy = start(&torch).evaluate(&graph, &TrialContext::new(&trial)).unwrap().value().unwrap();
    let networks = TrainingEnvironment::trial_folder(&folder.path().join("networks"), trial.fingerprint, trial.seed);
    let classifier =
        ImageClassifier::load(networks.join("network.safetensors"), &parse_device("flex").unwrap()).unwrap();
    assert_eq!(classifier.blueprint().block(), &graph);
    let predictions = classifier.classify(split.validation()).unwrap();
    let labels = split.validation().labels().iter().map(|&label| usize::from(label));
    let right = predictions.iter().zip(labels).filter(|(found, label)| found.label == *label).count();
    let found = 100.0 * right as f64 / split.validation().len() as f64;
    // A picture whose two best classes are as likely.
    assert!((found - accuracy).abs() <= 0.5, "{found} {accuracy}");
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn what_lies_in_an_architecture_is_an_outcome() {
    let (split, network) = (split(64, 32), network(4, WidthRule::Growing));
    let evaluate = |recipe: Recipe, network: &NetworkConfig| {
        let (torch, _folder) = torch(&split, network, &recipe);
        start(&torch).evaluate(&block(), &TrialContext::new(&trial(0, &block(), network))).unwrap()
    };
    let short = Recipe { epochs: 2, batch_size: 32, ..Recipe::early_stop() };
    let wild = Recipe { learning_rate: 1e30, restarts: Restarts { max: 2, factor: 1.0 }, ..short.clone() };
    let diverged = evaluate(wild, &network);
    assert_eq!(diverged, Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 2 }));
    let hasty = Recipe { time_limit_seconds: Some(0.0), ..short.clone() };
    let late = evaluate(hasty, &network);
    assert_eq!(late, Evaluation::Infeasible(Infeasibility::TimedOut { limit_seconds: 0.0 }));
    // Activations of a terabyte, but few weights.
    let graph = LayerGraph::new(vec![Node::new(Operation::Input, []), Node::new(Operation::Output, [0])]).unwrap();
    let wide = NetworkConfig { width: 200_000, stages: 1, ..network.clone() };
    let split = self::split(2_000, 32);
    let (torch, _folder) = torch(&split, &wide, &Recipe { batch_size: 2_000, ..short });
    let full = start(&torch).evaluate(&graph, &TrialContext::new(&trial(0, &graph, &wide))).unwrap();
    assert!(matches!(full, Evaluation::Infeasible(Infeasibility::OutOfMemory { .. })), "{full:?}");
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn a_training_that_was_stopped_continues_to_the_same_result() {
    let (split, network) = (split(200, 100), network(4, WidthRule::Growing));
    let recipe = Recipe {
        epochs: 4,
        batch_size: 32,
        weight_averaging: Some(0.9),
        augmentation: Augmentation::cifar(),
        drop_path: 0.5,
        restarts: Restarts { max: 0, factor: 1.0 },
        ..Recipe::early_stop()
    };
    let (graph, trial) = (block(), trial(0, &block(), &network));
    let (whole, _folder) = torch(&split, &network, &recipe);
    let wanted = start(&whole).evaluate(&graph, &TrialContext::new(&trial)).unwrap();

    let (torch, folder) = torch(&split, &network, &recipe);
    let torch = torch.with_seconds_between_checkpoints(0);
    let cancellation = blockqnn::environment::Cancellation::new();
    let stop = |progress: blockqnn::environment::Progress| {
        if progress.epoch >= 2 {
            cancellation.cancel();
        }
    };
    let context = TrialContext::new(&trial).with_progress(&stop).with_cancellation(cancellation.clone());
    let mut environment = start(&torch);
    environment.evaluate(&graph, &context).unwrap_err();
    let networks = folder.path().join("networks");
    let checkpoint = TrainingEnvironment::trial_folder(&networks, trial.fingerprint, trial.seed).join("checkpoint.pt");
    assert!(checkpoint.exists());
    let log_before = log(&networks, &trial);
    assert!(log_before.len() >= 2, "{log_before:?}");

    // The process was killed; another one continues.
    let epochs = std::cell::RefCell::new(Vec::new());
    let listen = |progress: blockqnn::environment::Progress| epochs.borrow_mut().push(progress.epoch);
    let found = environment.evaluate(&graph, &TrialContext::new(&trial).with_progress(&listen)).unwrap();
    assert!(epochs.borrow().iter().all(|&epoch| epoch >= 2), "{epochs:?}");
    let figures = |evaluation: &Evaluation| {
        let metrics = evaluation.metrics().unwrap();
        (metrics.value, metrics.training_loss, metrics.epochs, metrics.restarts)
    };
    assert_eq!(figures(&found), figures(&wanted));

    // It is deleted when the next training begins.
    assert!(checkpoint.exists());
    let next = Trial { id: 1, seed: 99, ..trial.clone() };
    environment.evaluate(&graph, &TrialContext::new(&next)).unwrap();
    assert!(!checkpoint.exists());
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn a_promoted_trial_continues_to_the_result_of_one_that_starts_again() {
    let (split, network) = (split(200, 100), network(4, WidthRule::Growing));
    let recipe = Recipe {
        epochs: 4,
        batch_size: 32,
        schedule: Schedule::Cosine,
        weight_averaging: Some(0.9),
        restarts: Restarts { max: 0, factor: 1.0 },
        ..Recipe::early_stop()
    };
    let (graph, trial) = (block(), trial(0, &block(), &network));
    let (kept, folder) = torch(&split, &network, &recipe);
    let folder = TrainingEnvironment::trial_folder(&folder.path().join("networks"), trial.fingerprint, trial.seed);
    let mut environment = start(&kept);
    assert_eq!(environment.full_epochs(), Some(4));
    let figures = |evaluation: &Evaluation| {
        let metrics = evaluation.metrics().unwrap();
        (metrics.value, metrics.training_loss, metrics.epochs, metrics.curve.clone())
    };
    for (number, epochs) in [(0, 1), (1, 2), (2, 4)] {
        let rung = Some(Rung { number, epochs });
        let seen = std::cell::RefCell::new(Vec::new());
        let listen = |progress: blockqnn::environment::Progress| seen.borrow_mut().push(progress.epoch);
        let context = TrialContext::new(&trial).with_rung(rung).with_progress(&listen);
        let continued = environment.evaluate(&graph, &context).unwrap();
        assert!(seen.borrow().iter().all(|&epoch| epoch >= epochs / 2), "{seen:?}");
        assert_eq!(folder.join("network.safetensors").exists(), epochs == 4);
        let (torch, _folder) = torch(&split, &network, &recipe);
        let anew = start(&torch).evaluate(&graph, &TrialContext::new(&trial).with_rung(rung)).unwrap();
        assert_eq!(figures(&continued), figures(&anew), "{epochs} epochs");
        assert_eq!(continued.metrics().unwrap().epochs, epochs);
    }
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn the_identity_names_images_recipe_version_and_device() {
    let (split, network) = (split(60, 30), network(4, WidthRule::Growing));
    let recipe = Recipe::early_stop();
    let (torch, _folder) = torch(&split, &network, &recipe);
    let own = TrainingEnvironment::new(&split, network.clone(), recipe, &parse_device("flex").unwrap()).unwrap();
    // PyTorch has kernels of its own.
    let own = Environment::<LayerGraph>::identity(&own).rsplit_once(", kernels ").unwrap().0.to_owned();
    let found = start(&torch).identity();
    assert_eq!(torch.identity_on(Some("cpu")).unwrap(), found);
    let version = found.strip_prefix(&format!("{own}, trained by PyTorch ")).unwrap().strip_suffix(" on cpu").unwrap();
    assert!(version.starts_with(|digit: char| digit.is_ascii_digit()) && !version.contains('+'), "{version}");
    // A search whose workers have a card needs none itself.
    let elsewhere = torch.identity_on(Some("cuda:3")).unwrap();
    assert_eq!(elsewhere, format!("{own}, trained by PyTorch {version} on cuda"));
    let error = |device: &str| torch.environment::<LayerGraph>(Some(device), config()).unwrap_err().to_string();
    assert!(error("flex").contains("is not ready: PyTorch trains on cpu, cuda, cuda:N or mps"), "{}", error("flex"));
    assert!(error("cuda:99").contains("there is no cuda:99"), "{}", error("cuda:99"));
}

#[test]
fn a_python_without_pytorch_is_refused_with_what_to_do() {
    let (split, network) = (split(60, 30), network(4, WidthRule::Growing));
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe::early_stop();
    let torch = TorchTraining::new(Some(folder.path()), split.training(), split.validation(), network, recipe).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        // Found before the system's.
        for module in ["numpy.py", "torch.py"] {
            fs::write(entry.path().join(module), "raise ImportError('No module')").unwrap();
        }
    }
    let error = torch.environment::<LayerGraph>(None, config()).unwrap_err().to_string();
    assert!(error.starts_with("the trainer `torch` is not ready: /"), "{error}");
    assert!(error.contains("has no PyTorch (No module): install it (Debian: apt install python3-torch"), "{error}");
    assert_eq!(error.lines().count(), 1);
    let error = torch.with_python("/no/python3").environment::<LayerGraph>(None, config()).unwrap_err().to_string();
    assert!(error.starts_with("the trainer `torch` cannot be started"), "{error}");
}
