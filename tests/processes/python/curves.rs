//! Learning curves of trainers, and trainers that stop early.

use super::{block, children, command, config, folder, function, trial};
use blockqnn::environment::{EarlyStop, Environment, Progress, Thresholds, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics};
use blockqnn::evaluator::{Assignment, Evaluator, Event, ProcessEvaluator, TrainerEnvironment, Verdict};
use blockqnn::space::block::BlockCode;
use serde_json::Value;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

/// Ten times the epoch, minus two at each restart, and the same in a second attempt.
const CURVE: &str = "
    for restarts in range(2):
        for epoch in range(1, 7):
            task.progress(epoch - 1, restarts=restarts, fraction=0.5)
            accuracy = 10 * epoch - 2 * restarts
            if task.progress(epoch, 6, restarts, accuracy=accuracy) and epoch < 6 and restarts == 1:
                return {'accuracy': accuracy, 'restarts': 1, 'seconds': 0, 'stopped': True}
    return {'accuracy': 60, 'restarts': 1, 'seconds': 0}";

/// Goes on until it is told to stop, then as far as it comes.
const ENDLESS: &str = "
    for epoch in range(1, 6000):
        time.sleep(0.01)
        task.progress(epoch, 6000, accuracy=1.0)
        if task.should_stop:
            return {'accuracy': 1.0, 'stopped': True}";

fn metrics(verdict: Verdict) -> Metrics {
    match verdict {
        Verdict::Evaluated(Evaluation::Measured(metrics)) => metrics,
        verdict => panic!("{verdict:?}"),
    }
}

/// Evaluates a trial in a child, and asks for its end once it reports this epoch; also what was reported.
fn evaluated(folder: &Path, early_stop: &EarlyStop, ask_at: Option<u32>) -> (Metrics, Vec<Progress>) {
    let mut evaluator = ProcessEvaluator::<BlockCode>::new(children(1), config(command(folder))).unwrap();
    let assignment = Assignment::new(trial(0), 1, Arc::new(block())).with_early_stop(early_stop.clone());
    evaluator.submit(assignment).unwrap();
    let (mut ended, mut reported) = (None, Vec::new());
    let mut listen = |event| match event {
        Event::Progress { progress, .. } => {
            if Some(progress.epoch) == ask_at {
                early_stop.ask();
            }
            reported.push(progress);
        }
        Event::Ended { verdict, .. } => ended = Some(verdict),
        _ => {}
    };
    evaluator.wait(&blockqnn::environment::Cancellation::new(), &mut listen).unwrap();
    (metrics(ended.unwrap()), reported)
}

/// The same in this process.
fn environment(folder: &Path) -> TrainerEnvironment<BlockCode> {
    TrainerEnvironment::new(Value::Null, config(command(folder))).unwrap()
}

#[test]
fn the_curve_of_a_function_is_that_of_its_last_attempt_and_every_accuracy_is_reported() {
    let folder = folder(&function(CURVE));
    let (metrics, reported) = evaluated(folder.path(), &EarlyStop::new(), None);
    let curve: Vec<(u32, f64)> = (1..7).map(|epoch| (epoch, f64::from(10 * epoch) - 2.0)).collect();
    assert_eq!((metrics.curve, metrics.stopped, metrics.value), (curve, false, 60.0));
    assert_eq!(reported.iter().filter(|progress| progress.value.is_some()).count(), 12);
}

#[test]
fn a_function_stops_after_the_epoch_of_the_threshold_in_a_child_and_as_an_environment() {
    let folder = folder(&function(CURVE));
    // The first attempt is above; the second is below from the second epoch on.
    let thresholds = Thresholds::new([(2, 18.0), (4, 39.0), (5, 0.0)]);
    let early_stop = EarlyStop::new().with_thresholds(thresholds);
    let expected = (vec![(1, 8.0), (2, 18.0), (3, 28.0), (4, 38.0)], true, 38.0, 4);
    let told = |metrics: Metrics| (metrics.curve, metrics.stopped, metrics.value, metrics.epochs);
    assert_eq!(told(evaluated(folder.path(), &early_stop, None).0), expected);
    let trial = trial(0);
    let context = TrialContext::new(&trial).with_early_stop(early_stop);
    let evaluation = environment(folder.path()).evaluate(&block(), &context).unwrap();
    assert_eq!(told(metrics(evaluation.into())), expected);
}

#[test]
fn a_function_that_is_asked_to_stops_at_once_in_a_child_and_as_an_environment() {
    let folder = folder(&function(ENDLESS));
    let (metrics, _) = evaluated(folder.path(), &EarlyStop::new(), Some(5));
    assert!(metrics.stopped && metrics.epochs < 3_000, "{}", metrics.epochs);
    assert_eq!(metrics.curve.len(), metrics.epochs as usize);

    let (trial, early_stop) = (trial(0), EarlyStop::new());
    let seen = RefCell::new(0);
    let ask = |progress: Progress| {
        *seen.borrow_mut() = progress.epoch;
        if progress.epoch == 5 {
            early_stop.ask();
        }
    };
    let context = TrialContext::new(&trial).with_early_stop(early_stop.clone()).with_progress(&ask);
    let evaluation = environment(folder.path()).evaluate(&block(), &context).unwrap();
    assert!(evaluation.is_stopped() && seen.into_inner() < 3_000);
}

/// The answer of a trainer that says nothing about stopping, as those of earlier versions, and counts its lines.
const DEAF: &str = r#"
import json, sys, time
def say(line):
    print("@blockqnn " + json.dumps(line), flush=True)
sys.stdin.readline()
say({"ready": {"identity": "x", "protocol": 1}})
sys.stdin.readline()
for epoch in range(20):
    say({"progress": {"epoch": epoch, "epochs": 20, "restarts": 0, "fraction": 0.0}})
    time.sleep(0.02)
measured = {"accuracy": 50.0, "training_loss": None, "epochs": 20, "restarts": 0, "seconds": 0.0}
say({"done": {"outcome": {"evaluated": {"measured": measured}}, "condition": {"broken": False}}})
rest = sys.stdin.read()
sys.exit(1 if rest else 0)
"#;

#[test]
fn a_trainer_of_an_earlier_version_is_sent_nothing_that_it_does_not_know_and_finishes() {
    let folder = folder(DEAF);
    let (metrics, reported) = evaluated(folder.path(), &EarlyStop::new(), Some(2));
    assert_eq!((metrics.value, metrics.stopped, metrics.curve), (50.0, false, vec![]));
    assert!(reported.len() > 10);
}
