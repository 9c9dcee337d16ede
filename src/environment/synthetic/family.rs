//! Families of synthetic environments: every seed gives another one, with a known optimum.

use super::{inner, length_term, measured, reach};
use crate::environment::{Environment, TrialContext};
use crate::evaluation::Evaluation;
use crate::seed;
use crate::space::block::{BlockCode, BlockSpace, LayerCode, LayerKind};
use crate::space::{SearchSpace, SpaceError, walk_by};
use std::convert::Infallible;

/// Rates blocks by how similar they are to a hidden block, drawn from a seed.
///
/// With n layers between start and Terminal, the quality is `20 + 40 * exp(-((n - n') / 4)^2) + 40 * m`, where n' is
/// the number of layers of the hidden block, 4 to 12. m is the mean, over the places of the longer of the two blocks,
/// of how far their layers agree: 0.5 for the kind, 0.2 for the kernel, 0.3 for how far back the nearest input is. Only
/// a block that agrees everywhere, such as the hidden block, has quality 100.
///
/// ```
/// use blockqnn::environment::synthetic::HiddenBlock;
///
/// let environment = HiddenBlock::new(7);
/// assert!((environment.quality(environment.best()) - 100.0).abs() < 1e-9);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HiddenBlock {
    seed: u64,
    best: BlockCode,
    noise: f64,
}

impl HiddenBlock {
    /// Creates the environment of this seed, without noise.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = seed::stream(seed, "hidden block", 0);
        let layers = 4 + seed::index(&mut rng, 9);
        let space = BlockSpace::paper();
        // Kind and kernel are drawn before the connections: otherwise most layers would be additions and
        // concatenations.
        let walk = walk_by(&space, |state: &LayerCode| -> Result<LayerCode, SpaceError> {
            let ends = usize::from(state.index()) == layers;
            let mut codes = space.actions(state);
            codes.retain(|code| code.kind().is_terminal() == ends);
            let mut words: Vec<_> = codes.iter().map(|code| (code.kind(), code.kernel())).collect();
            words.dedup();
            let word = words[seed::index(&mut rng, words.len())];
            codes.retain(|code| (code.kind(), code.kernel()) == word && (ends || reach(*code) <= 3));
            Ok(codes[seed::index(&mut rng, codes.len())])
        });
        let best = walk.and_then(|walk| space.decode(&walk.actions));
        match best {
            Ok(best) => Self { seed, best, noise: 0.0 },
            Err(error) => unreachable!("the walk is legal: {error}"),
        }
    }

    /// Adds normal noise with a standard deviation of `deviation` percentage points to each accuracy.
    #[must_use]
    pub fn with_noise(self, deviation: f64) -> Self {
        Self { noise: deviation, ..self }
    }

    /// Returns the hidden block.
    #[must_use]
    pub fn best(&self) -> &BlockCode {
        &self.best
    }

    /// Returns the true quality of a block, 20 to 100 percent, without noise.
    #[must_use]
    pub fn quality(&self, block: &BlockCode) -> f64 {
        let (own, hidden) = (inner(block), inner(&self.best));
        let agree = |(a, b): (&LayerCode, &LayerCode)| {
            let kind = a.kind() == b.kind();
            let kernel = kind && a.kernel() == b.kernel();
            let share = |holds: bool, share: f64| if holds { share } else { 0.0 };
            share(kind, 0.5) + share(kernel, 0.2) + share(reach(*a) == reach(*b), 0.3)
        };
        let agreement: f64 = own.iter().zip(hidden).map(agree).sum();
        length_term(own.len(), hidden.len()) + 40.0 * agreement / own.len().max(hidden.len()) as f64
    }
}

impl Environment<BlockCode> for HiddenBlock {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        Ok(measured(self.quality(block), self.noise, context))
    }

    fn identity(&self) -> String {
        format!("hidden block 1, seed {}, noise {}", self.seed, self.noise)
    }
}

/// Rates blocks by which operation follows which, with weights drawn from a seed.
///
/// With n layers between start and Terminal, the quality is `20 + 40 * exp(-((n - n') / 4)^2) + 40 * m / m'`, where n'
/// is 5 to 10. Each layer has the weight of its operation after the operation of its nearest input; m is the mean of
/// these weights, and m' the highest mean of all blocks with n' layers, found by dynamic programming. The best quality
/// is therefore 100, or a little more if a block of another length has a higher mean. What a layer is worth depends
/// only on its nearest input, wherever it stands.
///
/// ```
/// use blockqnn::environment::synthetic::Motifs;
///
/// assert!(Motifs::new(3).optimum() >= 100.0 - 1e-9);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Motifs {
    seed: u64,
    /// Weight of each operation after each: operations of layers in the order of [`Motifs::WORDS`], with the start
    /// layer last.
    weights: Vec<[f64; Self::WORDS.len() + 1]>,
    layers: usize,
    highest: f64,
    optimum: f64,
    noise: f64,
}

impl Motifs {
    const WORDS: [(LayerKind, u8); 10] = [
        (LayerKind::Convolution, 1),
        (LayerKind::Convolution, 3),
        (LayerKind::Convolution, 5),
        (LayerKind::MaxPool, 1),
        (LayerKind::MaxPool, 3),
        (LayerKind::AveragePool, 1),
        (LayerKind::AveragePool, 3),
        (LayerKind::Identity, 0),
        (LayerKind::Add, 0),
        (LayerKind::Concat, 0),
    ];

    /// Index of the start layer among the sources.
    const START: usize = Self::WORDS.len();

    /// Creates the environment of this seed, without noise.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = seed::stream(seed, "motifs", 0);
        let layers = 5 + seed::index(&mut rng, 6);
        let mut weights = vec![[0.0; Self::WORDS.len() + 1]; Self::WORDS.len()];
        for row in &mut weights {
            // Cubes, so that only few pairs are good.
            for weight in row {
                *weight = seed::unit(&mut rng).powi(3);
            }
        }
        let highest = Self::highest_sums(&weights);
        let mean = |layers: usize| highest[layers - 1] / layers as f64;
        let best = mean(layers);
        let optima = (1..=highest.len()).map(|n| length_term(n, layers) + 40.0 * mean(n) / best);
        let optimum = optima.fold(f64::NEG_INFINITY, f64::max);
        Self { seed, weights, layers, highest: best, optimum, noise: 0.0 }
    }

    /// Returns the highest sum of weights of blocks with 1, 2, ... 22 layers. The best weight that a layer can have
    /// depends only on which operations occur before it, so the set of these operations is the whole state of the
    /// dynamic programming.
    fn highest_sums(weights: &[[f64; Self::WORDS.len() + 1]]) -> Vec<f64> {
        let mut best = vec![f64::NEG_INFINITY; 1 << (Self::START + 1)];
        best[1 << Self::START] = 0.0;
        let mut sums = Vec::new();
        for _ in 1..=22 {
            let mut next = vec![f64::NEG_INFINITY; best.len()];
            for (met, &sum) in best.iter().enumerate().filter(|(_, sum)| sum.is_finite()) {
                for (word, row) in weights.iter().enumerate() {
                    // The nearest of two inputs is never the start layer.
                    let joins = matches!(Self::WORDS[word].0, LayerKind::Add | LayerKind::Concat);
                    let sources = (0..Self::START + usize::from(!joins)).filter(|source| met >> source & 1 == 1);
                    let Some(weight) = sources.map(|source| row[source]).max_by(f64::total_cmp) else { continue };
                    let place = &mut next[met | 1 << word];
                    *place = place.max(sum + weight);
                }
            }
            sums.push(next.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            best = next;
        }
        sums
    }

    /// Adds normal noise with a standard deviation of `deviation` percentage points to each accuracy.
    #[must_use]
    pub fn with_noise(self, deviation: f64) -> Self {
        Self { noise: deviation, ..self }
    }

    /// Returns the highest quality of any block.
    #[must_use]
    pub fn optimum(&self) -> f64 {
        self.optimum
    }

    /// Returns the true quality of a block in percent, without noise.
    #[must_use]
    pub fn quality(&self, block: &BlockCode) -> f64 {
        let word = |code: LayerCode| {
            let own = (code.kind(), code.kernel());
            Self::WORDS.iter().position(|word| *word == own)
        };
        let layers = inner(block);
        let weight = |&code: &LayerCode| {
            let nearest = usize::from(code.index() - reach(code));
            let source = if nearest == 0 { Some(Self::START) } else { word(layers[nearest - 1]) };
            // Layers that only occur in ablations have no weights.
            word(code).zip(source).map_or(0.0, |(word, source)| self.weights[word][source])
        };
        let mean = layers.iter().map(weight).sum::<f64>() / layers.len() as f64;
        length_term(layers.len(), self.layers) + 40.0 * mean / self.highest
    }
}

impl Environment<BlockCode> for Motifs {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        Ok(measured(self.quality(block), self.noise, context))
    }

    fn identity(&self) -> String {
        format!("motifs 1, seed {}, noise {}", self.seed, self.noise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Edit;
    use crate::space::{Step, walk};

    #[test]
    fn the_hidden_block_is_the_best_and_no_neighbour_is_better() {
        let space = BlockSpace::paper();
        for number in 0..20 {
            let environment = HiddenBlock::new(number);
            let best = environment.best().clone();
            assert!((4..=12).contains(&(best.len() - 1)), "{best}");
            assert!((environment.quality(&best) - 100.0).abs() < 1e-9);
            let center = walk(&space, best.layers()).unwrap();
            let mut rng = seed::stream(1, "neighbours", number);
            for _ in 0..200 {
                let neighbour = space.decode(&Edit::random(&space, &center, &mut rng).unwrap().actions).unwrap();
                assert!(environment.quality(&neighbour) <= 100.0 + 1e-9, "{neighbour}");
            }
        }
    }

    #[test]
    fn no_block_exceeds_the_optimum_of_the_motifs_and_climbing_comes_close_to_it() {
        let space = BlockSpace::paper();
        for number in 0..5 {
            let environment = Motifs::new(number);
            let mut rng = seed::stream(2, "climb", number);
            let mut highest: f64 = 0.0;
            for _ in 0..4 {
                let start: BlockCode = "conv3(0) id(1) max3(2) avg3(3) conv1(4) conv5(5) terminal(6)".parse().unwrap();
                let mut current = walk(&space, start.layers()).unwrap();
                let value = |walk: &crate::agent::TrajectoryOf<BlockSpace>| {
                    environment.quality(&space.decode(&walk.actions).unwrap())
                };
                for _ in 0..3_000 {
                    let next = Edit::random(&space, &current, &mut rng).unwrap();
                    assert!(value(&next) <= environment.optimum() + 1e-9);
                    if value(&next) >= value(&current) {
                        current = next;
                    }
                }
                highest = highest.max(value(&current));
            }
            assert!(highest > environment.optimum() - 5.0, "{highest} of {}", environment.optimum());
        }
    }

    #[test]
    fn long_blocks_are_far_from_the_best() {
        let space = BlockSpace::paper();
        let mut state = space.initial_state();
        let mut actions = Vec::new();
        for from in 0..22 {
            let code = LayerCode::new(from + 1, LayerKind::Convolution, 3, [from, 0]).unwrap();
            let Step::Next(next) = space.step(&state, &code).unwrap() else { unreachable!() };
            state = next;
            actions.push(code);
        }
        actions.push(LayerCode::new(23, LayerKind::Terminal, 0, [22, 0]).unwrap());
        let longest = BlockCode::new(actions).unwrap();
        for number in 0..10 {
            assert!(HiddenBlock::new(number).quality(&longest) < 65.0);
            assert!(Motifs::new(number).quality(&longest) < 65.0);
        }
    }
}
