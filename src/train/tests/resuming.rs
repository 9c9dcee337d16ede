use super::*;
use crate::data::Augmentation;
use crate::train::{Checkpoints, Restarts};
use std::cell::Cell;
use std::path::Path;

/// A recipe that uses everything that a checkpoint must hold.
fn long_recipe(optimizer: OptimizerConfig) -> Recipe {
    Recipe {
        epochs: 4,
        optimizer,
        learning_rate: 0.01,
        schedule: Schedule::Cosine,
        warm_up_epochs: 1,
        augmentation: Augmentation { pad: 1, flip: true, cutout: 2 },
        label_smoothing: 0.1,
        weight_averaging: Some(0.9),
        drop_path: 0.6,
        measure_every: Some(2),
        restarts: Restarts { max: 0, factor: 1.0 },
        ..recipe()
    }
}

fn train_in(folder: &Path, recipe: &Recipe, every: u32, watch: &dyn Watch) -> Result<Outcome<Network>, TrainError> {
    let (training, validation) = parts(&Device::flex());
    let checkpoints = Checkpoints::new(folder).with_every(every);
    let training = Training::new(recipe, &training, &validation, 5).with_watch(watch).with_checkpoints(&checkpoints);
    training.fit(|rng, device| Ok(Network::new(&block(), &network_config(), rng, device)?))
}

/// Returns every number of the network, as bits.
fn weights(trained: &Trained<Network>) -> Vec<u8> {
    trained.network.to_safetensors(std::collections::HashMap::new()).unwrap()
}

#[test]
fn a_training_stopped_at_random_batches_and_resumed_ends_with_the_same_weights() {
    let mut rng = seed::stream(11, "stops", 0);
    for optimizer in [OptimizerConfig::sgd(), OptimizerConfig::adam()] {
        let recipe = long_recipe(optimizer);
        let whole = train(&recipe, 5, &Device::flex(), &()).trained().unwrap();
        let parent = tempfile::tempdir().unwrap();
        let undisturbed = train_in(&parent.path().join("once"), &recipe, 1, &()).unwrap().trained().unwrap();
        assert!(weights(&undisturbed) == weights(&whole) && bits(&undisturbed) == bits(&whole));
        for round in 0..3 {
            let folder = parent.path().join(round.to_string());
            let mut stops = 0;
            let resumed = loop {
                // 60 batches of training, and 10 of validation after the second and the fourth epoch.
                let watch = StopAfter(Cell::new(1 + seed::index(&mut rng, 40)));
                match train_in(&folder, &recipe, 0, &watch).unwrap() {
                    Outcome::Trained(trained) => break trained,
                    Outcome::Cancelled => stops += 1,
                    outcome => panic!("{outcome:?}"),
                }
            };
            assert!(stops > 0);
            assert!(weights(&resumed) == weights(&whole), "{optimizer:?}: the weights differ after {stops} stops");
            assert_eq!(bits(&resumed), bits(&whole));
        }
    }
}

#[test]
fn a_killed_training_continues_from_its_last_checkpoint() {
    let recipe = long_recipe(OptimizerConfig::sgd());
    let folder = tempfile::tempdir().unwrap();
    let whole = train_in(folder.path(), &recipe, 3, &()).unwrap().trained().unwrap();
    // The checkpoint after the third epoch is still there, as if the process had died in the fourth.
    let watch = StopAfter(Cell::new(1_000));
    let again = train_in(folder.path(), &recipe, 3, &watch).unwrap().trained().unwrap();
    assert!(weights(&again) == weights(&whole));
    // One epoch of 15 batches, a measurement of 10, and its accuracy; that of the first epoch is reported once more.
    assert_eq!(1_000 - watch.0.get(), 27);
    Checkpoints::new(folder.path()).delete().unwrap();
    Checkpoints::new(folder.path()).delete().unwrap();
    let watch = StopAfter(Cell::new(1_000));
    train_in(folder.path(), &recipe, 0, &watch).unwrap();
    assert_eq!(1_000 - watch.0.get(), 60 + 20 + 2);
}

#[test]
fn a_checkpoint_keeps_the_restarts_of_its_training() {
    let mut recipe = Recipe { learning_rate: 1e30, epochs: 2, ..recipe() };
    recipe.restarts.factor = 1e-32;
    let whole = train(&recipe, 5, &Device::flex(), &()).trained().unwrap();
    assert_eq!(whole.metrics.restarts, 1);
    let folder = tempfile::tempdir().unwrap();
    // The first attempt ends after its first epoch of 15 batches, measured in 10.
    let watch = StopAfter(Cell::new(30));
    assert!(matches!(train_in(folder.path(), &recipe, 0, &watch).unwrap(), Outcome::Cancelled));
    let resumed = train_in(folder.path(), &recipe, 0, &()).unwrap().trained().unwrap();
    assert_eq!(resumed.metrics.restarts, 1);
    assert!(weights(&resumed) == weights(&whole));
}

#[test]
fn a_checkpoint_of_another_training_or_a_damaged_one_is_refused() {
    let recipe = long_recipe(OptimizerConfig::sgd());
    let folder = tempfile::tempdir().unwrap();
    train_in(folder.path(), &recipe, 0, &StopAfter(Cell::new(7))).unwrap();
    let other = Recipe { learning_rate: 0.02, ..recipe.clone() };
    let message = train_in(folder.path(), &other, 0, &()).unwrap_err().to_string();
    assert!(message.contains("checkpoint.safetensors") && message.contains("another recipe"), "{message}");
    let path = folder.path().join("checkpoint.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = train_in(folder.path(), &recipe, 0, &()).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_not_called_damaged_and_the_last_good_one_stays() {
    let recipe = long_recipe(OptimizerConfig::sgd());
    let whole = train(&recipe, 5, &Device::flex(), &()).trained().unwrap();
    let folder = tempfile::tempdir().unwrap();
    train_in(folder.path(), &recipe, 1, &StopAfter(Cell::new(7))).unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let good = std::fs::read(&path).unwrap();
    let writable = std::fs::metadata(&path).unwrap().permissions();
    let mut protected = writable.clone();
    protected.set_readonly(true);
    std::fs::set_permissions(&path, protected).unwrap();
    let error = train_in(folder.path(), &recipe, 1, &()).unwrap_err();
    assert!(matches!(error, TrainError::Write { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("checkpoint.safetensors: the file is write-protected"), "{message}");
    assert!(!message.contains("Delete it"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), good);
    std::fs::set_permissions(&path, writable).unwrap();
    let trained = train_in(folder.path(), &recipe, 1, &()).unwrap().trained().unwrap();
    assert!(weights(&trained) == weights(&whole));
}

#[test]
fn the_log_has_a_line_per_epoch_even_after_a_resume() {
    let recipe = long_recipe(OptimizerConfig::sgd());
    let folder = tempfile::tempdir().unwrap();
    train_in(folder.path(), &recipe, 0, &StopAfter(Cell::new(40))).unwrap();
    let trained = train_in(folder.path(), &recipe, 0, &()).unwrap().trained().unwrap();
    let text = std::fs::read_to_string(folder.path().join("epochs.csv")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["epoch", "learning_rate", "training_loss", "accuracy", "seconds", "images_per_second"]);
    assert_eq!(lines.len(), 5);
    for (line, epoch) in lines[1..].iter().zip(&trained.epochs) {
        assert_eq!(line[1].parse::<f64>().unwrap().to_bits(), epoch.learning_rate.to_bits());
        assert_eq!(line[3].parse::<f64>().ok(), epoch.accuracy);
    }
    // Measured after every second epoch.
    assert_eq!(lines[1..].iter().map(|line| line[3].is_empty()).collect::<Vec<_>>(), [true, false, true, false]);
}

#[test]
fn measuring_more_often_changes_nothing_else() {
    let seldom = Recipe { measure_every: None, ..long_recipe(OptimizerConfig::sgd()) };
    let often = Recipe { measure_every: Some(1), ..seldom.clone() };
    let [seldom, often] = [seldom, often].map(|recipe| train(&recipe, 5, &Device::flex(), &()).trained().unwrap());
    assert!(weights(&seldom) == weights(&often));
    assert_eq!(often.epochs.iter().filter(|epoch| epoch.accuracy.is_some()).count(), 4);
}

#[test]
fn each_option_of_a_recipe_changes_the_weights() {
    let plain = Recipe { epochs: 2, ..recipe() };
    let crop = Augmentation { pad: 1, ..Augmentation::default() };
    let options = [
        plain.clone(),
        Recipe { augmentation: crop, ..plain.clone() },
        Recipe { augmentation: Augmentation { flip: true, ..Augmentation::default() }, ..plain.clone() },
        Recipe { augmentation: Augmentation { cutout: 2, ..Augmentation::default() }, ..plain.clone() },
        Recipe { label_smoothing: 0.1, ..plain.clone() },
        Recipe { weight_averaging: Some(0.5), ..plain.clone() },
        Recipe { warm_up_epochs: 1, ..plain.clone() },
        Recipe { schedule: Schedule::Cosine, ..plain },
    ];
    let mut all: Vec<Vec<u8>> =
        options.iter().map(|recipe| weights(&train(recipe, 5, &Device::flex(), &()).trained().unwrap())).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), options.len());
}

#[test]
fn label_smoothing_adds_the_share_of_the_other_classes_to_the_loss() {
    // Logits of 0 have a cross-entropy of ln 3 with any target, so a step must separate them first: the loss of the
    // second epoch is computed by hand from the logits after the first.
    let sgd = OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.0 };
    let base = Recipe { epochs: 1, batch_size: 90, optimizer: sgd, learning_rate: 0.05, ..recipe() };
    let share = 0.3;
    let smooth = Recipe { label_smoothing: share, ..base.clone() };
    let (training, validation) = parts(&Device::flex());
    let fit = |recipe: &Recipe| {
        let build = |_: &mut dyn rand::Rng, device: &Device| Ok(LinearClassifier::new(false, device));
        Training::new(recipe, &training, &validation, 1).fit(build).unwrap().trained().unwrap()
    };
    let after_one = fit(&smooth).network;
    let all: Vec<usize> = (0..training.len()).collect();
    let (images, labels) = training.batch(&all);
    let logits = after_one.classify(images).into_data().try_into_vec::<f32>().unwrap();
    let labels: Vec<usize> = labels.into_data().iter::<i64>().map(|label| usize::try_from(label).unwrap()).collect();
    let mut wanted = 0.0;
    for (row, label) in logits.chunks(CLASSES).zip(labels) {
        let row: Vec<f64> = row.iter().map(|&logit| logit.into()).collect();
        let normaliser = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let mean = row.iter().sum::<f64>() / CLASSES as f64;
        wanted += normaliser - (1.0 - share) * row[label] - share * mean;
    }
    wanted /= 90.0;
    let found = fit(&Recipe { epochs: 2, ..smooth }).epochs[1].training_loss;
    assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
}

#[test]
fn averaged_weights_are_the_running_mean_of_the_weights() {
    // One step per epoch: the weights after each step are those of trainings that are one epoch longer each.
    let sgd = OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.0 };
    let base = Recipe { batch_size: 90, optimizer: sgd, learning_rate: 0.05, ..recipe() };
    let (training, validation) = parts(&Device::flex());
    let weights = |epochs, weight_averaging| {
        let recipe = Recipe { epochs, weight_averaging, ..base.clone() };
        let build = |_: &mut dyn rand::Rng, device: &Device| Ok(LinearClassifier::new(false, device));
        let trained = Training::new(&recipe, &training, &validation, 1).fit(build).unwrap().trained().unwrap();
        trained.network.linear.weight.val().into_data().try_into_vec::<f32>().unwrap()
    };
    let (first, second, mean) = (weights(1, None), weights(2, None), weights(2, Some(0.75)));
    // The weights start at 0.
    for ((first, second), mean) in first.iter().zip(&second).zip(&mean) {
        let wanted = 0.75 * (0.25 * first) + 0.25 * second;
        assert!((mean - wanted).abs() < 1e-6, "{mean} {wanted}");
    }
}
