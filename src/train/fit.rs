//! The training loop.

use super::checkpoint::{self, Checkpoints, Snapshot, Task};
use super::device_reads::{DeviceReads, Direct, device_error};
use super::drop_path::Drops;
use super::optimizer::new_optimizer;
use super::parameters::{numbered, values, with_values};
use super::{Classifier, DropPaths, Epoch, Outcome, Recipe, TrainError, Trained, Watch};
use crate::data::{BatchSource, Batches};
use crate::environment::Progress;
use crate::evaluation::{Infeasibility, Metrics};
use crate::network::KeptBuffers;
use crate::seed;
use crate::setting::InvalidSetting;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;
use std::num::NonZeroUsize;
use std::time::Instant;

/// A training: its recipe and images, what watches it and where it is kept.
///
/// ```
/// use blockqnn::data::{DeviceSet, Split, embedded};
/// use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig, Node, Operation};
/// use blockqnn::network::{Network, device::default_device};
/// use blockqnn::train::{Recipe, Training};
///
/// # #[cfg(not(feature = "flex"))]
/// # return Ok(());
/// let split = Split::new(embedded::train().limit(60, 7)?, 20, 7)?;
/// let device = default_device()?;
/// let statistics = split.training().channel_statistics();
/// let images = DeviceSet::new(split.training(), &statistics, &device)?;
/// let validation = DeviceSet::new(split.validation(), &statistics, &device)?;
///
/// let block = LayerGraph::new(vec![Node::new(Operation::Input, []), Node::new(Operation::Output, [0])])?;
/// let config = NetworkConfig::cifar().with_data(ImageShape { channels: 1, height: 28, width: 28 }, 10);
/// let config = NetworkConfig { width: 2, repeats: 1, ..config };
/// let recipe = Recipe { epochs: 2, batch_size: 8, ..Recipe::early_stop() };
/// let outcome = Training::new(&recipe, &images, &validation, 7)
///     .fit(|rng, device| Ok(Network::new(&block, &config, rng, device)?))?;
/// let trained = outcome.trained().ok_or("no result")?;
/// println!("{} % after {} epochs", trained.metrics.value, trained.epochs.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Training<'a> {
    recipe: &'a Recipe,
    images: &'a dyn BatchSource,
    validation: &'a dyn BatchSource,
    seed: u64,
    /// After how many epochs it ends, if not after all.
    epochs: Option<u32>,
    watch: &'a dyn Watch,
    checkpoints: Option<&'a Checkpoints>,
    reads: &'a dyn DeviceReads,
}

impl std::fmt::Debug for Training<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { recipe, seed, checkpoints, .. } = self;
        let mut text = formatter.debug_struct("Training");
        text.field("recipe", recipe).field("seed", seed).field("checkpoints", checkpoints).finish_non_exhaustive()
    }
}

impl<'a> Training<'a> {
    /// Creates a training on `images`, measured on the images of `validation`. Nothing watches it, and it is not kept
    /// in files.
    #[must_use]
    pub fn new(recipe: &'a Recipe, images: &'a dyn BatchSource, validation: &'a dyn BatchSource, seed: u64) -> Self {
        Self { recipe, images, validation, seed, epochs: None, watch: &(), checkpoints: None, reads: &Direct }
    }

    /// Ends the training after the first `epochs` of the recipe's epochs, if there are more, and measures the network
    /// there. This is the beginning of the whole training, learning rates and restarts included. With checkpoints, one
    /// is written at the end, from which the same training for more epochs continues; without it, that training starts
    /// again and has the same result.
    #[must_use]
    pub fn with_epochs(self, epochs: impl Into<Option<u32>>) -> Self {
        Self { epochs: epochs.into(), ..self }
    }

    /// Reports progress to `watch`, which may stop the training.
    #[must_use]
    pub fn with_watch(self, watch: &'a dyn Watch) -> Self {
        Self { watch, ..self }
    }

    /// Keeps the training in files, so that the same call continues it after it was cancelled or killed.
    ///
    /// A checkpoint is written as often as `checkpoints` says, and at any batch when the training is cancelled. On the
    /// CPU devices a training that was stopped and resumed ends with the same weights, bit for bit, as one that was
    /// not. The log `epochs.csv` is written after every epoch. The checkpoint is kept when the training has ended;
    /// [`Checkpoints::delete`] deletes it.
    #[must_use]
    pub fn with_checkpoints(self, checkpoints: impl Into<Option<&'a Checkpoints>>) -> Self {
        Self { checkpoints: checkpoints.into(), ..self }
    }

    /// Reads results from the device through `reads`.
    pub(super) fn with_reads(self, reads: &'a dyn DeviceReads) -> Self {
        Self { reads, ..self }
    }

    /// Trains the networks that `build` creates until an attempt counts, and measures that on the validation images.
    ///
    /// An attempt is a network with new weights, a new optimizer and all epochs of the recipe. It is given up, and the
    /// next one starts with a lower learning rate ([`Recipe::learning_rate_at`]), if
    /// - its validation accuracy after the first epoch is not above that of a random predictor, 1 / classes; or
    /// - the loss of the training images, or of the validation images where they are evaluated, is not a finite number
    ///   after any epoch.
    ///
    /// When no restarts are left, the first condition no longer ends the attempt, whose result counts; the second ends
    /// it with [`Infeasibility::Diverged`]. (The paper restarts for the first reason only, and does not say what
    /// happens when no restarts are left.)
    ///
    /// # Randomness
    /// `build` is given the stream `(seed, "weights", restart)`. The images of epoch `e` are shuffled by the stream
    /// `(seed, "epoch", restart * 2^32 + e)` and augmented, one after the other in that order, by the stream `(seed,
    /// "augment", restart * 2^32 + e)`; all numbers count from 0. The paths that drop-path drops in batch `b` come from
    /// the stream `(d, "drop", b)`, where `d` is the first number of `(seed, "drops", restart * 2^32 + e)`. A [`PictureStream`](crate::data::PictureStream) crops
    /// by separate streams for each epoch and image. Nothing else is random: on the CPU devices the same arguments give
    /// the same bits, whatever else the process does.
    ///
    /// # Cost
    /// The validation images are evaluated after the last epoch, after the first epoch of an attempt that may still be
    /// given up, as often as the recipe's `measure_every` says, and when the training is to end early. The host waits
    /// for the device once per epoch, to read the loss and, if they were evaluated, the results on the validation
    /// images.
    ///
    /// # Errors
    /// [`TrainError`] if the recipe is not valid or drops paths of a module that does not know its own
    /// ([`Classifier::paths`]), the two sets do not fit each other, or `build` or the device fails.
    /// With checkpoints, [`TrainError::Write`] if a checkpoint or the log cannot be written, [`TrainError::Read`] if a
    /// checkpoint cannot be read, and [`TrainError::Checkpoint`] if it is damaged or belongs to another training.
    ///
    /// # Panics
    /// Panics if a network's logits are not `[images, classes]`.
    pub fn fit<M: Classifier>(
        self,
        mut build: impl FnMut(&mut dyn Rng, &Device) -> Result<M, TrainError>,
    ) -> Result<Outcome<M>, TrainError> {
        let Self { recipe, images, validation, seed, checkpoints, .. } = self;
        let _kept = KeptBuffers;
        recipe.validate()?;
        super::check_parts(images, validation)?;
        let device = images.device().clone().autodiff();
        recipe.precision.check(&device)?;
        let task = Task {
            recipe: recipe.clone(),
            seed,
            training_images: images.len(),
            validation_images: validation.len(),
            classes: images.classes(),
        };
        let end = self.epochs.map_or(recipe.epochs, |epochs| epochs.clamp(1, recipe.epochs));
        let snapshot = match checkpoints {
            Some(checkpoints) => Snapshot::read(checkpoints, &task, &device.clone().without_autodiff())?,
            None => None,
        };
        // What is beyond the end cannot be taken back.
        let mut snapshot = snapshot.filter(|snapshot| snapshot.progress.is_within(end));
        #[expect(clippy::cast_possible_truncation, reason = "losses are computed in single precision")]
        let smoothing = (recipe.label_smoothing > 0.0).then_some(recipe.label_smoothing as f32);
        let session = Session {
            of: self,
            end,
            // `validate` has checked that the batch size is not 0.
            batch_size: NonZeroUsize::new(recipe.batch_size).unwrap_or(NonZeroUsize::MIN),
            seconds_before: snapshot.as_ref().map_or(0.0, |snapshot| snapshot.progress.seconds),
            started: Instant::now(),
            training_loss: CrossEntropyLossConfig::new().with_smoothing(smoothing).init(&device),
            loss: CrossEntropyLossConfig::new().init(&device),
            task,
        };
        let mut restarts = snapshot.as_ref().map_or(0, |snapshot| snapshot.progress.restarts);
        loop {
            let network = numbered(build(&mut seed::stream(seed, "weights", restarts.into()), &device)?);
            let can_drop = recipe.drop_path == 0.0 || network.paths().is_some();
            let expected = "0 for a module that does not say what its paths are (Classifier::paths)";
            InvalidSetting::check("recipe.drop_path", recipe.drop_path, can_drop, expected)?;
            let attempt = session.begin(network, restarts, snapshot.take())?;
            let ends = |reason: &Infeasibility| {
                !matches!(reason, Infeasibility::Diverged { .. }) || !session.may_restart(restarts)
            };
            let stop = match session.attempt(attempt) {
                Ok(trained) => return Ok(Outcome::Trained(trained)),
                Err(Stop::Infeasible(reason)) if ends(&reason) => return Ok(Outcome::Infeasible(reason)),
                Err(Stop::Cancelled) => return Ok(Outcome::Cancelled),
                Err(Stop::Failed(error)) => return Err(error),
                Err(stop) => stop,
            };
            tracing::debug!(restarts, ?stop, "restarting the training with a lower learning rate");
            restarts += 1;
        }
    }
}

/// Why an attempt ended early.
#[derive(Debug)]
enum Stop {
    NoBetterThanChance,
    Infeasible(Infeasibility),
    Cancelled,
    Failed(TrainError),
}

impl From<TrainError> for Stop {
    fn from(error: TrainError) -> Self {
        Self::Failed(error)
    }
}

/// The parts that all attempts share.
struct Session<'a> {
    of: Training<'a>,
    /// After how many epochs it ends.
    end: u32,
    batch_size: NonZeroUsize,
    /// Seconds of earlier calls.
    seconds_before: f64,
    started: Instant,
    /// The loss, with label smoothing if the recipe has it.
    training_loss: CrossEntropyLoss,
    loss: CrossEntropyLoss,
    task: Task,
}

/// A training between two batches.
struct Attempt<M> {
    network: M,
    optimizer: ModuleOptimizer,
    /// The running mean of the network's weights, if the recipe has one.
    average: Option<Vec<Tensor<1>>>,
    /// The mean loss of the current epoch so far, as a tensor that may not be computed yet.
    loss: Tensor<1>,
    progress: checkpoint::Progress,
}

/// The figures of the validation images that were read from the device.
struct Score {
    loss: f64,
    correct: usize,
}

impl Session<'_> {
    fn may_restart(&self, restarts: u32) -> bool {
        restarts < self.of.recipe.restarts.max
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Begins an attempt, or continues one from a checkpoint.
    fn begin<M: Classifier>(
        &self,
        network: M,
        restarts: u32,
        snapshot: Option<Snapshot>,
    ) -> Result<Attempt<M>, TrainError> {
        let optimizer = new_optimizer(self.of.recipe.optimizer);
        if let (Some(snapshot), Some(checkpoints)) = (snapshot, self.of.checkpoints) {
            let path = checkpoint::path(checkpoints);
            let optimizer = snapshot.unpack(optimizer, &path)?;
            let Snapshot { mut progress, values, average, loss, .. } = snapshot;
            self.forget_earlier_end(&mut progress);
            for (epoch, accuracy) in curve(&progress.epochs) {
                self.report_accuracy(epoch, restarts, accuracy);
            }
            let network = with_values(network, values)
                .map_err(|error| TrainError::Checkpoint { path, message: error.to_string() })?;
            return Ok(Attempt { network, optimizer, average, loss, progress });
        }
        let average = self.of.recipe.weight_averaging.map(|_| values(&network));
        let progress = checkpoint::Progress { restarts, ..checkpoint::Progress::default() };
        Ok(Attempt { network, optimizer, average, loss: self.zero(), progress })
    }

    /// Whether the validation images are evaluated after an epoch of an attempt that does not end there.
    fn is_measured(&self, epoch: u32, restarts: u32) -> bool {
        let is_on_probation = epoch == 1 && self.may_restart(restarts);
        is_on_probation || self.of.recipe.measure_every.is_some_and(|every| epoch.is_multiple_of(every))
    }

    /// Removes the accuracy at the end of a shorter training, so that the result is that of one that was not continued.
    fn forget_earlier_end(&self, progress: &mut checkpoint::Progress) {
        for (number, epoch) in (1..).zip(&mut progress.epochs) {
            if number != self.end && !self.is_measured(number, progress.restarts) {
                epoch.accuracy = None;
            }
        }
    }

    /// Measures a training that ended before and was continued only now, for no epoch.
    fn measure_again<M: Classifier>(&self, mut attempt: Attempt<M>) -> Result<Trained<M>, Stop> {
        let network = Self::measured_network(&attempt)?;
        let [loss, correct] = self.evaluate(&network, &attempt.progress)?;
        let (_, score) = read(self.of.reads, vec![loss.clone(), loss, correct])?;
        let accuracy = self.accuracy(score.map_or(0, |score| score.correct));
        let training_loss = attempt.progress.epochs.last_mut().map_or(0.0, |epoch| {
            epoch.accuracy = Some(accuracy);
            epoch.training_loss
        });
        let metrics = self.metrics(&attempt.progress, training_loss, accuracy);
        Ok(Trained { network, metrics, epochs: attempt.progress.epochs })
    }

    /// The network whose accuracy is measured.
    fn measured_network<M: Classifier>(attempt: &Attempt<M>) -> Result<M, TrainError> {
        match &attempt.average {
            Some(average) => with_values(attempt.network.valid(), average.clone()),
            None => Ok(attempt.network.valid()),
        }
    }

    fn zero(&self) -> Tensor<1> {
        Tensor::zeros([1], self.of.images.device())
    }

    /// Runs the remaining epochs.
    fn attempt<M: Classifier>(&self, mut attempt: Attempt<M>) -> Result<Trained<M>, Stop> {
        if attempt.progress.epoch == self.end {
            return self.measure_again(attempt);
        }
        loop {
            let stop;
            (attempt, stop) = self.train(attempt);
            if let Some(stop) = stop {
                return Err(self.stopped(&attempt, stop));
            }
            let (epoch, restarts) = (attempt.progress.epoch + 1, attempt.progress.restarts);
            let last = epoch == self.end;
            let probation = epoch == 1 && self.may_restart(restarts);
            // An accuracy decides below, once it is known.
            let asked = !last && self.of.watch.should_stop();
            let mut figures = vec![attempt.loss.clone()];
            let mut evaluated = None;
            if last || asked || self.is_measured(epoch, restarts) {
                let network = Self::measured_network(&attempt)?;
                match self.evaluate(&network, &attempt.progress) {
                    Ok(validation) => figures.extend(validation),
                    Err(stop) => return Err(self.stopped(&attempt, stop)),
                }
                evaluated = Some(network);
            }
            let (training_loss, validation) = read(self.of.reads, figures)?;
            if !training_loss.is_finite() || validation.as_ref().is_some_and(|score| !score.loss.is_finite()) {
                return Err(Stop::Infeasible(Infeasibility::Diverged { epoch, restarts }));
            }
            let accuracy = validation.as_ref().map(|score| self.accuracy(score.correct));
            let learning_rate = self.of.recipe.learning_rate_at(epoch - 1, restarts);
            let progress = &mut attempt.progress;
            progress.epochs.push(Epoch { learning_rate, training_loss, accuracy, seconds: self.seconds() });
            (progress.epoch, progress.batch, attempt.loss) = (epoch, 0, self.zero());
            let log = |checkpoints| checkpoint::log(checkpoints, &progress.epochs, self.of.images.len());
            let logged = self.of.checkpoints.map_or(Ok(()), log);
            if let Some((score, network)) = validation.zip(evaluated) {
                self.report_accuracy(epoch, restarts, self.accuracy(score.correct));
                if probation && !self.beats_chance(score.correct) {
                    return Err(Stop::NoBetterThanChance);
                }
                let stopped = !last && self.of.watch.should_stop();
                if last || stopped {
                    // The network is more valuable than the last line of its log.
                    if let Err(error) = logged {
                        tracing::warn!(%error, "the log of the training is not complete");
                    }
                    let metrics = self.metrics(&attempt.progress, training_loss, self.accuracy(score.correct));
                    let metrics = Metrics { stopped, ..metrics };
                    if self.end < self.of.recipe.epochs && !stopped {
                        attempt.progress.seconds_of_earlier_ends = self.seconds();
                        self.save(&attempt)?;
                    }
                    return Ok(Trained { network, metrics, epochs: attempt.progress.epochs });
                }
            }
            if self.of.checkpoints.is_some_and(|checkpoints| checkpoints.is_due(epoch)) {
                self.save(&attempt)?;
            }
            // Only after the checkpoint, which is more valuable.
            logged?;
        }
    }

    /// The metrics after the last epoch of an attempt.
    fn metrics(&self, progress: &checkpoint::Progress, training_loss: f64, accuracy: f64) -> Metrics {
        Metrics {
            training_loss: Some(training_loss),
            epochs: progress.epoch,
            restarts: progress.restarts,
            seconds: self.seconds() - progress.seconds_of_earlier_ends,
            curve: curve(&progress.epochs),
            ..Metrics::from_accuracy(accuracy)
        }
    }

    /// Runs the remaining batches of an epoch. Returns why it stopped early, if it did.
    fn train<M: Classifier>(&self, attempt: Attempt<M>) -> (Attempt<M>, Option<Stop>) {
        let Attempt { mut network, mut optimizer, mut average, mut loss, mut progress } = attempt;
        let checkpoint::Progress { restarts, epoch, batch, .. } = progress;
        let learning_rate = self.of.recipe.learning_rate_at(epoch, restarts);
        let stream = u64::from(restarts) << 32 | u64::from(epoch);
        let batches = Batches::shuffled(self.of.images.len(), self.batch_size, self.of.seed, stream);
        let mut source =
            self.of.images.training_batches(&batches, batch, &self.of.recipe.augmentation, self.of.seed, stream);
        let paths = network.paths().map_or(0, DropPaths::path_count);
        let drops = Drops::of_epoch(self.of.recipe, paths, self.of.seed, restarts, epoch);
        let mut stop = None;
        let mut done = batch * self.batch_size.get();
        for indices in batches.iter().skip(batch) {
            stop = self.check().err();
            if stop.is_some() {
                break;
            }
            let (images, labels) = match source.next() {
                Some(Ok(batch)) => batch,
                // A source has as many batches as the order.
                None => break,
                Some(Err(error)) => {
                    stop = Some(Stop::Failed(error.into()));
                    break;
                }
            };
            let images = images.cast(self.of.recipe.precision.dtype());
            let logits = self.classify(&network, images, drops.as_ref(), progress.batch);
            let mean = self.training_loss.forward(logits, labels.autodiff());
            let gradients = GradientsParams::from_grads(mean.backward(), &network);
            network = optimizer.step(learning_rate, network, gradients);
            if let (Some(average), Some(decay)) = (&mut average, self.of.recipe.weight_averaging) {
                *average = average
                    .drain(..)
                    .zip(values(&network))
                    .map(|(mean, value)| mean.mul_scalar(decay) + value.mul_scalar(1.0 - decay))
                    .collect();
            }
            loss = loss + mean.inner().mul_scalar(share(indices.len(), self.of.images));
            done += indices.len();
            progress.batch += 1;
            self.report(&progress, share(done, self.of.images));
        }
        (Attempt { network, optimizer, average, loss, progress }, stop)
    }

    /// Returns the logits of a batch in training.
    fn classify<M: Classifier>(
        &self,
        network: &M,
        images: Tensor<4>,
        drops: Option<&Drops>,
        batch: usize,
    ) -> Tensor<2> {
        let (Some(drops), Some(paths)) = (drops, network.paths()) else { return network.classify(images.autodiff()) };
        let [size, ..] = images.dims();
        let factors = TensorData::new(drops.factors(batch, size), [drops.paths(), size]);
        let factors = Tensor::<2>::from_data(factors, self.of.images.device());
        paths.classify_dropping(images.autodiff(), factors.autodiff())
    }

    /// Writes a checkpoint if the training was cancelled.
    fn stopped<M: Classifier>(&self, attempt: &Attempt<M>, stop: Stop) -> Stop {
        match stop {
            Stop::Cancelled => self.save(attempt).map_or_else(Stop::Failed, |()| Stop::Cancelled),
            stop => stop,
        }
    }

    fn save<M: Classifier>(&self, attempt: &Attempt<M>) -> Result<(), TrainError> {
        let Some(checkpoints) = self.of.checkpoints else { return Ok(()) };
        let snapshot = Snapshot {
            progress: checkpoint::Progress { seconds: self.seconds(), ..attempt.progress.clone() },
            values: values(&attempt.network),
            average: attempt.average.clone(),
            loss: attempt.loss.clone(),
            optimizer: Snapshot::pack(&attempt.optimizer)?,
        };
        snapshot.write(checkpoints, &self.task)
    }

    /// Returns the mean loss and the number of correct predictions on the validation images, as tensors that may not be
    /// computed yet.
    fn evaluate<M: Classifier>(&self, network: &M, after: &checkpoint::Progress) -> Result<[Tensor<1>; 2], Stop> {
        let device = self.of.validation.device();
        let mut mean = Tensor::<1>::zeros([1], device);
        let mut correct = Tensor::<1, Int>::zeros([1], device);
        let order = Batches::in_order(self.of.validation.len(), self.batch_size);
        for (indices, batch) in order.iter().zip(self.of.validation.batches(&order)) {
            self.check()?;
            let (images, labels) = batch.map_err(TrainError::from)?;
            let logits = network.classify(images.cast(self.of.recipe.precision.dtype()));
            correct = correct + logits.clone().argmax(1).squeeze_dim::<1>(1).equal(labels.clone()).int().sum();
            mean = mean + self.loss.forward(logits, labels).mul_scalar(share(indices.len(), self.of.validation));
            self.report(after, 1.0);
        }
        // Single precision counts exactly up to 2^24.
        Ok([mean, correct.float()])
    }

    fn accuracy(&self, correct: usize) -> f64 {
        100.0 * correct as f64 / self.of.validation.len() as f64
    }

    /// Whether more validation images are classified correctly than by guessing.
    fn beats_chance(&self, correct: usize) -> bool {
        correct as u128 * self.of.validation.classes() as u128 > self.of.validation.len() as u128
    }

    fn report(&self, progress: &checkpoint::Progress, fraction: f64) {
        let &checkpoint::Progress { epoch, restarts, .. } = progress;
        self.of.watch.report(Progress::new(epoch, self.end, restarts, fraction));
    }

    fn report_accuracy(&self, epoch: u32, restarts: u32, accuracy: f64) {
        self.of.watch.report(Progress::new(epoch, self.end, restarts, 0.0).with_value(accuracy));
    }

    fn check(&self) -> Result<(), Stop> {
        if self.of.watch.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        match self.of.recipe.time_limit_seconds {
            Some(limit_seconds) if self.seconds() >= limit_seconds => {
                Err(Stop::Infeasible(Infeasibility::TimedOut { limit_seconds }))
            }
            _ => Ok(()),
        }
    }
}

/// Waits for the device, and returns the training loss and, if evaluated, the loss and correct predictions on the
/// validation images.
fn read(reads: &dyn DeviceReads, figures: Vec<Tensor<1>>) -> Result<(f64, Option<Score>), Stop> {
    let figures = reads.read(figures).map_err(|error| Stop::Failed(device_error(&error)))?;
    let validation = match figures[1..] {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
        [loss, correct] => Some(Score { loss: loss.into(), correct: correct as usize }),
        _ => None,
    };
    Ok((figures[0].into(), validation))
}

/// Returns the epochs after which the accuracy was measured, from 1, and the accuracies.
fn curve(epochs: &[Epoch]) -> Vec<(u32, f64)> {
    (1..).zip(epochs).filter_map(|(number, epoch)| Some((number, epoch.accuracy?))).collect()
}

/// Returns the fraction of `set` that `images` images are.
fn share(images: usize, set: &dyn BatchSource) -> f64 {
    images as f64 / set.len() as f64
}
