use super::*;
use crate::environment::{Cancellation, Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Metrics, Trial};
use crate::graph::{Node, Operation, WidthRule};
use crate::train::TrainingEnvironment;
use std::path::Path;

fn trial(seed: u64) -> Trial {
    let cost = block().cost(&network_config()).unwrap();
    Trial { id: 0, seed, fingerprint: block().fingerprint(), cost: Some(cost) }
}

fn environment(recipe: Recipe) -> TrainingEnvironment {
    environment_in(network_config(), recipe)
}

fn environment_in(network: NetworkConfig, recipe: Recipe) -> TrainingEnvironment {
    TrainingEnvironment::new(&split(), network, recipe, &Device::flex()).unwrap()
}

fn evaluate(environment: &mut TrainingEnvironment, graph: &LayerGraph, seed: u64) -> Evaluation {
    environment.evaluate(graph, &TrialContext::new(&trial(seed))).unwrap()
}

fn identity(environment: &TrainingEnvironment) -> String {
    Environment::<LayerGraph>::identity(environment)
}

#[test]
fn an_architecture_is_trained_and_measured() {
    let mut environment = environment(recipe());
    let first = evaluate(&mut environment, &block(), 1).metrics().unwrap().clone();
    assert!(first.value > 90.0, "{first:?}");
    assert_eq!((first.epochs, first.restarts), (6, 0));
    // Earlier trials and clones change nothing.
    let second = evaluate(&mut environment.clone(), &block(), 1).metrics().unwrap().clone();
    assert_eq!(Metrics { seconds: 0.0, ..first.clone() }, Metrics { seconds: 0.0, ..second });
    let other = evaluate(&mut environment, &block(), 2).metrics().unwrap().clone();
    assert_ne!(first.training_loss, other.training_loss);
}

#[test]
fn a_folder_that_cannot_be_written_or_read_breaks_the_environment_and_blames_no_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let failing = |networks: &Path| {
        let mut environment = environment(recipe()).with_networks_kept(networks, 1);
        let error = environment.evaluate(&block(), &TrialContext::new(&trial(1))).unwrap_err();
        assert!(Environment::<LayerGraph>::condition(&environment).broken, "{error}");
        error
    };
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = failing(&folder.path().join("file"));
    assert!(matches!(error, TrainError::Read { .. }), "{error}");
    let of_trial = TrainingEnvironment::trial_folder(folder.path(), block().fingerprint(), 1);
    std::fs::create_dir_all(of_trial.join("network.safetensors")).unwrap();
    let error = failing(folder.path());
    assert!(matches!(error, TrainError::Write { .. }), "{error}");
    assert!(error.to_string().contains("network.safetensors: it is a folder, not a file"), "{error}");
    std::fs::write(of_trial.join("checkpoint.safetensors"), "cut").unwrap();
    let error = failing(folder.path());
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
}

#[test]
fn what_cannot_be_measured_is_infeasible_and_no_error() {
    let bad = Recipe { learning_rate: 1e30, ..recipe() };
    let diverged = Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 3 });
    assert_eq!(evaluate(&mut environment(bad), &block(), 1), diverged);

    let late = Recipe { time_limit_seconds: Some(0.0), ..recipe() };
    let timed_out = Evaluation::Infeasible(Infeasibility::TimedOut { limit_seconds: 0.0 });
    assert_eq!(evaluate(&mut environment(late), &block(), 1), timed_out);

    // Where widths grow, each concatenation nearly doubles the channels.
    let growing = NetworkConfig { widths: WidthRule::Growing, ..network_config() };
    for (concatenations, overflows) in [(22, false), (100, true)] {
        let mut nodes =
            vec![Node::new(Operation::Input, []), Node::new(Operation::PreActivationConvolution { kernel: 3 }, [0])];
        nodes.extend((0..concatenations).map(|node| Node::new(Operation::Concat, [node, node + 1])));
        nodes.push(Node::new(Operation::PreActivationConvolution { kernel: 3 }, [concatenations + 1]));
        nodes.push(Node::new(Operation::Output, [concatenations + 1, concatenations + 2]));
        let mut environment = environment_in(growing.clone(), recipe());
        let evaluation = evaluate(&mut environment, &LayerGraph::new(nodes).unwrap(), 1);
        match evaluation {
            Evaluation::Infeasible(Infeasibility::Overflow { .. }) => assert!(overflows),
            Evaluation::Infeasible(Infeasibility::Rejected { .. }) => assert!(!overflows),
            evaluation => panic!("{evaluation:?}"),
        }
    }
}

#[test]
fn a_cancelled_trial_is_an_error() {
    let cancellation = Cancellation::new();
    cancellation.cancel();
    let trial = trial(1);
    let context = TrialContext::new(&trial).with_cancellation(cancellation);
    assert!(matches!(environment(recipe()).evaluate(&block(), &context), Err(TrainError::Cancelled)));
}

#[test]
fn a_trial_reports_its_progress() {
    let reports = std::cell::Cell::new(0);
    let listener = |progress: crate::environment::Progress| {
        assert_eq!(progress.epochs, 6);
        reports.set(reports.get() + 1);
    };
    let trial = trial(1);
    environment(recipe()).evaluate(&block(), &TrialContext::new(&trial).with_progress(&listener)).unwrap();
    // 6 epochs of 15 batches, and twice 10 batches of validation and the accuracy.
    assert_eq!(reports.get(), 112);
}

#[test]
fn the_identity_names_everything_that_a_result_depends_on() {
    let base = environment(recipe());
    assert_eq!(identity(&base), identity(&environment(recipe())));
    assert!(identity(&base).contains(", kernels "), "{}", identity(&base));
    let late = Recipe { time_limit_seconds: Some(1e6), ..recipe() };
    let wide = NetworkConfig { width: 5, ..network_config() };
    let other = Split::new(stripes(150, 2), 60, 7).unwrap();
    let resplit = Split::new(stripes(150, 1), 60, 8).unwrap();
    let device = Device::flex();
    let others = [
        environment(Recipe { batch_size: 17, ..recipe() }),
        environment(late),
        TrainingEnvironment::new(&split(), wide, recipe(), &device).unwrap(),
        TrainingEnvironment::new(&other, network_config(), recipe(), &device).unwrap(),
        TrainingEnvironment::new(&resplit, network_config(), recipe(), &device).unwrap(),
    ];
    let mut all: Vec<String> = others.iter().chain([&base]).map(identity).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn what_does_not_fit_together_is_refused_with_both_figures() {
    let make = |network: NetworkConfig, recipe| {
        TrainingEnvironment::new(&split(), network, recipe, &Device::flex()).unwrap_err().to_string()
    };
    let large = NetworkConfig { image: ImageShape { channels: 3, height: 32, width: 32 }, ..network_config() };
    assert_eq!(make(large, recipe()), "network.image is 3x32x32: it must be 1x6x6, as in \"stripes (training part)\"");
    let many = NetworkConfig { classes: 10, ..network_config() };
    assert_eq!(make(many, recipe()), "network.classes is 10: it must be 3, as in \"stripes (training part)\"");
    let flat = NetworkConfig { width: 0, ..network_config() };
    assert_eq!(make(flat, recipe()), "network.width is 0: it must be at least 1");
    let idle = Recipe { epochs: 0, ..recipe() };
    assert_eq!(make(network_config(), idle), "recipe.epochs is 0: it must be at least 1");

    let shape = crate::data::ImageShape { channels: 1, height: 1, width: 1 };
    let dots = ImageSet::new("dots", shape, ["a", "b", "c"], vec![0, 1, 2], vec![1, 2, 3]).unwrap();
    let error = TrainingEnvironment::with_parts(&stripes(9, 1), &dots, network_config(), recipe(), &Device::flex());
    assert_eq!(
        error.unwrap_err().to_string(),
        "the training images are 1x6x6 in 3 classes, but the validation images are 1x1x1 in 3 classes: both must be \
         parts of the same data set"
    );
}

#[test]
fn environments_of_any_kind_fit_into_one_list() {
    use crate::environment::EnvironmentExt;
    let mut boxed = EnvironmentExt::<LayerGraph>::boxed(environment(Recipe { epochs: 1, ..recipe() }));
    let trial = trial(1);
    assert!(boxed.evaluate(&block(), &TrialContext::new(&trial)).unwrap().value().is_some());
}
