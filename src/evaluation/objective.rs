//! What a search optimises: a number with a name, a unit and a direction.

use crate::setting::InvalidSetting;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Which values of a number are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Direction {
    /// The higher, the better.
    Maximise,
    /// The lower, the better.
    Minimise,
}

impl Direction {
    /// Returns the name, as settings have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Maximise => "maximise",
            Self::Minimise => "minimise",
        }
    }

    /// Compares two values; the better one is the greater.
    ///
    /// ```
    /// use blockqnn::evaluation::Direction;
    ///
    /// assert!(Direction::Minimise.compare(1.0, 2.0).is_gt());
    /// ```
    #[must_use]
    pub fn compare(self, one: f64, other: f64) -> Ordering {
        match self {
            Self::Maximise => one.total_cmp(&other),
            Self::Minimise => other.total_cmp(&one),
        }
    }
}

/// What a search optimises: what [`Metrics::value`](super::Metrics::value) is.
///
/// The default is the accuracy in percent, to be maximised. Anything else, such as a loss, states two values: `worst`,
/// which an infeasible architecture gets, and `best`, an excellent one. They fix the scale on which rewards are computed
/// and agents learn, the [`score`](Self::score): percentage points of the way from worst to best, whatever the unit.
///
/// It is a setting of the search ([`SearchConfig::objective`](crate::search::SearchConfig::objective)) and not of the
/// environment, which may be on another machine, and only measures.
///
/// ```
/// use blockqnn::evaluation::Objective;
///
/// let error = Objective::minimise("RMSE", 8.0, 0.0).with_unit("mm");
/// assert_eq!((error.score(2.0), error.show(2.0)), (75.0, "2.0000 mm".to_owned()));
/// let accuracy = Objective::default();
/// assert_eq!((accuracy.score(61.5), accuracy.show(61.5)), (61.5, "61.50 %".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Its name, in tables, figures and the columns of files: `accuracy`, `RMSE`.
    pub name: String,
    /// Its unit, `%` for a percentage. Empty, and omitted from files, if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Whether it is to be maximised or minimised.
    pub direction: Direction,
    /// The value of an infeasible architecture, whose score is 0. Only the accuracy needs none: that of an infeasible
    /// architecture is the chance accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<f64>,
    /// An excellent value, whose score is 100. Values may be better than it, or worse than `worst`.
    pub best: f64,
}

impl Default for Objective {
    /// Returns the accuracy in percent.
    fn default() -> Self {
        let (name, unit) = ("accuracy".to_owned(), "%".to_owned());
        Self { name, unit, direction: Direction::Maximise, worst: None, best: 100.0 }
    }
}

impl Objective {
    /// Creates an objective to be minimised, without a unit.
    #[must_use]
    pub fn minimise(name: impl Into<String>, worst: f64, best: f64) -> Self {
        let (name, unit, worst) = (name.into(), String::new(), Some(worst));
        Self { name, unit, direction: Direction::Minimise, worst, best }
    }

    /// Creates an objective to be maximised, without a unit.
    #[must_use]
    pub fn maximise(name: impl Into<String>, worst: f64, best: f64) -> Self {
        Self { direction: Direction::Maximise, ..Self::minimise(name, worst, best) }
    }

    /// Sets the unit.
    #[must_use]
    pub fn with_unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Returns a value as percentage points, of which more is better: 0 for the worst value, 100 for the best one,
    /// linear in between and beyond. Without a worst value, as for the accuracy, it is the value itself.
    #[must_use]
    pub fn score(&self, value: f64) -> f64 {
        match self.worst {
            None => value,
            Some(worst) => 100.0 * ((value - worst) / (self.best - worst)),
        }
    }

    /// Returns the better of two values.
    #[must_use]
    pub fn better(&self, one: f64, other: f64) -> f64 {
        if self.direction.compare(other, one).is_gt() { other } else { one }
    }

    /// Returns a value as text with its unit: two digits after the point for a percentage, otherwise five significant
    /// ones.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        match self.unit.as_str() {
            "%" => format!("{value:.2} %"),
            "" => significant(value),
            unit => format!("{} {unit}", significant(value)),
        }
    }

    /// Returns its name with its unit, for axes: `accuracy (%)`.
    #[must_use]
    pub fn label(&self) -> String {
        if self.unit.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, self.unit) }
    }

    /// Returns whether this is the accuracy in percent.
    #[must_use]
    pub fn is_accuracy(&self) -> bool {
        *self == Self::default()
    }

    /// Checks name, unit and values.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the field, as one of `search.objective`.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let path = |field: &str| format!("search.objective.{field}");
        let is_text = |text: &str, longest| {
            text.chars().count() <= longest && text.trim() == text && !text.contains(char::is_control)
        };
        let named = !self.name.is_empty() && is_text(&self.name, 40);
        InvalidSetting::check(path("name"), format!("{:?}", self.name), named, "1 to 40 characters on one line")?;
        let unit = is_text(&self.unit, 20);
        InvalidSetting::check(path("unit"), format!("{:?}", self.unit), unit, "up to 20 characters on one line")?;
        InvalidSetting::check(path("best"), self.best, self.best.is_finite(), "a finite number")?;
        let Some(worst) = self.worst else {
            let expected =
                "given for every objective but the accuracy in percent: the value of an infeasible architecture";
            return InvalidSetting::check(path("worst"), "missing", self.is_accuracy(), expected);
        };
        let is_worse = self.direction.compare(self.best, worst).is_gt() && (self.best - worst).is_finite();
        let side = match self.direction {
            Direction::Maximise => "below",
            Direction::Minimise => "above",
        };
        let expected = format!("a finite number {side} search.objective.best, {}", self.best);
        InvalidSetting::check(path("worst"), worst, worst.is_finite() && is_worse, expected)
    }
}

/// Returns a number with five significant digits, as far as they are after the point.
pub(crate) fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
        return format!("{value:.4e}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
    let digits = if magnitude == 0.0 { 4 } else { (4.0 - magnitude.log10().floor()).clamp(0.0, 7.0) as usize };
    format!("{value:.digits$}")
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;

    #[test]
    fn the_score_of_an_accuracy_is_itself_to_the_bit() {
        for accuracy in [0.1 + 0.2, 61.7, -0.0, 100.0, f64::MIN_POSITIVE] {
            assert_eq!(Objective::default().score(accuracy).to_bits(), accuracy.to_bits());
        }
    }

    #[test]
    fn a_score_rises_with_what_is_better() {
        let loss = Objective::minimise("loss", 4.0, 0.0);
        assert_eq!([4.0, 2.0, 0.0, 6.0, -1.0].map(|value| loss.score(value)), [0.0, 50.0, 100.0, -50.0, 125.0]);
        assert_eq!((loss.better(1.0, 2.0), loss.better(2.0, 1.0)), (1.0, 1.0));
        let gain = Objective::maximise("gain", -1.0, 1.0);
        assert_eq!([-1.0, 0.0, 1.0].map(|value| gain.score(value)), [0.0, 50.0, 100.0]);
        assert_eq!((gain.better(1.0, 2.0), gain.better(2.0, 1.0)), (2.0, 2.0));
    }

    #[test]
    fn values_are_shown_with_five_significant_digits_and_the_unit() {
        let error = Objective::minimise("RMSE", 8.0, 0.0);
        let shown = [0.0, 1.5, -0.012_345_678, 123.456_78, 1_234_567.0, 1e-5, 1e9].map(|value| error.show(value));
        assert_eq!(shown, ["0.0000", "1.5000", "-0.012346", "123.46", "1234567", "1.0000e-5", "1.0000e9"]);
        assert_eq!((error.label(), Objective::default().label()), ("RMSE".to_owned(), "accuracy (%)".to_owned()));
    }

    #[test]
    fn values_on_the_wrong_side_and_missing_ones_are_named() {
        let told = |objective: Objective| objective.validate().unwrap_err().to_string();
        assert!(Objective::default().validate().is_ok());
        assert!(Objective { worst: Some(10.0), ..Objective::default() }.validate().is_ok());
        for (objective, expected) in [
            (Objective::minimise("loss", 0.0, 4.0), "search.objective.worst is 0: it must be a finite number above"),
            (Objective::maximise("gain", 4.0, 0.0), "search.objective.worst is 4: it must be a finite number below"),
            (Objective::minimise("loss", 0.0, 0.0), "search.objective.worst is 0: it must be a finite number above"),
            (Objective::minimise("loss", f64::INFINITY, 0.0), "search.objective.worst is inf: it must be a finite"),
            (Objective::minimise("loss", 1.0, f64::NAN), "search.objective.best is NaN: it must be a finite number"),
            (Objective::minimise("", 1.0, 0.0), "search.objective.name is \"\": it must be 1 to 40 characters"),
            (Objective::minimise("a\nb", 1.0, 0.0), "search.objective.name is \"a\\nb\": it must be 1 to 40"),
            (
                Objective { worst: None, ..Objective::minimise("loss", 1.0, 0.0) },
                "search.objective.worst is missing: it must be given for every objective but the accuracy in percent",
            ),
        ] {
            assert!(told(objective.clone()).starts_with(expected), "{}", told(objective));
        }
    }
}
