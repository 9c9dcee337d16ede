//! How much each search of a comparison may evaluate.

use crate::setting::InvalidSetting;
use std::fmt;
use std::str::FromStr;

/// How much each search may evaluate.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Budget {
    /// A number of distinct architectures.
    Evaluations(u64),
    /// A number of epochs of all evaluations together, on a benchmark whose evaluations have epochs.
    Epochs(u64),
    /// Seconds of evaluation, simulated by the benchmark.
    Seconds(f64),
}

impl Budget {
    /// Whether it is in epochs.
    pub(super) fn is_epochs(&self) -> bool {
        matches!(self, Self::Epochs(_))
    }
}

impl FromStr for Budget {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let count = |text: &str| text.parse().ok().filter(|count| *count > 0);
        let budget = match (text.strip_suffix('s'), text.strip_suffix('e')) {
            (Some(seconds), _) => seconds.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0).map(Self::Seconds),
            (_, Some(epochs)) => count(epochs).map(Self::Epochs),
            _ => count(text).map(Self::Evaluations),
        };
        let expected = "a number of evaluations such as 500, of epochs such as 4800e, or of seconds such as 20000s";
        budget.ok_or_else(|| InvalidSetting::new("the budget", format!("{text:?}"), expected))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluations(evaluations) => write!(f, "{evaluations}"),
            Self::Epochs(epochs) => write!(f, "{epochs}e"),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}
