//! Run folders that are extended, from an earlier version, or unusable.

use super::{agent, config, copy, finish, finished, journal, resume};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Durability, RunFolder, Search, SearchConfig};
use blockqnn::space::block::BlockSpace;
use std::fs;
use std::path::Path;

#[test]
fn every_folder_that_cannot_be_used_is_refused_with_what_to_do() {
    let parent = tempfile::tempdir().unwrap();
    let run = finished(parent.path(), 32, Durability::EveryResult);
    let create = |path: &Path| RunFolder::create(path).unwrap_err().to_string();
    let error = create(&run);
    assert!(
        error.contains("holds a finished run with 32 of 32 trials: resume it, or choose another folder"),
        "{error}"
    );

    let foreign = parent.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "").unwrap();
    let error = create(&foreign);
    assert!(error.contains("is neither empty nor a run folder"), "{error}");
    let error = RunFolder::resume(&foreign).unwrap_err().to_string();
    assert!(error.contains("is not a run folder (it has no search.json)"), "{error}");
    assert!(fs::read_dir(&foreign).unwrap().count() == 1, "a refused folder stays as it is");

    let held = RunFolder::resume(&run).unwrap();
    let error = RunFolder::resume(&run).unwrap_err().to_string();
    assert!(error.contains(&format!("is in use by process {}", std::process::id())), "{error}");
    drop(held);

    let resumed = |config: SearchConfig, noise: f64, details: &str, reward: RedefinedReward| {
        let folder = RunFolder::resume(&run).unwrap();
        let folder = if details.is_empty() { folder } else { folder.with_details(&details).unwrap() };
        let environment = Synthetic::new().with_noise(noise);
        let search = Search::new(BlockSpace::paper(), agent(), environment, config).with_reward(reward);
        search.with_run_folder(folder).run().map(|report| report.records.len()).map_err(|error| error.to_string())
    };
    let paper = RedefinedReward::paper();
    assert_eq!(resumed(config(32), 3.0, "", paper.clone()), Ok(32));
    for (result, expected) in [
        (resumed(config(32).with_seed(6), 3.0, "", paper.clone()), "search.seed: 5 in the folder, 6 now"),
        (resumed(config(32), 4.0, "", paper.clone()), "environment: \"synthetic 1, noise 3\" in the folder"),
        (resumed(config(32), 3.0, "x", paper.clone()), "details: null in the folder, \"x\" now"),
        (
            resumed(config(32), 3.0, "", RedefinedReward::accuracy(Credit::Terminal)),
            "reward.credit: \"every-layer\" in the folder, \"terminal\" now\n  reward.mu: 0.5 in the folder, 0.0 now",
        ),
        (resumed(config(16), 3.0, "", paper.clone()), "search.trials: 32 are finished in the folder, 16 now"),
    ] {
        let error = result.unwrap_err();
        assert!(error.contains("was started with other settings") && error.contains(expected), "{error}");
    }
    let description = fs::read_to_string(run.join("search.json")).unwrap();
    fs::write(run.join("search.json"), description.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let error = resumed(config(32), 3.0, "", paper.clone()).unwrap_err();
    assert!(error.contains("search.json has format 2, but this version of blockqnn reads formats up to 1"), "{error}");
    fs::write(run.join("search.json"), &description[..40]).unwrap();
    let error = resumed(config(32), 3.0, "", paper.clone()).unwrap_err();
    assert!(error.contains("search.json is not a valid description of a run"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunFolder::create(file.join("run")).unwrap_err().to_string();
    assert!(error.contains("cannot use") && error.contains("file/run"), "{error}");
}

#[test]
fn resuming_a_finished_run_writes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 16, Durability::EveryResult);
    let before = fs::read(journal(&path)).unwrap();
    resume(&path, 16).unwrap();
    assert_eq!(fs::read(journal(&path)).unwrap(), before);
}

#[test]
fn a_run_of_40_trials_extended_to_64_ends_as_one_of_64() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryResult);
    assert_eq!(resume(&path, 64).unwrap(), finish(None, 64).unwrap());
    // A run that ended within a minibatch completes it first, with and without its checkpoint.
    let path = finished(&parent.path().join("odd"), 40, Durability::EveryResult);
    let copied = parent.path().join("copy");
    copy(&path, &copied);
    fs::remove_file(copied.join("checkpoint")).unwrap();
    let extended = resume(&path, 64).unwrap();
    assert_eq!(extended.records.len(), 64);
    assert_eq!(resume(&copied, 64).unwrap(), extended);
}
