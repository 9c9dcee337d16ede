//! Synthetic environments with a known best block, for tests, demonstrations and comparisons of agents.
//!
//! [`Synthetic`] rates a block by its length and the mean of its layers, [`HiddenBlock`] by its similarity to a hidden
//! block, and [`Motifs`] by the pairs of layers in it.

mod family;

pub use family::{HiddenBlock, Motifs};

use super::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Metrics};
use crate::seed;
use crate::space::block::{BlockCode, LayerCode, LayerKind};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::convert::Infallible;

/// Rates blocks by a formula, in microseconds instead of minutes of training.
///
/// With n layers between start and Terminal, the quality in percent is `20 + 40 * exp(-((n - 7) / 4)^2) + 40 * m`. The
/// first term is highest for seven layers, so the best block is neither the shortest nor the longest. m, from 0 to
/// 1, is the mean over the layers of how well each fits its place: a layer gets 0.6 for what it computes (3x3 and 5x5
/// convolutions in odd places, additions in even ones, less for the others) and 0.4 for where its input comes from (the
/// previous layer is best).
///
/// The length term penalises agents that prefer long blocks regardless of their worth, which Equation 2 leads them to
/// do (`docs/evidence/agent-learns.md`).
///
/// ```
/// use blockqnn::environment::synthetic::Synthetic;
///
/// let best = Synthetic::best();
/// assert_eq!(best.len(), 8);
/// assert!((Synthetic::quality(&best) - 100.0).abs() < 1e-9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Synthetic {
    noise: f64,
    /// The epochs of an evaluation, or 0 if it has none.
    epochs: u32,
}

impl Synthetic {
    /// Number of layers of the best block between start and Terminal.
    const BEST_LAYERS: usize = 7;

    /// Creates the environment without noise.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds normal noise with a standard deviation of `deviation` percentage points to each accuracy, drawn from the
    /// trial's seed.
    #[must_use]
    pub fn with_noise(mut self, deviation: f64) -> Self {
        self.noise = deviation;
        self
    }

    /// Makes an evaluation last for so many epochs, of which a search with [rungs](crate::search::Rungs) may evaluate
    /// the first alone: the accuracy grows to that of the full evaluation, at a pace drawn from the trial's seed.
    #[must_use]
    pub fn with_epochs(mut self, epochs: u32) -> Self {
        self.epochs = epochs;
        self
    }

    /// Returns the share of the final accuracy that is reached after some of the epochs.
    fn share(&self, epochs: u32, seed: u64) -> f64 {
        let pace = 1.0 + 3.0 * seed::unit(&mut seed::stream(seed, "pace", 0));
        let reached = |epochs: u32| 1.0 - (-pace * f64::from(epochs) / f64::from(self.epochs)).exp();
        reached(epochs) / reached(self.epochs)
    }

    /// Returns the true quality of a block, 20 to 100 percent, without noise.
    #[must_use]
    pub fn quality(block: &BlockCode) -> f64 {
        let layers = inner(block);
        let fit: f64 = layers.iter().map(|&code| Self::fit(code)).sum();
        length_term(layers.len(), Self::BEST_LAYERS) + 40.0 * fit / layers.len() as f64
    }

    /// Returns how well a layer fits its place, 0 to 1.
    fn fit(code: LayerCode) -> f64 {
        let odd = code.index() % 2 == 1;
        let computes = match (code.kind(), code.kernel()) {
            (LayerKind::Convolution | LayerKind::PlainConvolution, 3) if odd => 1.0,
            (LayerKind::Convolution | LayerKind::PlainConvolution, 5) if odd => 0.8,
            (LayerKind::Convolution | LayerKind::PlainConvolution, _) => 0.4,
            (LayerKind::Add, _) if !odd => 1.0,
            (LayerKind::Concat, _) if !odd => 0.7,
            (LayerKind::MaxPool, 3) => 0.3,
            _ => 0.0,
        };
        0.6 * computes + 0.4 * in_line(code)
    }

    /// Returns a block of the highest quality, 100.
    #[must_use]
    pub fn best() -> BlockCode {
        parsed("conv3(0) add(0,1) conv3(2) add(2,3) conv3(4) add(4,5) conv3(6) terminal(7)")
    }
}

impl Environment<BlockCode> for Synthetic {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let evaluation = measured(Self::quality(block), self.noise, context);
        let Evaluation::Measured(metrics) = evaluation else { return Ok(evaluation) };
        let Some(full) = Environment::<BlockCode>::full_epochs(self) else { return Ok(Evaluation::Measured(metrics)) };
        let epochs = context.rung().map_or(full, |rung| rung.epochs.min(full));
        let value = metrics.value * self.share(epochs, context.trial().seed);
        Ok(Evaluation::Measured(Metrics { value, epochs, ..metrics }))
    }

    fn identity(&self) -> String {
        let epochs = if self.epochs > 0 { format!(", {} epochs", self.epochs) } else { String::new() };
        format!("synthetic 1, noise {}{epochs}", self.noise)
    }

    fn full_epochs(&self) -> Option<u32> {
        (self.epochs > 0).then_some(self.epochs)
    }
}

/// Returns how directly a layer follows the one before it: 1 if one of its inputs is the previous layer, 0.5 if the
/// nearest is the one before that, else 0.
fn in_line(code: LayerCode) -> f64 {
    match reach(code) {
        1 => 1.0,
        2 => 0.5,
        _ => 0.0,
    }
}

/// Returns how far back the nearest input of a layer is.
fn reach(code: LayerCode) -> u8 {
    code.index() - code.connections().iter().max().copied().unwrap_or(0)
}

/// Returns the layers of a block between start and Terminal.
fn inner(block: &BlockCode) -> &[LayerCode] {
    &block.layers()[..block.len() - 1]
}

/// Returns `20 + 40 * exp(-((n - best) / 4)^2)`, the part of the quality that depends on the length. The best length is
/// neither the shortest nor the longest, to expose agents that prefer long blocks regardless of their worth.
fn length_term(layers: usize, best: usize) -> f64 {
    let distance = (layers as f64 - best as f64) / 4.0;
    20.0 + 40.0 * (-distance * distance).exp()
}

/// Returns what a training with this quality would measure: the quality with normal noise, drawn from the trial's seed.
fn measured(quality: f64, noise: f64, context: &TrialContext<'_>) -> Evaluation {
    let mut rng = ChaCha8Rng::seed_from_u64(context.trial().seed);
    let accuracy = quality + noise * seed::normal(&mut rng);
    Evaluation::Measured(Metrics::from_accuracy(accuracy.clamp(0.0, 100.0)))
}

/// Parses a block that is written in this module.
fn parsed(text: &str) -> BlockCode {
    match text.parse() {
        Ok(block) => block,
        Err(error) => unreachable!("the block is valid: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::block::BlockSpace;
    use crate::space::{SearchSpace, Step};

    /// Finds the highest quality for each number of layers by choosing the best layer in each place: the fit of a layer
    /// depends on nothing but its own code.
    #[test]
    fn the_best_block_is_the_best_of_the_whole_space() {
        let space = BlockSpace::paper();
        let mut state = space.initial_state();
        let mut fit = 0.0;
        let mut best: f64 = 0.0;
        for layers in 1..=22 {
            let codes = space.actions(&state);
            let inner = codes.iter().filter(|code| !code.kind().is_terminal());
            let (code, value) =
                inner.map(|&code| (code, Synthetic::fit(code))).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            fit += value;
            let distance: f64 = (f64::from(layers) - 7.0) / 4.0;
            best = best.max(20.0 + 40.0 * (-distance * distance).exp() + 40.0 * fit / f64::from(layers));
            let Step::Next(next) = space.step(&state, &code).unwrap() else { unreachable!() };
            state = next;
        }
        assert!((best - Synthetic::quality(&Synthetic::best())).abs() < 1e-9, "{best}");
    }

    #[test]
    fn shortest_and_longest_blocks_are_far_from_the_best() {
        let shortest: BlockCode = "conv3(0) terminal(1)".parse().unwrap();
        assert!(Synthetic::quality(&shortest) < 70.0);
        let longest: Vec<String> = (0..22).map(|from| format!("conv3({from})")).collect();
        let longest: BlockCode = format!("{} terminal(22)", longest.join(" ")).parse().unwrap();
        assert!(Synthetic::quality(&longest) < 70.0);
    }
}
