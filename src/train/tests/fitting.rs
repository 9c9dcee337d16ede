use super::*;
use crate::environment::Progress;
use crate::evaluation::Infeasibility;
use rand::Rng;
use std::cell::{Cell, RefCell};

/// Stores what it hears, and stops the training after a number of reports.
#[derive(Default)]
struct Witness {
    heard: RefCell<Vec<Progress>>,
    stop_after: Option<usize>,
}

impl Watch for Witness {
    fn is_cancelled(&self) -> bool {
        self.stop_after.is_some_and(|reports| self.heard.borrow().len() >= reports)
    }

    fn report(&self, progress: Progress) {
        self.heard.borrow_mut().push(progress);
    }
}

fn trained(recipe: &Recipe, seed: u64) -> Trained<Network> {
    train(recipe, seed, &Device::flex(), &()).trained().unwrap()
}

fn fit_linear(recipe: &Recipe, blind: bool) -> Trained<LinearClassifier> {
    let (training, validation) = parts(&Device::flex());
    let build = |_: &mut dyn Rng, device: &Device| Ok(LinearClassifier::new(blind, device));
    Training::new(recipe, &training, &validation, 1).fit(build).unwrap().trained().unwrap()
}

#[test]
fn a_small_network_learns_classes_that_are_easy_to_distinguish() {
    for optimizer in [OptimizerConfig::adam(), OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 }] {
        let trained = trained(&Recipe { optimizer, ..recipe() }, 1);
        let (metrics, epochs) = (trained.metrics, trained.epochs);
        assert!(metrics.value > 90.0, "{optimizer:?}: {metrics:?} {epochs:?}");
        assert!(epochs[5].training_loss < epochs[0].training_loss / 2.0, "{epochs:?}");
        assert_eq!((metrics.epochs, metrics.restarts), (6, 0));
        assert_eq!(metrics.training_loss, Some(epochs[5].training_loss));
        assert!(metrics.seconds > 0.0);
        // Validation after the first and the last epoch.
        assert_eq!(
            epochs.iter().map(|epoch| epoch.accuracy.is_some()).collect::<Vec<_>>(),
            [true, false, false, false, false, true]
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_alone_and_beside_other_trainings() {
    let recipe = Recipe { epochs: 3, ..recipe() };
    let alone = bits(&trained(&recipe, 7));
    assert_eq!(alone, bits(&trained(&recipe, 7)));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in [8, 9] {
            let (recipe, done) = (&recipe, &done);
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    trained(recipe, seed);
                }
            });
        }
        let beside: Vec<_> = (0..3).map(|_| bits(&trained(&recipe, 7))).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(beside.iter().all(|found| *found == alone));
    });
}

#[test]
fn dropped_paths_change_a_training_which_repeats_to_the_bit() {
    let recipe = Recipe { epochs: 2, ..recipe() };
    let dropping = Recipe { drop_path: 0.5, ..recipe.clone() };
    let (with, without) = (trained(&dropping, 1), trained(&recipe, 1));
    assert_eq!(bits(&with), bits(&trained(&dropping, 1)));
    // Nothing is dropped in the first epoch.
    assert_eq!(with.epochs[0].training_loss.to_bits(), without.epochs[0].training_loss.to_bits());
    assert_ne!(with.epochs[1].training_loss.to_bits(), without.epochs[1].training_loss.to_bits());
}

#[test]
fn a_module_that_knows_no_paths_is_not_trained_by_a_recipe_that_drops_them() {
    let (training, validation) = parts(&Device::flex());
    let dropping = Recipe { drop_path: 0.2, ..recipe() };
    let build = |_: &mut dyn Rng, device: &Device| Ok(LinearClassifier::new(false, device));
    let error = Training::new(&dropping, &training, &validation, 1).fit(build).unwrap_err().to_string();
    assert!(error.starts_with("recipe.drop_path is 0.2: it must be 0 for a module"), "{error}");
}

#[test]
fn another_seed_gives_another_result() {
    let recipe = Recipe { epochs: 2, ..recipe() };
    assert_ne!(bits(&trained(&recipe, 1)), bits(&trained(&recipe, 2)));
}

#[test]
fn a_classifier_that_guesses_starts_again_with_a_lower_rate_until_no_restart_is_left() {
    let (training, validation) = parts(&Device::flex());
    let recipe = Recipe { epochs: 3, schedule: Schedule::Step { every: 2, factor: 0.2 }, ..recipe() };
    let draws = RefCell::new(Vec::new());
    let trained = Training::new(&recipe, &training, &validation, 1).fit(|rng, device| {
        draws.borrow_mut().push(rng.next_u64());
        Ok(LinearClassifier::new(true, device))
    });
    let trained = trained.unwrap().trained().unwrap();
    // A third of the images is in each class, so a constant answer is exactly as good as guessing.
    assert!((trained.metrics.value - super::super::chance_accuracy(CLASSES)).abs() < 1e-9);
    assert_eq!((trained.metrics.restarts, trained.metrics.epochs), (3, 3));
    let rates: Vec<f64> = trained.epochs.iter().map(|epoch| epoch.learning_rate).collect();
    assert_eq!(rates, [0, 1, 2].map(|epoch| recipe.learning_rate_at(epoch, 3)));
    assert!((rates[0] / (0.02 * 0.064) - 1.0).abs() < 1e-12, "{rates:?}");
    // The last attempt cannot be abandoned any more.
    assert_eq!(trained.epochs[0].accuracy, None);
    let weights = |restart| seed::stream(1, "weights", restart).next_u64();
    assert_eq!(*draws.borrow(), [0, 1, 2, 3].map(weights));
}

#[test]
fn a_single_epoch_is_measured_even_when_no_restart_is_left() {
    let mut recipe = Recipe { epochs: 1, ..recipe() };
    assert_eq!(fit_linear(&recipe, true).metrics.restarts, 3);
    recipe.restarts.max = 0;
    let trained = fit_linear(&recipe, true);
    assert_eq!((trained.metrics.restarts, trained.epochs.len()), (0, 1));
    assert!(trained.epochs[0].accuracy.is_some());
}

#[test]
fn a_huge_learning_rate_diverges_after_all_restarts() {
    for optimizer in [OptimizerConfig::adam(), OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 }] {
        let recipe = Recipe { learning_rate: 1e30, optimizer, ..recipe() };
        let witness = Witness::default();
        match train(&recipe, 1, &Device::flex(), &witness) {
            Outcome::Infeasible(reason) => assert_eq!(reason, Infeasibility::Diverged { epoch: 1, restarts: 3 }),
            outcome => panic!("{outcome:?}"),
        }
        assert_eq!(witness.heard.borrow().iter().map(|progress| progress.restarts).max(), Some(3));
    }
}

#[test]
fn a_lower_rate_saves_a_training_that_diverged() {
    let mut recipe = Recipe { learning_rate: 1e30, ..recipe() };
    recipe.restarts.factor = 1e-32;
    let trained = trained(&recipe, 1);
    assert_eq!(trained.metrics.restarts, 1);
    assert!(trained.metrics.value > 60.0, "{:?}", trained.metrics);
}

#[test]
fn no_time_is_no_result() {
    let recipe = Recipe { time_limit_seconds: Some(0.0), ..recipe() };
    match train(&recipe, 1, &Device::flex(), &()) {
        Outcome::Infeasible(reason) => assert_eq!(reason, Infeasibility::TimedOut { limit_seconds: 0.0 }),
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn a_training_stops_at_the_batch_at_which_it_is_cancelled() {
    // 15 batches of training and 10 of validation in the first epoch.
    for reports in [0, 1, 20, 30] {
        let witness = Witness { stop_after: Some(reports), ..Witness::default() };
        assert!(matches!(train(&recipe(), 1, &Device::flex(), &witness), Outcome::Cancelled));
        assert_eq!(witness.heard.borrow().len(), reports);
    }
}

#[test]
fn progress_is_reported_batch_by_batch() {
    let witness = Witness::default();
    let mut recipe = Recipe { epochs: 2, batch_size: 40, ..recipe() };
    recipe.restarts.max = 0;
    train(&recipe, 1, &Device::flex(), &witness).trained().unwrap();
    let heard = witness.heard.borrow();
    let heard: Vec<_> = heard.iter().map(|heard| (heard.epoch, (heard.fraction * 90.0).round())).collect();
    // 90 training images in batches of 40; at the end 60 validation images in batches of 40, and the accuracy.
    let epoch = |epoch| [40.0, 80.0, 90.0].map(|images| (epoch, images)).to_vec();
    assert_eq!(heard, [epoch(0), epoch(1), vec![(1, 90.0); 2], vec![(2, 0.0)]].concat());
}

#[test]
fn the_loss_is_the_mean_over_the_images_however_they_are_batched() {
    // With a learning rate that changes nothing, every image sees the same weights.
    let sgd = OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.0 };
    for batch_size in [1, 7, 89, 90, 1000] {
        let recipe = Recipe { batch_size, epochs: 1, optimizer: sgd, learning_rate: 1e-30, ..recipe() };
        let loss = fit_linear(&recipe, false).epochs[0].training_loss;
        // All logits are about 0.
        assert!((loss - 3.0_f64.ln()).abs() < 1e-5, "{batch_size}: {loss}");
    }
}

#[test]
fn a_batch_of_one_image_trains_too() {
    let recipe = Recipe { batch_size: 89, epochs: 2, ..recipe() };
    // The second batch is of one image.
    assert!(trained(&recipe, 1).epochs.iter().all(|epoch| epoch.training_loss.is_finite()));
}

#[test]
fn the_trained_network_gives_the_accuracy_that_was_measured() {
    // With and without paths that are dropped in training, but not where it is measured.
    for recipe in [recipe(), Recipe { drop_path: 0.9, ..recipe() }] {
        let trained = trained(&recipe, 3);
        let (_, validation) = parts(&Device::flex());
        let all: Vec<usize> = (0..validation.len()).collect();
        let (images, labels) = validation.batch(&all);
        let correct = trained.network.forward(images).argmax(1).squeeze_dim::<1>(1).equal(labels).int().sum();
        let correct: f64 = correct.into_scalar::<i64>() as f64;
        assert!((trained.metrics.value - 100.0 * correct / 60.0).abs() < 1e-9);
    }
}

#[test]
fn a_bad_recipe_and_a_failed_build_are_errors() {
    let (training, validation) = parts(&Device::flex());
    let called = Cell::new(false);
    let build = |_: &mut dyn Rng, _: &Device| -> Result<LinearClassifier, TrainError> {
        called.set(true);
        Err(TrainError::Cancelled)
    };
    let bad = Recipe { batch_size: 0, ..recipe() };
    let error = Training::new(&bad, &training, &validation, 1).fit(build).unwrap_err();
    assert_eq!(error.to_string(), "recipe.batch_size is 0: it must be at least 1");
    assert!(!called.get());
    assert!(matches!(Training::new(&recipe(), &training, &validation, 1).fit(build), Err(TrainError::Cancelled)));
    assert!(called.get());
}

#[cfg(feature = "ndarray")]
#[test]
#[expect(deprecated, reason = "kept for parity tests as long as burn has it")]
fn flex_and_ndarray_take_the_same_steps() {
    // Two steps on the whole set: the second loss depends on every gradient of the first.
    let recipe = Recipe { epochs: 2, batch_size: 90, ..recipe() };
    let [flex, ndarray] = [Device::flex(), Device::ndarray()].map(|device| {
        let trained = train(&recipe, 1, &device, &()).trained().unwrap();
        (trained.epochs[0].training_loss, trained.epochs[1].training_loss, trained.metrics.value)
    });
    assert!((flex.0 - ndarray.0).abs() < 1e-6 && (flex.1 - ndarray.1).abs() < 1e-4, "{flex:?} {ndarray:?}");
    assert!((flex.2 - ndarray.2).abs() < 2.0, "{flex:?} {ndarray:?}");
}
