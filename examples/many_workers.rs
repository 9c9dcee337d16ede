//! Several workers on one machine: threads of this process, or child processes. The result stays the same.
//!
//! ```text
//! cargo run --release -p blockqnn --no-default-features --example many_workers
//! ```
//!
//! - **Threads** share memory and load data once. They are right for the CPU.
//! - **Child processes** are this program, started again. One that crashes, hangs or grows too large is replaced, and
//!   its trial is evaluated again. They are right for a GPU.
//! - **NATS**, with the feature `nats`, adds workers on other machines, which may come, go and fail at any time:
//!   `distributed::NatsEvaluator` takes the place of the evaluators below, and `docs/distributed.md` explains how.

use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::environment::{Environment, environment_fn};
use blockqnn::evaluator::{Evaluator, InlineEvaluator, ProcessConfig, ProcessEvaluator, ThreadEvaluator};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;
use std::error::Error;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    // A child process evaluates what its parent sends, and never returns from here. This is where it would load its
    // data, as described by the briefing that the parent gives it.
    ProcessEvaluator::<BlockCode>::serve_if_child(|_briefing| Ok::<_, Infallible>(slow()));

    let alone = search("one after another", InlineEvaluator::new(slow()))?;
    let threads = ThreadEvaluator::new((0..WORKERS).map(|_| slow()).collect())?;
    let threads = search("4 threads", threads)?;
    let children = (0..WORKERS).map(|number| (format!("process {number}"), serde_json::Value::Null)).collect();
    // A child without progress for a minute counts as hung.
    let config = ProcessConfig::new().with_patience(Duration::from_mins(1));
    let processes = search("4 processes", ProcessEvaluator::new(children, config)?)?;
    assert!(alone == threads && alone == processes, "the result must not depend on the workers");
    Ok(())
}

/// Stands for a training.
fn slow() -> impl Environment<BlockCode> {
    environment_fn("slow, prefers six layers", |block: &BlockCode, _seed| {
        std::thread::sleep(Duration::from_millis(20));
        90.0 - (block.len() as f64 - 6.0).abs()
    })
}

/// Searches with any evaluator, and returns the blocks, best first.
fn search(name: &str, evaluator: impl Evaluator<BlockCode>) -> Result<Vec<String>, Box<dyn Error>> {
    let agent = QLearning::new(QLearningConfig::paper().scaled_to(8))?;
    // All blocks of a minibatch are known before the first is evaluated, so up to 16 workers have something to do.
    let config = SearchConfig::paper().with_seed(1).with_trials(128, 16);
    let start = Instant::now();
    let report = Search::with_evaluator(BlockSpace::paper(), agent, evaluator, config).run()?;
    writeln!(stdout(), "{name}: {} blocks in {:.1} s", report.records.len(), start.elapsed().as_secs_f64())?;
    Ok(report.best().into_iter().map(|record| record.architecture.to_string()).collect())
}
