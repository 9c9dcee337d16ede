//! Trials in child processes of this machine: children are killed, crash, hang, run out of memory and grow, but the
//! search ends with the same table as in one process.

#![cfg(unix)]

mod python;

use blockqnn::agent::{Agent, QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Cancellation, Condition, Environment, Progress, TrialContext};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics};
use blockqnn::evaluator::{Evaluator, InlineEvaluator, ProcessConfig, ProcessEvaluator, StartError, ThreadEvaluator};
use blockqnn::search::{MedianStopping, MinibatchSummary, Observer, RecordOf, Rungs, Search, SearchConfig, StopReason};
use blockqnn::space::block::{BlockCode, BlockSpace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A mishap at the first attempt at a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Mishap {
    /// The device reports a failure and continues.
    DeviceError,
    /// The device fails permanently.
    Poisoned,
    /// The device runs out of memory.
    DeviceMemory,
    /// The system kills the process.
    Killed,
    Aborts,
    Hangs,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DeviceFault(&'static str);

/// A synthetic environment on a device that fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Frail {
    folder: PathBuf,
    /// The mishaps by trial.
    mishaps: BTreeMap<u64, Mishap>,
    /// Number of bytes that each evaluation leaks.
    leak: u64,
    /// Number of epochs after which it reports an accuracy.
    epochs: u32,
    #[serde(skip)]
    held: u64,
    #[serde(skip)]
    poisoned: bool,
}

impl Frail {
    fn new(folder: &Path, mishaps: impl IntoIterator<Item = (u64, Mishap)>) -> Self {
        let (folder, mishaps) = (folder.to_owned(), mishaps.into_iter().collect());
        Self { folder, mishaps, leak: 0, epochs: 0, held: 0, poisoned: false }
    }

    /// Writes a line to the log of all processes.
    fn log(&self, line: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Goes through its epochs, each trial at its own pace. Returns its metrics if it should stop.
    fn learn(&self, context: &TrialContext<'_>) -> Option<Metrics> {
        let pace = (context.trial().seed % 97) as f64 / 97.0;
        let epochs = context.rung().map_or(self.epochs, |rung| rung.epochs);
        (1..=epochs).find_map(|epoch| {
            std::thread::sleep(Duration::from_millis(2));
            let accuracy = pace * f64::from(epoch) / f64::from(self.epochs);
            context.report(Progress::new(epoch, self.epochs, 0, 0.0).with_value(accuracy));
            (context.should_stop() && epoch < self.epochs).then(|| Metrics::stopped_after(context.curve()))
        })
    }

    /// Whether this is the first attempt of any process at the trial.
    fn first(&self, trial: u64) -> bool {
        OpenOptions::new().write(true).create_new(true).open(self.folder.join(format!("{trial}.met"))).is_ok()
    }
}

impl Environment<BlockCode> for Frail {
    type Error = DeviceFault;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, DeviceFault> {
        let trial = context.trial().id;
        self.log(&format!("begin {trial} {}", std::process::id()));
        if self.poisoned {
            return Err(DeviceFault("the device is poisoned"));
        }
        let mishap = self.mishaps.get(&trial).copied().filter(|_| self.first(trial));
        match mishap {
            Some(Mishap::DeviceError) => return Err(DeviceFault("the device failed")),
            Some(Mishap::Poisoned) => {
                self.poisoned = true;
                return Err(DeviceFault("the device is poisoned"));
            }
            Some(Mishap::DeviceMemory) => {
                let message = "the device is full".to_owned();
                return Ok(Evaluation::Infeasible(Infeasibility::OutOfMemory { message }));
            }
            Some(Mishap::Killed) => {
                let kill = ["-9".to_owned(), std::process::id().to_string()];
                std::process::Command::new("kill").args(kill).status().unwrap();
                std::thread::sleep(Duration::from_mins(1));
            }
            Some(Mishap::Aborts) => std::process::abort(),
            Some(Mishap::Hangs) => std::thread::sleep(Duration::from_hours(1)),
            None => {}
        }
        self.held += self.leak;
        if let Some(stopped) = self.learn(context) {
            return Ok(Evaluation::Measured(stopped));
        }
        // Long enough for evaluations to overlap.
        std::thread::sleep(Duration::from_millis(5));
        let evaluation = Synthetic::new().with_epochs(self.epochs).evaluate(block, context);
        let evaluation = evaluation.map_err(|_| DeviceFault("impossible"));
        self.log(&format!("end {trial} {}", std::process::id()));
        evaluation
    }

    fn identity(&self) -> String {
        "frail".to_owned()
    }

    fn full_epochs(&self) -> Option<u32> {
        (self.epochs > 0).then_some(self.epochs)
    }

    fn condition(&self) -> Condition {
        if self.poisoned { Condition::broken() } else { Condition::well(Some(self.held)) }
    }
}

/// Not a test itself: the process that the tests start as a child.
#[test]
fn child_process() {
    ProcessEvaluator::<BlockCode>::serve_if_child(|briefing| serde_json::from_value::<Frail>(briefing.clone()));
}

fn config() -> ProcessConfig {
    let arguments = ["child_process", "--exact", "--nocapture"].map(Into::into).to_vec();
    ProcessConfig::new().with_program(std::env::current_exe().unwrap(), arguments).with_patience(Duration::from_secs(3))
}

fn processes(environment: &Frail, count: usize, config: ProcessConfig) -> ProcessEvaluator<BlockCode> {
    let briefing = serde_json::to_value(environment).unwrap();
    let children = (0..count).map(|number| (format!("process {number}"), briefing.clone()));
    ProcessEvaluator::new(children.collect(), config).unwrap()
}

/// The events that an observer was told.
#[derive(Debug, Default)]
struct Heard {
    faults: Vec<(u64, u32, String)>,
    lost: Vec<String>,
    finished: Vec<u64>,
}

struct Listener(Arc<Mutex<Heard>>);

impl Observer<BlockSpace> for Listener {
    fn on_fault(&mut self, trial: u64, attempt: u32, message: &str) {
        self.0.lock().unwrap().faults.push((trial, attempt, message.to_owned()));
    }

    fn on_worker_lost(&mut self, _worker: &str, message: &str) {
        self.0.lock().unwrap().lost.push(message.to_owned());
    }

    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), blockqnn::environment::BoxError> {
        self.0.lock().unwrap().finished.push(record.id);
        Ok(())
    }

    fn on_learned(&mut self, _: &MinibatchSummary) -> Result<(), blockqnn::environment::BoxError> {
        Ok(())
    }
}

/// A space of small blocks: a large block exceeds the limits of cost and never reaches an environment.
fn space() -> BlockSpace {
    BlockSpace::paper().with_max_layers(5).unwrap()
}

const TRIALS: u64 = 32;

/// The table's bytes and the records of a search, and the events that were observed.
fn end(evaluator: impl Evaluator<BlockCode>) -> (Vec<u8>, String, Heard) {
    let agent = QLearning::new(QLearningConfig::paper()).unwrap();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let config = SearchConfig::paper().with_seed(3).with_trials(TRIALS, 16);
    let search = Search::with_evaluator(space(), agent, evaluator, config);
    let (report, agent) = search.with_observer(Listener(Arc::clone(&heard))).run_with_agent().unwrap();
    let mut table = Vec::new();
    agent.save(&mut table).unwrap();
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    (table, serde_json::to_string(&report.records).unwrap(), heard)
}

/// The words of the log's lines.
fn log(folder: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(folder.join("log")).unwrap();
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn whatever_happens_to_children_the_search_ends_as_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (table, records, _) = end(InlineEvaluator::new(Synthetic::new()));
    let mishaps = [
        (1, Mishap::DeviceError),
        (3, Mishap::Poisoned),
        (5, Mishap::DeviceMemory),
        (8, Mishap::Killed),
        (12, Mishap::Aborts),
        (14, Mishap::Hangs),
        (20, Mishap::Poisoned),
        (21, Mishap::Killed),
        (31, Mishap::Hangs),
    ];
    let (found_table, found_records, heard) = end(processes(&Frail::new(folder.path(), mishaps), 3, config()));
    assert_eq!(found_records, records);
    assert!(found_table == table);
    // Each mishap cost one attempt and is reported correctly.
    assert_eq!(heard.finished.iter().collect::<std::collections::BTreeSet<_>>().len(), heard.finished.len());
    assert_eq!(heard.finished.len() as u64, TRIALS);
    let mut faults = heard.faults;
    faults.sort();
    let told: Vec<(u64, u32)> = faults.iter().map(|(trial, attempt, _)| (*trial, *attempt)).collect();
    assert_eq!(told, mishaps.map(|(trial, _)| (trial, 1)));
    for ((_, mishap), (.., message)) in mishaps.iter().zip(&faults) {
        let words = match mishap {
            Mishap::DeviceError => "the device failed",
            Mishap::Poisoned => "the device is poisoned",
            Mishap::DeviceMemory => "out of memory: the device is full",
            Mishap::Killed => "out of memory: the training was killed (SIGKILL)",
            Mishap::Aborts => "the process that trains ended",
            Mishap::Hangs => "it showed no progress for 3s",
        };
        assert!(message.contains(words), "{mishap:?}: {message}");
    }
    // Children were replaced when necessary, and only then.
    assert_eq!(heard.lost.len(), 7, "{:?}", heard.lost);
}

#[test]
fn a_child_that_grew_too_far_is_replaced_between_trials_and_costs_none() {
    let folder = tempfile::tempdir().unwrap();
    let (table, records, _) = end(InlineEvaluator::new(Synthetic::new()));
    let environment = Frail { leak: 10, ..Frail::new(folder.path(), []) };
    let limits = config().with_memory_limit(Some(45), None);
    let (found_table, found_records, heard) = end(processes(&environment, 2, limits));
    assert_eq!(found_records, records);
    assert!(found_table == table && heard.faults.is_empty() && heard.lost.is_empty());
    // A process is replaced after its fifth evaluation.
    let mut evaluated: BTreeMap<String, u32> = BTreeMap::new();
    for words in log(folder.path()).iter().filter(|words| words[0] == "end") {
        *evaluated.entry(words[2].clone()).or_default() += 1;
    }
    assert!(evaluated.len() > 5 && evaluated.values().all(|&count| count <= 5), "{evaluated:?}");
    assert_eq!(evaluated.values().sum::<u32>(), 32);
}

/// The largest number of simultaneous evaluations in the log.
fn most_at_a_time(folder: &Path) -> usize {
    let mut running = std::collections::BTreeSet::new();
    let mut most = 0;
    for words in log(folder) {
        if words[0] == "begin" {
            running.insert(words[1].clone());
            most = most.max(running.len());
        } else {
            running.remove(&words[1]);
        }
    }
    most
}

#[test]
fn trainings_run_next_to_each_other_as_far_as_the_devices_memory_allows() {
    let (table, records, _) = end(InlineEvaluator::new(Synthetic::new()));
    for (capacity, most) in [(300, 3), (200, 2), (50, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let config = config().with_device_memory(capacity, |_| 100);
        let (found_table, found_records, _) = end(processes(&Frail::new(folder.path(), []), 3, config));
        assert_eq!(found_records, records);
        assert!(found_table == table);
        assert_eq!(most_at_a_time(folder.path()), most, "{capacity}");
    }
}

#[test]
fn too_many_failures_in_a_row_end_the_search() {
    let folder = tempfile::tempdir().unwrap();
    let mishaps = (0..TRIALS).map(|trial| (trial, Mishap::Aborts));
    let environment = Frail::new(folder.path(), mishaps);
    let evaluator = processes(&environment, 1, config().with_failures_in_a_row(2));
    let agent = QLearning::new(QLearningConfig::paper()).unwrap();
    let config = SearchConfig::paper().with_trials(TRIALS, 16);
    let error = Search::with_evaluator(space(), agent, evaluator, config).run().unwrap_err();
    let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(text.contains("3 child processes failed in a row"), "{text}");
}

#[test]
fn a_child_without_an_environment_and_no_child_are_refused() {
    let error = ProcessEvaluator::<BlockCode>::new(Vec::new(), config()).unwrap_err();
    assert!(matches!(error, StartError::NoWorker));
    let children = vec![("one".to_owned(), serde_json::json!({ "folder": 3 }))];
    let error = ProcessEvaluator::<BlockCode>::new(children, config()).unwrap_err();
    assert!(matches!(error, StartError::Environment { number: 0, .. }), "{error}");
    // A program that is not a child at all.
    let other = ProcessConfig::new().with_program("/bin/false", Vec::new());
    let children = vec![("one".to_owned(), serde_json::Value::Null)];
    let error = ProcessEvaluator::<BlockCode>::new(children, other).unwrap_err();
    assert!(error.to_string().contains("ended"), "{error}");
}

#[test]
fn cancelling_ends_children_whatever_they_are_doing() {
    let folder = tempfile::tempdir().unwrap();
    let environment = Frail::new(folder.path(), (0..TRIALS).map(|trial| (trial, Mishap::Hangs)));
    let evaluator = processes(&environment, 2, config().with_patience(Duration::from_mins(10)));
    let cancellation = Cancellation::new();
    let raised = cancellation.clone();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        raised.cancel();
    });
    let agent = QLearning::new(QLearningConfig::paper()).unwrap();
    let config = SearchConfig::paper().with_trials(TRIALS, 16);
    let search = Search::with_evaluator(space(), agent, evaluator, config);
    let report = search.with_cancellation(cancellation).run().unwrap();
    later.join().unwrap();
    assert_eq!(report.stop, StopReason::Cancelled);
    assert!(report.records.is_empty());
}

#[test]
fn a_poisoned_device_ends_a_search_in_this_process_without_blaming_a_trial() {
    for threads in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let environment = Frail::new(folder.path(), [(2, Mishap::Poisoned)]);
        let evaluator: Box<dyn Evaluator<BlockCode>> = if threads {
            Box::new(ThreadEvaluator::new(vec![environment]).unwrap())
        } else {
            Box::new(InlineEvaluator::new(environment))
        };
        let heard = Arc::new(Mutex::new(Heard::default()));
        let agent = QLearning::new(QLearningConfig::paper()).unwrap();
        let config = SearchConfig::paper().with_trials(TRIALS, 16);
        let search = Search::with_evaluator(space(), agent, evaluator, config);
        let error = search.with_observer(Listener(Arc::clone(&heard))).run().unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(text.contains("the device is poisoned") && text.contains("start the program again"), "{text}");
        assert!(heard.lock().unwrap().faults.is_empty());
    }
}

/// Asks for the end of every trial after an epoch.
struct Impatient(u32);

impl Observer<BlockSpace> for Impatient {
    fn should_stop(&mut self, _: u64, progress: &Progress) -> bool {
        progress.epoch >= self.0
    }
}

#[test]
fn the_median_rule_gives_the_same_search_in_child_processes_although_some_die() {
    let folder = tempfile::tempdir().unwrap();
    let frail = |mishaps: &[(u64, Mishap)]| {
        let parent = tempfile::tempdir_in(folder.path()).unwrap().keep();
        Frail { epochs: 8, ..Frail::new(&parent, mishaps.iter().copied()) }
    };
    let run = |evaluator: Box<dyn Evaluator<BlockCode>>| {
        let rule = MedianStopping { grace_epochs: 1, min_trials: 3 };
        let config = SearchConfig::paper().with_seed(3).with_trials(40, 8).with_median_stopping(rule);
        let report = Search::with_evaluator(space(), RandomAgent, evaluator, config).run().unwrap();
        assert!((5..35).contains(&report.stopped()), "{}", report.stopped());
        report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect::<Vec<_>>()
    };
    let expected = run(Box::new(InlineEvaluator::new(frail(&[]))));
    let mishaps = [(9, Mishap::Killed), (20, Mishap::Aborts)];
    assert_eq!(run(Box::new(processes(&frail(&mishaps), 3, config()))), expected);
}

#[test]
fn rungs_give_the_same_search_in_child_processes_although_some_die() {
    let folder = tempfile::tempdir().unwrap();
    let frail = |mishaps: &[(u64, Mishap)]| {
        let parent = tempfile::tempdir_in(folder.path()).unwrap().keep();
        Frail { epochs: 9, ..Frail::new(&parent, mishaps.iter().copied()) }
    };
    let run = |evaluator: Box<dyn Evaluator<BlockCode>>| {
        let config = SearchConfig::paper().with_seed(3).with_trials(40, 8).with_rungs(Rungs::new(3));
        let report = Search::with_evaluator(space(), RandomAgent, evaluator, config).run().unwrap();
        assert!(report.promotions().count() > 6);
        report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect::<Vec<_>>()
    };
    let expected = run(Box::new(InlineEvaluator::new(frail(&[]))));
    // Trials 8 and 9 are the first promotions.
    let mishaps = [(8, Mishap::Killed), (9, Mishap::Aborts), (20, Mishap::DeviceError)];
    assert_eq!(run(Box::new(processes(&frail(&mishaps), 3, config()))), expected);
}

#[test]
fn an_observer_stops_trials_in_child_processes() {
    let folder = tempfile::tempdir().unwrap();
    let frail = Frail { epochs: 5_000, ..Frail::new(folder.path(), []) };
    let evaluator = processes(&frail, 2, config());
    let config = SearchConfig::paper().with_seed(3).with_trials(6, 3);
    let search = Search::with_evaluator(space(), RandomAgent, evaluator, config).with_observer(Impatient(4));
    let report = search.run().unwrap();
    let measured: Vec<_> = report.records.iter().filter_map(|record| record.evaluation.metrics()).collect();
    assert!(!measured.is_empty());
    for metrics in measured {
        assert!(metrics.stopped && (4..4_000).contains(&metrics.epochs), "{}", metrics.epochs);
        assert_eq!(metrics.curve.len(), metrics.epochs as usize);
    }
}
