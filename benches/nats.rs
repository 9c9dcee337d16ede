//! Trials over NATS JetStream on one machine: trials per second with evaluations that cost nothing, and the memory of
//! the controller for 100,000 trials.
//!
//! ```sh
//! cargo bench -p blockqnn --no-default-features --features nats --bench nats [-- TRIALS]
//! ```
//!
//! Starts a `nats-server` of its own (from the `PATH` or `BLOCKQNN_NATS_SERVER`) and two worker processes of four
//! workers each. Prints trials a second of the evaluator alone, and of a whole search, and the controller's memory.

use blockqnn::agent::{QLearning, QLearningConfig, ReplayConfig};
use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator, NatsWorker};
use blockqnn::environment::{Cancellation, environment_fn};
use blockqnn::evaluation::Trial;
use blockqnn::evaluator::{Assignment, Evaluator, Event};
use blockqnn::graph::{Fingerprint, NetworkConfig, ToGraph};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WORKER: &str = "BLOCKQNN_BENCH_WORKER";
const IDENTITY: &str = "no-op";
const PROCESSES: usize = 2;
const THREADS: usize = 4;
/// Trials under way at a time when the evaluator is measured alone.
const WINDOW: u64 = 512;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn evaluator(url: &str, name: &str) -> NatsEvaluator<BlockCode> {
    let config = NatsConfig { name: name.to_owned(), ..NatsConfig::new(IDENTITY) };
    NatsEvaluator::new(&Broker::new(url), config).expect("the broker was just started")
}

/// Four workers on the search `name`.
fn work(url: &str, name: &str) {
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let worker = NatsWorker::new(Broker::new(url))
                .with_search(name)
                .with_name(format!("{}-{number}", std::process::id()))
                .without_child_process();
            scope.spawn(move || worker.run(|_| Ok::<_, Infallible>(environment_fn(IDENTITY, |_: &BlockCode, _| 50.0))));
        }
    });
}

fn workers(url: &str, name: &str) -> Vec<Killed> {
    let program = std::env::current_exe().expect("the program is there");
    let start =
        || Command::new(&program).env(WORKER, format!("{url} {name}")).spawn().expect("it can be started again");
    (0..PROCESSES).map(|_| Killed(start())).collect()
}

/// Seconds that `trials` trials take between submitting and acknowledging, without a search around them.
fn alone(url: &str, trials: u64) -> f64 {
    let mut evaluator = evaluator(url, "alone");
    let _workers = workers(url, "alone");
    let block: BlockCode = "conv3(0) add(0,1) conv3(2) terminal(3)".parse().expect("the block is valid");
    let graph = block.to_graph();
    let cost = graph.cost(&NetworkConfig::cifar()).expect("the block has a cost");
    let block = Arc::new(block);
    let nobody = Cancellation::new();
    let mut ended = 0;
    let mut submitted = 0;
    let mut begin = Instant::now();
    while ended < trials {
        while submitted < trials && submitted < ended + WINDOW {
            let fingerprint = Fingerprint::of_name(&submitted.to_le_bytes());
            let trial = Trial { id: submitted, seed: submitted, fingerprint, cost: Some(cost) };
            evaluator.submit(Assignment::new(trial, 1, Arc::clone(&block))).expect("the broker is there");
            submitted += 1;
        }
        let mut last = None;
        let mut listener = |event| {
            if let Event::Ended { trial, .. } = event {
                last = Some(trial);
            }
        };
        evaluator.wait(&nobody, &mut listener).expect("the broker is there");
        if ended == 0 {
            // The workers are up.
            begin = Instant::now();
        }
        ended += 1;
        evaluator.acknowledge(last.expect("a trial ended")).expect("the broker is there");
    }
    begin.elapsed().as_secs_f64()
}

/// Seconds that a search of `trials` trials takes.
fn search(url: &str, trials: u64) -> f64 {
    let evaluator = evaluator(url, "search");
    let _workers = workers(url, "search");
    let replay = ReplayConfig { rounds: 0, batch: 0 };
    let agent = QLearning::new(QLearningConfig { replay, ..QLearningConfig::paper() }).expect("the settings are valid");
    let config = SearchConfig::paper().with_trials(trials, 1_024);
    let begin = Instant::now();
    let report = Search::with_evaluator(BlockSpace::paper(), agent, evaluator, config).run().expect("the search runs");
    assert_eq!(report.records.len() as u64, trials);
    begin.elapsed().as_secs_f64()
}

/// A figure of this process in MB, as Linux reports it.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default() / 1_024
}

fn main() {
    if let Ok(role) = std::env::var(WORKER) {
        let (url, name) = role.split_once(' ').expect("two words");
        return work(url, name);
    }
    let trials = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("there is a free port").port();
    let program = std::env::var_os("BLOCKQNN_NATS_SERVER").map_or(PathBuf::from("nats-server"), PathBuf::from);
    let broker = Command::new(program)
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .spawn();
    let Ok(broker) = broker else {
        return println!("skipped: there is no nats-server; `apt-get install nats-server` brings one");
    };
    let _broker = Killed(broker);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let url = format!("nats://127.0.0.1:{port}");
    let some = trials.min(20_000);
    println!("evaluator alone, {some} trials: {:>8.0} trials/s", some as f64 / alone(&url, some));
    let before = memory("VmRSS");
    println!("search, {trials} trials:          {:>8.0} trials/s", trials as f64 / search(&url, trials));
    println!("memory of the controller: {before} MB before the search, at most {} MB", memory("VmHWM"));
}
