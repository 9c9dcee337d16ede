//! How a network is trained, as data.

use serde::{Deserialize, Serialize};

/// How a network is trained: plain data that a configuration file can hold.
///
/// The presets come with the paper's figures; every field is public, so a recipe of one's own is a preset with some
/// fields changed. [`validate`](Self::validate) tells which field makes no sense.
///
/// ```
/// use blockqnn::train::{Recipe, Schedule};
///
/// let recipe = Recipe { epochs: 6, batch_size: 64, schedule: Schedule::Constant, ..Recipe::early_stop() };
/// recipe.validate()?;
/// assert_eq!(recipe.learning_rate_at(5, 0), 0.001);
///
/// let error = serde_json::from_str::<Recipe>(r#"{"epochs": 12, "batchsize": 256}"#).unwrap_err();
/// assert!(error.to_string().starts_with("unknown field `batchsize`"));
/// # Ok::<(), blockqnn::train::RecipeError>(())
/// ```
///
/// # References
/// Section 4 ("Experiments and Results"): the training of each block in the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training images. Paper, early stop: 12.
    pub epochs: u32,
    /// Images per step; the last batch of an epoch has what is left. Paper, early stop: 256.
    pub batch_size: usize,
    /// How a step follows from the gradients. Paper, early stop: Adam.
    pub optimizer: OptimizerConfig,
    /// Learning rate of the first epoch of the first attempt. Paper, early stop: 0.001.
    pub learning_rate: f64,
    /// How the learning rate falls from epoch to epoch. Paper, early stop: by a factor of 0.2 every 5 epochs.
    pub schedule: Schedule,
    /// What happens when the first epoch does not beat guessing. Paper, early stop: up to 3 restarts, each with 0.4
    /// times the learning rate.
    pub restarts: Restarts,
    /// Wall-clock seconds that all attempts together may take; no limit if absent. The paper has none.
    ///
    /// With a limit a result depends on the speed of the machine. It is checked before every batch. A GPU may be behind
    /// the host by up to an epoch, so there a training may exceed the limit by that much.
    #[serde(default)]
    pub time_limit_seconds: Option<f64>,
}

/// How a step follows from the gradients.
///
/// Written as `{"adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// Adam without weight decay (Kingma and Ba, 2015), with both moments corrected for their start at zero.
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
    /// Weight decay applies to every parameter, also to biases and those of batch normalisation.
    Sgd {
        /// Decay of the velocity, from 0 to below 1. Paper, converged training: 0.9.
        momentum: f64,
        /// L2 penalty, at least 0. Paper, converged training: 5e-4 on CIFAR, 1e-4 on `ImageNet`.
        weight_decay: f64,
    },
}

impl OptimizerConfig {
    /// The paper's Adam: 0.9, 0.999, 1e-8.
    #[must_use]
    pub fn adam() -> Self {
        Self::Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }
    }
}

/// How the learning rate falls from epoch to epoch.
///
/// Written as `"constant"`, `{"step": {"every": 5, "factor": 0.2}}` or
/// `{"milestones": {"epochs": [150, 225], "factor": 0.1}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Schedule {
    /// The same in all epochs.
    Constant,
    /// Times `factor` whenever `every` more epochs are done.
    Step {
        /// Epochs with the same learning rate, at least 1. Paper, early stop: 5.
        every: u32,
        /// Above 0, at most 1. Paper, early stop: 0.2.
        factor: f64,
    },
    /// Times `factor` when as many epochs are done as each of `epochs` says.
    Milestones {
        /// Numbers of finished epochs, ascending, each at least 1. Paper, converged training on CIFAR: 150 and 225.
        epochs: Vec<u32>,
        /// Above 0, at most 1. Paper, converged training: 0.1.
        factor: f64,
    },
}

/// What happens when an attempt fails: the network is drawn anew and trained with a lower learning rate.
///
/// An attempt fails when its validation accuracy after the first epoch is not above that of a random predictor, or when
/// its loss is not a finite number after any epoch; see [`fit`](super::fit).
///
/// With few steps an epoch a network that learns may look like one that guesses: validation uses the running statistics
/// of batch normalisation, which are still 0.9^steps of what they started with. 20 steps or more leave 12 % or less; the
/// paper has 176.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restarts {
    /// The most restarts; 0 for none. Paper: 3.
    pub max: u32,
    /// The learning rate's factor a restart, above 0, at most 1. Paper: 0.4.
    pub factor: f64,
}

impl Default for Restarts {
    /// The paper's: at most 3, each with 0.4 times the learning rate.
    fn default() -> Self {
        Self { max: 3, factor: 0.4 }
    }
}

/// Why a [`Recipe`] describes no training.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// A field that counts something is zero.
    #[error("recipe.{field} is 0: it must be at least 1")]
    Zero {
        /// Name of the field.
        field: &'static str,
    },
    /// A figure lies outside its range.
    #[error("recipe.{field} is {value}: it must be {range}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The range, in words.
        range: &'static str,
    },
    /// Milestones do not ascend.
    #[error("recipe.schedule.epochs has {epoch} after {before}: milestones must ascend")]
    NotAscending {
        /// The milestone before.
        before: u32,
        /// The one that does not come after it.
        epoch: u32,
    },
}

impl Recipe {
    /// The paper's early stop: 12 epochs in batches of 256, Adam (0.9, 0.999, 1e-8), learning rate 0.001 times 0.2 every
    /// 5 epochs, up to 3 restarts with 0.4 times the learning rate.
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
        }
    }

    /// Checks that the recipe describes a training.
    ///
    /// # Errors
    /// The first field that does not; see [`RecipeError`].
    pub fn validate(&self) -> Result<(), RecipeError> {
        at_least_one("epochs", self.epochs == 0)?;
        at_least_one("batch_size", self.batch_size == 0)?;
        match self.optimizer {
            OptimizerConfig::Adam { beta_1, beta_2, epsilon } => {
                decay("optimizer.beta_1", beta_1)?;
                decay("optimizer.beta_2", beta_2)?;
                positive("optimizer.epsilon", epsilon)?;
            }
            OptimizerConfig::Sgd { momentum, weight_decay } => {
                decay("optimizer.momentum", momentum)?;
                not_negative("optimizer.weight_decay", weight_decay)?;
            }
        }
        positive("learning_rate", self.learning_rate)?;
        match &self.schedule {
            Schedule::Constant => {}
            Schedule::Step { every, factor } => {
                at_least_one("schedule.every", *every == 0)?;
                factor_of("schedule.factor", *factor)?;
            }
            Schedule::Milestones { epochs, factor } => {
                at_least_one("schedule.epochs", epochs.first() == Some(&0))?;
                if let Some(pair) = epochs.windows(2).find(|pair| pair[0] >= pair[1]) {
                    return Err(RecipeError::NotAscending { before: pair[0], epoch: pair[1] });
                }
                factor_of("schedule.factor", *factor)?;
            }
        }
        factor_of("restarts.factor", self.restarts.factor)?;
        self.time_limit_seconds.map_or(Ok(()), |limit| not_negative("time_limit_seconds", limit))
    }

    /// The learning rate of an epoch (counted from 0) of the attempt after `restarts` restarts.
    ///
    /// ```
    /// use blockqnn::train::Recipe;
    ///
    /// let rates = [0, 4, 5, 9, 10].map(|epoch| Recipe::early_stop().learning_rate_at(epoch, 0));
    /// assert_eq!(rates.map(|rate| format!("{rate:.0e}")), ["1e-3", "1e-3", "2e-4", "2e-4", "4e-5"]);
    /// ```
    #[must_use]
    pub fn learning_rate_at(&self, epoch: u32, restarts: u32) -> f64 {
        let (falls, factor) = match &self.schedule {
            Schedule::Constant => (0, 1.0),
            Schedule::Step { every, factor } => (epoch / (*every).max(1), *factor),
            Schedule::Milestones { epochs, factor } => {
                // There are at most as many distinct milestones as epochs, whose number is a u32.
                let passed = epochs.iter().filter(|&&milestone| milestone <= epoch).count();
                (u32::try_from(passed).unwrap_or(u32::MAX), *factor)
            }
        };
        times(times(self.learning_rate, self.restarts.factor, restarts), factor, falls)
    }
}

/// `value * factor^count` by repeated multiplication: `powi` may round differently from platform to platform.
fn times(value: f64, factor: f64, count: u32) -> f64 {
    (0..count).fold(value, |value, _| value * factor)
}

fn at_least_one(field: &'static str, zero: bool) -> Result<(), RecipeError> {
    if zero { Err(RecipeError::Zero { field }) } else { Ok(()) }
}

fn in_range(field: &'static str, value: f64, inside: bool, range: &'static str) -> Result<(), RecipeError> {
    if inside { Ok(()) } else { Err(RecipeError::OutOfRange { field, value, range }) }
}

fn positive(field: &'static str, value: f64) -> Result<(), RecipeError> {
    // Steps are computed in single precision, where a smaller number would vanish.
    let inside = value.is_finite() && value >= f64::from(f32::MIN_POSITIVE) && value <= f64::from(f32::MAX);
    in_range(field, value, inside, "a positive number that single precision holds")
}

fn not_negative(field: &'static str, value: f64) -> Result<(), RecipeError> {
    in_range(field, value, value.is_finite() && value >= 0.0, "a finite number, at least 0")
}

fn decay(field: &'static str, value: f64) -> Result<(), RecipeError> {
    // 1 - 1e-7 is about the largest number below 1 in single precision.
    in_range(field, value, (0.0..=1.0 - 1e-7).contains(&value), "at least 0 and below 1")
}

fn factor_of(field: &'static str, value: f64) -> Result<(), RecipeError> {
    in_range(field, value, value > 0.0 && value <= 1.0, "above 0 and at most 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: f64, wanted: f64) {
        assert!((found / wanted - 1.0).abs() < 1e-12, "{found} {wanted}");
    }

    #[test]
    fn the_early_stop_preset_has_the_papers_figures() {
        let recipe = Recipe::early_stop();
        recipe.validate().unwrap();
        let wanted = serde_json::json!({
            "epochs": 12,
            "batch_size": 256,
            "optimizer": {"adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}},
            "learning_rate": 0.001,
            "schedule": {"step": {"every": 5, "factor": 0.2}},
            "restarts": {"max": 3, "factor": 0.4},
            "time_limit_seconds": null,
        });
        assert_eq!(serde_json::to_value(&recipe).unwrap(), wanted);
        assert_eq!(serde_json::from_value::<Recipe>(wanted).unwrap(), recipe);
    }

    #[test]
    fn the_early_stop_learning_rate_follows_the_paper() {
        let recipe = Recipe::early_stop();
        let wanted = [1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 2e-4, 2e-4, 2e-4, 2e-4, 2e-4, 4e-5, 4e-5];
        for (restarts, factor) in [(0, 1.0), (1, 0.4), (2, 0.16), (3, 0.064)] {
            for (epoch, wanted) in (0..12).zip(wanted) {
                assert_close(recipe.learning_rate_at(epoch, restarts), wanted * factor);
            }
        }
    }

    #[test]
    fn milestones_count_finished_epochs() {
        let schedule = Schedule::Milestones { epochs: vec![150, 225], factor: 0.1 };
        let recipe = Recipe { epochs: 300, learning_rate: 0.1, schedule, ..Recipe::early_stop() };
        recipe.validate().unwrap();
        for (epoch, wanted) in [(0, 0.1), (149, 0.1), (150, 0.01), (224, 0.01), (225, 0.001), (299, 0.001)] {
            assert_close(recipe.learning_rate_at(epoch, 0), wanted);
        }
    }

    #[test]
    fn a_constant_learning_rate_falls_with_restarts_alone() {
        let recipe = Recipe { schedule: Schedule::Constant, ..Recipe::early_stop() };
        assert_close(recipe.learning_rate_at(1_000, 0), 1e-3);
        assert_close(recipe.learning_rate_at(7, 2), 1.6e-4);
    }

    /// Each line: the pointer of a field, a value that makes no sense, and the field as the error must name it.
    #[test]
    fn a_recipe_that_makes_no_sense_is_refused_by_the_name_of_the_field() {
        let sgd = serde_json::json!({"sgd": {"momentum": 0.9, "weight_decay": 0.0}});
        let milestones = serde_json::json!({"milestones": {"epochs": [2, 4], "factor": 0.1}});
        for (pointer, value, field) in [
            ("/epochs", "0", "epochs is 0"),
            ("/batch_size", "0", "batch_size is 0"),
            ("/learning_rate", "0", "learning_rate is 0"),
            ("/learning_rate", "-0.1", "learning_rate is -0.1"),
            ("/learning_rate", "1e300", "learning_rate is 1000"),
            ("/optimizer/adam/beta_1", "1", "optimizer.beta_1 is 1"),
            ("/optimizer/adam/beta_2", "-0.5", "optimizer.beta_2 is -0.5"),
            ("/optimizer/adam/epsilon", "0", "optimizer.epsilon is 0"),
            ("/optimizer/sgd/momentum", "1.5", "optimizer.momentum is 1.5"),
            ("/optimizer/sgd/weight_decay", "-1", "optimizer.weight_decay is -1"),
            ("/schedule/step/every", "0", "schedule.every is 0"),
            ("/schedule/step/factor", "0", "schedule.factor is 0"),
            ("/schedule/step/factor", "1.1", "schedule.factor is 1.1"),
            ("/schedule/milestones/epochs", "[0, 4]", "schedule.epochs is 0"),
            ("/schedule/milestones/epochs", "[4, 4]", "schedule.epochs has 4 after 4"),
            ("/schedule/milestones/factor", "-1", "schedule.factor is -1"),
            ("/restarts/factor", "0", "restarts.factor is 0"),
            ("/time_limit_seconds", "-1", "time_limit_seconds is -1"),
        ] {
            let mut json = serde_json::to_value(Recipe::early_stop()).unwrap();
            if pointer.contains("sgd") {
                json["optimizer"] = sgd.clone();
            }
            if pointer.contains("milestones") {
                json["schedule"] = milestones.clone();
            }
            serde_json::from_value::<Recipe>(json.clone()).unwrap().validate().unwrap();
            *json.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
            let error = serde_json::from_value::<Recipe>(json).unwrap().validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("recipe.{field}")), "{error}");
        }
    }

    #[test]
    fn figures_that_are_no_numbers_are_refused() {
        for value in [f64::NAN, f64::INFINITY] {
            let base = Recipe::early_stop;
            for recipe in [
                Recipe { learning_rate: value, ..base() },
                Recipe { time_limit_seconds: Some(value), ..base() },
                Recipe { restarts: Restarts { max: 3, factor: value }, ..base() },
                Recipe { schedule: Schedule::Step { every: 1, factor: value }, ..base() },
                Recipe { optimizer: OptimizerConfig::Sgd { momentum: value, weight_decay: 0.0 }, ..base() },
                Recipe { optimizer: OptimizerConfig::Sgd { momentum: 0.0, weight_decay: value }, ..base() },
            ] {
                assert!(matches!(recipe.validate(), Err(RecipeError::OutOfRange { .. })), "{recipe:?}");
            }
        }
    }

    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        for pointer in ["", "/optimizer/adam", "/schedule/step", "/restarts"] {
            let mut json = serde_json::to_value(Recipe::early_stop()).unwrap();
            json.pointer_mut(pointer).unwrap()["surprise"] = 1.into();
            let error = serde_json::from_value::<Recipe>(json).unwrap_err().to_string();
            assert!(error.contains("unknown field `surprise`"), "{pointer}: {error}");
        }
    }
}
