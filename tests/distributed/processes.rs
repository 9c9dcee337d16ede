//! The processes of a test: this program again, in another role.

use blockqnn::agent::{Agent, EpsilonPhase, EpsilonSchedule, QLearning, QLearningConfig, ReplayConfig};
use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator, NatsWorker};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Cancellation, Environment, Progress, TrialContext};
use blockqnn::evaluation::{Evaluation, Infeasibility};
use blockqnn::evaluator::Evaluator;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{RunFolder, Search, SearchConfig, SearchReport};
use blockqnn::space::block::{BlockCode, BlockSpace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "BLOCKQNN_TEST_ROLE";

/// The role of a process in a test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Role {
    Worker(WorkerRole),
    Controller(ControllerRole),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerRole {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) environment: Slow,
    pub(crate) patience: Duration,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ControllerRole {
    pub(crate) url: String,
    pub(crate) folder: PathBuf,
    pub(crate) trials: u64,
    pub(crate) minibatch: u64,
    pub(crate) ack_wait: Duration,
}

/// A mishap of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mishap {
    /// Ends the whole worker.
    KillsWorker,
    /// Its process is killed, as if memory had run out.
    KillsItself,
    /// Its process ends, as if foreign code had crashed.
    Aborts,
    /// Hangs.
    Hangs,
    /// Reports a failure.
    Panics,
}

/// The synthetic environment, slowed down to the pace of a training, with mishaps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Slow {
    pub(crate) duration: Duration,
    pub(crate) mishaps: BTreeMap<u64, Mishap>,
    /// A line for each training that began: trial and process.
    pub(crate) log: Option<PathBuf>,
}

pub(crate) fn environment() -> Synthetic {
    Synthetic::new().with_noise(3.0)
}

impl Slow {
    pub(crate) fn new(milliseconds: u64) -> Self {
        Self { duration: Duration::from_millis(milliseconds), ..Self::default() }
    }

    pub(crate) fn with_mishap(mut self, trial: u64, mishap: Mishap) -> Self {
        self.mishaps.insert(trial, mishap);
        self
    }

    pub(crate) fn with_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }
}

fn kill(pid: u32) {
    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
}

impl Environment<BlockCode> for Slow {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let trial = context.trial().id;
        if let Some(path) = &self.log {
            let mut log = fs::File::options().create(true).append(true).open(path).unwrap();
            writeln!(log, "{trial} {}", std::process::id()).unwrap();
        }
        println!("a training prints what it likes");
        match self.mishaps.get(&trial) {
            Some(Mishap::KillsWorker) => kill(std::os::unix::process::parent_id()),
            Some(Mishap::KillsItself) => kill(std::process::id()),
            Some(Mishap::Aborts) => std::process::abort(),
            Some(Mishap::Hangs) => std::thread::sleep(Duration::from_hours(1)),
            Some(Mishap::Panics) => panic!("the device is gone"),
            None => {}
        }
        let begun = Instant::now();
        while begun.elapsed() < self.duration && !context.is_cancelled() {
            let fraction = begun.elapsed().as_secs_f64() / self.duration.as_secs_f64();
            context.report(Progress::new(0, 1, 0, fraction.min(1.0)));
            std::thread::sleep(Duration::from_millis(5).min(self.duration));
        }
        environment().evaluate(block, context)
    }

    fn identity(&self) -> String {
        environment().identity()
    }
}

pub(crate) fn agent() -> QLearning<BlockSpace> {
    let phases = [1.0, 0.5, 0.1].map(|epsilon| EpsilonPhase { epsilon, minibatches: 3 });
    let epsilon = EpsilonSchedule::new(phases.to_vec()).unwrap();
    let replay = ReplayConfig { rounds: 2, batch: 16 };
    QLearning::new(QLearningConfig { epsilon, replay, ..QLearningConfig::paper() }).unwrap()
}

/// The outcome of a search: the Q-table's bytes and every record.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) table: Vec<u8>,
    pub(crate) records: Vec<String>,
}

pub(crate) fn finish(
    evaluator: impl Evaluator<BlockCode>,
    folder: Option<RunFolder>,
    trials: u64,
    minibatch: u64,
    cancellation: Cancellation,
) -> (End, SearchReport<BlockSpace>) {
    let config = SearchConfig::paper().with_seed(5).with_trials(trials, minibatch);
    let mut search = Search::with_evaluator(BlockSpace::paper(), agent(), evaluator, config)
        .with_reward(RedefinedReward::paper())
        .with_cancellation(cancellation);
    if let Some(folder) = folder {
        search = search.with_run_folder(folder);
    }
    let (report, agent) = search.run_with_agent().unwrap();
    let mut table = Vec::new();
    agent.save(&mut table).unwrap();
    let records = report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    (End { table, records }, report)
}

/// The outcome of the same search in one process.
pub(crate) fn expected(trials: u64, minibatch: u64) -> End {
    let inline = blockqnn::evaluator::InlineEvaluator::new(environment());
    finish(inline, None, trials, minibatch, Cancellation::new()).0
}

pub(crate) fn evaluator(url: &str, ack_wait: Duration) -> NatsEvaluator<BlockCode> {
    let config = NatsConfig { ack_wait, ..NatsConfig::new(environment().identity()) };
    NatsEvaluator::new(&Broker::new(url), config).unwrap()
}

impl Role {
    pub(crate) fn of_this_process() -> Option<Self> {
        std::env::var(ROLE).ok().map(|text| serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn start(&self) -> Process {
        let errors = match std::env::var_os("BLOCKQNN_TEST_NOISE") {
            Some(_) => Stdio::inherit(),
            None => Stdio::null(),
        };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process", "--test-threads", "1", "--nocapture"])
            .env(ROLE, serde_json::to_string(self).unwrap())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Process { child }
    }

    pub(crate) fn play(self) {
        match self {
            Self::Worker(role) => {
                let WorkerRole { url, name, environment, patience } = role;
                let worker = NatsWorker::new(Broker::new(url)).with_name(name).with_patience(patience);
                // The broker may not be running yet.
                while let Err(error) = worker.clone().run(environment.clone().made()) {
                    eprintln!("{error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            Self::Controller(role) => {
                let folder = match RunFolder::resume(&role.folder) {
                    Ok(folder) => folder,
                    Err(_) => RunFolder::create(&role.folder).unwrap(),
                };
                let evaluator = evaluator(&role.url, role.ack_wait);
                let (end, _) = finish(evaluator, Some(folder), role.trials, role.minibatch, Cancellation::new());
                let path = done(&role.folder);
                fs::write(path.with_extension("new"), serde_json::to_string(&end).unwrap()).unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            }
        }
    }
}

impl Slow {
    pub(crate) fn made(self) -> impl Fn(&serde_json::Value) -> Result<Self, Infallible> + Send + Sync {
        move |_| Ok(self.clone())
    }
}

impl ControllerRole {
    /// The outcome of the controller's search, once it has ended.
    pub(crate) fn end(&self) -> Option<End> {
        fs::read_to_string(done(&self.folder)).ok().map(|text| serde_json::from_str(&text).unwrap())
    }

    /// Numbers of the finished trials, in the order of the journal.
    pub(crate) fn journalled(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.folder.join("journal.jsonl")).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.filter_map(|line| line["event"]["finished"]["id"].as_u64()).collect()
    }
}

fn done(folder: &Path) -> PathBuf {
    folder.with_extension("done")
}

/// A process of a test, killed when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Kills the process, like a crash.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A worker in a thread of the test, stopped and joined when dropped.
pub(crate) struct Thread {
    pub(crate) cancellation: Cancellation,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Thread {
    pub(crate) fn start<E>(url: &str, name: &str, environment: E) -> Self
    where
        E: Environment<BlockCode> + Clone + Send + Sync + 'static,
    {
        let cancellation = Cancellation::new();
        let worker = NatsWorker::new(Broker::new(url))
            .with_name(name)
            .with_cancellation(cancellation.clone())
            .without_child_process();
        let thread = std::thread::spawn(move || {
            worker.run(move |_| Ok::<_, Infallible>(environment.clone())).unwrap();
        });
        Self { cancellation, thread: Some(thread) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.cancellation.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for something that takes a while, and fails only if it never happens.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_mins(5);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a record says that every attempt failed.
pub(crate) fn failed(evaluation: &Evaluation) -> Option<u32> {
    match evaluation {
        Evaluation::Infeasible(Infeasibility::Failed { attempts, .. }) => Some(*attempts),
        _ => None,
    }
}
