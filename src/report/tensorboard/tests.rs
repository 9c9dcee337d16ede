//! What is written is what the records say, each number once, however often the search was interrupted.

use super::proto::Summary;
use super::*;
use crate::agent::RandomAgent;
use crate::environment::{Cancellation, Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Metrics};
use crate::search::{RunFolder, Search, SearchConfig};
use crate::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;

/// Numbers by tag and step.
type Numbers = BTreeMap<(String, i64), f32>;

/// What the only event file in a folder says. Each value must be there once.
fn read(folder: &Path) -> (Numbers, Vec<i64>) {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.filter(|name| is_event_file(name)).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let bytes = fs::read(folder.join(&names[0])).unwrap();
    let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
        let event = &rest[12..12 + length];
        assert_eq!(frame(event), rest[..16 + length]);
        events.push(Event::decode(event).unwrap());
        rest = &rest[16 + length..];
    }
    events[0].wall_time = 0.0;
    assert_eq!(events[0], Event::version());
    let (mut numbers, mut pictures) = (Numbers::new(), Vec::new());
    for Event { step, summary, .. } in events {
        for value in summary.unwrap_or_else(|| Summary { value: Vec::new() }).value {
            match (value.simple_value, value.image) {
                (Some(number), None) => assert_eq!(numbers.insert((value.tag, step), number), None),
                (None, Some(image)) => {
                    assert!(
                        image.encoded_image_string.starts_with(b"\x89PNG") && image.width > 100 && image.height > 100
                    );
                    pictures.push(step);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    (numbers, pictures)
}

/// Asks the search to stop in one of its calls.
struct WithCurves {
    calls: u64,
    stop_after: u64,
    cancellation: Cancellation,
}

impl Environment<BlockCode> for WithCurves {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        self.calls += 1;
        if self.calls == self.stop_after {
            self.cancellation.cancel();
        }
        if block.len() % 5 == 4 {
            return Ok(Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 0 }));
        }
        let accuracy = (context.trial().seed % 1_000) as f64 / 13.0;
        let curve = vec![(1, accuracy / 2.0), (3, accuracy)];
        let metrics = Metrics { curve, epochs: 3, ..Metrics::from_accuracy(accuracy) };
        Ok(Evaluation::Measured(metrics.with("latency", accuracy / 7.0)))
    }

    fn identity(&self) -> String {
        "with curves".to_owned()
    }
}

/// Searches in a run folder until so many trials were begun, and watches it.
fn search(run: &Path, trials: u64, stop_after: u64) -> SearchReport<BlockSpace> {
    let cancellation = Cancellation::new();
    let environment = WithCurves { calls: 0, stop_after, cancellation: cancellation.clone() };
    let space = BlockSpace::paper();
    Search::new(space.clone(), RandomAgent, environment, SearchConfig::paper().with_trials(trials, 8))
        .with_run_folder(RunFolder::open(run).unwrap())
        .with_observer(TensorBoard::new(run.join("tensorboard"), space))
        .with_cancellation(cancellation)
        .run()
        .unwrap()
}

/// Checks an event file against the records of the search.
fn check(run: &Path, report: &SearchReport<BlockSpace>) {
    let (numbers, pictures) = read(&run.join("tensorboard"));
    let mut expected = Numbers::new();
    let mut add = |tag: &str, step: u64, value: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "the format has single precision")]
        let before = expected.insert((tag.to_owned(), i64::try_from(step).unwrap()), value as f32);
        assert_eq!(before, None);
    };
    let mut best = f64::NEG_INFINITY;
    let mut drawn = Vec::new();
    for record in &report.records {
        add("trial/reward", record.id, record.reward.value());
        let cost = record.cost.unwrap();
        add("trial/parameters", record.id, cost.parameters as f64);
        add("trial/flops", record.id, cost.flops as f64);
        let Some(metrics) = record.evaluation.metrics() else { continue };
        add("trial/accuracy", record.id, metrics.value);
        add("trial/epochs", record.id, 3.0);
        add("trial/seconds", record.id, metrics.seconds);
        add("measurement/latency", record.id, metrics.measurements["latency"]);
        for (epoch, accuracy) in &metrics.curve {
            add(&format!("curve/trial_{}", record.id), (*epoch).into(), *accuracy);
        }
        if record.reward.value() > best {
            best = record.reward.value();
            drawn.push(i64::try_from(record.id).unwrap());
        }
    }
    for (records, number) in report.records.chunk_by(|a, b| a.minibatch == b.minibatch).zip(0..) {
        let upto = report.records.iter().filter(|record| record.minibatch <= number);
        let best = upto.filter_map(|record| record.evaluation.value()).max_by(f64::total_cmp);
        let infeasible = records.iter().filter(|record| record.evaluation.value().is_none()).count();
        add("minibatch/infeasible", number, infeasible as f64);
        if let Some(mean) = SearchReport::<BlockSpace>::mean_value(records) {
            add("minibatch/mean_accuracy", number, mean);
        }
        if let Some(best) = best {
            add("minibatch/best_accuracy", number, best);
        }
    }
    assert_eq!((numbers, pictures), (expected, drawn));
}

#[test]
fn a_search_is_written_as_its_records_and_an_interrupted_one_without_duplicates() {
    let parent = tempfile::tempdir().unwrap();
    let run = parent.path().join("run");
    let stopped = search(&run, 24, 13);
    assert!(stopped.records.len() < 24);
    check(&run, &stopped);
    let report = search(&run, 24, 0);
    assert_eq!(report.records.len(), 24);
    check(&run, &report);
    // Nothing is left to do, and then there is more.
    check(&run, &search(&run, 24, 0));
    check(&run, &search(&run, 32, 0));
}

#[test]
fn trials_are_written_in_the_order_of_proposal() {
    let parent = tempfile::tempdir().unwrap();
    let report = search(&parent.path().join("run"), 16, 0);
    let path = parent.path().join("events");
    let mut events = TensorBoard::new(&path, BlockSpace::paper());
    events.file = Some(EventFile::create(&path).unwrap());
    let steps = |events: &mut TensorBoard<BlockSpace>| {
        events.flush().unwrap();
        let numbers = read(&path).0;
        numbers.keys().filter(|(tag, _)| tag == "trial/reward").map(|(_, step)| *step).collect::<Vec<_>>()
    };
    for id in [1, 3, 0] {
        events.on_finished(&report.records[id]).unwrap();
    }
    assert_eq!(steps(&mut events), [0, 1]);
    // A search that is stopped while trial 2 runs.
    events.on_end(&report).unwrap();
    assert_eq!(steps(&mut events), [0, 1, 3]);
}

#[test]
fn a_folder_of_somebody_else_stays_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("events.out.tfevents.1.of-another-program"), "mine").unwrap();
    let error = EventFile::create(parent.path()).unwrap_err().to_string();
    assert!(error.contains("does not belong to this program"), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}
