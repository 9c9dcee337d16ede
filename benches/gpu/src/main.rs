//! Measures a device: whether it computes correctly, how fast it is, and how much memory it holds.
//!
//! ```sh
//! cargo run --release -p blockqnn-measure --features cuda -- parity --device cuda
//! ```
//!
//! `benches/gpu/stages` calls it and makes tables of what it prints.

mod memory;
mod parity;
#[path = "../../trainer/training.rs"]
mod training;

use blockqnn::agent::{Agent, Memory, RandomAgent};
use blockqnn::environment::panic_message;
use blockqnn::experiment::{Experiment, Preset};
use blockqnn::export::Blueprint;
use blockqnn::graph::{Cost, ImageShape, LayerGraph, Node, Operation, ToGraph};
use blockqnn::network::device::{keep_kernels, kernel_folder, parse_device};
use blockqnn::network::{Device, Precision};
use blockqnn::seed;
use blockqnn::space::SearchSpace;
use blockqnn::space::block::BlockCode;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use training::{CELLS, Training};

/// Measure a device: whether it computes correctly, how fast it is, and how much memory it holds
///
/// Prints JSON objects, one per line, each as soon as it is measured; docs/gpu.md describes how to make tables of them.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Open the device, run two training steps, and report the number types that it supports
    Check {
        #[command(flatten)]
        device: DeviceArgument,
    },
    /// Compare logits, loss and gradients of every kind of layer and of whole networks with the CPU device flex
    Parity(parity::Arguments),
    /// Time training steps of one network: for each number of steps on standard input, print the seconds that they took
    Steps(Steps),
    /// Train many random networks one after the other: print the seconds, and the memory held after each
    Memory(memory::Arguments),
}

#[derive(Debug, clap::Args)]
struct DeviceArgument {
    /// Device to measure: flex (CPU); when built with the feature of the same name also ndarray (CPU, slow), cuda or
    /// cuda:N (GPU number N), and wgpu
    #[arg(long = "device", value_name = "NAME", default_value = "flex")]
    name: String,
}

impl DeviceArgument {
    fn open(&self, precision: Precision) -> Result<Device, Box<dyn Error>> {
        let device = parse_device(&self.name)?;
        precision.check(&device)?;
        Ok(device)
    }
}

/// The device, the network around a block, and its batches.
#[derive(Debug, clap::Args)]
struct NetworkArguments {
    #[command(flatten)]
    device: DeviceArgument,

    /// Settings to start from: quick, paper, short or metaqnn
    #[arg(long, default_value = "quick", value_name = "NAME")]
    preset: Preset,

    /// Images per training step [default: the preset's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Filters of each convolution in the first stage [default: the preset's]
    #[arg(long, value_name = "N")]
    width: Option<usize>,

    /// Blocks per stage, the paper's N [default: the preset's]
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,

    /// Number type of the computation: f32, or bf16 (mixed precision)
    #[arg(long, value_name = "TYPE", default_value_t)]
    precision: Precision,
}

impl NetworkArguments {
    fn open(&self) -> Result<Device, Box<dyn Error>> {
        self.device.open(self.precision)
    }

    fn experiment(&self) -> Experiment {
        let mut experiment = self.preset.experiment();
        let mut network = experiment.network();
        network.width = self.width.unwrap_or(network.width);
        network.repeats = self.repeats.unwrap_or(network.repeats);
        experiment.search.network = Some(network);
        experiment.recipe.batch_size = self.batch_size.unwrap_or(experiment.recipe.batch_size);
        experiment.recipe.precision = self.precision;
        experiment
    }
}

#[derive(Debug, clap::Args)]
struct Steps {
    #[command(flatten)]
    network: NetworkArguments,

    /// Block to train, as text
    #[arg(long, value_name = "TEXT", default_value = CELLS)]
    block: BlockCode,

    /// Existing folder for exported.py, the network as PyTorch source
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    // Before any device is opened.
    if let Some(folder) = kernel_folder() {
        keep_kernels(folder);
    }
    run(&Arguments::parse().what).unwrap_or_else(|error| {
        // There is nowhere to report that nobody reads errors.
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}

fn run(what: &What) -> Result<ExitCode, Box<dyn Error>> {
    match what {
        What::Check { device } => check(device),
        What::Parity(arguments) => parity::run(arguments),
        What::Steps(Steps { network, block, folder }) => {
            let device = network.open()?;
            let (config, recipe) = (network.experiment().network(), network.experiment().recipe);
            let graph = block.to_graph();
            let mut training = Training::new(&graph, &config, recipe.batch_size, recipe.precision, &device)?;
            training.serve(&Blueprint::new("measured", graph, config)?, folder)?;
            Ok(ExitCode::SUCCESS)
        }
        What::Memory(arguments) => memory::run(arguments),
    }
}

/// Prints a row of measurements.
fn print_row(row: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{row}")
}

/// Random blocks of the experiment's space within its cost limits, out of `draws` draws. The same purpose gives the
/// same blocks.
fn random_blocks(experiment: &Experiment, purpose: &str, draws: usize) -> impl Iterator<Item = (LayerGraph, Cost)> {
    let (memory, mut rng) = (Memory::new(1), seed::stream(0, purpose, 0));
    let network = experiment.network();
    let draw = move |_| {
        let walk = RandomAgent.propose(&experiment.space, &memory, &mut rng).ok()?;
        let graph = experiment.space.decode(&walk.actions).ok()?.to_graph();
        let cost = graph.cost(&network).ok()?;
        experiment.search.limits.check(&cost).ok()?;
        Some((graph, cost))
    };
    (0..draws).filter_map(draw)
}

fn check(name: &DeviceArgument) -> Result<ExitCode, Box<dyn Error>> {
    let device = name.open(Precision::F32)?;
    let convolution = Operation::PreActivationConvolution { kernel: 3 };
    let graph = graph([(Operation::Input, &[]), (convolution, &[0]), (Operation::Output, &[1])])?;
    let mut config = Experiment::quick().network();
    config.image = ImageShape { channels: 3, height: 16, width: 16 };
    let mut good = true;
    for precision in [Precision::F32, Precision::Bf16] {
        if precision.check(&device).is_err() {
            continue;
        }
        let measured = caught(|| {
            let mut training = Training::new(&graph, &config, 16, precision, &device)?;
            let [first, second] = [training.seconds(1)?, training.seconds(1)?];
            let loss: f32 = training.forward().map_or(f32::NAN, |(_, loss)| loss.into_scalar());
            if loss.is_finite() { Ok((first, second, loss)) } else { Err(format!("the loss is {loss}").into()) }
        });
        good &= measured.is_ok();
        let (device_name, precision) = (format!("{device:?}"), precision.name());
        print_row(&match measured {
            Ok((first, second, loss)) => json!({
                "device": device_name,
                "precision": precision,
                "first_step_seconds": first,
                "second_step_seconds": second,
                "loss_after_two_steps": loss,
                "memory": device_memory(&device),
            }),
            Err(failure) => json!({ "device": device_name, "precision": precision, "failure": failure }),
        })?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The result of `measure`, or the message of its error or panic: a device that fails in one case may pass the next.
fn caught<T>(measure: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(measure)) {
        Ok(measured) => measured.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("panic: {}", panic_message(panic.as_ref()).unwrap_or("without a message"))),
    }
}

fn graph<const N: usize>(nodes: [(Operation, &[usize]); N]) -> Result<LayerGraph, Box<dyn Error>> {
    Ok(LayerGraph::new(nodes.map(|(operation, inputs)| Node::new(operation, inputs)).into())?)
}

/// Bytes that the device holds for this process, if it reports them.
fn device_memory(device: &Device) -> Option<Value> {
    let usage = device.memory_pool_usage()?;
    Some(json!({ "in_use": usage.bytes_in_use, "reserved": usage.bytes_reserved }))
}
