//! Kendall's rank correlation, and how far chance may have moved it.

use crate::seed;
use std::fmt;

/// Kendall's tau-b between two rankings of the same things: pairs in the same order minus pairs in the opposite order,
/// adjusted for ties. It is 1 for equal rankings, -1 for opposite ones, 0 if one says nothing of the other.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Tau {
    /// Tau, or a difference of two taus.
    pub value: f64,
    /// Its standard error, from tau of the same things with a part of them left out (the jackknife). `None` for fewer
    /// than ten, of which the parts do not tell it.
    pub error: Option<f64>,
}

impl Tau {
    /// The fewest things whose parts tell an error.
    const ENOUGH: usize = 10;
    /// The most parts that are left out in turn: each costs a computation.
    const PARTS: usize = 200;

    /// Returns tau of the first and the second values of pairs, or `None` if there are fewer than two pairs or one of
    /// the two is constant.
    ///
    /// ```
    /// use blockqnn::reward::calibration::Tau;
    ///
    /// let found = Tau::of_pairs(&[(1.0, 10.0), (2.0, 30.0), (3.0, 20.0), (4.0, 40.0)]);
    /// assert!(found.is_some_and(|found| (found.value - 2.0 / 3.0).abs() < 1e-12));
    /// assert_eq!(Tau::of_pairs(&[(1.0, 10.0), (1.0, 20.0)]), None);
    /// ```
    #[must_use]
    pub fn of_pairs(pairs: &[(f64, f64)]) -> Option<Self> {
        kendall_of(pairs)?;
        Some(Self::over(pairs.len(), |kept| kendall(kept.iter().map(|&place| pairs[place]).collect())))
    }

    /// Returns by how much tau of `new` exceeds that of `old`, which are pairs of the same things in the same order. Its
    /// error is smaller than those of the two would tell, as what is hard to rank is so for both. A tau that is not
    /// defined counts as 0.
    ///
    /// # Panics
    /// If the lists differ in length.
    #[must_use]
    pub fn gain(old: &[(f64, f64)], new: &[(f64, f64)]) -> Self {
        assert_eq!(old.len(), new.len(), "two rankings of the same things have one length");
        let of = |pairs: &[(f64, f64)], kept: &[usize]| kendall(kept.iter().map(|&place| pairs[place]).collect());
        Self::over(old.len(), |kept| of(new, kept) - of(old, kept))
    }

    /// Returns the mean of some, of which `independent` share no things.
    pub(super) fn mean_of(taus: &[Self], independent: u32) -> Self {
        let mean = |of: &dyn Fn(&Self) -> f64| taus.iter().map(of).sum::<f64>() / taus.len() as f64;
        let variance = mean(&|tau| tau.error.unwrap_or(f64::NAN).powi(2)) / f64::from(independent);
        Self { value: mean(&|tau| tau.value), error: Some(variance.sqrt()).filter(|error| error.is_finite()) }
    }

    /// Computes a statistic of all things, and its error from what it is without each part of them.
    fn over(count: usize, statistic: impl Fn(&[usize]) -> f64) -> Self {
        let mut places: Vec<usize> = (0..count).collect();
        let value = statistic(&places);
        if count < Self::ENOUGH {
            return Self { value, error: None };
        }
        seed::shuffle(&mut seed::stream(0, "jackknife", 0), &mut places);
        let parts = count.min(Self::PARTS);
        let without = |part: usize| {
            let kept = places.iter().enumerate().filter(|(number, _)| number % parts != part);
            statistic(&kept.map(|(_, &place)| place).collect::<Vec<_>>())
        };
        let partial: Vec<f64> = (0..parts).map(without).collect();
        let mean = partial.iter().sum::<f64>() / parts as f64;
        let squares: f64 = partial.iter().map(|value| (value - mean).powi(2)).sum();
        Self { value, error: Some((squares * (parts as f64 - 1.0) / parts as f64).sqrt()) }
    }
}

impl fmt::Display for Tau {
    /// Writes the value and, after ±, the error if it is known, with three decimal places unless told otherwise, and with
    /// a plus sign if asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(3);
        if f.sign_plus() {
            write!(f, "{:+.places$}", self.value)?;
        } else {
            write!(f, "{:.places$}", self.value)?;
        }
        self.error.map_or(Ok(()), |error| write!(f, " ± {error:.places$}"))
    }
}

/// Returns tau-b of pairs, or `None` if there are fewer than two pairs or one of the two is constant.
pub(crate) fn kendall_of(pairs: &[(f64, f64)]) -> Option<f64> {
    let varies = |of: fn(&(f64, f64)) -> f64| pairs.windows(2).any(|two| of(&two[0]).total_cmp(&of(&two[1])).is_ne());
    (varies(|pair| pair.0) && varies(|pair| pair.1)).then(|| kendall(pairs.to_vec()))
}

fn pairs(count: usize) -> f64 {
    0.5 * count as f64 * (count as f64 - 1.0)
}

/// Returns tau-b of pairs, 0 if one of the two is constant, in `n log n` steps (Knight's method): with pairs sorted by
/// the first values, the exchanges that sort the second are the discordant pairs.
pub(super) fn kendall(mut both: Vec<(f64, f64)>) -> f64 {
    both.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.total_cmp(&y.1)));
    let tied = |equal: &mut dyn Iterator<Item = usize>| equal.map(pairs).sum::<f64>();
    let same = |x: f64, y: f64| x.total_cmp(&y).is_eq();
    let ties_a = tied(&mut both.chunk_by(|x, y| same(x.0, y.0)).map(<[_]>::len));
    let ties_both = tied(&mut both.chunk_by(|x, y| same(x.0, y.0) && same(x.1, y.1)).map(<[_]>::len));
    let mut second: Vec<f64> = both.iter().map(|pair| pair.1).collect();
    let mut spare = second.clone();
    let discordant = exchanges(&mut second, &mut spare) as f64;
    let ties_b = tied(&mut second.chunk_by(|x, y| same(*x, *y)).map(<[_]>::len));
    let all = pairs(both.len());
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
            let fast = kendall(a.iter().copied().zip(b.iter().copied()).collect());
            assert!((fast - slow_kendall(&a, &b)).abs() < 1e-12);
        }
    }

    #[test]
    fn equal_orders_are_1_opposite_ones_minus_1_and_a_constant_has_none() {
        let with = |other: fn(f64) -> f64| (0..10).map(f64::from).map(|up| (up, other(up))).collect::<Vec<_>>();
        for (other, expected) in [(with(f64::exp), 1.0), (with(|up| -up.exp()), -1.0)] {
            assert_eq!(Tau::of_pairs(&other), Some(Tau { value: expected, error: Some(0.0) }));
        }
        assert_eq!((Tau::of_pairs(&with(|_| 3.0)), kendall(with(|_| 3.0))), (None, 0.0));
        assert_eq!(Tau::of_pairs(&with(f64::exp)[..9]).unwrap().error, None, "nine are too few for an error");
    }

    /// Things with a quality, a good and a poor measurement of it.
    fn measured(number: u64, count: usize) -> [Vec<(f64, f64)>; 2] {
        let mut rng = seed::stream(2, "things", number);
        let mut thing = |_| {
            let quality = seed::normal(&mut rng);
            [0.5, 2.0].map(|noise| (quality + noise * seed::normal(&mut rng), quality))
        };
        let things: Vec<_> = (0..count).map(&mut thing).collect();
        [0, 1].map(|of| things.iter().map(|thing| thing[of]).collect())
    }

    fn deviation(values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
    }

    #[test]
    fn errors_are_how_much_tau_varies_between_samples() {
        // With 450 things, two or three are left out together.
        for (count, samples) in [(30, 200), (450, 60)] {
            let samples: Vec<[Tau; 2]> = (0..samples)
                .map(|number| {
                    let [good, poor] = measured(number, count);
                    [Tau::of_pairs(&good).unwrap(), Tau::gain(&poor, &good)]
                })
                .collect();
            for of in [0, 1] {
                let told = samples.iter().map(|taus| taus[of].error.unwrap()).sum::<f64>() / samples.len() as f64;
                let found = deviation(&samples.iter().map(|taus| taus[of].value).collect::<Vec<_>>());
                assert!((0.75..1.35).contains(&(told / found)), "{told} told, {found} found, of {count}");
            }
        }
    }

    #[test]
    fn it_is_shown_with_its_error() {
        let tau = Tau { value: 0.12345, error: Some(0.05678) };
        assert_eq!([format!("{tau}"), format!("{tau:+.2}")], ["0.123 ± 0.057", "+0.12 ± 0.06"]);
        assert_eq!(Tau { error: None, ..tau }.to_string(), "0.123");
    }
}
