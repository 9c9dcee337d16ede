//! Predicts how long a training takes from what its network costs.

use blockqnn::graph::Cost;

/// Sweeps of the fit over its coefficients.
const SWEEPS: usize = 10_000;

/// Seconds for each multiply-add, byte of outputs, parameter and node, and for a training itself. None is negative, so
/// that a larger network is never predicted to be faster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates([f64; 5]);

fn features(cost: &Cost) -> [f64; 5] {
    let Cost { flops, activation_bytes, parameters, nodes, .. } = *cost;
    [flops as f64, activation_bytes as f64, parameters as f64, nodes as f64, 1.0]
}

impl Rates {
    /// Returns the rates that come nearest to the measured seconds (which must be above 0), by the sum of squared
    /// relative errors.
    pub(super) fn fit(measured: &[(Cost, f64)]) -> Self {
        let rows: Vec<[f64; 5]> =
            measured.iter().map(|(cost, seconds)| features(cost).map(|feature| feature / seconds)).collect();
        let dot = |one: usize, other: usize| rows.iter().map(|row| row[one] * row[other]).sum::<f64>();
        let lengths: [f64; 5] = std::array::from_fn(|place| dot(place, place).sqrt().max(f64::MIN_POSITIVE));
        // Non-negative least squares by coordinate descent, on columns of length 1; the wanted value of each row is 1.
        let products: [[f64; 5]; 5] =
            std::array::from_fn(|one| std::array::from_fn(|other| dot(one, other) / lengths[one] / lengths[other]));
        let wanted: [f64; 5] =
            std::array::from_fn(|place| rows.iter().map(|row| row[place]).sum::<f64>() / lengths[place]);
        let mut weights = [0.0; 5];
        for _ in 0..SWEEPS {
            for place in 0..5 {
                let present: f64 = products[place].iter().zip(weights).map(|(product, weight)| product * weight).sum();
                weights[place] = (weights[place] + wanted[place] - present).max(0.0);
            }
        }
        Self(std::array::from_fn(|place| weights[place] / lengths[place]))
    }

    /// The predicted seconds of a training.
    pub(super) fn seconds(&self, cost: &Cost) -> f64 {
        features(cost).iter().zip(self.0).map(|(feature, rate)| feature * rate).sum()
    }
}

/// Returns the median and the ninth decile of the relative errors with which one half of the measured times, of which
/// there must be at least two, predicts the other.
pub(super) fn errors(measured: &[(Cost, f64)]) -> (f64, f64) {
    let half = |first| measured.iter().copied().skip(first).step_by(2).collect::<Vec<_>>();
    let halves = [half(0), half(1)];
    let error = |rates: Rates| move |(cost, seconds): &(Cost, f64)| (seconds / rates.seconds(cost) - 1.0).abs();
    let of = |known: usize| halves[1 - known].iter().map(error(Rates::fit(&halves[known])));
    let mut errors: Vec<f64> = of(0).chain(of(1)).collect();
    errors.sort_by(f64::total_cmp);
    (errors[errors.len() / 2], errors[errors.len() * 9 / 10])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(number: u64) -> Cost {
        Cost {
            parameters: 100 * (1 + number % 4),
            flops: 1_000 * (1 + number * number % 7),
            activation_bytes: 500 * (1 + number % 5),
            depth: 1,
            nodes: 3 + number % 6,
            edges: 3,
        }
    }

    fn measured(rates: Rates) -> Vec<(Cost, f64)> {
        (0..40).map(cost).map(|cost| (cost, rates.seconds(&cost))).collect()
    }

    #[test]
    fn rates_that_made_the_times_are_found_again() {
        let made = Rates([3e-5, 2e-5, 4e-4, 1e-2, 2e-2]);
        let found = Rates::fit(&measured(made));
        for number in 40..60 {
            let error = found.seconds(&cost(number)) / made.seconds(&cost(number)) - 1.0;
            assert!(error.abs() < 1e-3, "{error}");
        }
        let (median, ninth_decile) = errors(&measured(made));
        assert!(median <= ninth_decile && ninth_decile < 1e-3, "{median} {ninth_decile}");
    }

    #[test]
    fn rates_are_never_negative() {
        // More multiply-adds in less time.
        let of = |flops| Cost { flops, ..cost(0) };
        let found = Rates::fit(&[(of(1_000), 2.0), (of(2_000), 1.0)]);
        assert!(found.0.iter().all(|rate| *rate >= 0.0), "{found:?}");
        let error = found.seconds(&of(1_500)) / 1.4 - 1.0;
        assert!(error.abs() < 0.3, "{error}");
    }

    #[test]
    fn errors_are_those_of_times_that_were_not_fitted() {
        // A half that is fitted exactly, and takes twice as long as the other.
        let unequal: Vec<_> = (0..20).map(|n| (cost(0), if n % 2 == 0 { 1.0 } else { 2.0 })).collect();
        let (median, ninth_decile) = errors(&unequal);
        assert!((median - 1.0).abs() < 1e-6 && (ninth_decile - 1.0).abs() < 1e-6, "{median} {ninth_decile}");
    }
}
