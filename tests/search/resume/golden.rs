//! Run folders that version 0.1.0 wrote, which every later version must be able to continue.

use super::{StopAfter, agent, config, copy, finish, finished, journal, resume};
use blockqnn::environment::Cancellation;
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::graph::NetworkConfig;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{Durability, RunFolder, Scheduling, Search, StopReason};
use blockqnn::space::block::BlockSpace;
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
fn a_run_of_growing_widths_is_not_resumed_with_bounded_ones() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run-format-1"), &path);
    let bounded = config(32).with_network(NetworkConfig::cifar());
    let search = Search::new(BlockSpace::paper(), agent(), Synthetic::new().with_noise(3.0), bounded);
    let error = search.with_run_folder(RunFolder::resume(&path).unwrap()).run().unwrap_err().to_string();
    assert!(error.contains("search.network.widths"), "{error}");
}
