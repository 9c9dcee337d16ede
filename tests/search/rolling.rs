//! Rolling scheduling: there is no barrier, the journal holds the order in which trials end, and resuming repeats it
//! exactly.

use blockqnn::agent::{Agent, EpsilonPhase, EpsilonSchedule, QLearning, QLearningConfig, ReplayConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Cancellation, Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics};
use blockqnn::evaluator::{Evaluator, InlineEvaluator, ThreadEvaluator};
use blockqnn::search::{Repeats, RunFolder, Scheduling, Search, SearchConfig, SearchError, SearchReport, StopReason};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TRIALS: u64 = 96;

fn agent() -> QLearning<BlockSpace> {
    let phases = [1.0, 0.5, 0.1].map(|epsilon| EpsilonPhase { epsilon, minibatches: 2 });
    let epsilon = EpsilonSchedule::new(phases.to_vec()).unwrap();
    let replay = ReplayConfig { rounds: 8, batch: 16 };
    QLearning::new(QLearningConfig { epsilon, replay, ..QLearningConfig::paper() }).unwrap()
}

fn config(trials: u64) -> SearchConfig {
    SearchConfig::paper().with_seed(5).with_trials(trials, 16).with_scheduling(Scheduling::Rolling)
}

/// The synthetic environment, with a duration that depends on the trial alone, so that workers overtake each other.
#[derive(Clone)]
struct Uneven(Synthetic);

impl Environment<BlockCode> for Uneven {
    type Error = Infallible;
    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        std::thread::sleep(Duration::from_micros(context.trial().seed % 3_000));
        self.0.evaluate(block, context)
    }
    fn identity(&self) -> String {
        "uneven".to_owned()
    }
}

fn threads(workers: usize) -> ThreadEvaluator<BlockCode> {
    ThreadEvaluator::new(vec![Uneven(Synthetic::new().with_noise(3.0)); workers]).unwrap()
}

fn inline() -> InlineEvaluator<BlockCode, Uneven> {
    InlineEvaluator::new(Uneven(Synthetic::new().with_noise(3.0)))
}

/// The outcome of a run: the Q-table's bytes and every bit of every record.
type End = (Vec<u8>, Vec<String>);

fn finish(
    evaluator: impl Evaluator<BlockCode>,
    folder: Option<RunFolder>,
    config: SearchConfig,
) -> Result<(SearchReport<BlockSpace>, End), SearchError> {
    let search = Search::with_evaluator(BlockSpace::paper(), agent(), evaluator, config);
    let search = match folder {
        Some(folder) => search.with_run_folder(folder),
        None => search,
    };
    let (report, agent) = search.run_with_agent()?;
    let mut table = Vec::new();
    agent.save(&mut table)?;
    let records = report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    Ok((report, (table, records)))
}

#[test]
fn one_worker_repeats_itself_and_learns_from_each_trial_before_the_next() {
    let (report, end) = finish(inline(), None, config(TRIALS)).unwrap();
    assert_eq!(report.records.len() as u64, TRIALS);
    assert_eq!(finish(threads(1), None, config(TRIALS)).unwrap().1, end);
    let barrier = SearchConfig { scheduling: Scheduling::Minibatch, ..config(TRIALS) };
    assert_ne!(finish(inline(), None, barrier).unwrap().1, end);
}

#[test]
fn a_run_with_one_worker_that_is_cut_anywhere_ends_as_if_it_had_not_been() {
    let parent = tempfile::tempdir().unwrap();
    let whole = parent.path().join("whole");
    let (_, expected) = finish(inline(), Some(RunFolder::create(&whole).unwrap()), config(TRIALS)).unwrap();
    let bytes = fs::read(whole.join("journal.jsonl")).unwrap();
    let mut rng = blockqnn::seed::stream(1, "cuts", 0);
    for cut in 0..40 {
        let path = parent.path().join(format!("cut{cut}"));
        fs::create_dir(&path).unwrap();
        fs::copy(whole.join("search.json"), path.join("search.json")).unwrap();
        // The checkpoint of the whole run is useless unless the shorter journal reaches as far.
        fs::copy(whole.join("checkpoint"), path.join("checkpoint")).unwrap();
        let length = blockqnn::seed::index(&mut rng, bytes.len());
        fs::write(path.join("journal.jsonl"), &bytes[..length]).unwrap();
        let (_, end) = finish(inline(), Some(RunFolder::resume(&path).unwrap()), config(TRIALS)).unwrap();
        assert!(end == expected, "cut at byte {length}");
        assert!(fs::read(path.join("journal.jsonl")).unwrap() == bytes, "the journal, cut at byte {length}");
    }
}

/// Cancels the search after a number of trials.
struct StopAfter(u64, Cancellation);

impl blockqnn::search::Observer<BlockSpace> for StopAfter {
    fn on_finished(
        &mut self,
        _: &blockqnn::search::RecordOf<BlockSpace>,
    ) -> Result<(), blockqnn::environment::BoxError> {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.cancel();
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn four_workers_stopped_again_and_again_lose_nothing_and_the_journal_repeats_what_was_learned() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    drop(RunFolder::create(&path).unwrap());
    let mut stops = 0;
    let end = loop {
        let folder = RunFolder::create(&path).or_else(|_| RunFolder::resume(&path)).unwrap();
        let cancellation = Cancellation::new();
        let search = Search::with_evaluator(BlockSpace::paper(), agent(), threads(4), config(TRIALS))
            .with_run_folder(folder)
            .with_observer(StopAfter(11, cancellation.clone()))
            .with_cancellation(cancellation);
        let (report, agent) = search.run_with_agent().unwrap();
        if report.stop == StopReason::Completed {
            let ids: BTreeSet<u64> = report.records.iter().map(|record| record.id).collect();
            assert_eq!((ids.len() as u64, report.records.len() as u64), (TRIALS, TRIALS));
            let mut table = Vec::new();
            agent.save(&mut table).unwrap();
            break (table, report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect());
        }
        stops += 1;
    };
    assert!(stops >= 5, "{stops}");
    // The finished run is repeated from its journal alone and from its checkpoint, with any number of workers.
    for (name, with_checkpoint) in [("alone", false), ("checkpoint", true)] {
        let again = parent.path().join(name);
        copy(&path, &again);
        if !with_checkpoint {
            fs::remove_file(again.join("checkpoint")).unwrap();
        }
        let (_, repeated): (_, End) =
            finish(threads(2), Some(RunFolder::resume(&again).unwrap()), config(TRIALS)).unwrap();
        assert!(repeated == end, "{name}");
    }
}

#[test]
fn trials_running_when_a_run_is_killed_are_evaluated_again_and_none_twice() {
    let parent = tempfile::tempdir().unwrap();
    let whole = parent.path().join("whole");
    finish(threads(4), Some(RunFolder::create(&whole).unwrap()), config(TRIALS)).unwrap();
    let bytes = fs::read(whole.join("journal.jsonl")).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let mut rng = blockqnn::seed::stream(2, "cuts", 0);
    for cut in 0..20 {
        let path = parent.path().join(format!("cut{cut}"));
        fs::create_dir(&path).unwrap();
        fs::copy(whole.join("search.json"), path.join("search.json")).unwrap();
        let length = blockqnn::seed::index(&mut rng, bytes.len());
        fs::write(path.join("journal.jsonl"), &bytes[..length]).unwrap();
        let kept = text[..length].lines().filter(|line| line.contains("\"finished\"") && line.ends_with('}')).count();
        let evaluations = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Synthetic::new().with_noise(3.0), Arc::clone(&evaluations));
        let evaluator = ThreadEvaluator::new(vec![counted; 3]).unwrap();
        let (report, _) = finish(evaluator, Some(RunFolder::resume(&path).unwrap()), config(TRIALS)).unwrap();
        let ids: BTreeSet<u64> = report.records.iter().map(|record| record.id).collect();
        assert_eq!((ids.len() as u64, report.records.len() as u64), (TRIALS, TRIALS));
        let infeasible = report.records.iter().filter(|record| record.evaluation.value().is_none()).count();
        let anew = evaluations.load(Ordering::SeqCst);
        assert!(anew + kept <= report.records.len() + 1, "{anew} evaluated, {kept} kept");
        assert!(anew + kept + infeasible >= report.records.len(), "{anew} evaluated, {kept} kept");
    }
}

/// Counts evaluations.
#[derive(Clone)]
struct Counted(Synthetic, Arc<AtomicUsize>);

impl Environment<BlockCode> for Counted {
    type Error = Infallible;
    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.evaluate(block, context)
    }
    fn identity(&self) -> String {
        "uneven".to_owned()
    }
}

#[test]
fn a_finished_run_is_extended_and_one_with_a_barrier_is_not_resumed_without() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    finish(threads(3), Some(RunFolder::create(&path).unwrap()), config(40)).unwrap();
    let (report, _) = finish(threads(3), Some(RunFolder::resume(&path).unwrap()), config(TRIALS)).unwrap();
    assert_eq!(report.records.len() as u64, TRIALS);
    let barrier = SearchConfig { scheduling: Scheduling::Minibatch, ..config(TRIALS) };
    let error = finish(threads(3), Some(RunFolder::resume(&path).unwrap()), barrier).unwrap_err().to_string();
    assert!(error.contains("search.scheduling"), "{error}");
}

/// Runs out of memory whenever another evaluation is running, and always for one trial.
#[derive(Clone)]
struct Cramped {
    running: Arc<AtomicU64>,
    alone: Arc<Mutex<Vec<u64>>>,
}

impl Environment<BlockCode> for Cramped {
    type Error = Infallible;
    fn evaluate(&mut self, _: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let others = self.running.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(4));
        let others = others.max(self.running.fetch_sub(1, Ordering::SeqCst) - 1);
        let id = context.trial().id;
        if others == 0 {
            self.alone.lock().unwrap().push(id);
        }
        Ok(if others > 0 || id == 3 {
            Evaluation::Infeasible(Infeasibility::OutOfMemory { message: "no room".to_owned() })
        } else {
            Evaluation::Measured(Metrics::from_accuracy(50.0))
        })
    }
    fn identity(&self) -> String {
        "cramped".to_owned()
    }
}

#[test]
fn a_trial_that_lacked_room_next_to_others_is_tried_again_alone_before_it_counts() {
    let environment = Cramped { running: Arc::default(), alone: Arc::default() };
    let evaluator = ThreadEvaluator::new(vec![environment.clone(); 3]).unwrap();
    let (report, _) = finish(evaluator, None, config(24)).unwrap();
    assert_eq!(report.records.len(), 24);
    let too_little = |record: &&blockqnn::search::RecordOf<BlockSpace>| {
        matches!(record.evaluation, Evaluation::Infeasible(Infeasibility::OutOfMemory { .. }))
    };
    let failed: Vec<u64> = report.records.iter().filter(too_little).map(|record| record.id).collect();
    assert_eq!(failed, [3]);
    // Blocks whose size overflows are never evaluated.
    let evaluated = report.records.iter().filter(|record| record.id == 3 || record.evaluation.value().is_some());
    let alone: BTreeSet<u64> = environment.alone.lock().unwrap().iter().copied().collect();
    assert_eq!(alone, evaluated.map(|record| record.id).collect());
}

#[test]
fn repeats_are_served_from_the_cache_and_a_small_space_is_exhausted() {
    let space = BlockSpace::paper().with_max_layers(3).unwrap();
    let search = |config| Search::with_evaluator(space.clone(), agent(), threads(4), config).run().unwrap();
    let report = search(SearchConfig { repeats: Repeats::Reuse, ..config(200) });
    assert_eq!((report.records.len(), &report.stop), (200, &StopReason::Completed));
    assert!(report.cache_hits() > 20, "{}", report.cache_hits());
    let report = search(SearchConfig { max_resamples: 300, ..config(4_000) });
    assert!(matches!(report.stop, StopReason::SpaceExhausted { .. }), "{}", report.stop);
}

#[test]
fn without_a_barrier_nobody_waits_for_the_slowest() {
    let (rolling, _) = finish(threads(4), None, config(TRIALS)).unwrap();
    assert_eq!((rolling.utilisation.workers, rolling.utilisation.barrier), (4, 0.0));
    let barrier = SearchConfig { scheduling: Scheduling::Minibatch, ..config(TRIALS) };
    let (waiting, _) = finish(threads(4), None, barrier).unwrap();
    assert!(waiting.utilisation.barrier > 0.0);
    let parts = waiting.utilisation.busy + waiting.utilisation.barrier;
    assert!(parts <= waiting.utilisation.wall * 4.0 + 1e-6, "{:?}", waiting.utilisation);
}
