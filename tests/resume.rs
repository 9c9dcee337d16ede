//! Nothing finished is lost: searches that are killed, cut, damaged and starved of disk end as if nothing had happened,
//! or say what is wrong.

use blockqnn::agent::{Agent, EpsilonPhase, EpsilonSchedule, QLearning, QLearningConfig, ReplayConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{BoxError, Cancellation, Environment, TrialContext};
use blockqnn::evaluation::Evaluation;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Durability, Observer, RecordOf, RunFolder, Search, SearchConfig, SearchError, StopReason};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn agent() -> QLearning<BlockSpace> {
    let phases = [1.0, 0.5, 0.1].map(|epsilon| EpsilonPhase { epsilon, minibatches: 3 });
    let epsilon = EpsilonSchedule::new(phases.to_vec()).unwrap();
    let replay = ReplayConfig { rounds: 2, batch: 16 };
    QLearning::new(QLearningConfig { epsilon, replay, ..QLearningConfig::paper() }).unwrap()
}

fn config(trials: u64) -> SearchConfig {
    SearchConfig::paper().with_seed(5).with_trials(trials, 16)
}

fn search(
    trials: u64,
) -> Search<'static, BlockSpace, QLearning<BlockSpace>, impl blockqnn::search::Evaluator<BlockCode>> {
    Search::new(BlockSpace::paper(), agent(), Synthetic::new().with_noise(3.0), config(trials))
        .with_reward(RedefinedReward::paper())
}

/// Everything that a run leaves: the Q-table's bytes, and every record with every bit.
#[derive(Debug, PartialEq)]
struct End {
    table: Vec<u8>,
    records: Vec<String>,
}

/// Runs a search to its end.
fn finish(folder: Option<RunFolder>, trials: u64) -> Result<End, SearchError> {
    let search = search(trials);
    let search = match folder {
        Some(folder) => search.with_run_folder(folder),
        None => search,
    };
    let (report, agent) = search.run_with_agent()?;
    let mut table = Vec::new();
    agent.save(&mut table)?;
    Ok(End { table, records: report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect() })
}

fn resume(path: &Path, trials: u64) -> Result<End, SearchError> {
    finish(Some(RunFolder::resume(path)?), trials)
}

fn journal(path: &Path) -> PathBuf {
    path.join("journal.jsonl")
}

/// A finished run of `trials` trials in `parent/NAME`.
fn finished(parent: &Path, trials: u64, durability: Durability) -> PathBuf {
    let path = parent.join("run");
    finish(Some(RunFolder::create(&path).unwrap().with_durability(durability)), trials).unwrap();
    path
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn line_breaks(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

const CHILD: &str = "BLOCKQNN_TEST_RUN";
const CHILD_TRIALS: u64 = 640;

/// Not a test of its own: the process that [`a_search_killed_at_60_moments_ends_as_if_it_had_not_been`] kills.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let folder = match RunFolder::resume(&path) {
        Ok(folder) => folder,
        Err(_) => RunFolder::create(&path).unwrap(),
    };
    finish(Some(folder), CHILD_TRIALS).unwrap();
    fs::write(path.with_extension("done"), "").unwrap();
}

#[test]
fn a_search_killed_at_60_moments_ends_as_if_it_had_not_been() {
    let parent = tempfile::tempdir().unwrap();
    let expected = finish(None, CHILD_TRIALS).unwrap();
    let mut rng = blockqnn::seed::stream(1, "moments", 0);
    let mut kills = 0;
    let mut runs = 0;
    let mut lines_at_kill = std::collections::BTreeSet::new();
    let reference = parent.path().join("reference");
    finish(Some(RunFolder::create(&reference).unwrap()), CHILD_TRIALS).unwrap();
    while kills < 60 {
        let path = parent.path().join(format!("run{runs}"));
        runs += 1;
        let mut lives = 0;
        while !path.with_extension("done").exists() {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child_process", "--test-threads", "1"])
                .env(CHILD, &path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // On a machine too busy to start a process in this time, no run would ever end: the later lives are longer.
            lives += 1;
            let longest = 120_000 * (1 + lives / 20);
            std::thread::sleep(Duration::from_micros(5_000 + blockqnn::seed::index(&mut rng, longest) as u64));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
                let bytes = fs::read(journal(&path)).unwrap_or_default();
                lines_at_kill.insert(line_breaks(&bytes));
            }
            child.wait().unwrap();
        }
        assert_eq!(resume(&path, CHILD_TRIALS).unwrap(), expected);
        assert_eq!(fs::read(journal(&path)).unwrap(), fs::read(journal(&reference)).unwrap());
    }
    println!("{kills} kills in {runs} runs, at {} different lengths of the journal", lines_at_kill.len());
    assert!(lines_at_kill.len() > 10, "the kills came at too few places: {lines_at_kill:?}");
}

#[test]
fn a_journal_cut_at_any_byte_of_its_end_goes_on_and_ends_the_same() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryResult);
    let expected = finish(None, 32).unwrap();
    let whole = fs::read(journal(&path)).unwrap();
    // From the last finished trial on: its line, and that of the minibatch.
    let text = String::from_utf8(whole.clone()).unwrap();
    let start = text.rfind("\"event\":{\"finished\"").unwrap();
    let start = text[..start].rfind('\n').unwrap() + 1;
    assert!(whole.len() - start > 300);
    for cut in start..whole.len() {
        fs::write(journal(&path), &whole[..cut]).unwrap();
        assert_eq!(resume(&path, 32).unwrap(), expected, "cut at byte {cut}");
        assert_eq!(fs::read(journal(&path)).unwrap(), whole, "cut at byte {cut}");
    }
}

#[test]
fn zeros_at_the_end_of_a_journal_are_cut_off() {
    let parent = tempfile::tempdir().unwrap();
    for durability in [Durability::EveryResult, Durability::EveryMinibatch] {
        let path = finished(&parent.path().join(format!("{durability:?}")), 32, durability);
        let whole = fs::read(journal(&path)).unwrap();
        let text = String::from_utf8(whole.clone()).unwrap();
        let last = text.trim_end().rfind('\n').unwrap() + 1;
        // A file that grew but whose data did not reach the disk: behind the end, over the last line, and within it.
        for (from, to) in [(whole.len(), whole.len() + 5_000), (last, whole.len()), (last + 3, last + 9)] {
            let mut bytes = whole.clone();
            bytes.resize(to.max(whole.len()), 0);
            bytes[from..to].fill(0);
            fs::write(journal(&path), bytes).unwrap();
            resume(&path, 32).unwrap();
            assert_eq!(fs::read(journal(&path)).unwrap(), whole, "{durability:?}, zeros in {from}..{to}");
        }
    }
}

#[test]
fn a_group_that_was_never_committed_may_have_holes() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryMinibatch);
    let whole = fs::read(journal(&path)).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    let hole = text[..last].rfind("\"accuracy\"").unwrap();
    let mut bytes = whole[..last].to_vec();
    bytes[hole..hole + 40].fill(0);
    fs::write(journal(&path), &bytes).unwrap();
    resume(&path, 32).unwrap();
    assert_eq!(fs::read(journal(&path)).unwrap(), whole);
    // The same hole before a commit is damage.
    let mut bytes = whole;
    bytes[hole..hole + 40].fill(0);
    fs::write(journal(&path), &bytes).unwrap();
    assert!(resume(&path, 32).unwrap_err().to_string().contains("is damaged in line"));
}

#[test]
fn a_flipped_bit_in_a_journal_is_refused_with_the_number_of_its_line() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 32, Durability::EveryResult);
    let whole = fs::read(journal(&path)).unwrap();
    let mut rng = blockqnn::seed::stream(2, "flips", 0);
    for _ in 0..200 {
        let byte = blockqnn::seed::index(&mut rng, whole.len());
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << blockqnn::seed::index(&mut rng, 7);
        // A line break that is none any more joins two lines; the first of them is named.
        let line = line_breaks(&whole[..byte]) + 1;
        let is_last_line = line_breaks(&whole[byte..]) == 1;
        if bytes[byte] == b'\n' || bytes[byte] == 0 || (is_last_line && whole[byte] == b'\n') {
            continue;
        }
        fs::write(journal(&path), &bytes).unwrap();
        let error = resume(&path, 32).unwrap_err().to_string();
        assert!(error.contains(&format!("journal.jsonl is damaged in line {line}:")), "byte {byte}: {error}");
        assert_eq!(fs::read(journal(&path)).unwrap(), bytes, "a damaged journal stays as it is");
    }
}

#[test]
fn lines_that_are_missing_repeated_or_moved_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 16, Durability::EveryResult);
    let text = fs::read_to_string(journal(&path)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut missing = lines.clone();
    missing.remove(4);
    let mut repeated = lines.clone();
    repeated.insert(5, lines[4]);
    let mut moved = lines.clone();
    moved.swap(4, 5);
    for (edited, line) in [(missing, 5), (repeated, 6), (moved, 5)] {
        fs::write(journal(&path), edited.join("\n") + "\n").unwrap();
        let error = resume(&path, 16).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}:")), "{error}");
    }
}

#[test]
fn a_checkpoint_that_is_missing_damaged_or_of_another_run_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 64, Durability::EveryMinibatch);
    let expected = finish(None, 96).unwrap();
    let good = fs::read(path.join("checkpoint")).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let other = {
        let path = parent.path().join("other");
        finish(Some(RunFolder::create(&path).unwrap()), 48).unwrap();
        let bytes = fs::read(path.join("checkpoint")).unwrap();
        String::from_utf8_lossy(&bytes).replace("\"trials\":48", "\"trials\":32").into_bytes()
    };
    for (number, checkpoint) in
        [None, Some(good.clone()), Some(flipped), Some(good[..100].to_vec()), Some(Vec::new()), Some(other)]
            .into_iter()
            .enumerate()
    {
        let copied = parent.path().join(format!("copy{number}"));
        copy(&path, &copied);
        match checkpoint {
            Some(bytes) => fs::write(copied.join("checkpoint"), bytes).unwrap(),
            None => fs::remove_file(copied.join("checkpoint")).unwrap(),
        }
        assert_eq!(resume(&copied, 96).unwrap(), expected, "checkpoint {number}");
    }
}

/// Counts evaluations.
struct Counted(Arc<AtomicU64>);

impl Environment<BlockCode> for Counted {
    type Error = std::convert::Infallible;
    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Self::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Synthetic::new().with_noise(3.0).evaluate(block, context)
    }
    fn identity(&self) -> String {
        Environment::<BlockCode>::identity(&Synthetic::new().with_noise(3.0))
    }
}

/// Stops a search after some trials, and counts what it is told.
struct Watch {
    stop: Cancellation,
    left: u64,
    restored: Arc<AtomicU64>,
}

impl Observer<BlockSpace> for Watch {
    fn on_restored(&mut self, _: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.restored.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn on_finished(&mut self, _: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stop.cancel();
        }
        Ok(())
    }
}

#[test]
fn a_stopped_search_evaluates_nothing_twice() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let (evaluations, restored) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let run = |folder: RunFolder, left| {
        let stop = Cancellation::new();
        let watch = Watch { stop: stop.clone(), left, restored: Arc::clone(&restored) };
        Search::new(BlockSpace::paper(), agent(), Counted(Arc::clone(&evaluations)), config(64))
            .with_reward(RedefinedReward::paper())
            .with_cancellation(stop)
            .with_observer(watch)
            .with_run_folder(folder)
            .run()
            .unwrap()
    };
    let first = run(RunFolder::create(&path).unwrap(), 21);
    assert_eq!(first.stop, StopReason::Cancelled);
    let second = run(RunFolder::resume(&path).unwrap(), u64::MAX);
    assert_eq!(second.stop, StopReason::Completed);
    assert_eq!(restored.load(Ordering::SeqCst), first.records.len() as u64);
    let evaluated = second.records.iter().filter(|record| record.evaluation.accuracy().is_some()).count() as u64;
    assert_eq!(evaluations.load(Ordering::SeqCst), evaluated, "blocks that overflow are not evaluated at all");
    let records: Vec<String> = second.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    assert_eq!(records, finish(None, 64).unwrap().records);
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

#[test]
fn every_folder_that_cannot_be_used_is_refused_with_what_to_do() {
    let parent = tempfile::tempdir().unwrap();
    let run = finished(parent.path(), 32, Durability::EveryResult);
    let create = |path: &Path| RunFolder::create(path).unwrap_err().to_string();
    let error = create(&run);
    assert!(error.contains("holds a finished run of 32 of 32 trials: resume it, or choose another folder"), "{error}");

    let foreign = parent.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "").unwrap();
    let error = create(&foreign);
    assert!(error.contains("is not empty, and no run folder"), "{error}");
    let error = RunFolder::resume(&foreign).unwrap_err().to_string();
    assert!(error.contains("is no run folder (it has no search.json)"), "{error}");
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
    assert_eq!(resumed(config(32), 3.0, "", paper), Ok(32));
    for (result, expected) in [
        (resumed(config(32).with_seed(6), 3.0, "", paper), "search.seed: 5 in the folder, 6 now"),
        (resumed(config(32), 4.0, "", paper), "environment: \"synthetic 1, noise 3\" in the folder"),
        (resumed(config(32), 3.0, "x", paper), "details: null in the folder, \"x\" now"),
        (resumed(config(16), 3.0, "", paper), "search.trials: 32 are finished, 16 now"),
    ] {
        let error = result.unwrap_err();
        assert!(error.contains("was started with other settings") && error.contains(expected), "{error}");
    }
    // Settings that the folder was not told of are found out by what they do.
    fs::remove_file(run.join("checkpoint")).unwrap();
    let error = resumed(config(32), 3.0, "", RedefinedReward::accuracy(Credit::Terminal)).unwrap_err();
    assert!(error.contains("differs from the journal: its reward is"), "{error}");

    let description = fs::read_to_string(run.join("search.json")).unwrap();
    fs::write(run.join("search.json"), description.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let error = resumed(config(32), 3.0, "", paper).unwrap_err();
    assert!(error.contains("search.json has format 2, and this version of blockqnn reads up to 1"), "{error}");
    fs::write(run.join("search.json"), &description[..40]).unwrap();
    let error = resumed(config(32), 3.0, "", paper).unwrap_err();
    assert!(error.contains("search.json is no description of a run"), "{error}");
}

/// Mounts a small file system, if this process may.
#[cfg(target_os = "linux")]
fn small_disk(path: &Path) -> bool {
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(path).output();
    mount.is_ok_and(|output| output.status.success())
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_stops_the_search_with_everything_finished_on_it() {
    let parent = tempfile::tempdir().unwrap();
    let disk = parent.path().join("disk");
    fs::create_dir(&disk).unwrap();
    if !small_disk(&disk) {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    }
    let test = || {
        let path = disk.join("run");
        let evaluations = Arc::new(AtomicU64::new(0));
        let run = |folder: RunFolder| {
            Search::new(BlockSpace::paper(), agent(), Counted(Arc::clone(&evaluations)), config(640))
                .with_reward(RedefinedReward::paper())
                .with_run_folder(folder.with_checkpoint_every(0))
                .run()
        };
        let error = run(RunFolder::create(&path).unwrap()).unwrap_err().to_string();
        assert!(error.contains("No space left on device"), "{error}");
        assert!(error.contains("Nothing finished is lost: make room, and resume the run"), "{error}");
        // Room for a while, as when something else is deleted: the run goes on elsewhere.
        let roomy = parent.path().join("roomy");
        copy(&path, &roomy);
        let report = run(RunFolder::resume(&roomy).unwrap()).unwrap();
        let evaluated = report.records.iter().filter(|record| record.evaluation.accuracy().is_some()).count() as u64;
        assert_eq!(evaluations.load(Ordering::SeqCst), evaluated, "an evaluation was lost to the full disk");
        let records: Vec<String> = report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        assert_eq!(records, finish(None, 640).unwrap().records);
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
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
fn a_journal_with_a_later_format_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 16, Durability::EveryResult);
    // The line's checksum, by the rule of docs/wire-format.md: the first 8 bytes of SHA-256 over 8 zeros and the event.
    let line =
        "{\"sum\":\"13064351fa1abb40\",\"event\":{\"journal\":{\"format\":2,\"durability\":\"every-result\"}}}\n";
    fs::write(journal(&path), line).unwrap();
    let error = resume(&path, 16).unwrap_err().to_string();
    assert!(error.contains("journal.jsonl has format 2, and this version of blockqnn reads up to 1"), "{error}");
}

#[test]
fn attempts_that_failed_before_a_stop_count_after_it() {
    struct Broken(Arc<AtomicU64>, Cancellation);
    impl Environment<BlockCode> for Broken {
        type Error = std::io::Error;
        fn evaluate(&mut self, _: &BlockCode, _: &TrialContext<'_>) -> Result<Evaluation, Self::Error> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 1 {
                self.1.cancel();
            }
            Err(std::io::Error::other("the device is gone"))
        }
        fn identity(&self) -> String {
            "broken".to_owned()
        }
    }
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let attempts = Arc::new(AtomicU64::new(0));
    let run = |folder: RunFolder| {
        let stop = Cancellation::new();
        let environment = Broken(Arc::clone(&attempts), stop.clone());
        let config = SearchConfig { attempts: 3, ..config(1) };
        let search = Search::new(BlockSpace::paper(), agent(), environment, config).with_cancellation(stop);
        search.with_run_folder(folder).run().unwrap()
    };
    let first = run(RunFolder::create(&path).unwrap());
    assert_eq!((first.records.len(), attempts.load(Ordering::SeqCst)), (0, 2));
    let second = run(RunFolder::resume(&path).unwrap());
    assert_eq!((second.records.len(), second.stop), (1, StopReason::Completed));
    assert!(attempts.load(Ordering::SeqCst) <= 4, "{attempts:?}");
}

#[test]
fn resuming_a_finished_run_writes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let path = finished(parent.path(), 16, Durability::EveryResult);
    let before = fs::read(journal(&path)).unwrap();
    resume(&path, 16).unwrap();
    assert_eq!(fs::read(journal(&path)).unwrap(), before);
}

/// A run folder that version 0.1.0 wrote: every later version must go on with it. `BLOCKQNN_WRITE_GOLDEN=1` writes it anew,
/// which is right only before a release with a new format.
#[test]
fn a_run_of_format_1_is_resumed_to_the_same_end() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run-format-1");
    let parent = tempfile::tempdir().unwrap();
    if std::env::var_os("BLOCKQNN_WRITE_GOLDEN").is_some() {
        let path = finished(parent.path(), 32, Durability::EveryResult);
        fs::create_dir_all(&golden).unwrap();
        for name in ["search.json", "journal.jsonl", "checkpoint"] {
            fs::copy(path.join(name), golden.join(name)).unwrap();
        }
        return;
    }
    let path = parent.path().join("run");
    copy(&golden, &path);
    assert_eq!(resume(&path, 32).unwrap(), finish(None, 32).unwrap());
    assert_eq!(fs::read(journal(&path)).unwrap(), fs::read(journal(&golden)).unwrap());
    assert_eq!(resume(&path, 64).unwrap(), finish(None, 64).unwrap());
}
