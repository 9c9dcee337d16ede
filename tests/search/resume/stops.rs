//! Searches that are killed or stopped.

use super::{CHILD, CHILD_TRIALS, Counted, agent, config, finish, journal, line_breaks, resume};
use blockqnn::environment::{BoxError, Cancellation, Environment, TrialContext};
use blockqnn::evaluation::Evaluation;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{Observer, RecordOf, RunFolder, Search, SearchConfig, StopReason};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
                .args(["--exact", "resume::child_process", "--test-threads", "1"])
                .env(CHILD, &path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // On a machine too busy to start a process in this time, no run would ever end, so later processes live
            // longer.
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

/// Stops a search after a number of trials, and counts the events.
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
    let evaluated = second.records.iter().filter(|record| record.evaluation.value().is_some()).count() as u64;
    assert_eq!(evaluations.load(Ordering::SeqCst), evaluated, "blocks that overflow are not evaluated at all");
    let records: Vec<String> = second.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    assert_eq!(records, finish(None, 64).unwrap().records);
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
