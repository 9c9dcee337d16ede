//! Rank correlations.

/// How similar two rankings are: 1 for equal ones, -1 for opposite ones.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Agreement {
    /// Kendall's tau-b: pairs in the same order minus pairs in the opposite order, adjusted for ties.
    pub kendall: f64,
    /// Spearman's rho: the correlation of the ranks, where tied values share their mean rank.
    pub spearman: f64,
}

/// Returns the rank correlations of two lists of the same length, 0 where one of them is constant. Takes `n log n`
/// steps.
///
/// # Panics
/// If the lists differ in length.
///
/// ```
/// use blockqnn::reward::calibration::agreement;
///
/// let found = agreement(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]);
/// assert!((found.kendall - 2.0 / 3.0).abs() < 1e-12 && (found.spearman - 0.8).abs() < 1e-12);
/// ```
#[must_use]
pub fn agreement(a: &[f64], b: &[f64]) -> Agreement {
    assert_eq!(a.len(), b.len(), "two rankings of the same things have one length");
    Agreement { kendall: kendall(a, b), spearman: spearman(a, b) }
}

impl Agreement {
    /// Returns the rank correlations of the first and the second values of pairs, or `None` if there are fewer than two
    /// pairs or one of the two is constant.
    ///
    /// ```
    /// use blockqnn::reward::calibration::Agreement;
    ///
    /// let found = Agreement::of_pairs(&[(1.0, 10.0), (2.0, 30.0), (3.0, 20.0), (4.0, 40.0)]);
    /// assert!(found.is_some_and(|found| (found.kendall - 2.0 / 3.0).abs() < 1e-12));
    /// assert_eq!(Agreement::of_pairs(&[(1.0, 10.0), (1.0, 20.0)]), None);
    /// ```
    #[must_use]
    pub fn of_pairs(pairs: &[(f64, f64)]) -> Option<Self> {
        let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let varies = |figures: &[f64]| figures.windows(2).any(|pair| pair[0].total_cmp(&pair[1]).is_ne());
        (varies(&first) && varies(&second)).then(|| agreement(&first, &second))
    }
}

fn pairs(count: usize) -> f64 {
    0.5 * count as f64 * (count as f64 - 1.0)
}

/// Knight's method: with pairs sorted by the first list, the exchanges that sort the second are the discordant pairs.
fn kendall(a: &[f64], b: &[f64]) -> f64 {
    let mut both: Vec<(f64, f64)> = a.iter().copied().zip(b.iter().copied()).collect();
    both.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.total_cmp(&y.1)));
    let tied = |equal: &mut dyn Iterator<Item = usize>| equal.map(pairs).sum::<f64>();
    let same = |x: f64, y: f64| x.total_cmp(&y).is_eq();
    let ties_a = tied(&mut both.chunk_by(|x, y| same(x.0, y.0)).map(<[_]>::len));
    let ties_both = tied(&mut both.chunk_by(|x, y| same(x.0, y.0) && same(x.1, y.1)).map(<[_]>::len));
    let mut second: Vec<f64> = both.iter().map(|pair| pair.1).collect();
    let mut spare = second.clone();
    let discordant = exchanges(&mut second, &mut spare) as f64;
    let ties_b = tied(&mut second.chunk_by(|x, y| same(*x, *y)).map(<[_]>::len));
    let all = pairs(a.len());
    let scale = ((all - ties_a) * (all - ties_b)).sqrt();
    if scale > 0.0 { (all - ties_a - ties_b + ties_both - 2.0 * discordant) / scale } else { 0.0 }
}

/// Sorts by merging, and counts the pairs that were in the wrong order.
fn exchanges(values: &mut [f64], spare: &mut [f64]) -> u64 {
    let count = values.len();
    if count < 2 {
        return 0;
    }
    let middle = count / 2;
    let mut wrong = exchanges(&mut values[..middle], &mut spare[..middle]);
    wrong += exchanges(&mut values[middle..], &mut spare[middle..]);
    let (mut left, mut right) = (0, middle);
    for place in &mut *spare {
        let take_left = right == count || (left < middle && values[left].total_cmp(&values[right]).is_le());
        if take_left {
            *place = values[left];
            left += 1;
        } else {
            *place = values[right];
            right += 1;
            wrong += (middle - left) as u64;
        }
    }
    values.copy_from_slice(spare);
    wrong
}

fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = f64::midpoint(a.len() as f64, 1.0);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let scale = (product(&a, &a) * product(&b, &b)).sqrt();
    if scale > 0.0 { product(&a, &b) / scale } else { 0.0 }
}

/// Returns ranks from 1, lowest value first; equal values share their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&x, &y| values[x].total_cmp(&values[y]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&x, &y| values[x].total_cmp(&values[y]).is_eq()) {
        let rank = first as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for &place in equal {
            ranks[place] = rank;
        }
        first += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    /// Tau-b by its definition.
    fn slow_kendall(a: &[f64], b: &[f64]) -> f64 {
        let (mut sum, mut in_a, mut in_b) = (0.0, 0.0, 0.0);
        for x in 0..a.len() {
            for y in 0..x {
                let sign = |values: &[f64]| (values[x] - values[y]).partial_cmp(&0.0).unwrap() as i32;
                sum += f64::from(sign(a) * sign(b));
                in_a += f64::from(sign(a).abs());
                in_b += f64::from(sign(b).abs());
            }
        }
        sum / f64::sqrt(in_a * in_b)
    }

    #[test]
    fn the_fast_tau_agrees_with_the_definition_with_many_ties() {
        let mut rng = seed::stream(1, "tau", 0);
        for bound in [2, 5, 1_000] {
            let mut list = || (0..60).map(|_| seed::index(&mut rng, bound) as f64).collect::<Vec<_>>();
            let (a, b) = (list(), list());
            assert!((agreement(&a, &b).kendall - slow_kendall(&a, &b)).abs() < 1e-12);
        }
    }

    #[test]
    fn equal_orders_are_1_opposite_ones_minus_1_and_a_constant_0() {
        let up: Vec<f64> = (0..10).map(f64::from).collect();
        let down: Vec<f64> = up.iter().map(|value| -value.exp()).collect();
        for (other, expected) in [(&up, 1.0), (&down, -1.0), (&vec![3.0; 10], 0.0)] {
            let found = agreement(&up, other);
            assert!((found.kendall - expected).abs() < 1e-12 && (found.spearman - expected).abs() < 1e-12, "{found:?}");
        }
    }
}
