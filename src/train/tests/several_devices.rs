//! Training on several devices. These name one device several times: what is dealt out, copied, summed and put together does
//! not depend on that. Devices of different kinds were not tried.

use super::*;
use crate::train::{Checkpoints, FitOptions, fit_with};
use rand::Rng;

/// Batches of 7, so that they cannot be dealt out equally, and a last one of 6.
fn uneven() -> Recipe {
    Recipe { epochs: 3, batch_size: 7, ..recipe() }
}

fn trained_on<M: Classifier>(
    more_devices: &[Device],
    options: FitOptions<'_>,
    build: impl FnMut(&mut dyn Rng, &Device) -> Result<M, TrainError>,
) -> Outcome<M> {
    let (training, validation) = parts(&Device::flex());
    fit_with(&uneven(), &training, &validation, 7, &FitOptions { more_devices, ..options }, build).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "it is what `fit_with` asks for")]
fn linear(_: &mut dyn Rng, device: &Device) -> Result<LinearClassifier, TrainError> {
    Ok(LinearClassifier::new(false, device))
}

fn convolutional(rng: &mut dyn Rng, device: &Device) -> Result<Network, TrainError> {
    Ok(Network::new(&block(), &network_config(), rng, device)?)
}

fn weights(trained: &Trained<LinearClassifier>) -> Vec<f32> {
    trained.network.linear.weight.val().into_data().try_into_vec::<f32>().unwrap()
}

/// Devices beside the first: the same one, once or three times.
fn others() -> Vec<Vec<Device>> {
    vec![vec![Device::flex(); 1], vec![Device::flex(); 3]]
}

#[test]
fn without_normalisation_several_devices_make_the_steps_of_one() {
    let alone = trained_on(&[], FitOptions::default(), linear).trained().unwrap();
    let wanted = weights(&alone);
    assert!(wanted.iter().any(|weight| weight.abs() > 0.01), "it has learnt: {wanted:?}");
    for others in others() {
        let found = trained_on(&others, FitOptions::default(), linear).trained().unwrap();
        for (found, wanted) in weights(&found).iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-4, "{others:?}: {found} {wanted}");
        }
        for (found, wanted) in found.epochs.iter().zip(&alone.epochs) {
            assert!((found.training_loss - wanted.training_loss).abs() < 1e-4, "{others:?}: {found:?} {wanted:?}");
        }
    }
}

#[test]
fn a_network_with_normalisation_learns_on_several_devices_and_ends_on_the_first() {
    for others in others() {
        let trained = trained_on(&others, FitOptions::default(), convolutional).trained().unwrap();
        assert!(trained.metrics.accuracy > 60.0, "{others:?}: {:?}", trained.metrics);
        assert_eq!(trained.network.device(), Device::flex());
        // The statistics with which it was measured are its own: measured once more it is as good.
        let (_, validation) = parts(&Device::flex());
        let batch = std::num::NonZeroUsize::new(7).unwrap();
        let top_1 = crate::train::top_k_accuracies(&trained.network, &validation, batch, &[1]).unwrap()[0];
        assert!((top_1 - trained.metrics.accuracy).abs() < 1e-9);
    }
}

#[test]
fn the_same_devices_give_the_same_bits_also_when_the_training_was_stopped() {
    struct StopAfter(std::cell::Cell<usize>);
    impl Watch for StopAfter {
        fn is_cancelled(&self) -> bool {
            self.0.set(self.0.get().saturating_sub(1));
            self.0.get() == 0
        }
    }
    let others = [Device::flex()];
    let whole = bits(&trained_on(&others, FitOptions::default(), convolutional).trained().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    let options = FitOptions { checkpoints: Some(&checkpoints), ..FitOptions::default() };
    let stop = StopAfter(std::cell::Cell::new(20));
    let stopped = trained_on(&others, FitOptions { watch: &stop, ..options }, convolutional);
    assert!(matches!(stopped, Outcome::Cancelled), "{stopped:?}");
    assert_eq!(bits(&trained_on(&others, options, convolutional).trained().unwrap()), whole);
}
