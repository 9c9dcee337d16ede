//! Run folders that version 0.1.0 wrote, which every later version must be able to continue.

use super::{StopAfter, agent, config, copy, finish, finished, journal, network, resume};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Cancellation, Environment, Progress, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics};
use blockqnn::graph::{NetworkConfig, Reduction, StemConfig, WidthRule};
use blockqnn::reward::{RedefinedReward, SoftTargets};
use blockqnn::search::{Durability, MedianStopping, RunFolder, Scheduling, Search, StopReason};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs 64 trials, or until `stop` of them are finished, and returns the records and why the search ended.
fn run(folder: Option<RunFolder>, scheduling: Scheduling, stop: u64) -> (Vec<String>, StopReason) {
    let flag = Cancellation::new();
    let config = config(64).with_scheduling(scheduling);
    let mut search = Search::new(BlockSpace::paper(), agent(), Synthetic::new().with_noise(3.0), config)
        .with_reward(RedefinedReward::paper())
        .with_cancellation(flag.clone())
        .with_observer(StopAfter(stop, flag));
    if let Some(folder) = folder {
        search = search.with_run_folder(folder.with_details(&["as a program describes it"]).unwrap());
    }
    let report = search.run().unwrap();
    (report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect(), report.stop)
}

/// The folder in `tests/golden`. `BLOCKQNN_WRITE_GOLDEN=1` replaces it with the one that `make` returns; do this only
/// before a release with a new format.
fn golden(name: &str, make: impl FnOnce(&Path) -> PathBuf) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("BLOCKQNN_WRITE_GOLDEN").is_some() {
        let parent = tempfile::tempdir().unwrap();
        let path = make(parent.path());
        fs::create_dir_all(&golden).unwrap();
        for name in ["search.json", "journal.jsonl", "checkpoint"] {
            fs::copy(path.join(name), golden.join(name)).unwrap();
        }
    }
    golden
}

#[test]
fn a_finished_run_of_format_1_is_resumed_to_the_same_end() {
    let golden = golden("run-format-1", |parent| finished(parent, 32, Durability::EveryResult));
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    copy(&golden, &path);
    assert_eq!(resume(&path, 32).unwrap(), finish(None, 32).unwrap());
    assert_eq!(fs::read(journal(&path)).unwrap(), fs::read(journal(&golden)).unwrap());
    assert_eq!(resume(&path, 64).unwrap(), finish(None, 64).unwrap());
}

#[test]
fn a_run_of_format_1_that_was_stopped_within_a_minibatch_is_resumed_to_the_same_end() {
    for (name, scheduling) in
        [("stopped-format-1", Scheduling::Minibatch), ("stopped-rolling-format-1", Scheduling::Rolling)]
    {
        let golden = golden(name, |parent| {
            let path = parent.join("run");
            let (records, stop) = run(Some(RunFolder::create(&path).unwrap()), scheduling, 41);
            assert_eq!((records.len(), stop), (41, StopReason::Cancelled));
            path
        });
        let expected = run(None, scheduling, u64::MAX);
        for checkpoint in [true, false] {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().join("run");
            copy(&golden, &path);
            if !checkpoint {
                fs::remove_file(path.join("checkpoint")).unwrap();
            }
            let then = fs::read(journal(&path)).unwrap();
            assert_eq!(run(Some(RunFolder::resume(&path).unwrap()), scheduling, u64::MAX), expected, "{name}");
            assert!(fs::read(journal(&path)).unwrap().starts_with(&then), "{name}");
        }
    }
}

#[test]
fn a_run_of_growing_widths_and_pools_is_not_resumed_with_others() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run-format-1"), &path);
    let stem = StemConfig { normalised: true, ..StemConfig::default() };
    let others = [
        ("search.network.widths", NetworkConfig { widths: WidthRule::Bounded, ..network() }),
        ("search.network.reduction", NetworkConfig { reduction: Reduction::Convolution, ..network() }),
        ("search.network.stem.normalised", NetworkConfig { stem, ..network() }),
    ];
    for (setting, network) in others {
        let config = config(32).with_network(network);
        let search = Search::new(BlockSpace::paper(), agent(), Synthetic::new().with_noise(3.0), config);
        let error = search.with_run_folder(RunFolder::resume(&path).unwrap()).run().unwrap_err().to_string();
        assert!(error.contains(setting), "{error}");
    }
}

/// Reports a learning curve of four epochs, obeys a stop, and measures a latency.
struct Curved;

impl Environment<BlockCode> for Curved {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let evaluation = Synthetic::new().evaluate(block, context)?;
        let Evaluation::Measured(metrics) = evaluation else { return Ok(evaluation) };
        let latency = block.to_string().len() as f64 / 64.0;
        for epoch in 1..=4 {
            context.report(Progress::new(epoch, 4, 0, 0.0).with_value(metrics.value * f64::from(epoch) / 4.0));
            if context.should_stop() && epoch < 4 {
                return Ok(Evaluation::Measured(Metrics::stopped_after(context.curve()).with("latency_ms", latency)));
            }
        }
        Ok(Evaluation::Measured(Metrics { epochs: 4, ..metrics }.with("latency_ms", latency)))
    }

    fn identity(&self) -> String {
        "curved".to_owned()
    }
}

/// Runs 48 trials with measurements and median stopping, or until `stop` of them are finished.
fn run_curved(folder: Option<RunFolder>, stop: u64) -> (Vec<String>, StopReason) {
    let flag = Cancellation::new();
    let config = config(48).with_minibatch(8).with_median_stopping(MedianStopping { grace_epochs: 1, min_trials: 4 });
    let reward = RedefinedReward::paper().with_targets(SoftTargets::default().with("latency_ms", 5.0, 3.0));
    let mut search =
        Search::new(BlockSpace::paper(), agent(), Curved, config.with_measurement_limit("latency_ms", 9.0))
            .with_reward(reward)
            .with_cancellation(flag.clone())
            .with_observer(StopAfter(stop, flag));
    if let Some(folder) = folder {
        search = search.with_run_folder(folder);
    }
    let report = search.run().unwrap();
    (report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect(), report.stop)
}

#[test]
fn a_run_of_format_1_with_curves_and_measurements_is_resumed_to_the_same_end() {
    let golden = golden("curves-format-1", |parent| {
        let path = parent.join("run");
        assert_eq!(run_curved(Some(RunFolder::create(&path).unwrap()), 29).0.len(), 29);
        path
    });
    let expected = run_curved(None, u64::MAX);
    assert!(expected.0.iter().any(|record| record.contains(r#""stopped":true"#)));
    for checkpoint in [true, false] {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        copy(&golden, &path);
        if !checkpoint {
            fs::remove_file(path.join("checkpoint")).unwrap();
        }
        let then = fs::read(journal(&path)).unwrap();
        assert_eq!(run_curved(Some(RunFolder::resume(&path).unwrap()), u64::MAX), expected);
        assert!(fs::read(journal(&path)).unwrap().starts_with(&then));
    }
}
