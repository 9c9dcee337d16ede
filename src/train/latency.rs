//! How long a trained network takes to classify, measured while no training of this machine computes.

use super::device_reads::{DeviceReads, device_error};
use super::{Classifier, Recipe, TrainError, Watch};
use crate::data::{BatchSource, DeviceSet};
use crate::environment::Progress;
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Name of the latency of one image, in milliseconds.
pub const LATENCY_MS: &str = "latency_ms";
/// Name of the latency of a batch as large as the recipe's, in milliseconds.
pub const LATENCY_BATCH_MS: &str = "latency_batch_ms";
/// Name of the latency of one image, divided by that of the reference network measured in turn with it.
pub const LATENCY_RATIO: &str = "latency_ratio";

/// Runs of each network before anything is measured: the first ones allocate, and choose kernels on a GPU.
const WARM_UP: usize = 5;
/// Measured runs of each network, and how many of them are enough once the time is over.
const MOST_RUNS: usize = 101;
const FEWEST_RUNS: usize = 7;
/// The time for the runs of both networks with one size of batch.
const TIME: Duration = Duration::from_secs(2);

/// Returns the latencies of a network on the device of `images`, by name: [`LATENCY_MS`], [`LATENCY_BATCH_MS`] and
/// [`LATENCY_RATIO`]. Each is the median of warm runs, from images on the device until the host has read a figure of
/// the result. Runs of `reference` are interleaved, so that both meet the machine in the same states.
pub(super) fn latencies<M: Classifier>(
    network: &M,
    reference: &M,
    images: &DeviceSet,
    recipe: &Recipe,
    reads: &dyn DeviceReads,
) -> Result<BTreeMap<String, f64>, TrainError> {
    let batch = |size: usize| {
        let indices: Vec<usize> = (0..size).map(|image| image % images.len()).collect();
        images.batch(&indices).0.cast(recipe.precision.dtype())
    };
    let single = paired([network, reference], &batch(1), reads)?;
    let whole = paired([network, reference], &batch(recipe.batch_size), reads)?;
    let milliseconds = |runs: &[[f64; 2]]| 1_000.0 * median(runs.iter().map(|[network, _]| *network));
    let ratio = median(single.iter().map(|[network, reference]| network / reference));
    let named = [(LATENCY_MS, milliseconds(&single)), (LATENCY_BATCH_MS, milliseconds(&whole)), (LATENCY_RATIO, ratio)];
    Ok(named.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Returns the seconds of runs of two networks, one after the other, on the same images.
fn paired<M: Classifier>(
    networks: [&M; 2],
    images: &Tensor<4>,
    reads: &dyn DeviceReads,
) -> Result<Vec<[f64; 2]>, TrainError> {
    let run = |network: &M| {
        let started = Instant::now();
        let figure = network.classify(images.clone()).sum();
        reads.read(vec![figure]).map_err(|error| device_error(&error))?;
        Ok::<_, TrainError>(started.elapsed().as_secs_f64())
    };
    for network in networks.iter().cycle().take(2 * WARM_UP) {
        run(network)?;
    }
    let (started, mut runs) = (Instant::now(), Vec::new());
    while runs.len() < FEWEST_RUNS || (runs.len() < MOST_RUNS && started.elapsed() < TIME) {
        runs.push([run(networks[0])?, run(networks[1])?]);
    }
    Ok(runs)
}

/// Returns the median; of an even number of values, the upper one of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A road on which the trainings of this machine drive together, and a measurement drives alone.
///
/// It consists of two files in the folder for temporary files, locked by the system: locks work between threads as
/// between processes, and those of a killed process are released. A training holds the road together with others, and
/// gives way between two batches. A measurement closes the gate first, which keeps trainings that give way from coming
/// back: otherwise it might wait for ever for a moment at which nobody drives.
pub(super) struct Road {
    gate: Lock,
    road: Lock,
}

struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    fn open(name: &str) -> Result<Self, TrainError> {
        let path = std::env::temp_dir().join(name);
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        // A file of another user can be locked as well.
        match opened.or_else(|error| File::open(&path).map_err(|_| error)) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(TrainError::Lock { path, source }),
        }
    }

    fn shared(&self) -> Result<(), TrainError> {
        self.told(self.file.lock_shared())
    }

    fn alone(&self) -> Result<(), TrainError> {
        self.told(self.file.lock())
    }

    fn free(&self) -> Result<(), TrainError> {
        self.told(self.file.unlock())
    }

    fn told(&self, result: io::Result<()>) -> Result<(), TrainError> {
        result.map_err(|source| TrainError::Lock { path: self.path.clone(), source })
    }
}

impl Road {
    /// Enters the road together with other trainings, as soon as nobody measures.
    pub(super) fn enter() -> Result<Self, TrainError> {
        let road = Self { gate: Lock::open("blockqnn-gate.lock")?, road: Lock::open("blockqnn-road.lock")? };
        road.come_back()?;
        Ok(road)
    }

    fn come_back(&self) -> Result<(), TrainError> {
        self.gate.shared()?;
        self.road.shared()?;
        self.gate.free()
    }

    /// Lets those measure who are waiting to.
    fn give_way(&self) -> Result<(), TrainError> {
        self.road.free()?;
        self.come_back()
    }

    /// Waits until all others have given way, and measures.
    pub(super) fn alone<T>(self, measure: impl FnOnce() -> Result<T, TrainError>) -> Result<T, TrainError> {
        self.road.free()?;
        self.gate.alone()?;
        self.road.alone()?;
        // The locks end with the files.
        measure()
    }
}

/// The watch of a training that gives way to measurements.
pub(super) struct Yielding<'a> {
    pub(super) watch: &'a dyn Watch,
    pub(super) road: Option<&'a Road>,
}

impl Watch for Yielding<'_> {
    fn is_cancelled(&self) -> bool {
        if let Some(Err(error)) = self.road.map(Road::give_way) {
            // The road was locked before: the next measurement reports what is wrong.
            tracing::warn!(%error, "a training does not give way to measurements of latency");
        }
        self.watch.is_cancelled()
    }

    fn should_stop(&self) -> bool {
        self.watch.should_stop()
    }

    fn report(&self, progress: Progress) {
        self.watch.report(progress);
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([5.0, 1.0, 9.0].into_iter()), 5.0);
        assert_eq!(median([4.0, 1.0, 9.0, 2.0].into_iter()), 4.0);
    }

    #[test]
    fn a_measurement_is_alone_however_many_drive() {
        let (driving, ended, measured) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let road = Road::enter().unwrap();
                    let watch = Yielding { watch: &(), road: Some(&road) };
                    while !ended.load(Ordering::SeqCst) {
                        driving.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(1));
                        driving.fetch_sub(1, Ordering::SeqCst);
                        assert!(!watch.is_cancelled());
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let others = || {
                            // Nobody drives, not even for a moment.
                            let before = driving.load(Ordering::SeqCst);
                            driving.fetch_add(100, Ordering::SeqCst);
                            thread::sleep(Duration::from_millis(5));
                            Ok((before, driving.fetch_sub(100, Ordering::SeqCst)))
                        };
                        assert_eq!(Road::enter().unwrap().alone(others).unwrap(), (0, 100));
                        measured.fetch_add(1, Ordering::SeqCst);
                    }
                    if measured.load(Ordering::SeqCst) == 10 {
                        ended.store(true, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(measured.into_inner(), 10);
    }
}
