//! The width at which a network has a given cost.

use super::{Contest, Entrant};
use crate::graph::{Cost, CostError, NetworkConfig};
use crate::setting::InvalidSetting;

/// The widest network that is tried.
const WIDEST: usize = 1_024;
/// Widths are multiples of the first of these whose multiples come near enough to the cost: where possible round ones,
/// which groups of channels divide evenly.
const STEPS: [usize; 6] = [32, 16, 8, 4, 2, 1];

/// What is equal in a [`Contest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EqualCost {
    /// The multiply-adds for one image.
    Flops(u64),
    /// The number of parameters.
    Parameters(u64),
}

impl EqualCost {
    /// Returns costs around this one, the nearest first: every half a percent, up to a factor of 1.5 away.
    pub fn nearby(self) -> impl Iterator<Item = Self> {
        let away = (1..=81).flat_map(|step| [f64::from(step), -f64::from(step)]);
        std::iter::once(0.0).chain(away).map(move |step: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let target = (self.target() as f64 * 1.005f64.powf(step)).round() as u64;
            match self {
                Self::Flops(_) => Self::Flops(target),
                Self::Parameters(_) => Self::Parameters(target),
            }
        })
    }

    fn target(self) -> u64 {
        let (Self::Flops(target) | Self::Parameters(target)) = self;
        target
    }

    fn of(self, cost: &Cost) -> u64 {
        match self {
            Self::Flops(_) => cost.flops,
            Self::Parameters(_) => cost.parameters,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flops(_) => "FLOPs",
            Self::Parameters(_) => "parameters",
        }
    }
}

impl Entrant {
    /// Returns what its network costs.
    ///
    /// # Errors
    /// [`CostError`] if it cannot be built because of its size.
    pub fn cost(&self) -> Result<Cost, CostError> {
        self.block.cost(&self.network)
    }

    fn at(&self, width: usize) -> Self {
        let network = NetworkConfig { width, ..self.network.clone() };
        Self { network, ..self.clone() }
    }

    /// Returns the entrant in a network of the width that comes closest to a cost.
    pub(super) fn fitted(&self, equal: EqualCost) -> Result<Self, InvalidSetting> {
        self.network.validate().map_err(|error| error.within("search"))?;
        let target = equal.target() as f64;
        let mut closest: Option<(f64, u64, usize)> = None;
        for step in STEPS {
            for width in (step..=WIDEST).step_by(step) {
                let Ok(cost) = self.at(width).cost() else { break };
                let found = equal.of(&cost);
                let deviation = (found as f64 / target - 1.0).abs();
                if closest.is_none_or(|(least, ..)| deviation < least) {
                    closest = Some((deviation, found, width));
                }
                // Groups that do not divide evenly make a narrower network dearer than a wider one, but not by that
                // much.
                if found as f64 > 40.0 * target {
                    break;
                }
            }
            if let Some((deviation, _, width)) = closest
                && deviation <= Contest::TOLERANCE
            {
                return Ok(self.at(width));
            }
        }
        let nearest = closest.map_or_else(
            || "of no width can the cost be counted".to_owned(),
            |(_, found, width)| format!("the nearest is {found}, with width {width}"),
        );
        let (name, what) = (&self.name, equal.name());
        let expected = format!("within 5 % of what a network of {name} can have: {nearest}");
        Err(InvalidSetting::new(format!("contest.{}", what.to_lowercase()), equal.target(), expected))
    }
}
