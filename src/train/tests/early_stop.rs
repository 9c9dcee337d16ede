//! Learning curves, and trainings that end early.

use super::{StopAfter, bits, block, network_config, recipe, split, train};
use crate::environment::{Cancellation, EarlyStop, Environment, Progress, Thresholds, TrialContext};
use crate::evaluation::{Evaluation, Metrics, Trial};
use crate::train::{Recipe, TrainingEnvironment, Watch};
use burn::tensor::Device;
use std::cell::{Cell, RefCell};
use std::path::Path;

/// Wants the end of a training once so many epochs are done.
struct Impatient {
    epochs: f64,
    done: Cell<f64>,
    told: RefCell<Vec<(u32, f64)>>,
}

impl Impatient {
    fn new(epochs: f64) -> Self {
        Self { epochs, done: Cell::new(0.0), told: RefCell::default() }
    }
}

impl Watch for Impatient {
    fn should_stop(&self) -> bool {
        self.done.get() >= self.epochs
    }

    fn report(&self, progress: Progress) {
        self.done.set(f64::from(progress.epoch) + progress.fraction);
        self.told.borrow_mut().extend(progress.value.map(|accuracy| (progress.epoch, accuracy)));
    }
}

fn often() -> Recipe {
    Recipe { measure_every: Some(1), ..recipe() }
}

#[test]
fn the_curve_has_every_accuracy_that_was_measured_and_was_reported_as_it_was() {
    for (recipe, epochs) in [(often(), vec![1, 2, 3, 4, 5, 6]), (recipe(), vec![1, 6])] {
        let patient = Impatient::new(f64::INFINITY);
        let trained = train(&recipe, 5, &Device::flex(), &patient).trained().unwrap();
        let curve = trained.metrics.curve.clone();
        assert_eq!(curve.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), epochs);
        let measured: Vec<f64> = trained.epochs.iter().filter_map(|epoch| epoch.accuracy).collect();
        assert_eq!(curve.iter().map(|(_, accuracy)| *accuracy).collect::<Vec<_>>(), measured);
        assert_eq!(patient.told.into_inner(), curve);
        assert_eq!((curve.last().unwrap().1, trained.metrics.stopped), (trained.metrics.value, false));
    }
}

#[test]
fn a_training_that_should_stop_ends_as_one_of_so_many_epochs() {
    for recipe in [often(), recipe()] {
        let stopped = train(&recipe, 5, &Device::flex(), &Impatient::new(3.0)).trained().unwrap();
        let short = Recipe { epochs: 3, ..recipe };
        let short = train(&short, 5, &Device::flex(), &()).trained().unwrap();
        assert!(bits(&stopped) == bits(&short), "the learning rate is constant");
        let expected = Metrics { stopped: true, seconds: stopped.metrics.seconds, ..short.metrics };
        assert_eq!(stopped.metrics, expected);
    }
    let in_the_last = train(&often(), 5, &Device::flex(), &Impatient::new(6.0)).trained().unwrap();
    assert!(!in_the_last.metrics.stopped && in_the_last.metrics.epochs == 6);
}

fn trial() -> Trial {
    Trial { id: 0, seed: 5, fingerprint: block().fingerprint(), cost: None }
}

fn environment(folder: Option<&Path>) -> TrainingEnvironment {
    let environment = TrainingEnvironment::new(&split(), network_config(), often(), &Device::flex()).unwrap();
    match folder {
        Some(folder) => environment.with_networks_kept(folder, 1),
        None => environment,
    }
}

fn metrics(evaluation: &Evaluation) -> Metrics {
    Metrics { seconds: 0.0, ..evaluation.metrics().unwrap().clone() }
}

#[test]
fn a_training_below_a_threshold_stops_after_that_epoch_also_if_it_was_interrupted() {
    let trial = trial();
    let whole = environment(None).evaluate(&block(), &TrialContext::new(&trial)).unwrap();
    let curve = metrics(&whole).curve;
    // The best of the first epochs decides at the fourth; after an interruption it must still be known.
    let best = curve[..4].iter().map(|(_, accuracy)| *accuracy).fold(0.0, f64::max);
    for (threshold, epochs) in [(best, 6), (best + 0.1, 4)] {
        let early_stop = EarlyStop::new().with_thresholds(Thresholds::new([(4, threshold)]));
        let context = || TrialContext::new(&trial).with_early_stop(early_stop.clone());
        let expected = metrics(&environment(None).evaluate(&block(), &context()).unwrap());
        assert_eq!((expected.epochs, expected.stopped), (epochs, epochs < 6));
        assert_eq!(expected.curve, curve[..epochs as usize]);

        let folder = tempfile::tempdir().unwrap();
        let cancellation = Cancellation::new();
        let cancel = |progress: Progress| {
            if progress.epoch == 3 && progress.fraction > 0.5 {
                cancellation.cancel();
            }
        };
        let interrupted = context().with_cancellation(cancellation.clone()).with_progress(&cancel);
        environment(Some(folder.path())).evaluate(&block(), &interrupted).unwrap_err();
        let mut again = environment(Some(folder.path()));
        let continued = again.evaluate(&block(), &context()).unwrap();
        assert_eq!(metrics(&continued), expected);
        let kept = TrainingEnvironment::trial_folder(folder.path(), trial.fingerprint, trial.seed);
        assert_eq!(kept.join("network.safetensors").exists(), epochs == 6, "a part of a training is of no use");
    }
}

#[test]
fn a_watch_that_only_cancels_never_stops_early() {
    let watch = StopAfter(Cell::new(usize::MAX));
    assert!(!train(&often(), 5, &Device::flex(), &watch).trained().unwrap().metrics.stopped);
}
