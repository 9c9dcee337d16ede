//! Your own environment: how to have a search rate blocks by anything that you can compute.
//!
//! An environment needs two functions: [`Environment::evaluate`], from a block to what was measured on it, and
//! [`Environment::identity`], a text that names everything that the results depend on. The one below rates a block in
//! microseconds, by what one pixel of its output sees of its input. An environment has three kinds of answers: a
//! measurement, a fact about the block (`Infeasible`: recorded, never tried again), and an error of the machine (`Err`:
//! tried again). Yours could look up a table of accuracies, measure a latency on your hardware, or train in another
//! framework.
//!
//! Needs no burn; ends within seconds:
//!
//! ```text
//! cargo run --release -p blockqnn --no-default-features --example custom_environment
//! ```

use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics};
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Search, SearchConfig, SearchReport};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;
use std::error::Error;
use std::io::{Write, stdout};

/// Wants a block whose output sees `wanted` pixels of its input, in as few multiply-adds as possible.
struct ReceptiveField {
    wanted: u8,
}

impl Environment<BlockCode> for ReceptiveField {
    // Nothing can fail here. Where a file can be missing or a device lost, this is your own error type.
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        // Pixels along one side that each layer sees, the start layer first.
        let mut seen = vec![1u8];
        for layer in block.layers() {
            let widest = layer.connections().iter().map(|&from| seen[usize::from(from)]).max().unwrap_or(1);
            seen.push(widest.saturating_add(layer.kernel().saturating_sub(1)));
        }
        let side = seen.into_iter().max().unwrap_or(1);
        if side == 1 {
            let message = "no layer looks beyond its own pixel".to_owned();
            return Ok(Evaluation::Infeasible(Infeasibility::Rejected { message }));
        }
        // The search has computed the size of the network already, since its settings have one.
        let billions = context.trial().cost.map_or(0.0, |cost| cost.flops as f64 / 1e9);
        let accuracy = 90.0 - 4.0 * f64::from(side.abs_diff(self.wanted)) - 10.0 * billions;
        Ok(Evaluation::Measured(Metrics::from_accuracy(accuracy.clamp(1.0, 100.0))))
    }

    fn identity(&self) -> String {
        format!("receptive field 1, {} pixels wanted", self.wanted)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // The paper's schedule, of 178 minibatches, is scaled to the 40 of this search: random first, then ever greedier.
    let agent = QLearning::new(QLearningConfig::paper().scaled_to(40))?;
    let config = SearchConfig::paper().with_seed(1).with_trials(1280, 32);
    let search = Search::new(BlockSpace::paper(), agent, ReceptiveField { wanted: 9 }, config);
    // The agent learns from the accuracy at every layer; the paper's own reward also has terms for the cost.
    let report = search.with_reward(RedefinedReward::accuracy(Credit::EveryLayer)).run()?;

    let mean = |records| SearchReport::<BlockSpace>::mean_value(records).unwrap_or_default();
    let (random, learned) = (&report.records[..20 * 32], &report.records[30 * 32..]);
    let mut out = stdout().lock();
    writeln!(
        out,
        "mean accuracy of the random blocks {:.2}, of the last ten minibatches {:.2}",
        mean(random),
        mean(learned)
    )?;
    writeln!(out, "rank  accuracy  parameters         FLOPs  block")?;
    for (rank, record) in report.best().into_iter().take(10).enumerate() {
        let accuracy = record.evaluation.value().unwrap_or_default();
        let (parameters, flops) = record.cost.map(|cost| (cost.parameters, cost.flops)).unwrap_or_default();
        writeln!(out, "{:4}  {accuracy:8.2}  {parameters:10}  {flops:12}  {}", rank + 1, record.architecture)?;
    }
    Ok(())
}
