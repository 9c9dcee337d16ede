//! `measure`: whether a device computes right, how fast, and what it keeps of memory.

mod memory;
mod parity;
mod training;

use blockqnn::experiment::{Experiment, Preset};
use blockqnn::export::Blueprint;
use blockqnn::graph::{ImageShape, LayerGraph, Node, Operation, ToGraph};
use blockqnn::network::device::parse_device;
use blockqnn::network::{Device, Precision};
use blockqnn::space::block::BlockCode;
use clap::Subcommand;
use serde_json::{Value, json};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use training::{CELLS, Training};

/// Measure a device: whether it computes right, how fast, and what it keeps of memory
///
/// Prints JSON objects, one a line, each as soon as it is measured; docs/gpu.md tells how to make tables of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Whether the device opens and a training step ends, and in which number types it computes
    Check {
        #[command(flatten)]
        device: DeviceArgument,
    },
    /// Every kind of layer and whole networks against the CPU device flex: logits, loss, gradients
    Parity(parity::Arguments),
    /// Training steps of one network: answers each line of the input, a number of steps, with the seconds that they took
    Steps(Steps),
    /// Many different random networks, one after the other: seconds, and the memory that is held after each
    Memory(memory::Arguments),
}

#[derive(Debug, clap::Args)]
struct DeviceArgument {
    /// Device to measure: flex (CPU), ndarray (CPU, slow), cuda or cuda:N, wgpu; the last three need their feature
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

/// The network around a block, and its batches.
#[derive(Debug, clap::Args)]
struct NetworkArguments {
    /// Settings to start from: quick, paper
    #[arg(long, default_value = "quick", value_name = "NAME")]
    preset: Preset,

    /// Images in a training step [default: the preset's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Filters of the convolutions in the first stage [default: the preset's]
    #[arg(long, value_name = "N")]
    width: Option<usize>,

    /// Blocks in a stage, N of the paper [default: the preset's]
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,

    /// Number type that networks compute in: f32, or bf16 (mixed)
    #[arg(long, value_name = "TYPE", default_value_t)]
    precision: Precision,
}

impl NetworkArguments {
    fn experiment(&self) -> Experiment {
        let mut experiment = self.preset.experiment();
        let network = &mut experiment.search.network;
        network.width = self.width.unwrap_or(network.width);
        network.repeats = self.repeats.unwrap_or(network.repeats);
        experiment.recipe.batch_size = self.batch_size.unwrap_or(experiment.recipe.batch_size);
        experiment.recipe.precision = self.precision;
        experiment
    }
}

#[derive(Debug, clap::Args)]
struct Steps {
    #[command(flatten)]
    device: DeviceArgument,

    #[command(flatten)]
    network: NetworkArguments,

    /// The block, as text
    #[arg(long, value_name = "TEXT", default_value = CELLS)]
    block: BlockCode,

    /// Folder for exported.py, the network as PyTorch source
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    match &arguments.what {
        What::Check { device } => check(device),
        What::Parity(arguments) => parity::run(arguments),
        What::Steps(Steps { device, network, block, folder }) => {
            let experiment = network.experiment();
            let device = device.open(network.precision)?;
            steps(&block.to_graph(), &experiment, &device, folder)
        }
        What::Memory(arguments) => memory::run(arguments),
    }
}

/// A row of what is measured.
fn tell(row: &Value) {
    println!("{row}");
}

fn check(name: &DeviceArgument) -> Result<ExitCode, Box<dyn Error>> {
    let device = name.open(Precision::F32)?;
    let convolution = Operation::PreActivationConvolution { kernel: 3 };
    let graph = graph([(Operation::Input, &[]), (convolution, &[0]), (Operation::Output, &[1])])?;
    let mut config = Experiment::quick().search.network;
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
        tell(&match measured {
            Ok((first, second, loss)) => json!({
                "device": device_name,
                "precision": precision,
                "first_step_seconds": first,
                "second_step_seconds": second,
                "loss_after_two_steps": loss,
                "memory": device_memory(&device),
            }),
            Err(failure) => json!({ "device": device_name, "precision": precision, "failure": failure }),
        });
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `measure` gives, or the message of its error or panic: a device that fails in one thing may do the next.
fn caught<T>(measure: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(measure)) {
        Ok(measured) => measured.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("panic: {}", text.unwrap_or("without a message")))
        }
    }
}

fn steps(
    graph: &LayerGraph,
    experiment: &Experiment,
    device: &Device,
    folder: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    let (config, recipe) = (&experiment.search.network, &experiment.recipe);
    let mut training = Training::new(graph, config, recipe.batch_size, recipe.precision, device)?;
    training.serve(&Blueprint::new("measured", graph.clone(), config.clone())?, folder)?;
    Ok(ExitCode::SUCCESS)
}

fn graph<const N: usize>(nodes: [(Operation, &[usize]); N]) -> Result<LayerGraph, Box<dyn Error>> {
    Ok(LayerGraph::new(nodes.map(|(operation, inputs)| Node::new(operation, inputs)).into())?)
}

/// Bytes that the device holds for this process, if it tells.
fn device_memory(device: &Device) -> Option<Value> {
    let usage = device.memory_pool_usage()?;
    Some(json!({ "in_use": usage.bytes_in_use, "reserved": usage.bytes_reserved }))
}
