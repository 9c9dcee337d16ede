//! The recipe by which a network is trained, as data.

use crate::data::Augmentation;
use crate::network::Precision;
use crate::setting::{self, InvalidSetting};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How a network is trained: plain data that a configuration file can hold.
///
/// The presets have the paper's values, and our readings where it gives none. Every field is public, so a custom recipe
/// is a preset with some fields changed. [`validate`](Self::validate) names the first invalid field.
///
/// ```
/// use blockqnn::train::{Recipe, Schedule};
///
/// let recipe = Recipe { epochs: 6, batch_size: 64, schedule: Schedule::Constant, ..Recipe::early_stop() };
/// recipe.validate()?;
/// assert_eq!(recipe.learning_rate_at(5, 0), 0.001);
/// assert_eq!("cifar".parse::<Recipe>()?, Recipe::cifar());
///
/// let error = serde_json::from_str::<Recipe>(r#"{"epochs": 12, "batchsize": 256}"#).unwrap_err();
/// assert!(error.to_string().starts_with("unknown field `batchsize`"));
/// # Ok::<(), blockqnn::setting::InvalidSetting>(())
/// ```
///
/// # References
/// Section "Experiment Details": the training of each block in the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training images. Paper, early stop: 12.
    pub epochs: u32,
    /// Images per step; the last batch of an epoch has the remaining images. Paper, early stop: 256.
    pub batch_size: usize,
    /// How the weights change with the gradients. Paper, early stop: Adam.
    pub optimizer: OptimizerConfig,
    /// Learning rate of the first epoch of the first attempt. Paper, early stop: 0.001.
    pub learning_rate: f64,
    /// How the learning rate falls from epoch to epoch. Paper, early stop: by a factor of 0.2 every 5 epochs.
    pub schedule: Schedule,
    /// What happens if the first epoch does not beat chance. Paper, early stop: up to 3 restarts, each with 0.4 times
    /// the learning rate.
    pub restarts: Restarts,
    /// Wall-clock seconds that all attempts together may take; no limit if absent. The paper has no limit.
    ///
    /// With a limit, a result depends on the speed of the machine. The limit is checked before every batch. A GPU may
    /// lag behind the host by up to an epoch, so a training may exceed the limit by that much.
    #[serde(default)]
    pub time_limit_seconds: Option<f64>,
    /// How training images are changed at random. Paper, early stop: not at all; converged: [`Augmentation::cifar`].
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub augmentation: Augmentation,
    /// Epochs at the beginning of an attempt in which the learning rate rises linearly to that of the schedule: epoch
    /// `e` of `w`, from 0, has `(e + 1) / (w + 1)` of it. The paper has no warm-up.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub warm_up_epochs: u32,
    /// Share of the probability of the true class that training spreads evenly over all classes, from 0 to below 1
    /// (Szegedy et al. 2016). Validation does not use it. The paper has no label smoothing.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub label_smoothing: f64,
    /// Decay of a running mean of the weights (and running statistics) over steps, from 0 to below 1, such as 0.999.
    /// The mean is measured and kept, while the training continues from the weights themselves. The paper has no
    /// averaging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_averaging: Option<f64>,
    /// Epochs between two measurements on the validation images. If absent, they are measured at the end (and after the
    /// first epoch of an attempt that may still be abandoned). Measuring changes nothing but the learning curve, of
    /// which 1 gives every point; what stops trials early by their curves needs that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure_every: Option<u32>,
    /// The probability towards which that of dropping a path of a block for an image rises over the training
    /// ([`drop_path_at`](Self::drop_path_at)), from 0 to below 1. A path is what a layer gives to a sum, apart from
    /// shortcuts; blocks without sums are trained unchanged. What is kept is scaled up, and networks are measured
    /// whole. The paper has none.
    ///
    /// # References
    /// Larsson et al., ICLR 2017 ("`FractalNet`"); for each image anew and rising over the training as in `NASNet`
    /// (Zoph et al., CVPR 2018) and DARTS. In residual blocks it is stochastic depth (Huang et al., ECCV 2016).
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub drop_path: f64,
    /// The number type of the activations. The paper does not say; single precision is our reading.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub precision: Precision,
    /// Whether [`TrainingEnvironment`](super::TrainingEnvironment) measures the latency of each network once it is
    /// trained. Omitted from files while it does not.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub latency: bool,
}

/// How the weights change with the gradients.
///
/// Written as `{"adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// Adam without weight decay (Kingma and Ba, 2015), with both moments corrected for starting at zero.
    Adam {
        /// Decay of the mean of the gradients, from 0 to below 1. Paper: 0.9.
        beta_1: f64,
        /// Decay of the mean of the squared gradients, from 0 to below 1. Paper: 0.999.
        beta_2: f64,
        /// Added to the root of the second moment, positive. Paper: 1e-8.
        epsilon: f64,
    },
    /// Stochastic gradient descent with momentum, as `PyTorch` defines it: `g = gradient + weight_decay * w`,
    /// `v = momentum * v + g` (`v = g` in the first step), `w = w - learning_rate * v`. No dampening, not Nesterov's.
    ///
    /// Weight decay applies to every parameter, including biases and those of batch normalisation.
    Sgd {
        /// Decay of the velocity, from 0 to below 1. Paper, converged training: 0.9.
        momentum: f64,
        /// L2 penalty, at least 0. Paper, converged training: 5e-4 on CIFAR, 1e-4 on `ImageNet`.
        weight_decay: f64,
    },
}

impl OptimizerConfig {
    /// Returns the paper's SGD on CIFAR: momentum 0.9, weight decay 5e-4.
    #[must_use]
    pub fn sgd() -> Self {
        Self::Sgd { momentum: 0.9, weight_decay: 5e-4 }
    }

    /// Returns the paper's Adam: 0.9, 0.999, 1e-8.
    #[must_use]
    pub fn adam() -> Self {
        Self::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }
    }
}

/// How the learning rate falls from epoch to epoch.
///
/// Written as `"constant"`, `"cosine"`, `{"step": {"every": 5, "factor": 0.2}}` or
/// `{"milestones": {"epochs": [150, 225], "factor": 0.1}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// The same in all epochs.
    Constant,
    /// Multiplied by `factor` after every `every` epochs.
    Step {
        /// Epochs with the same learning rate, at least 1. Paper, early stop: 5.
        every: u32,
        /// Above 0, at most 1. Paper, early stop: 0.2.
        factor: f64,
    },
    /// Multiplied by `factor` each time one of these numbers of epochs is finished.
    Milestones {
        /// Numbers of finished epochs, ascending, each at least 1. Paper, converged training on CIFAR: 150 and 225.
        epochs: Vec<u32>,
        /// Above 0, at most 1. Paper, converged training on `ImageNet`: 0.1; for CIFAR it does not say.
        factor: f64,
    },
    /// Half a cosine, from 1 in the first epoch towards 0 after the last (Loshchilov and Hutter 2017, without
    /// restarts). Not in the paper.
    Cosine,
}

/// What happens when an attempt fails: the network is initialised again and trained with a lower learning rate.
///
/// An attempt fails if its validation accuracy after the first epoch is not above that of a random predictor, or if its
/// loss is not finite after any epoch; see [`Training::fit`](super::Training::fit).
///
/// With few steps per epoch, a network that learns may look like one that guesses: validation uses the running
/// statistics of batch normalisation, in which the initial values still have a weight of 0.9^steps. With 20 steps or
/// more that is 12 % or less; the paper's batches of 256 make 176 of our 45,000 training images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restarts {
    /// The most restarts; 0 for none. Paper: 3.
    pub max: u32,
    /// The factor of the learning rate per restart, above 0, at most 1. Paper: 0.4.
    pub factor: f64,
}

impl Default for Restarts {
    /// Returns the paper's restarts: at most 3, each with 0.4 times the learning rate.
    fn default() -> Self {
        Self { max: 3, factor: 0.4 }
    }
}

/// Parses the name of a recipe: `cifar`, `imagenet`, `early-stop` or `darts`.
impl FromStr for Recipe {
    type Err = InvalidSetting;

    fn from_str(name: &str) -> Result<Self, InvalidSetting> {
        match name {
            "cifar" => Ok(Self::cifar()),
            "imagenet" => Ok(Self::imagenet()),
            "early-stop" => Ok(Self::early_stop()),
            "darts" => Ok(Self::darts()),
            _ => Err(InvalidSetting::new("recipe", format!("{name:?}"), "cifar, imagenet, early-stop or darts")),
        }
    }
}

impl Recipe {
    /// Returns the paper's early stop: 12 epochs in batches of 256, Adam (0.9, 0.999, 1e-8), a learning rate of 0.001
    /// that is multiplied by 0.2 every 5 epochs, and up to 3 restarts with 0.4 times the learning rate.
    #[must_use]
    pub fn early_stop() -> Self {
        Self {
            epochs: 12,
            batch_size: 256,
            optimizer: OptimizerConfig::adam(),
            learning_rate: 0.001,
            schedule: Schedule::Step { every: 5, factor: 0.2 },
            restarts: Restarts::default(),
            time_limit_seconds: None,
            augmentation: Augmentation::default(),
            warm_up_epochs: 0,
            label_smoothing: 0.0,
            weight_averaging: None,
            measure_every: None,
            drop_path: 0.0,
            precision: Precision::F32,
            latency: false,
        }
    }

    /// Returns the paper's training to convergence on CIFAR: 300 epochs in batches of 128, SGD (momentum 0.9, weight
    /// decay 5e-4), a learning rate of 0.1 that falls after 150 and 225 epochs, padding by 4 pixels, random crops and
    /// flips. The paper does not say by how much the rate falls; a tenth is our reading, as on `ImageNet`.
    ///
    /// It has no restarts, and measures the validation images every 10 epochs.
    ///
    /// # References
    /// Section "Experiment on CIFAR".
    #[must_use]
    pub fn cifar() -> Self {
        Self {
            epochs: 300,
            batch_size: 128,
            optimizer: OptimizerConfig::sgd(),
            learning_rate: 0.1,
            schedule: Schedule::Milestones { epochs: vec![150, 225], factor: 0.1 },
            restarts: Restarts { max: 0, factor: 1.0 },
            augmentation: Augmentation::cifar(),
            measure_every: Some(10),
            ..Self::early_stop()
        }
    }

    /// Returns the recipe by which DARTS evaluates its cells on CIFAR-10, not the paper's: 600 epochs in batches of 96,
    /// SGD (momentum 0.9, weight decay 3e-4), a learning rate of 0.025 that falls to 0 along half a cosine, crops and
    /// flips, cutout of 16 pixels, drop-path that rises to 0.2.
    ///
    /// Two parts of theirs are missing: the auxiliary head, with 0.4 of the loss, and the clipping of gradients at a
    /// norm of 5. It has no restarts, and measures the validation images every 10 epochs.
    ///
    /// # References
    /// Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, and its published program; cutout: `DeVries`
    /// and Taylor 2017.
    #[must_use]
    pub fn darts() -> Self {
        Self {
            epochs: 600,
            batch_size: 96,
            optimizer: OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 3e-4 },
            learning_rate: 0.025,
            schedule: Schedule::Cosine,
            augmentation: Augmentation { cutout: 16, ..Augmentation::cifar() },
            drop_path: 0.2,
            ..Self::cifar()
        }
    }

    /// Returns the paper's optimizer and schedule on `ImageNet`: batches of 256, SGD (momentum 0.9, weight decay 1e-4),
    /// a learning rate of 0.1 that is divided by 10 after 30 and 60 epochs; 90 epochs, a number that the paper does not
    /// state.
    ///
    /// Of the paper's augmentation it has only the flip: pictures of other sizes are cropped where they are read.
    ///
    /// # References
    /// Section "Experiment on `ImageNet`".
    #[must_use]
    pub fn imagenet() -> Self {
        Self {
            epochs: 90,
            batch_size: 256,
            optimizer: OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 },
            schedule: Schedule::Milestones { epochs: vec![30, 60], factor: 0.1 },
            augmentation: Augmentation { flip: true, ..Augmentation::default() },
            measure_every: Some(1),
            ..Self::cifar()
        }
    }

    /// Scales the recipe to another number of epochs, with the epochs of its schedule, warm-up and measurements in
    /// proportion (each at least 1). Use it to run a long recipe on a small machine.
    ///
    /// ```
    /// use blockqnn::train::Recipe;
    ///
    /// let short = Recipe::cifar().scaled_to(6);
    /// let rates: Vec<String> = (0..6).map(|epoch| format!("{:.3}", short.learning_rate_at(epoch, 0))).collect();
    /// assert_eq!(rates, ["0.100", "0.100", "0.100", "0.010", "0.001", "0.001"]);
    /// ```
    #[must_use]
    pub fn scaled_to(mut self, epochs: u32) -> Self {
        let before = u64::from(self.epochs.max(1));
        let scaled = |count: u32| u32::try_from(u64::from(count) * u64::from(epochs) / before).unwrap_or(u32::MAX);
        match &mut self.schedule {
            Schedule::Constant | Schedule::Cosine => {}
            Schedule::Step { every, .. } => *every = scaled(*every).max(1),
            Schedule::Milestones { epochs, .. } => {
                // Milestones that coincide with each other or with the start move to the next epoch.
                let mut last = 0;
                for milestone in epochs {
                    last = scaled(*milestone).max(last + 1);
                    *milestone = last;
                }
            }
        }
        if self.warm_up_epochs > 0 {
            self.warm_up_epochs = scaled(self.warm_up_epochs).max(1);
        }
        self.measure_every = self.measure_every.map(|every| scaled(every).max(1));
        self.epochs = epochs;
        self
    }

    /// Checks that the recipe is valid.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first field that is not valid.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::at_least_one("recipe.epochs", self.epochs)?;
        InvalidSetting::at_least_one("recipe.batch_size", self.batch_size)?;
        match self.optimizer {
            OptimizerConfig::Adam { beta_1, beta_2, epsilon } => {
                decay("optimizer.adam.beta_1", beta_1)?;
                decay("optimizer.adam.beta_2", beta_2)?;
                positive("optimizer.adam.epsilon", epsilon)?;
            }
            OptimizerConfig::Sgd { momentum, weight_decay } => {
                decay("optimizer.sgd.momentum", momentum)?;
                not_negative("optimizer.sgd.weight_decay", weight_decay)?;
            }
        }
        positive("learning_rate", self.learning_rate)?;
        match &self.schedule {
            Schedule::Constant | Schedule::Cosine => {}
            Schedule::Step { every, factor } => {
                InvalidSetting::at_least_one("recipe.schedule.step.every", *every)?;
                factor_of("schedule.step.factor", *factor)?;
            }
            Schedule::Milestones { epochs, factor } => {
                let valid = epochs.first() != Some(&0) && epochs.windows(2).all(|pair| pair[0] < pair[1]);
                let (path, expected) = ("recipe.schedule.milestones.epochs", "in ascending order, and at least 1");
                InvalidSetting::check(path, format!("{epochs:?}"), valid, expected)?;
                factor_of("schedule.milestones.factor", *factor)?;
            }
        }
        factor_of("restarts.factor", self.restarts.factor)?;
        decay("label_smoothing", self.label_smoothing)?;
        decay("drop_path", self.drop_path)?;
        self.weight_averaging.map_or(Ok(()), |average| decay("weight_averaging", average))?;
        InvalidSetting::at_least_one("recipe.measure_every", self.measure_every.unwrap_or(1))?;
        self.time_limit_seconds.map_or(Ok(()), |limit| not_negative("time_limit_seconds", limit))
    }

    /// Returns the learning rate of an epoch (counted from 0) of the attempt after `restarts` restarts.
    ///
    /// ```
    /// use blockqnn::train::Recipe;
    ///
    /// let rates = [0, 4, 5, 9, 10].map(|epoch| Recipe::early_stop().learning_rate_at(epoch, 0));
    /// assert_eq!(rates.map(|rate| format!("{rate:.0e}")), ["1e-3", "1e-3", "2e-4", "2e-4", "4e-5"]);
    /// ```
    #[must_use]
    pub fn learning_rate_at(&self, epoch: u32, restarts: u32) -> f64 {
        let rate = times(self.learning_rate, self.restarts.factor, restarts) * self.warm_up(epoch);
        let (falls, factor) = match &self.schedule {
            Schedule::Constant => (0, 1.0),
            Schedule::Cosine => {
                let done = f64::from(epoch.min(self.epochs)) / f64::from(self.epochs.max(1));
                return rate * f64::midpoint(1.0, (std::f64::consts::PI * done).cos());
            }
            Schedule::Step { every, factor } => (epoch / (*every).max(1), *factor),
            Schedule::Milestones { epochs, factor } => {
                // There are at most as many distinct milestones as epochs, whose number is a u32.
                let passed = epochs.iter().filter(|&&milestone| milestone <= epoch).count();
                (u32::try_from(passed).unwrap_or(u32::MAX), *factor)
            }
        };
        times(rate, factor, falls)
    }

    /// Returns the probability with which a path is dropped in an epoch (counted from 0): it rises linearly from 0 in
    /// the first epoch towards [`drop_path`](Self::drop_path) after the last (Zoph et al., CVPR 2018; per epoch as in
    /// DARTS).
    ///
    /// ```
    /// use blockqnn::train::Recipe;
    ///
    /// let recipe = Recipe { epochs: 4, drop_path: 0.2, ..Recipe::cifar() };
    /// assert_eq!([0, 2].map(|epoch| recipe.drop_path_at(epoch)), [0.0, 0.1]);
    /// ```
    #[must_use]
    pub fn drop_path_at(&self, epoch: u32) -> f64 {
        self.drop_path * f64::from(epoch.min(self.epochs)) / f64::from(self.epochs.max(1))
    }

    /// Returns the share of the schedule's learning rate in an epoch.
    fn warm_up(&self, epoch: u32) -> f64 {
        if epoch < self.warm_up_epochs { f64::from(epoch + 1) / (f64::from(self.warm_up_epochs) + 1.0) } else { 1.0 }
    }
}

/// Returns `value * factor^count` by repeated multiplication, because `powi` may round differently on different
/// platforms.
fn times(value: f64, factor: f64, count: u32) -> f64 {
    (0..count).fold(value, |value, _| value * factor)
}

fn in_range(field: &str, value: f64, inside: bool, range: &str) -> Result<(), InvalidSetting> {
    InvalidSetting::check(format!("recipe.{field}"), value, inside, range)
}

fn positive(field: &str, value: f64) -> Result<(), InvalidSetting> {
    // Steps are computed in single precision, where a smaller number would become 0.
    let inside = value.is_finite() && value >= f64::from(f32::MIN_POSITIVE) && value <= f64::from(f32::MAX);
    in_range(field, value, inside, "a positive number that single precision holds")
}

fn not_negative(field: &str, value: f64) -> Result<(), InvalidSetting> {
    in_range(field, value, value.is_finite() && value >= 0.0, "a finite number, at least 0")
}

fn decay(field: &str, value: f64) -> Result<(), InvalidSetting> {
    // 1 - 1e-7 is about the largest number below 1 in single precision.
    in_range(field, value, (0.0..=1.0 - 1e-7).contains(&value), "at least 0 and below 1")
}

fn factor_of(field: &str, value: f64) -> Result<(), InvalidSetting> {
    in_range(field, value, value > 0.0 && value <= 1.0, "above 0 and at most 1")
}

#[cfg(test)]
mod tests;
