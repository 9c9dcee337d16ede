//! Resident memory of one process that trains 200 different blocks on `flex`.
//!
//! ```sh
//! cargo bench --bench memory
//! ```
//!
//! The blocks are random ones of the quick preset, each trained for an epoch on 128 images; the one with the most
//! activations comes first, because an allocator keeps what the largest training used. It fails if the memory after the
//! last block is more than a tenth above that after the first twenty.

use blockqnn::agent::{Agent, Memory, RandomAgent};
use blockqnn::data::{DeviceSet, Split, embedded};
use blockqnn::experiment::Experiment;
use blockqnn::graph::{LayerGraph, NetworkConfig, ToGraph};
use blockqnn::network::{Network, device::default_device};
use blockqnn::search::SearchConfig;
use blockqnn::seed;
use blockqnn::space::SearchSpace;
use blockqnn::space::block::BlockSpace;
use blockqnn::train::{Recipe, Training};
use std::collections::HashSet;
use std::error::Error;

const BLOCKS: usize = 200;
const FIRST: usize = 20;
/// How much more memory than after the first blocks there may be.
const MORE: f64 = 1.1;

/// Different random blocks within the limits of the search, the one with the most activations first.
fn blocks(
    space: &BlockSpace,
    search: &SearchConfig,
    network: &NetworkConfig,
) -> Result<Vec<LayerGraph>, Box<dyn Error>> {
    let (memory, mut rng) = (Memory::new(1), seed::stream(0, "memory", 0));
    let (mut seen, mut blocks) = (HashSet::new(), Vec::with_capacity(BLOCKS));
    while blocks.len() < BLOCKS {
        let graph = space.decode(&RandomAgent.propose(space, &memory, &mut rng)?.actions)?.to_graph();
        match graph.cost(network) {
            Ok(cost) if search.limits.check(&cost).is_ok() && seen.insert(graph.fingerprint()) => {
                blocks.push((cost.activation_bytes, graph));
            }
            _ => {}
        }
    }
    let largest = (0..BLOCKS).max_by_key(|&place| blocks[place].0).unwrap_or_default();
    blocks.swap(0, largest);
    Ok(blocks.into_iter().map(|(_, graph)| graph).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let experiment = Experiment::quick();
    let network = experiment.network();
    let Experiment { space, search, recipe, .. } = experiment;
    let recipe = Recipe { epochs: 1, ..recipe };
    let split = Split::new(embedded::train().limit(160, 7)?, 32, 7)?;
    let device = default_device()?;
    let statistics = split.training().channel_statistics();
    let training = DeviceSet::new(split.training(), &statistics, &device)?;
    let validation = DeviceSet::new(split.validation(), &statistics, &device)?;
    let graphs = blocks(&space, &search, &network)?;
    let (mut first, mut last) = (0.0, 0.0);
    for (number, graph) in (1..).zip(&graphs) {
        Training::new(&recipe, &training, &validation, number as u64)
            .fit(|rng, device| Ok(Network::new(graph, &network, rng, device)?))?;
        if number % FIRST == 0 {
            last = resident_mebibytes()?;
            println!("after {number:>3} blocks: {last:.1} MiB resident");
            if number == FIRST {
                first = last;
            }
        }
    }
    println!("ratio {:.3}", last / first);
    if last > MORE * first {
        return Err(format!("{last:.1} MiB after {BLOCKS} blocks, {first:.1} MiB after {FIRST}").into());
    }
    Ok(())
}

fn resident_mebibytes() -> Result<f64, Box<dyn Error>> {
    let memory = memory_stats::memory_stats().ok_or("this system does not tell how much memory a process holds")?;
    Ok(memory.physical_mem as f64 / 1024.0 / 1024.0)
}
