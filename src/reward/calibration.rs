//! Finds the reward that best predicts the final accuracy of an architecture: coefficients fitted to pairs of early and
//! final accuracy.
//!
//! The redefined reward (formula 1) corrects the accuracy of a short training by FLOPs and density, so that it ranks
//! blocks as a long training would. Whether its coefficients achieve that, and which signs they should have, depends on
//! space, data and recipe: on the cells of NAS-Bench-201 the paper's signs hurt. [`calibrate`] finds coefficients by
//! rank correlation, and determines by cross-validation whether they are worth using.

mod correlation;

pub use correlation::Tau;
pub(crate) use correlation::kendall_of;

use crate::graph::Cost;
use crate::seed;
use crate::setting::InvalidSetting;
use correlation::kendall;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is known of one architecture: its accuracy after the short training and after the long one, and quantities that
/// may correct the former.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Accuracy after the short training, in percent.
    pub early: f64,
    /// Accuracy after the long training, in percent.
    pub last: f64,
    /// Multiply-adds of the network for one image, above 0.
    pub flops: Option<f64>,
    /// Edges divided by nodes of the block, above 0.
    pub density: Option<f64>,
    /// Trainable parameters, above 0.
    pub parameters: Option<f64>,
    /// Seconds of the short training, above 0.
    pub seconds: Option<f64>,
}

impl Pair {
    /// Creates the pair of an architecture of a run that was trained to the end: `early` and `seconds` come from its
    /// record, as does its cost if that is known, and `last` from its verification.
    #[must_use]
    pub fn new(early: f64, last: f64, cost: Option<&Cost>, seconds: f64) -> Self {
        let positive = |value: f64| (value > 0.0).then_some(value);
        Self {
            early,
            last,
            flops: cost.and_then(|cost| positive(cost.flops as f64)),
            density: cost.and_then(|cost| positive(cost.density())),
            parameters: cost.and_then(|cost| positive(cost.parameters as f64)),
            seconds: positive(seconds),
        }
    }
}

/// A quantity whose logarithm corrects the early accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Term {
    /// Multiply-adds: the coefficient is -mu of formula 1.
    Flops,
    /// Density: the coefficient is -rho of formula 1.
    Density,
    /// Trainable parameters.
    Parameters,
    /// Seconds of the short training.
    Seconds,
}

impl Term {
    /// All terms.
    pub const ALL: [Self; 4] = [Self::Flops, Self::Density, Self::Parameters, Self::Seconds];

    /// Returns the quantity of a pair, if it is known.
    #[must_use]
    pub fn of(self, pair: &Pair) -> Option<f64> {
        match self {
            Self::Flops => pair.flops,
            Self::Density => pair.density,
            Self::Parameters => pair.parameters,
            Self::Seconds => pair.seconds,
        }
    }
}

impl FromStr for Term {
    type Err = InvalidSetting;

    /// Parses `flops`, `density`, `parameters` or `seconds`.
    fn from_str(name: &str) -> Result<Self, InvalidSetting> {
        Ok(match name {
            "flops" => Self::Flops,
            "density" => Self::Density,
            "parameters" => Self::Parameters,
            "seconds" => Self::Seconds,
            _ => {
                let expected = "flops, density, parameters or seconds";
                return Err(InvalidSetting::new("the term", format!("{name:?}"), expected));
            }
        })
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flops => "ln(FLOPs)",
            Self::Density => "ln(density)",
            Self::Parameters => "ln(parameters)",
            Self::Seconds => "ln(seconds)",
        })
    }
}

/// A formula `early accuracy + sum of coefficient * ln(quantity)` by which architectures are ranked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Formula {
    /// The terms with their coefficients in percentage points.
    pub terms: Vec<(Term, f64)>,
}

impl Formula {
    /// Returns the formula of the early accuracy alone.
    #[must_use]
    pub fn accuracy() -> Self {
        Self::default()
    }

    /// Returns the paper's formula: -1/2 for FLOPs and density.
    #[must_use]
    pub fn paper() -> Self {
        Self { terms: vec![(Term::Flops, -0.5), (Term::Density, -0.5)] }
    }

    /// Returns the formula's value for a pair; NaN if a quantity is not known.
    #[must_use]
    pub fn value(&self, pair: &Pair) -> f64 {
        let term = |(term, coefficient): &(Term, f64)| coefficient * term.of(pair).unwrap_or(f64::NAN).ln();
        pair.early + self.terms.iter().map(term).sum::<f64>()
    }
}

impl FromStr for Formula {
    type Err = InvalidSetting;

    /// Parses terms with coefficients, such as `flops=2,density=-0.5`.
    ///
    /// ```
    /// use blockqnn::reward::calibration::Formula;
    ///
    /// assert_eq!("flops=-0.5,density=-0.5".parse(), Ok(Formula::paper()));
    /// assert!("flops".parse::<Formula>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let term = |part: &str| {
            let (name, number) = part.split_once('=')?;
            let coefficient: f64 = number.trim().parse().ok()?;
            Some((name.trim().parse().ok()?, coefficient)).filter(|_| coefficient.is_finite())
        };
        let terms = text.split(',').map(term).collect::<Option<_>>();
        let expected = "flops, density, parameters or seconds with numbers, such as flops=2,density=-0.5";
        let terms = terms.ok_or_else(|| InvalidSetting::new("the formula", format!("{text:?}"), expected))?;
        Ok(Self { terms })
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("accuracy")?;
        for (term, coefficient) in &self.terms {
            let sign = if *coefficient < 0.0 { '-' } else { '+' };
            write!(f, " {sign} {} {term}", coefficient.abs())?;
        }
        Ok(())
    }
}

/// How well a formula ranks architectures.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Ranking {
    /// Its correlation with the final accuracy.
    pub tau: Tau,
    /// By how much that exceeds the correlation of the early accuracy alone, over the same architectures.
    pub gain: Tau,
}

/// Returns how well `formula` ranks the `top` pairs of highest early accuracy, or all pairs if there are fewer. A tau
/// that is not defined, as all final accuracies are equal, counts as 0.
///
/// # Errors
/// [`CalibrationError`] if there are too few pairs, or a quantity is missing.
pub fn ranking_in_top(pairs: &[Pair], formula: &Formula, top: usize) -> Result<Ranking, CalibrationError> {
    let terms: Vec<Term> = formula.terms.iter().map(|(term, _)| *term).collect();
    check(pairs, &terms)?;
    let places = best_early(pairs, top);
    let [alone, ranked] = [&Formula::accuracy(), formula].map(|formula| rated(pairs, &places, formula));
    Ok(Ranking { tau: Tau::of_pairs(&ranked).unwrap_or_default(), gain: Tau::gain(&alone, &ranked) })
}

/// The settings of [`calibrate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrationConfig {
    /// The terms that may get a coefficient.
    pub terms: Vec<Term>,
    /// The share of the pairs, those of highest early accuracy, whose ranks count as much as those of all pairs.
    pub top: f64,
    /// How often the pairs are split at random into halves, each of which is once used for fitting and once held out.
    pub splits: u32,
    /// The seed of the splits.
    pub seed: u64,
}

impl Default for CalibrationConfig {
    fn default() -> Self {
        Self { terms: vec![Term::Flops, Term::Density], top: 0.1, splits: 3, seed: 0 }
    }
}

/// Why coefficients cannot be fitted to pairs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// There are too few pairs.
    #[error("{pairs} pairs are too few to calibrate on: at least {needed} are needed, so verify more blocks")]
    TooFew {
        /// The number of pairs given.
        pairs: usize,
        /// The number of pairs needed.
        needed: usize,
    },
    /// A pair cannot be used: an accuracy is not finite, or a quantity is missing, not finite or not above 0.
    #[error("pair {pair} (counted from 0) has {problem}")]
    Pair {
        /// The number of the pair, from 0.
        pair: usize,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
}

/// The fewest pairs: with fewer, a half has no ranks to fit to.
const FEWEST: usize = 20;

/// The result of [`calibrate`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Calibration {
    /// The formula fitted to all pairs.
    pub fitted: Formula,
    /// The mean correlation on the held-out halves, of the accuracy alone and of the formulas fitted to the other halves.
    pub held_out: [HeldOut; 2],
    /// By how much the fitted formulas' tau of all held-out pairs exceeds that of the accuracy alone.
    pub gain: Tau,
    /// Whether the fit ranks pairs that it was not fitted to better than the accuracy alone does, all of them by more
    /// than the standard error.
    pub worth_having: bool,
    /// The terms whose fitted coefficient has the opposite of the paper's sign.
    pub opposite: Vec<Term>,
}

impl Calibration {
    /// Returns the formula to use: the fitted one if it is worth using, otherwise the accuracy alone.
    #[must_use]
    pub fn recommended(&self) -> Formula {
        if self.worth_having { self.fitted.clone() } else { Formula::accuracy() }
    }

    /// Returns what a reader must know before using the formula.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.worth_having {
            warnings.push(
                "the fit does not surely rank held-out pairs better than the accuracy alone: use that".to_owned(),
            );
        }
        for term in &self.opposite {
            warnings.push(format!("the fit has the opposite of the paper's sign for {term}"));
        }
        warnings
    }
}

/// Kendall's tau with the final accuracy on held-out pairs, 0 where it is not defined.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HeldOut {
    /// Of all held-out pairs.
    pub all: f64,
    /// Of those with the highest early accuracy.
    pub top: f64,
}

impl HeldOut {
    /// Returns what a fit maximises: the mean of Kendall's tau overall and in the top.
    fn objective(&self) -> f64 {
        0.5 * (self.all + self.top)
    }
}

/// Fits the coefficients of a formula to pairs, and estimates by cross-validation how good the fit is.
///
/// The fit maximises the mean of Kendall's tau over all pairs and over the top. It varies one coefficient after another
/// over a grid from -8 to 8, until none changes. Rank correlations have no gradient, and a finer grid would fit noise.
///
/// ```
/// use blockqnn::reward::calibration::{CalibrationConfig, Pair, Term, calibrate};
///
/// // The final accuracy is the early accuracy plus two points for every doubling of the FLOPs.
/// let pairs: Vec<Pair> = (0..60u32)
///     .map(|number| {
///         let (early, flops) = (f64::from(number * 7 % 60) / 6.0, f64::from(1 + number % 8));
///         let last = early + 2.0 * flops.log2();
///         Pair { early, last, flops: Some(flops), density: None, parameters: None, seconds: None }
///     })
///     .collect();
/// let config = CalibrationConfig { terms: vec![Term::Flops], ..CalibrationConfig::default() };
/// let calibration = calibrate(&pairs, &config)?;
/// assert!(calibration.worth_having && calibration.fitted.terms[0].1 > 1.0);
/// assert_eq!(calibration.opposite, [Term::Flops]);
/// # Ok::<(), blockqnn::reward::calibration::CalibrationError>(())
/// ```
///
/// # Errors
/// [`CalibrationError`] if there are too few pairs, a quantity is missing, or a setting is out of range.
pub fn calibrate(pairs: &[Pair], config: &CalibrationConfig) -> Result<Calibration, CalibrationError> {
    let valid = config.top > 0.0 && config.top <= 1.0;
    InvalidSetting::check("calibration.top", config.top, valid, "above 0 and at most 1")?;
    InvalidSetting::at_least_one("calibration.splits", config.splits)?;
    check(pairs, &config.terms)?;
    let mut sums: [Vec<HeldOut>; 2] = [Vec::new(), Vec::new()];
    let mut gains = Vec::new();
    let mut places: Vec<usize> = (0..pairs.len()).collect();
    for split in 0..config.splits {
        seed::shuffle(&mut seed::stream(config.seed, "calibration", u64::from(split)), &mut places);
        let (one, other) = places.split_at(places.len() / 2);
        for (fitted, held_out) in [(one, other), (other, one)] {
            let half = |places: &[usize]| places.iter().map(|&place| pairs[place]).collect::<Vec<_>>();
            let (fitted, held_out) = (half(fitted), half(held_out));
            let formula = fit(&fitted, config);
            sums[0].push(held(&held_out, &Formula::accuracy(), config.top));
            sums[1].push(held(&held_out, &formula, config.top));
            let all: Vec<usize> = (0..held_out.len()).collect();
            let [alone, ranked] = [&Formula::accuracy(), &formula].map(|formula| rated(&held_out, &all, formula));
            gains.push(Tau::gain(&alone, &ranked));
        }
    }
    let held_out = sums.map(|held| mean(&held));
    let fitted = fit(pairs, config);
    // The two halves of a split share no pair; the splits share all of them.
    let gain = Tau::mean_of(&gains, 2);
    let is_sure = gain.value > gain.error.unwrap_or(f64::INFINITY);
    let worth_having = is_sure && held_out[1].objective() > held_out[0].objective() && !fitted.terms.is_empty();
    // The paper's signs are negative for both of its terms.
    let paper = Formula::paper();
    let is_opposite =
        |(term, coefficient): &&(Term, f64)| *coefficient > 0.0 && paper.terms.iter().any(|(known, _)| known == term);
    let opposite = fitted.terms.iter().filter(is_opposite).map(|(term, _)| *term).collect();
    Ok(Calibration { fitted, held_out, gain, worth_having, opposite })
}

fn check(pairs: &[Pair], terms: &[Term]) -> Result<(), CalibrationError> {
    if pairs.len() < FEWEST {
        return Err(CalibrationError::TooFew { pairs: pairs.len(), needed: FEWEST });
    }
    for (number, pair) in pairs.iter().enumerate() {
        if !(pair.early.is_finite() && pair.last.is_finite()) {
            let problem = "an accuracy that is not a finite number: correct or omit it".to_owned();
            return Err(CalibrationError::Pair { pair: number, problem });
        }
        let missing = |term: &&Term| !term.of(pair).is_some_and(|value| value.is_finite() && value > 0.0);
        if let Some(quantity) = terms.iter().find(missing) {
            let problem = format!("no {quantity} above 0: omit the term, or the pair");
            return Err(CalibrationError::Pair { pair: number, problem });
        }
    }
    Ok(())
}

/// Returns the positions of the `top` pairs of highest early accuracy, the earlier first among equals.
fn best_early(pairs: &[Pair], top: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..pairs.len()).collect();
    places.sort_by(|&a, &b| pairs[b].early.total_cmp(&pairs[a].early));
    places.truncate(top);
    places
}

/// Returns what `formula` gives to the pairs at these places, with their final accuracies.
fn rated(pairs: &[Pair], places: &[usize], formula: &Formula) -> Vec<(f64, f64)> {
    places.iter().map(|&place| (formula.value(&pairs[place]), pairs[place].last)).collect()
}

fn held(pairs: &[Pair], formula: &Formula, share: f64) -> HeldOut {
    let all: Vec<usize> = (0..pairs.len()).collect();
    let top = best_early(pairs, top_count(pairs.len(), share));
    let tau = |places: &[usize]| kendall(rated(pairs, places, formula));
    HeldOut { all: tau(&all), top: tau(&top) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
fn top_count(pairs: usize, share: f64) -> usize {
    ((pairs as f64 * share).round() as usize).clamp(FEWEST / 2, pairs.max(FEWEST / 2))
}

fn mean(held: &[HeldOut]) -> HeldOut {
    let mean = |of: fn(&HeldOut) -> f64| held.iter().map(of).sum::<f64>() / held.len() as f64;
    HeldOut { all: mean(|held| held.all), top: mean(|held| held.top) }
}

/// The values that a coefficient may have.
const GRID: [f64; 17] = [0.0, 0.25, -0.25, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.0, -2.0, 3.0, -3.0, 5.0, -5.0, 8.0, -8.0];

/// Finds the best coefficients on the grid by coordinate ascent. Terms with a coefficient of 0 are left out.
fn fit(pairs: &[Pair], config: &CalibrationConfig) -> Formula {
    let objective = |coefficients: &[f64]| {
        let terms = config.terms.iter().copied().zip(coefficients.iter().copied());
        held(pairs, &Formula { terms: terms.collect() }, config.top).objective()
    };
    let mut coefficients = vec![0.0; config.terms.len()];
    let mut best = objective(&coefficients);
    for _ in 0..4 {
        let before = best;
        for place in 0..coefficients.len() {
            let mut kept = coefficients[place];
            for value in GRID {
                coefficients[place] = value;
                let reached = objective(&coefficients);
                if reached > best + 1e-9 {
                    (best, kept) = (reached, value);
                }
            }
            coefficients[place] = kept;
        }
        if best - before < 1e-9 {
            break;
        }
    }
    let terms = config.terms.iter().copied().zip(coefficients);
    Formula { terms: terms.filter(|(_, coefficient)| *coefficient != 0.0).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: u64, last: impl Fn(f64, f64, f64) -> f64) -> Vec<Pair> {
        let mut rng = seed::stream(4, "pairs", 0);
        let mut pair = || {
            let early = 40.0 + 4.0 * seed::normal(&mut rng);
            let flops = (3.0 * seed::unit(&mut rng)).exp();
            let noise = seed::normal(&mut rng);
            let density = Some(0.5 + seed::unit(&mut rng));
            Pair {
                early,
                last: last(early, flops, noise),
                flops: Some(flops),
                density,
                parameters: None,
                seconds: None,
            }
        };
        (0..count).map(|_| pair()).collect()
    }

    #[test]
    fn a_planted_coefficient_is_found_and_its_sign_warned_of() {
        for (planted, opposite) in [(2.0, vec![Term::Flops]), (-2.0, vec![])] {
            let pairs = pairs(400, |early, flops, noise| early + planted * flops.ln() + 0.3 * noise);
            let calibration = calibrate(&pairs, &CalibrationConfig::default()).unwrap();
            let (term, found) = calibration.fitted.terms[0];
            assert!(term == Term::Flops && (found - planted).abs() <= 0.5, "{}", calibration.fitted);
            assert!(calibration.worth_having && calibration.held_out[1].all > 0.9);
            let gain = |formula: &Formula| ranking_in_top(&pairs, formula, 100).unwrap().gain;
            let (of_fitted, of_accuracy) = (gain(&calibration.fitted), gain(&Formula::accuracy()));
            assert!(of_fitted.value > 4.0 * of_fitted.error.unwrap(), "{of_fitted}");
            assert_eq!(of_accuracy, Tau { value: 0.0, error: Some(0.0) });
            assert_eq!(calibration.opposite.iter().filter(|term| **term == Term::Flops).count(), opposite.len());
            assert_eq!(calibration.warnings().iter().any(|w| w.contains("sign for ln(FLOPs)")), !opposite.is_empty());
        }
    }

    #[test]
    fn without_anything_to_find_the_recommendation_is_the_accuracy_or_no_worse() {
        let mut plain = 0;
        for number in 0..5 {
            let pairs = pairs(60, |early, _, noise| early + 6.0 * noise);
            let config = CalibrationConfig { seed: number, ..CalibrationConfig::default() };
            let calibration = calibrate(&pairs, &config).unwrap();
            let [accuracy, fitted] = calibration.held_out;
            let is_sure = calibration.gain.value > calibration.gain.error.unwrap();
            if !is_sure || fitted.objective() <= accuracy.objective() {
                assert!(!calibration.worth_having);
                assert_eq!(calibration.recommended(), Formula::accuracy());
                assert!(calibration.warnings()[0].contains("not surely"));
                plain += 1;
            }
        }
        assert!(plain > 0, "noise is not worth fitting");
    }

    #[test]
    fn pairs_and_settings_that_cannot_be_calibrated_are_named() {
        let pairs = pairs(30, |early, _, _| early);
        let message = |pairs: &[Pair], config: &CalibrationConfig| calibrate(pairs, config).unwrap_err().to_string();
        let default = CalibrationConfig::default();
        assert!(message(&pairs[..5], &default).starts_with("5 pairs are too few"));
        let seconds = CalibrationConfig { terms: vec![Term::Seconds], ..default.clone() };
        assert_eq!(
            message(&pairs, &seconds),
            "pair 0 (counted from 0) has no ln(seconds) above 0: omit the term, or the pair"
        );
        let top = CalibrationConfig { top: 0.0, ..default.clone() };
        assert!(message(&pairs, &top).starts_with("calibration.top is 0"));
        let mut broken = pairs.clone();
        broken[7].last = f64::NAN;
        assert!(message(&broken, &default).starts_with("pair 7 (counted from 0) has an accuracy"));
    }
}
