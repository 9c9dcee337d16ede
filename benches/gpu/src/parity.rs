//! `parity`: a device against `flex`.

mod cases;

use super::training::{Training, random_images};
use super::{DeviceArgument, NetworkArguments, caught, print_row};
use blockqnn::network::device::parse_device;
use blockqnn::network::{Device, Precision, Tensor};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::SgdConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::tensor::Gradients;
use cases::Case;
use serde_json::{Value, json};
use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Largest deviation of logits and loss, and of gradients, of computations in single precision. On lavapipe, a Vulkan
/// device in software, it was 5e-6 and 4e-5, but where a rectifier decided otherwise.
const SINGLE: [f64; 2] = [5e-5, 2e-4];
/// Largest deviation with factors rounded to 11 bits, as with TF32, in consecutive convolutions. Weights and images that
/// were rounded so changed logits by up to 0.0016 and gradients by up to 0.19, because a rectifier decides otherwise for
/// some inputs near zero.
const ROUNDED: [f64; 2] = [1e-2, 0.3];
/// Largest deviation of whole networks in `bfloat16` from single precision: 8 bits. On `flex` it was 0.003 and 0.26.
const MIXED: [f64; 2] = [2e-2, 0.5];
/// Batches that are tried. Rounding may change which inputs a rectifier or a pool lets through: the gradients of some
/// layers then differ by more than rounding, but hardly ever in every batch.
const BATCHES: u64 = 3;
/// Steps of an optimizer from the same weights.
const STEPS: u32 = 10;
/// How many of the whole networks take them.
const STEPPED: usize = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,

    /// Number of random blocks among the whole networks
    #[arg(long, value_name = "N", default_value_t = 4)]
    random: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let devices = Devices::open(&arguments.network.device)?;
    let mut good = true;
    for case in cases::layers()? {
        good &= devices.compare(&case, Precision::F32)?;
    }
    let networks = cases::networks(&arguments.network.experiment(), arguments.random)?;
    for precision in [Precision::F32, Precision::Bf16] {
        if precision.check(&devices.measured).is_err() {
            continue;
        }
        for case in &networks {
            good &= devices.compare(case, precision)?;
        }
    }
    for case in networks.iter().take(STEPPED) {
        for optimizer in [Optimizer::Adam, Optimizer::Sgd] {
            good &= devices.compare_steps(case, optimizer)?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Logits, loss and gradients of a batch.
struct Pass {
    logits: Vec<f32>,
    loss: Vec<f32>,
    gradients: Vec<Vec<f32>>,
}

impl Pass {
    fn of(case: &Case, batch: u64, precision: Precision, device: &Device) -> Result<Self, Box<dyn Error>> {
        let mut training = Training::new(&case.graph, &case.config, case.batch, precision, device)?;
        let images = random_images(batch, training.images.dims(), &training.images.device());
        training.images = images.cast(precision.dtype());
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

/// What part of the longest tensor's length a difference is relative to, if the tensor itself is shorter.
const SHORT: f64 = 1.0 / 30.0;

/// The largest difference of the tensors, each relative to its length in `right`, but to no less than a part of the
/// longest one's. A bias before a batch normalisation has no gradient: what is computed is the rounding of a sum whose
/// terms are as large as elsewhere, and has no digits to compare.
fn deviation(left: &[Vec<f32>], right: &[Vec<f32>]) -> f64 {
    if left.len() != right.len() {
        return f64::INFINITY;
    }
    let lengths: Vec<(f64, f64)> = left.iter().zip(right).map(|(left, right)| lengths(left, right)).collect();
    let longest = lengths.iter().fold(0.0f64, |longest, (_, length)| longest.max(*length));
    let relative = lengths.into_iter().map(|(difference, length)| match length.max(longest * SHORT) {
        0.0 if difference == 0.0 => 0.0,
        length => difference / length,
    });
    // `f64::max` would pass over what is no number.
    relative.fold(0.0, |most, value| if value.is_nan() || value > most { value } else { most })
}

/// A device and what it is compared with.
struct Devices {
    measured: Device,
    reference: Device,
    /// Whether convolutions in single precision may be computed in TF32.
    rounds: bool,
}

impl Devices {
    fn open(argument: &DeviceArgument) -> Result<Self, Box<dyn Error>> {
        let (measured, reference) = (argument.open(Precision::F32)?, parse_device("flex")?);
        Ok(Self { measured, reference, rounds: argument.name.starts_with("cuda") })
    }

    /// Prints how far the device is from the reference in single precision, and returns whether that is close enough.
    fn compare(&self, case: &Case, precision: Precision) -> io::Result<bool> {
        let measured = caught(|| {
            let mut batch = 0;
            loop {
                let found = Pass::of(case, batch, precision, &self.measured)?;
                let wanted = Pass::of(case, batch, Precision::F32, &self.reference)?;
                batch += 1;
                let [logits, loss] = [(found.logits, wanted.logits), (found.loss, wanted.loss)]
                    .map(|(found, wanted)| deviation(&[found], &[wanted]));
                let gradients = deviation(&found.gradients, &wanted.gradients);
                let verdict = self.verdict(&[logits, loss], gradients, precision);
                if verdict == AGREES || batch == BATCHES {
                    let row = json!({ "logits": logits, "loss": loss, "gradients": gradients, "batches": batch });
                    return Ok((row, verdict));
                }
            }
        });
        print_case(case.name.clone(), precision, measured)
    }

    /// The same for the losses of some steps of an optimizer.
    fn compare_steps(&self, case: &Case, optimizer: Optimizer) -> io::Result<bool> {
        let measured = caught(|| {
            let found = losses(case, optimizer, &self.measured)?;
            let wanted = losses(case, optimizer, &self.reference)?;
            let loss = deviation(std::slice::from_ref(&found), std::slice::from_ref(&wanted));
            let verdict = self.verdict(&[loss], 0.0, Precision::F32);
            Ok((json!({ "loss": loss, "losses": found, "losses_of_flex": wanted }), verdict))
        });
        print_case(format!("{}, {STEPS} steps of {optimizer:?}", case.name), Precision::F32, measured)
    }

    /// Judges the deviations of logits and loss, and of gradients.
    fn verdict(&self, outputs: &[f64], gradients: f64, precision: Precision) -> &'static str {
        // What is no number is not within anything.
        let within = |[most, steepest]: [f64; 2]| outputs.iter().all(|value| *value <= most) && gradients <= steepest;
        match precision {
            Precision::F32 if within(SINGLE) => AGREES,
            Precision::F32 if self.rounds && within(ROUNDED) => "agrees as far as factors of 11 bits (TF32) can",
            Precision::F32 => DIFFERS,
            _ if within(MIXED) => AGREES,
            _ => DIFFERS,
        }
    }
}

/// The optimizers of the recipes.
#[derive(Debug, Clone, Copy)]
enum Optimizer {
    Adam,
    Sgd,
}

/// The losses of some steps.
fn losses(case: &Case, optimizer: Optimizer, device: &Device) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut training = Training::new(&case.graph, &case.config, case.batch, Precision::F32, device)?;
    if let Optimizer::Sgd = optimizer {
        let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
        let decay = WeightDecayConfig::new(1e-4);
        training.optimizer = SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(Some(decay)).init();
    }
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        let (_, loss) = training.forward().ok_or("the network is missing after a failed step")?;
        losses.push(loss);
        training.step();
    }
    Ok(losses.into_iter().map(numbers).collect::<Result<Vec<_>, _>>()?.concat())
}

const AGREES: &str = "agrees";
const DIFFERS: &str = "differs";
const FAILED: &str = "failed";

/// Prints the row of a case, and returns whether it is good.
fn print_case(name: String, precision: Precision, measured: Result<(Value, &'static str), String>) -> io::Result<bool> {
    let (mut row, verdict) = measured.unwrap_or_else(|failure| (json!({ "failure": failure }), FAILED));
    row["case"] = name.into();
    row["precision"] = precision.name().into();
    row["verdict"] = verdict.into();
    print_row(&row)?;
    Ok(![DIFFERS, FAILED].contains(&verdict))
}
