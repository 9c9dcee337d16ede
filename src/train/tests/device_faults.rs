//! How often a training waits for its device, and how the device's failures are reported.

use super::{block, network_config, parts, recipe};
use crate::environment::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Trial};
use crate::network::Network;
use crate::train::device_reads::{DeviceReads, Direct};
use crate::train::{Recipe, TrainError, Training, TrainingEnvironment};
use burn::tensor::{Device, ExecutionError, Tensor, TensorReadError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the reads, and makes one fail.
struct Faulty {
    reads: AtomicUsize,
    /// The number of the read that fails, from 1, and how it fails.
    failing: usize,
    how: fn() -> Result<Vec<f32>, TensorReadError>,
}

impl Faulty {
    fn new(failing: usize, how: fn() -> Result<Vec<f32>, TensorReadError>) -> Self {
        Self { reads: AtomicUsize::new(0), failing, how }
    }
}

impl DeviceReads for Faulty {
    fn read(&self, figures: Vec<Tensor<1>>) -> Result<Vec<f32>, TensorReadError> {
        if self.reads.fetch_add(1, Ordering::SeqCst) + 1 == self.failing { (self.how)() } else { Direct.read(figures) }
    }
}

#[test]
fn a_training_waits_for_its_device_once_an_epoch_and_nowhere_else() {
    let (training, validation) = parts(&Device::flex());
    for measure_every in [None, Some(1)] {
        let recipe = Recipe { epochs: 4, measure_every, ..recipe() };
        let reads = Faulty::new(0, || Ok(Vec::new()));
        let outcome = Training::new(&recipe, &training, &validation, 7)
            .with_reads(&reads)
            .fit(|rng, device| Ok(Network::new(&block(), &network_config(), rng, device)?));
        let trained = outcome.unwrap().trained().unwrap();
        // With this learning rate no restart, which would add epochs, is necessary.
        assert_eq!((trained.metrics.restarts, reads.reads.load(Ordering::SeqCst)), (0, 4));
    }
    // The training loop has no other access to the device's numbers.
    let source = include_str!("../fit.rs");
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    for call in ["into_data", "to_data", "into_scalar", "into_vec", "to_vec", "sync(", "into_bytes"] {
        assert!(code.iter().all(|line| !line.contains(call)), "fit.rs calls {call}");
    }
}

/// Returns what an environment reports for a trial whose device fails in the second epoch.
fn evaluate(how: fn() -> Result<Vec<f32>, TensorReadError>) -> (Result<Evaluation, TrainError>, TrainingEnvironment) {
    let environment = TrainingEnvironment::new(&super::split(), network_config(), recipe(), &Device::flex()).unwrap();
    let mut environment = environment.with_reads(Arc::new(Faulty::new(2, how)));
    let graph = block();
    let cost = graph.cost(&network_config()).unwrap();
    let trial = Trial { id: 0, seed: 7, fingerprint: graph.fingerprint(), cost: Some(cost) };
    let result = environment.evaluate(&graph, &TrialContext::new(&trial));
    (result, environment)
}

fn is_broken(environment: &TrainingEnvironment) -> bool {
    Environment::<crate::graph::LayerGraph>::condition(environment).broken
}

#[test]
fn a_lack_of_memory_is_infeasible_whether_it_is_an_error_or_a_panic() {
    let error: fn() -> _ = || Err(ExecutionError::with_context("out of device memory allocating 17 bytes").into());
    let panic: fn() -> _ = || panic!("An out-of-memory error happened during launch");
    for how in [error, panic] {
        let (result, environment) = evaluate(how);
        let outcome = result.unwrap();
        assert!(matches!(outcome, Evaluation::Infeasible(Infeasibility::OutOfMemory { .. })), "{outcome:?}");
        assert!(!is_broken(&environment));
    }
}

#[test]
fn a_poisoned_device_breaks_the_environment_and_another_failure_does_not() {
    let (result, environment) = evaluate(|| Err(ExecutionError::device_poisoned("an illegal address").into()));
    assert!(matches!(result, Err(TrainError::DevicePoisoned { .. })) && is_broken(&environment));
    let (result, environment) = evaluate(|| Err(ExecutionError::with_context("a kernel is missing").into()));
    assert!(matches!(result, Err(TrainError::Device { .. })) && !is_broken(&environment));
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn any_other_panic_propagates() {
    let _ = evaluate(|| panic!("index out of bounds"));
}
