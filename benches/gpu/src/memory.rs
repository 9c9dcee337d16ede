//! `memory`: many different networks in one process.

use super::{NetworkArguments, caught, device_memory, print_row, random_blocks};
use blockqnn::data::{Split, embedded};
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Trial};
use blockqnn::graph::LayerGraph;
use blockqnn::train::{Recipe, Restarts, TrainingEnvironment};
use serde_json::json;
use std::collections::HashSet;
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

/// Images that the accuracy is measured on, ten of each class.
const VALIDATION: usize = 100;

/// Draws per network, after which the space is considered exhausted.
const DRAWS: usize = 100;

/// Number of networks in a row that may fail.
const FAILURES: u32 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,

    /// Number of different networks to train
    #[arg(long, value_name = "N", default_value_t = 300)]
    networks: usize,

    /// Training steps of each network; limited by the 2,900 embedded images
    #[arg(long, value_name = "N", default_value_t = 4)]
    steps: usize,
}

/// Trains as a search does, on the embedded images, so that no files are needed.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { network, networks, steps } = arguments;
    let device = network.open()?;
    let experiment = network.experiment();
    let images = embedded::train();
    let needed = steps.saturating_mul(experiment.recipe.batch_size).saturating_add(VALIDATION);
    let images = images.limit(needed.min(images.len()), 7)?;
    let split = Split::new(images, VALIDATION, 7)?;
    let experiment = experiment.for_data(split.shape(), split.classes().len());
    // No restarts: after so few steps a network may well be no better than chance.
    let restarts = Restarts { max: 0, ..experiment.recipe.restarts };
    let recipe = Recipe { epochs: 1, restarts, ..experiment.recipe.clone() };
    let mut environment = TrainingEnvironment::new(&split, experiment.network(), recipe, &device)?;
    let (mut seen, mut failures) = (HashSet::new(), 0);
    let draws = networks.saturating_mul(DRAWS);
    let blocks = random_blocks(&experiment, "memory", draws);
    let distinct = blocks.filter(|(graph, _)| seen.insert(graph.fingerprint()));
    // The largest first, because an allocator keeps what it used.
    let mut blocks: Vec<_> = distinct.take(*networks).collect();
    if let Some(largest) = (0..blocks.len()).max_by_key(|&place| blocks[place].1.activation_bytes) {
        blocks.swap(0, largest);
    }
    for (id, (graph, cost)) in (0u64..).zip(blocks) {
        let trial = Trial { id, seed: id, fingerprint: graph.fingerprint(), cost: Some(cost) };
        let start = Instant::now();
        let evaluation =
            caught(|| Ok(Environment::<LayerGraph>::evaluate(&mut environment, &graph, &TrialContext::new(&trial))?));
        failures = if evaluation.is_err() { failures + 1 } else { 0 };
        let outcome = match evaluation {
            Ok(Evaluation::Measured(_)) => "trained".to_owned(),
            Ok(Evaluation::Infeasible(reason)) => reason.to_string(),
            Ok(other) => format!("{other:?}"),
            Err(failure) if failures > FAILURES => return Err(failure.into()),
            Err(failure) => format!("failed: {failure}"),
        };
        print_row(&json!({
            "network": id + 1,
            "outcome": outcome,
            "seconds": start.elapsed().as_secs_f64(),
            "parameters": cost.parameters,
            "flops": cost.flops,
            "device": device_memory(&device),
            "resident": memory_stats::memory_stats().map(|memory| memory.physical_mem),
        }))?;
    }
    Ok(ExitCode::SUCCESS)
}
