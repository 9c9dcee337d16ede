//! Epsilon schedules (Table 2).

use crate::setting::InvalidSetting;
use serde::{Deserialize, Serialize};

/// One step of an [`EpsilonSchedule`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpsilonPhase {
    /// Probability of a random action, 0 to 1.
    pub epsilon: f64,
    /// Minibatches at this epsilon.
    pub minibatches: u64,
}

/// The probability of a random action over the course of a search.
///
/// A schedule counts trials, not proposals: a proposal that is discarded because it was made before does not advance
/// it. After its end the last epsilon remains in force.
///
/// ```
/// use blockqnn::agent::EpsilonSchedule;
///
/// let schedule = EpsilonSchedule::paper();
/// assert_eq!((schedule.minibatches(), schedule.at(0, 64), schedule.at(95 * 64, 64)), (178, 1.0, 0.9));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<EpsilonPhase>", into = "Vec<EpsilonPhase>")]
pub struct EpsilonSchedule {
    phases: Vec<EpsilonPhase>,
}

impl EpsilonSchedule {
    /// Creates a schedule from its phases.
    ///
    /// # Errors
    /// [`InvalidSetting`] if there is no minibatch, an epsilon is not a probability, or the sum of minibatches
    /// overflows.
    pub fn new(phases: Vec<EpsilonPhase>) -> Result<Self, InvalidSetting> {
        for (position, phase) in phases.iter().enumerate() {
            let (path, valid) = (format!("agent.epsilon[{position}].epsilon"), (0.0..=1.0).contains(&phase.epsilon));
            InvalidSetting::check(path, phase.epsilon, valid, "from 0 to 1")?;
        }
        let total = phases.iter().try_fold(0u64, |sum, phase| sum.checked_add(phase.minibatches));
        let invalid = |value, expected| Err(InvalidSetting::new("agent.epsilon", value, expected));
        match total {
            None => invalid("a schedule of more minibatches than fit into 64 bits", "shorter"),
            Some(0) => invalid("a schedule without a minibatch", "a list of phases, of which one has a minibatch"),
            Some(_) => Ok(Self { phases }),
        }
    }

    /// Returns the schedule of Table 2 of the paper: 178 minibatches, the first 95 with epsilon 1.
    #[must_use]
    pub fn paper() -> Self {
        Self::from_1_to_01([95, 7, 7, 7, 10, 10, 10, 10, 10, 12])
    }

    /// Returns the short schedule of Figure 3: 89 minibatches. The paper gives no table for it; this is Table 2 halved.
    #[must_use]
    pub fn short() -> Self {
        Self::from_1_to_01([47, 4, 4, 4, 5, 5, 5, 5, 5, 5])
    }

    /// Creates a schedule with the same epsilon for `minibatches` minibatches.
    ///
    /// # Errors
    /// As [`EpsilonSchedule::new`].
    pub fn constant(epsilon: f64, minibatches: u64) -> Result<Self, InvalidSetting> {
        Self::new(vec![EpsilonPhase { epsilon, minibatches }])
    }

    /// Returns the schedule shortened or stretched to `minibatches` in total. Each boundary is rounded to a whole
    /// minibatch, so phases of a short schedule may vanish.
    ///
    /// ```
    /// use blockqnn::agent::EpsilonSchedule;
    ///
    /// let short = EpsilonSchedule::paper().scaled_to(50);
    /// assert_eq!((short.minibatches(), short.at(26, 1), short.at(49, 1)), (50, 1.0, 0.1));
    /// ```
    #[must_use]
    pub fn scaled_to(&self, minibatches: u64) -> Self {
        let total = u128::from(self.minibatches());
        let wanted = u128::from(minibatches.max(1));
        let mut before = 0;
        let mut end = 0;
        let phases = self.phases.iter().map(|phase| {
            end += u128::from(phase.minibatches);
            // At most `minibatches`, which has 64 bits.
            let boundary = u64::try_from((2 * end * wanted + total) / (2 * total)).unwrap_or(u64::MAX);
            let length = boundary - before;
            before = boundary;
            (phase.epsilon, length)
        });
        Self::steps(phases.collect::<Vec<_>>())
    }

    /// Creates a schedule from pairs of epsilon and minibatches that are known to be valid.
    pub(super) fn steps(phases: impl IntoIterator<Item = (f64, u64)>) -> Self {
        let phases = phases.into_iter().map(|(epsilon, minibatches)| EpsilonPhase { epsilon, minibatches });
        Self { phases: phases.collect() }
    }

    fn from_1_to_01(minibatches: [u64; 10]) -> Self {
        const EPSILONS: [f64; 10] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];
        Self::steps(EPSILONS.into_iter().zip(minibatches))
    }

    /// Returns the phases.
    #[must_use]
    pub fn phases(&self) -> &[EpsilonPhase] {
        &self.phases
    }

    /// Returns the number of minibatches of all phases together.
    #[must_use]
    pub fn minibatches(&self) -> u64 {
        self.phases.iter().map(|phase| phase.minibatches).sum()
    }

    /// Returns epsilon for trial number `trial`, from 0, in a search with minibatches of `minibatch_size` trials.
    #[must_use]
    pub fn at(&self, trial: u64, minibatch_size: u64) -> f64 {
        let mut minibatch = trial / minibatch_size.max(1);
        for phase in &self.phases {
            if minibatch < phase.minibatches {
                return phase.epsilon;
            }
            minibatch -= phase.minibatches;
        }
        self.phases.last().map_or(1.0, |phase| phase.epsilon)
    }
}

impl TryFrom<Vec<EpsilonPhase>> for EpsilonSchedule {
    type Error = InvalidSetting;

    fn try_from(phases: Vec<EpsilonPhase>) -> Result<Self, InvalidSetting> {
        Self::new(phases)
    }
}

impl From<EpsilonSchedule> for Vec<EpsilonPhase> {
    fn from(schedule: EpsilonSchedule) -> Self {
        schedule.phases
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;

    #[test]
    fn table_2_is_178_minibatches_and_11392_blocks() {
        let schedule = EpsilonSchedule::paper();
        assert_eq!(schedule.minibatches() * 64, 11_392);
        let starts = [0, 95, 102, 109, 116, 126, 136, 146, 156, 166];
        let epsilons = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];
        for (start, epsilon) in starts.into_iter().zip(epsilons) {
            assert_eq!(schedule.at(start * 64, 64), epsilon);
            assert_eq!(schedule.at(start * 64 + 63, 64), epsilon);
        }
        assert_eq!(schedule.at(1_000_000, 64), 0.1, "the last epsilon stays");
    }

    #[test]
    fn the_short_schedule_has_89_minibatches() {
        assert_eq!(EpsilonSchedule::short().minibatches(), 89);
    }

    #[test]
    fn invalid_schedules_are_refused_from_files_as_well() {
        for empty in [EpsilonSchedule::new(vec![]), EpsilonSchedule::constant(0.5, 0)] {
            assert!(empty.unwrap_err().to_string().starts_with("agent.epsilon is a schedule without a minibatch: "));
        }
        assert!(EpsilonSchedule::constant(f64::NAN, 1).is_err());
        let text = r#"[{"epsilon": 1.5, "minibatches": 1}]"#;
        let message = serde_json::from_str::<EpsilonSchedule>(text).unwrap_err().to_string();
        assert!(message.starts_with("agent.epsilon[0].epsilon is 1.5: it must be from 0 to 1"), "{message}");
    }
}
