//! How long a search takes on this machine, from a few random blocks that are trained for a moment.

use super::Arguments;
use super::evaluator::{in_threads, workers};
use crate::args::workers_of;
use blockqnn::agent::RandomAgent;
use blockqnn::data::{DataError, ImageSet};
use blockqnn::experiment::Experiment;
use blockqnn::network::Device;
use blockqnn::search::{Search, SearchConfig};
use blockqnn::train::{Recipe, Restarts, TrainingEnvironment};
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

/// Blocks for each worker. Their training times differ by about a half, so the mean of 16 has an error of an eighth.
const BLOCKS_OF_A_WORKER: usize = 8;
/// Images of the first try; each further one has four times as many.
const FEWEST_IMAGES: usize = 8;
/// A try that takes as long as this is the last one.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// The speed of a search.
pub(super) struct Speed {
    /// Images that pass forward and backward in a second, in all workers together, with the measurements of accuracy.
    images_per_second: f64,
    blocks: usize,
    images: usize,
    workers: usize,
}

impl Speed {
    /// Measures it with images of noise, without reading data. `images` is the number of training images of the search.
    pub(super) fn measure(
        arguments: &Arguments,
        experiment: &Experiment,
        images: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let devices = arguments.devices.open()?;
        let workers = workers(arguments, &devices, experiment);
        let mut few = FEWEST_IMAGES.min(images);
        loop {
            let held_out = (experiment.data.validation * few).div_ceil(images);
            let started = Instant::now();
            let blocks = train(experiment, &devices, workers, (few, held_out))?;
            let elapsed = started.elapsed();
            if blocks == 0 {
                return Err("none of the random blocks could be trained".into());
            }
            if elapsed >= LONG_ENOUGH || few == images {
                let images_per_second = (blocks * few) as f64 / elapsed.as_secs_f64();
                return Ok(Self { images_per_second, blocks, images: few, workers });
            }
            few = images.min(4 * few);
        }
    }

    /// Seconds for a number of images that pass forward and backward.
    pub(super) fn seconds(&self, passes: u64) -> f64 {
        passes as f64 / self.images_per_second
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images_per_second, blocks, images, workers } = self;
        let plural = if *workers == 1 { "" } else { "s" };
        write!(
            f,
            "{images_per_second:.0} image passes per second with {workers} worker{plural}, measured with {blocks} random \
             blocks on {images} images each"
        )
    }
}

/// Trains random blocks for one epoch, and returns how many were trained.
fn train(
    experiment: &Experiment,
    devices: &[(String, Device)],
    workers: usize,
    (images, held_out): (usize, usize),
) -> Result<usize, Box<dyn Error>> {
    let network = experiment.network();
    let (training, validation) = (noise(experiment, images)?, noise(experiment, held_out)?);
    // Noise is hardly learned, which is no reason to begin again.
    let restarts = Restarts { max: 0, ..experiment.recipe.restarts };
    let recipe = Recipe { restarts, ..experiment.recipe.clone().scaled_to(1) };
    let environments = workers_of(devices, workers, |device| {
        TrainingEnvironment::with_parts(&training, &validation, network.clone(), recipe.clone(), device)
    })?;
    let trials = (BLOCKS_OF_A_WORKER * workers) as u64;
    let config = SearchConfig::new(trials).with_minibatch(trials).with_network(network);
    let config = SearchConfig { limits: experiment.search.limits, ..config };
    let evaluator = in_threads(environments, workers, None)?;
    let report = Search::with_evaluator(experiment.space.clone(), RandomAgent, evaluator, config).run()?;
    Ok(report.records.iter().filter(|record| record.evaluation.metrics().is_some()).count())
}

/// Images of noise in the shape that the networks are for.
fn noise(experiment: &Experiment, images: usize) -> Result<ImageSet, DataError> {
    let network = experiment.network();
    let pixels = images * network.image.bytes().unwrap_or_default();
    let pixels = (0..pixels as u64).map(|pixel| (pixel.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let labels = (0..=u16::MAX).take(network.classes).cycle().take(images).collect();
    ImageSet::new("noise", network.image, (0..network.classes).map(|class| class.to_string()), labels, pixels)
}
