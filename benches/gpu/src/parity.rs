//! `parity`: a device against `flex`.

use super::training::{CELLS, Training};
use super::{NetworkArguments, caught, graph, print_row, random_blocks};
use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig, Operation, Reduction, StemConfig, ToGraph};
use blockqnn::network::device::parse_device;
use blockqnn::network::{Device, Precision, Tensor};
use blockqnn::space::block::BlockCode;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Gradients;
use serde_json::{Value, json};
use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Largest deviation of logits and loss, and of gradients, of computations in single precision.
const SINGLE: [f64; 2] = [1e-3, 1e-3];
/// Largest deviation with factors rounded to 11 bits, as with TF32, in consecutive convolutions.
const ROUNDED: [f64; 2] = [5e-2, 5e-2];
/// Largest deviation of whole networks in `bfloat16` from single precision: 8 bits, and rectifiers that decide
/// differently.
const MIXED: [f64; 2] = [0.1, 0.5];
/// Draws of random blocks, many of which may exceed the cost limits.
const DRAWS: usize = 200;
/// Steps of Adam from the same weights.
const STEPS: u32 = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,

    /// Number of random blocks among the whole networks
    #[arg(long, value_name = "N", default_value_t = 4)]
    random: usize,
}

/// A network and its batch size.
struct Case {
    name: String,
    graph: LayerGraph,
    config: NetworkConfig,
    batch: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let device = arguments.network.device.open(Precision::F32)?;
    let reference = parse_device("flex")?;
    let mut good = true;
    for case in layers()? {
        good &= compare(&case, Precision::F32, &device, &reference)?;
    }
    let networks = networks(arguments)?;
    for precision in [Precision::F32, Precision::Bf16] {
        if precision.check(&device).is_err() {
            continue;
        }
        for case in &networks {
            good &= compare(case, precision, &device, &reference)?;
        }
    }
    if let Some(case) = networks.first() {
        good &= steps(case, &device, &reference)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Layers of block codes that are tried alone.
#[rustfmt::skip]
const LAYERS: [&str; 19] = [
    "conv1", "conv3", "conv5", "plainconv1", "plainconv3", "plainconv5", "g4conv3", "dw3", "dilconv3", "expand6", "sep5",
    "dilsep3", "pair7", "mb3e6se", "se", "max3", "avg3", "id", "relu",
];

/// Blocks of layers that need others. Behind normalisation stands a rectifier: otherwise the head's normalisation undoes
/// it and leaves it no gradient. One addition has a projection.
const JOINED: [&str; 4] = [
    "bn(0) relu(1) terminal(2)",
    "conv1(0) conv3(0) add(1,2) terminal(3)",
    "conv1(0) conv3(0) concat(1,2) add(1,3) terminal(4)",
    "conv1(0) concat(0,1) terminal(2)",
];

/// Every kind of layer, alone between stem and head, in sizes that fit the tiles of kernels and in sizes that do not;
/// then blocks of one and of two inputs in stages with reductions by convolution between them.
fn layers() -> Result<Vec<Case>, Box<dyn Error>> {
    use Operation::{Add, AveragePool, Input, MaxPool, Output, Relu6, Zero};
    let one = |operation| graph([(Input, &[]), (operation, &[0]), (Output, &[1])]);
    let mut kinds = vec![
        ("stem and head".to_owned(), graph([(Input, &[]), (Output, &[0])])?),
        ("zero".to_owned(), graph([(Input, &[]), (Zero, &[0]), (Add, &[0, 1]), (Output, &[2])])?),
        ("relu6".to_owned(), one(Relu6)?),
        ("max pool 5x5".to_owned(), one(MaxPool { kernel: 5 })?),
        ("average pool 5x5".to_owned(), one(AveragePool { kernel: 5 })?),
    ];
    for name in LayerGraph::NAMES {
        kinds.push((name.to_owned(), LayerGraph::named(name)?));
    }
    let single = LAYERS.map(|layer| format!("{layer}(0) terminal(1)"));
    for code in single.into_iter().chain(JOINED.map(str::to_owned)) {
        let graph = code.parse::<BlockCode>()?.to_graph();
        kinds.push((code, graph));
    }
    let config = |height, width, filters| NetworkConfig {
        image: ImageShape { channels: 3, height, width },
        classes: 10,
        stages: 1,
        repeats: 1,
        width: filters,
        ..NetworkConfig::cifar()
    };
    let sizes = [("even", config(16, 16, 32), 16), ("odd", config(9, 7, 5), 6)];
    let alone = kinds.into_iter().flat_map(|(kind, graph)| {
        sizes.clone().map(|(size, config, batch)| Case {
            name: format!("{kind}, {size} sizes"),
            graph: graph.clone(),
            config,
            batch,
        })
    });
    let mut cases: Vec<Case> = alone.collect();
    let stem = StemConfig { multiplier: 3, normalised: true, ..StemConfig::default() };
    let strided = NetworkConfig { stages: 3, stem, reduction: Reduction::Convolution, ..config(9, 7, 5) };
    for name in ["resnet-basic", "darts-v2"] {
        let graph = LayerGraph::named(name)?;
        cases.push(Case {
            name: format!("{name}, reductions by convolution"),
            graph,
            config: strided.clone(),
            batch: 6,
        });
    }
    Ok(cases)
}

fn networks(arguments: &Arguments) -> Result<Vec<Case>, Box<dyn Error>> {
    let experiment = arguments.network.experiment();
    let case =
        |name: String, graph| Case { name, graph, config: experiment.network(), batch: experiment.recipe.batch_size };
    let mut cases = vec![case("whole network".to_owned(), CELLS.parse::<BlockCode>()?.to_graph())];
    let random = random_blocks(&experiment, "parity", DRAWS).take(arguments.random);
    cases.extend((1..).zip(random).map(|(number, (graph, _))| case(format!("random network {number}"), graph)));
    Ok(cases)
}

/// Logits, loss and gradients of a batch.
struct Pass {
    logits: Vec<f32>,
    loss: Vec<f32>,
    gradients: Vec<Vec<f32>>,
}

impl Pass {
    fn of(case: &Case, precision: Precision, device: &Device) -> Result<Self, Box<dyn Error>> {
        let training = Training::new(&case.graph, &case.config, case.batch, precision, device)?;
        let (logits, loss) = training.forward().ok_or("the network is missing after a failed step")?;
        let gradients = loss.backward();
        let mut visitor = Visitor { gradients: &gradients, values: Vec::new() };
        training.network.as_ref().ok_or("the network is missing after a failed step")?.visit(&mut visitor);
        let gradients = visitor.values.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { logits: numbers(logits)?, loss: numbers(loss)?, gradients })
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, String> {
    tensor.try_into_vec_as::<f32>().map_err(|error| error.to_string())
}

/// Gathers the gradients of all parameters that have one.
struct Visitor<'a> {
    gradients: &'a Gradients,
    values: Vec<Result<Vec<f32>, String>>,
}

impl ModuleVisitor for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let gradient = value.is_require_grad().then(|| value.grad(self.gradients)).flatten();
        self.values.extend(gradient.map(numbers));
    }
}

/// Length of the difference, and of `right`, as vectors.
fn lengths(left: &[f32], right: &[f32]) -> (f64, f64) {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = length(&mut left.iter().zip(right).map(|(left, right)| f64::from(*left) - f64::from(*right)));
    // Vectors that do not match have nothing in common.
    let difference = if left.len() == right.len() { difference } else { f64::INFINITY };
    (difference, length(&mut right.iter().copied().map(f64::from)))
}

/// The largest difference of the tensors, each relative to its length in `right`, but to no less than a thousandth of
/// the longest one's: what is nothing but rounding has no digits to compare.
fn deviation(left: &[Vec<f32>], right: &[Vec<f32>]) -> f64 {
    if left.len() != right.len() {
        return f64::INFINITY;
    }
    let lengths: Vec<(f64, f64)> = left.iter().zip(right).map(|(left, right)| lengths(left, right)).collect();
    let longest = lengths.iter().fold(0.0f64, |longest, (_, length)| longest.max(*length));
    let relative = lengths.into_iter().map(|(difference, length)| match length.max(longest / 1e3) {
        0.0 if difference == 0.0 => 0.0,
        length => difference / length,
    });
    // `f64::max` would pass over what is no number.
    relative.fold(0.0, |most, value| if value.is_nan() || value > most { value } else { most })
}

/// Prints how far the device is from the reference in single precision, and returns whether that is close enough.
fn compare(case: &Case, precision: Precision, device: &Device, reference: &Device) -> io::Result<bool> {
    let measured = caught(|| {
        let (found, wanted) = (Pass::of(case, precision, device)?, Pass::of(case, Precision::F32, reference)?);
        let [logits, loss] = [(found.logits, wanted.logits), (found.loss, wanted.loss)]
            .map(|(found, wanted)| deviation(&[found], &[wanted]));
        let gradients = deviation(&found.gradients, &wanted.gradients);
        let verdict = verdict(&[logits, loss], gradients, precision);
        Ok((json!({ "logits": logits, "loss": loss, "gradients": gradients }), verdict))
    });
    print_case(case.name.clone(), precision, measured)
}

/// Prints the row of a case, and returns whether it is good.
fn print_case(name: String, precision: Precision, measured: Result<(Value, &'static str), String>) -> io::Result<bool> {
    let (mut row, verdict) = measured.unwrap_or_else(|failure| (json!({ "failure": failure }), FAILED));
    row["case"] = name.into();
    row["precision"] = precision.name().into();
    row["verdict"] = verdict.into();
    print_row(&row)?;
    Ok(![DIFFERS, FAILED].contains(&verdict))
}

/// The same for the losses of some steps of Adam.
fn steps(case: &Case, device: &Device, reference: &Device) -> io::Result<bool> {
    let losses = |device: &Device| -> Result<Vec<f32>, Box<dyn Error>> {
        let mut training = Training::new(&case.graph, &case.config, case.batch, Precision::F32, device)?;
        let mut losses = Vec::new();
        for _ in 0..STEPS {
            let (_, loss) = training.forward().ok_or("the network is missing after a failed step")?;
            losses.push(loss);
            training.step();
        }
        Ok(losses.into_iter().map(numbers).collect::<Result<Vec<_>, _>>()?.concat())
    };
    let measured = caught(|| {
        let (found, wanted) = (losses(device)?, losses(reference)?);
        let loss = deviation(std::slice::from_ref(&found), std::slice::from_ref(&wanted));
        // Differences grow from step to step: the limit is that of mixed precision.
        let verdict = verdict(&[loss], 0.0, Precision::Bf16);
        Ok((json!({ "loss": loss, "losses": found, "losses_of_flex": wanted }), verdict))
    });
    print_case(format!("{}, {STEPS} steps of Adam", case.name), Precision::F32, measured)
}

const DIFFERS: &str = "differs";
const FAILED: &str = "failed";

fn verdict(values: &[f64], gradients: f64, precision: Precision) -> &'static str {
    let within = |[most, steepest]: [f64; 2]| values.iter().all(|value| *value <= most) && gradients <= steepest;
    match precision {
        Precision::F32 if within(SINGLE) => "agrees",
        Precision::F32 if within(ROUNDED) => "agrees as far as factors of 11 bits (TF32) can",
        Precision::F32 => DIFFERS,
        _ if within(MIXED) => "agrees",
        _ => DIFFERS,
    }
}
