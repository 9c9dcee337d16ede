use super::*;
use crate::agent::{LeastSquares, LeastSquaresConfig};
use crate::environment::{Environment, TrialContext};
use crate::evaluation::{Metrics, Rung, Trial};
use crate::evaluator::ThreadEvaluator;
use crate::search::{Rungs, Search, SearchConfig, SearchReport};
use crate::space::block::BlockSpace;
use crate::train::{Checkpoints, Restarts, RungCheckpoints, TrainingEnvironment};
use std::path::Path;

/// Recipes that use everything that a training must continue with.
fn recipes() -> [Recipe; 3] {
    let all = Recipe {
        learning_rate: 0.01,
        schedule: Schedule::Cosine,
        warm_up_epochs: 1,
        augmentation: crate::data::Augmentation { pad: 1, flip: true, cutout: 2 },
        label_smoothing: 0.1,
        weight_averaging: Some(0.9),
        restarts: Restarts { max: 0, factor: 1.0 },
        ..recipe()
    };
    // The first attempt fails after its first epoch.
    let restarted = Recipe { learning_rate: 1e30, restarts: Restarts { max: 3, factor: 1e-32 }, ..recipe() };
    [recipe(), all, restarted]
}

fn train_to(epochs: u32, recipe: &Recipe, folder: Option<&Path>) -> Trained<Network> {
    let (training, validation) = parts(&Device::flex());
    let checkpoints = folder.map(|folder| Checkpoints::new(folder).with_every(0));
    Training::new(recipe, &training, &validation, 5)
        .with_epochs(epochs)
        .with_checkpoints(checkpoints.as_ref())
        .fit(|rng, device| Ok(Network::new(&block(), &network_config(), rng, device)?))
        .unwrap()
        .trained()
        .unwrap()
}

fn without_seconds(metrics: &Metrics) -> Metrics {
    Metrics { seconds: 0.0, ..metrics.clone() }
}

#[test]
fn a_training_that_ends_early_is_the_beginning_of_the_whole_one() {
    for recipe in recipes() {
        let whole = train(&Recipe { measure_every: Some(1), ..recipe.clone() }, 5, &Device::flex(), &());
        let whole = whole.trained().unwrap();
        for epochs in [1, 2, 4] {
            let begun = train_to(epochs, &recipe, None);
            let at = epochs as usize - 1;
            assert_eq!(begun.metrics.epochs, epochs);
            assert_eq!(begun.metrics.value.to_bits(), whole.epochs[at].accuracy.unwrap().to_bits());
            assert_eq!(begun.metrics.training_loss, Some(whole.epochs[at].training_loss));
            assert_eq!(begun.metrics.restarts, whole.metrics.restarts);
        }
    }
}

#[test]
fn a_training_that_goes_on_has_the_same_bits_as_one_that_starts_again() {
    for recipe in recipes() {
        let folder = tempfile::tempdir().unwrap();
        for epochs in [1, 2, 6] {
            let continued = train_to(epochs, &recipe, Some(folder.path()));
            let anew = train_to(epochs, &recipe, None);
            assert_eq!(bits(&continued), bits(&anew), "{epochs} epochs");
            assert_eq!(without_seconds(&continued.metrics), without_seconds(&anew.metrics), "{epochs} epochs");
        }
        let whole = train(&recipe, 5, &Device::flex(), &()).trained().unwrap();
        let continued = train_to(6, &recipe, Some(folder.path()));
        assert_eq!(bits(&continued), bits(&whole));
    }
}

#[test]
fn the_end_that_a_checkpoint_holds_is_measured_again_and_what_is_beyond_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let first = train_to(2, &recipe(), Some(folder.path()));
    let again = train_to(2, &recipe(), Some(folder.path()));
    assert_eq!(bits(&again), bits(&first));
    assert_eq!(without_seconds(&again.metrics), without_seconds(&first.metrics));
    let shorter = train_to(1, &recipe(), Some(folder.path()));
    assert_eq!(bits(&shorter), bits(&train_to(1, &recipe(), None)));
}

#[test]
fn the_seconds_of_a_lower_rung_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    train_to(5, &recipe(), Some(folder.path()));
    // The rest is an epoch of six; with the five before, it would have taken longer than the call.
    let started = std::time::Instant::now();
    let seconds = train_to(6, &recipe(), Some(folder.path())).metrics.seconds;
    let passed = started.elapsed().as_secs_f64();
    assert!(seconds > 0.0 && seconds <= passed, "{seconds} of {passed}");
    let log = std::fs::read_to_string(folder.path().join("epochs.csv")).unwrap();
    let since_the_beginning: f64 = log.lines().last().unwrap().split(',').nth(4).unwrap().parse().unwrap();
    assert!(since_the_beginning > seconds, "{since_the_beginning} {seconds}");
}

fn environment() -> TrainingEnvironment {
    TrainingEnvironment::new(&split(), network_config(), recipe(), &Device::flex()).unwrap()
}

fn evaluate(environment: &mut TrainingEnvironment, number: u32, epochs: u32) -> Metrics {
    let trial = Trial { id: u64::from(number), seed: 1, fingerprint: block().fingerprint(), cost: None };
    let context = TrialContext::new(&trial).with_rung(Some(Rung { number, epochs }));
    without_seconds(environment.evaluate(&block(), &context).unwrap().metrics().unwrap())
}

#[test]
fn an_environment_continues_a_promoted_trial_and_deletes_what_it_kept_at_the_end() {
    assert_eq!(Environment::<LayerGraph>::full_epochs(&environment()), Some(6));
    let folder = tempfile::tempdir().unwrap();
    let rungs = folder.path().join("rungs");
    let of_trial = TrainingEnvironment::trial_folder(&rungs, block().fingerprint(), 1);
    for (number, epochs) in [(0, 1), (1, 2), (2, 6)] {
        // A new environment each time, as in another process.
        let continued = evaluate(&mut environment().with_rungs_kept(&rungs), number, epochs);
        assert_eq!(continued, evaluate(&mut environment(), number, epochs));
        assert_eq!(continued.epochs, epochs);
        assert_eq!(of_trial.join("checkpoint.safetensors").exists(), epochs < 6, "{epochs} epochs");
    }
    assert!(!of_trial.exists());
    // Where networks are kept, only one that was trained to the end is.
    let networks = folder.path().join("networks");
    let of_trial = TrainingEnvironment::trial_folder(&networks, block().fingerprint(), 1);
    for (number, epochs) in [(0, 1), (1, 6)] {
        evaluate(&mut environment().with_networks_kept(&networks, 0), number, epochs);
        assert_eq!(of_trial.join("network.safetensors").exists(), epochs == 6);
    }
}

/// A search over real trainings, whose environments keep what may be promoted in a folder, or nothing.
fn search(workers: usize, folder: Option<&Path>) -> SearchReport<BlockSpace> {
    let space = BlockSpace::paper().with_max_layers(3).unwrap();
    let keeping = |_| match folder {
        Some(folder) => environment().with_rungs_kept(folder),
        None => environment(),
    };
    let evaluator = ThreadEvaluator::new((0..workers).map(keeping).collect()).unwrap();
    let agent = LeastSquares::new(LeastSquaresConfig { uniform: 4, ..LeastSquaresConfig::default() }).unwrap();
    let config = SearchConfig { network: Some(network_config()), ..SearchConfig::new(20) };
    let config = config.with_trials(20, 4).with_rungs(Rungs::new(3));
    let search = Search::with_evaluator(space, agent, evaluator, config);
    match folder {
        Some(folder) => search.with_observer(RungCheckpoints::new(folder)).run().unwrap(),
        None => search.run().unwrap(),
    }
}

#[test]
fn a_search_that_continues_trainings_is_the_one_that_starts_them_again_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let rungs = folder.path().join("rungs");
    let texts = |report: SearchReport<BlockSpace>| {
        let text = |record: &crate::search::RecordOf<BlockSpace>| {
            let metrics = record.evaluation.metrics().map(without_seconds);
            format!("{} {} {:?} {metrics:?}", record.id, record.architecture, record.rung)
        };
        report.records.iter().map(text).collect::<Vec<_>>()
    };
    let continued = search(1, Some(&rungs));
    assert!(continued.records.iter().any(|record| record.rung.is_some_and(|rung| rung.epochs == 6)));
    assert!(!rungs.exists(), "all that was kept is deleted");
    let continued = texts(continued);
    assert_eq!(continued, texts(search(2, Some(&rungs))));
    assert_eq!(continued, texts(search(1, None)));
}
