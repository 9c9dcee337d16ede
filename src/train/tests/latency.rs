//! Latency as a measurement of a trained network.

use super::{block, network_config, recipe, split};
use crate::environment::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Metrics, Trial};
use crate::graph::{Fingerprint, LayerGraph};
use crate::train::{LATENCY_BATCH_MS, LATENCY_MS, LATENCY_RATIO, Recipe, TorchTraining, TrainingEnvironment};
use burn::tensor::Device;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

fn environment(recipe: Recipe) -> TrainingEnvironment {
    TrainingEnvironment::new(&split(), network_config(), recipe, &Device::flex()).unwrap()
}

fn trial(id: u64) -> Trial {
    Trial { id, seed: 5, fingerprint: Fingerprint::of_json(&id).unwrap(), cost: None }
}

fn measured(environment: &mut TrainingEnvironment, graph: &LayerGraph) -> Metrics {
    match environment.evaluate(graph, &TrialContext::new(&trial(0))).unwrap() {
        Evaluation::Measured(metrics) => metrics,
        other => panic!("{other:?}"),
    }
}

#[test]
fn latency_is_measured_where_it_is_asked_for_and_changes_nothing_else() {
    let recipe = Recipe { epochs: 2, batch_size: 50, ..recipe() };
    let plain = measured(&mut environment(recipe.clone()), &block());
    let with = Recipe { latency: true, ..recipe.clone() };
    let mut timed = measured(&mut environment(with.clone()), &block());
    assert!(plain.measurements.is_empty());
    let names: Vec<&str> = timed.measurements.keys().map(String::as_str).collect();
    assert_eq!(names, [LATENCY_BATCH_MS, LATENCY_MS, LATENCY_RATIO]);
    assert!(timed.measurements.values().all(|value| value.is_finite() && *value > 0.0), "{timed:?}");
    // A batch of 50 takes longer than one image.
    assert!(timed.measurements[LATENCY_BATCH_MS] > timed.measurements[LATENCY_MS], "{timed:?}");
    (timed.seconds, timed.measurements) = (plain.seconds, plain.measurements.clone());
    assert_eq!(timed, plain);

    let identity = |recipe| Environment::<LayerGraph>::identity(&environment(recipe));
    assert!(identity(with.clone()).contains(", with latency") && !identity(recipe.clone()).contains("latency"));
    assert!(!serde_json::to_string(&recipe).unwrap().contains("latency"));
    let torch = TorchTraining::new(None, split().training(), split().validation(), network_config(), with);
    let error = torch.unwrap_err().to_string();
    assert!(error.starts_with("recipe.latency is true: it must be false with PyTorch"), "{error}");
}

#[test]
fn a_training_waits_while_another_one_is_measured() {
    let (steps, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let recipe = Recipe { epochs: 2_000, batch_size: 6, latency: true, ..recipe() };
            let trial = trial(1);
            let progress = |_| {
                steps.fetch_add(1, Ordering::SeqCst);
            };
            let cancellation = crate::environment::Cancellation::new();
            let flag = cancellation.clone();
            let context = TrialContext::new(&trial).with_progress(&progress).with_cancellation(cancellation);
            std::thread::scope(|inner| {
                inner.spawn(|| {
                    while !ended.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    flag.cancel();
                });
                assert!(environment(recipe).evaluate(&block(), &context).is_err(), "it was cancelled");
            });
        });
        while steps.load(Ordering::SeqCst) < 20 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let still = super::super::latency::Road::enter().unwrap().alone(|| {
            let before = steps.load(Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(200));
            Ok(steps.load(Ordering::SeqCst) == before)
        });
        let at_the_gate = steps.load(Ordering::SeqCst);
        let went_on = (0..5_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            steps.load(Ordering::SeqCst) > at_the_gate
        });
        ended.store(true, Ordering::SeqCst);
        assert!(still.unwrap() && went_on);
    });
}
