//! Reproducible randomness: every random draw of a search comes from here.
//!
//! A search never carries a random generator from one step to the next. Each step (the proposal of trial 17, the replay
//! after minibatch 3, the training of a block) opens its own [`ChaCha8Rng`] stream with [`stream`], named by the run's
//! seed, a purpose and a number. A resumed search therefore needs no generator state, and a result does not depend on
//! which worker computed it.
//!
//! This crate has its own sampling functions because those of `rand` may give other values in another release, and a
//! search must stay repeatable for longer than that.

/// The generator trait of the crate `rand`, from which agents draw.
pub use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Opens the random stream of one step of a run.
///
/// The same `(seed, purpose, number)` gives the same stream on every platform and in every release of the same
/// journal format.
///
/// ```
/// use blockqnn::seed;
///
/// let mut a = seed::stream(7, "propose", 0);
/// let mut b = seed::stream(7, "propose", 0);
/// assert_eq!(seed::index(&mut a, 100), seed::index(&mut b, 100));
/// ```
#[must_use]
pub fn stream(seed: u64, purpose: &str, number: u64) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(derive(seed, purpose, &number.to_le_bytes()))
}

/// Returns the seed of one trial. It depends on the run's seed and on what is trained, never on when or where.
///
/// `fingerprint` is the architecture's [`Fingerprint`](crate::graph::Fingerprint) as bytes.
#[must_use]
pub(crate) fn trial_seed(run_seed: u64, fingerprint: &[u8]) -> u64 {
    let digest = derive(run_seed, "trial", fingerprint);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(bytes)
}

fn derive(seed: u64, purpose: &str, data: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"blockqnn seed 1");
    hasher.update(seed.to_le_bytes());
    // The length keeps ("ab", "c") apart from ("a", "bc").
    hasher.update((purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(data);
    hasher.finalize().into()
}

/// Draws a uniform index in `0..bound`.
///
/// # Panics
/// If `bound` is 0.
#[must_use]
pub fn index(rng: &mut dyn Rng, bound: usize) -> usize {
    assert!(bound > 0, "cannot choose from nothing");
    let bound = bound as u64;
    // Lemire's method: the high half of a 64x64-bit product; the few low halves that would bias the result are
    // rejected.
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
        let low = product as u64;
        if low >= threshold {
            #[expect(clippy::cast_possible_truncation, reason = "the high half is below a usize")]
            return (product >> 64) as usize;
        }
    }
}

/// Draws a uniform number in `[0, 1)` with 53 random bits.
#[must_use]
pub fn unit(rng: &mut dyn Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Draws a standard normal number (Box-Muller transform).
#[must_use]
pub fn normal(rng: &mut dyn Rng) -> f64 {
    // 1 - u lies in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// Draws a uniform element of `items`, or returns `None` if there are none.
#[must_use]
pub fn choose<'a, T>(rng: &mut dyn Rng, items: &'a [T]) -> Option<&'a T> {
    if items.is_empty() {
        return None;
    }
    items.get(index(rng, items.len()))
}

/// Puts `items` into a uniformly random order (Fisher-Yates shuffle).
pub fn shuffle<T>(rng: &mut dyn Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, index(rng, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_number() {
        let first = |mut rng: ChaCha8Rng| rng.next_u64();
        let base = first(stream(1, "propose", 0));
        assert_eq!(base, first(stream(1, "propose", 0)));
        for other in [stream(2, "propose", 0), stream(1, "learn", 0), stream(1, "propose", 1)] {
            assert_ne!(base, first(other));
        }
    }

    #[test]
    fn draws_never_change() {
        let mut rng = stream(42, "pinned", 0);
        let indices: Vec<usize> = (0..8).map(|_| index(&mut rng, 10)).collect();
        let mut items: Vec<u8> = (0..6).collect();
        shuffle(&mut rng, &mut items);
        // These values were also computed by an independent program.
        assert_eq!(indices, [5, 8, 5, 1, 5, 5, 6, 2]);
        assert_eq!(items, [3, 4, 2, 0, 5, 1]);
        assert_eq!(trial_seed(42, b"pinned"), 16_250_886_937_555_017_621);
    }

    #[test]
    fn an_index_is_uniform() {
        let mut rng = stream(3, "uniform", 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[index(&mut rng, 7)] += 1;
        }
        for count in counts {
            assert!((9_600..10_400).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut rng = stream(3, "normal", 0);
        let draws: Vec<f64> = (0..50_000).map(|_| normal(&mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / 50_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 50_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
