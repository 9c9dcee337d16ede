//! An environment in which the first layers of a block matter.

use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics};
use blockqnn::seed;
use blockqnn::space::SearchSpace;
use blockqnn::space::block::{BlockCode, BlockSpace, LayerCode, LayerKind};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::convert::Infallible;

/// A block of the highest quality, 100.
const BEST: &str = "conv3(0) add(0,1) conv3(2) add(2,3) conv3(4) terminal(5)";

/// Normal noise on each accuracy, in percentage points.
const NOISE: f64 = 2.0;

/// Rates block codes by their first five layers.
///
/// The quality in percent is `10 + 90 * m - 0.2 * max(n - 5, 0)` for n layers between start and Terminal. m, from 0 to
/// 1, is the mean over the first five places of how well the layer there fits; a missing layer fits by 0. A 3x3
/// convolution on an odd place or an addition on an even one fits by 1 if one of its inputs is the layer before, by
/// half if it is the one before that. A 5x5 convolution and a concatenation fit by three tenths of that, everything
/// else by 0. The best block therefore has five layers and is neither the shortest nor the longest, and only one random
/// block in several hundred thousand has all five right.
///
/// A state of the block space is the last layer alone, and on the way to Terminal good and bad blocks share states. A
/// reward at Terminal alone therefore cannot be traced back to the first layers, while a reward at every layer
/// (Equation 2) or shared among them can.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstLayers;

impl FirstLayers {
    /// Number of places that count.
    const PLACES: u8 = 5;

    /// The true quality of a block, 6.6 to 100 percent within the paper's 23 layers, without noise.
    pub(crate) fn quality(block: &BlockCode) -> f64 {
        let layers = &block.layers()[..block.len() - 1];
        let places = f64::from(Self::PLACES);
        let first = layers.iter().filter(|code| code.index() <= Self::PLACES);
        let fit = first.map(|&code| Self::fit(code)).sum::<f64>() / places;
        10.0 + 90.0 * fit - 0.2 * (layers.len() as f64 - places).max(0.0)
    }

    /// How well a layer fits its place, from 0 to 1.
    fn fit(code: LayerCode) -> f64 {
        let odd = code.index() % 2 == 1;
        let computes = match (code.kind(), code.kernel()) {
            (LayerKind::Convolution | LayerKind::PlainConvolution, 3) if odd => 1.0,
            (LayerKind::Convolution | LayerKind::PlainConvolution, 5) if odd => 0.3,
            (LayerKind::Add, _) if !odd => 1.0,
            (LayerKind::Concat, _) if !odd => 0.3,
            _ => 0.0,
        };
        let in_line = match code.index() - code.connections().iter().max().copied().unwrap_or(0) {
            1 => 1.0,
            2 => 0.5,
            _ => 0.0,
        };
        computes * in_line
    }
}

impl Environment<BlockCode> for FirstLayers {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let mut rng = ChaCha8Rng::seed_from_u64(context.trial().seed);
        let accuracy = Self::quality(block) + NOISE * seed::normal(&mut rng);
        Ok(Evaluation::Measured(Metrics::from_accuracy(accuracy.clamp(0.0, 100.0))))
    }

    fn identity(&self) -> String {
        "first layers".to_owned()
    }
}

#[test]
fn no_layer_fits_better_than_those_of_the_best_block() {
    let best: BlockCode = BEST.parse().unwrap();
    assert!((FirstLayers::quality(&best) - 100.0).abs() < 1e-9);
    for state in best.layers() {
        if state.kind().is_terminal() {
            continue;
        }
        for action in BlockSpace::paper().actions(state) {
            assert!((0.0..=1.0).contains(&FirstLayers::fit(action)), "{action:?}");
        }
    }
}

#[test]
fn shortest_and_longest_blocks_are_worse_than_the_best() {
    let shortest: BlockCode = "conv3(0) terminal(1)".parse().unwrap();
    assert!((FirstLayers::quality(&shortest) - 28.0).abs() < 1e-9);
    let rest: Vec<String> = (5..22).map(|from| format!("max3({from})")).collect();
    let longest = format!("conv3(0) add(0,1) conv3(2) add(2,3) conv3(4) {} terminal(22)", rest.join(" "));
    assert!((FirstLayers::quality(&longest.parse().unwrap()) - 96.6).abs() < 1e-9);
}

#[test]
fn what_comes_after_the_fifth_layer_counts_by_its_length_alone() {
    let quality = |text: &str| FirstLayers::quality(&text.parse().unwrap());
    let start = "conv3(0) concat(0,1) conv5(1) max3(3) id(4)";
    let five = quality(&format!("{start} terminal(5)"));
    assert!((five - (10.0 + 90.0 * (1.0 + 0.3 + 0.15) / 5.0)).abs() < 1e-9);
    assert!((five - 0.2 - quality(&format!("{start} conv3(5) terminal(6)"))).abs() < 1e-9);
    assert!((five - 0.2 - quality(&format!("{start} avg3(5) terminal(6)"))).abs() < 1e-9);
}
