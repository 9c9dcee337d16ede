//! How well the measured latency of a network repeats: ten random blocks, five measurements of each, with the spread of
//! the milliseconds and that of the ratio to the reference network. Run it on a busy machine and on an idle one.
//!
//! ```sh
//! cargo bench --bench latency
//! ```

use blockqnn::data::{Split, embedded};
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Trial};
use blockqnn::graph::{Fingerprint, ImageShape, NetworkConfig, ToGraph};
use blockqnn::network::device::default_device;
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::space::{SearchSpace, random_trajectory};
use blockqnn::train::{LATENCY_MS, LATENCY_RATIO, Recipe, TrainingEnvironment};
use std::error::Error;

const BLOCKS: u64 = 10;
const REPEATS: u64 = 5;
/// Spread of a ratio, in percent, up to which it counts as repeated.
const SPREAD: f64 = 20.0;

fn main() -> Result<(), Box<dyn Error>> {
    let image = ImageShape { channels: 1, height: 28, width: 28 };
    let network = NetworkConfig { stages: 2, repeats: 1, width: 8, ..NetworkConfig::cifar() }.with_data(image, 10);
    let split = Split::new(embedded::train().limit(100, 7)?, 40, 7)?;
    let recipe = Recipe { epochs: 1, batch_size: 32, latency: true, ..Recipe::early_stop() };
    let mut environment = TrainingEnvironment::new(&split, network, recipe, &default_device()?)?;
    let space = BlockSpace::paper().with_max_layers(6)?;
    let mut repeated = 0;
    for number in 0..BLOCKS {
        let walk = random_trajectory(&space, &mut seed::stream(11, "latency", number))?;
        let block = space.decode(&walk.actions)?;
        let (mut times, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            let Evaluation::Measured(metrics) = measure(&mut environment, &block, number)? else {
                return Err(format!("{block} is infeasible").into());
            };
            times.push(metrics.measurements[LATENCY_MS]);
            ratios.push(metrics.measurements[LATENCY_RATIO]);
        }
        let ((fastest, slowest), (low, high)) = (range(&times), range(&ratios));
        repeated += u32::from(spread(low, high) <= SPREAD);
        println!(
            "{block}: {fastest:.2} to {slowest:.2} ms (spread {:.0} %), ratio {low:.2} to {high:.2} (spread {:.0} %)",
            spread(fastest, slowest),
            spread(low, high),
        );
    }
    println!("the ratios of {repeated} of {BLOCKS} blocks have a spread of at most {SPREAD:.0} %");
    Ok(())
}

fn measure(environment: &mut TrainingEnvironment, block: &BlockCode, id: u64) -> Result<Evaluation, Box<dyn Error>> {
    let trial = Trial { id, seed: 5, fingerprint: Fingerprint::of_json(&id)?, cost: None };
    Ok(environment.evaluate(&block.to_graph(), &TrialContext::new(&trial))?)
}

fn range(values: &[f64]) -> (f64, f64) {
    (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max))
}

/// By how many percent the highest value is above the lowest.
fn spread(low: f64, high: f64) -> f64 {
    100.0 * (high / low - 1.0)
}
