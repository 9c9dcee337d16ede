//! How far two orders agree.

use std::cmp::Ordering;

/// Kendall's tau-b of pairs of figures: 1 if both put all in the same order, -1 if in the opposite one; equal figures are
/// corrected for. `None` if there are fewer than two pairs, or all figures of one side are equal.
///
/// ```
/// use blockqnn::experiment::kendall_tau;
///
/// assert_eq!(kendall_tau(&[(1.0, 10.0), (2.0, 30.0), (3.0, 20.0)]), Some(1.0 / 3.0));
/// assert_eq!(kendall_tau(&[(1.0, 10.0)]), None);
/// ```
///
/// # References
/// M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
#[must_use]
pub fn kendall_tau(pairs: &[(f64, f64)]) -> Option<f64> {
    let (mut agree, mut apart_left, mut apart_right) = (0i64, 0i64, 0i64);
    for (position, first) in pairs.iter().enumerate() {
        for second in &pairs[position + 1..] {
            let (left, right) = (sign(first.0.total_cmp(&second.0)), sign(first.1.total_cmp(&second.1)));
            agree += left * right;
            apart_left += left.abs();
            apart_right += right.abs();
        }
    }
    let scale = (apart_left as f64 * apart_right as f64).sqrt();
    (scale > 0.0).then(|| agree as f64 / scale)
}

fn sign(ordering: Ordering) -> i64 {
    ordering as i64
}

/// Spearman's rho: the correlation of the ranks, equal figures having the mean of theirs. `None` as for [`kendall_tau`].
///
/// ```
/// use blockqnn::experiment::spearman;
///
/// assert_eq!(spearman(&[(1.0, 10.0), (2.0, 30.0), (3.0, 20.0)]), Some(0.5));
/// ```
#[must_use]
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let left = ranks(pairs.iter().map(|pair| pair.0).collect());
    let right = ranks(pairs.iter().map(|pair| pair.1).collect());
    let middle = (pairs.len() as f64 + 1.0) / 2.0;
    let (mut product, mut left_squares, mut right_squares) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(&right) {
        product += (left - middle) * (right - middle);
        left_squares += (left - middle).powi(2);
        right_squares += (right - middle).powi(2);
    }
    let scale = (left_squares * right_squares).sqrt();
    (scale > 0.0).then(|| product / scale)
}

/// The rank of each figure, from 1.
fn ranks(figures: Vec<f64>) -> Vec<f64> {
    let mut sorted = figures.clone();
    sorted.sort_by(f64::total_cmp);
    let rank = |figure: f64| {
        let below = sorted.partition_point(|other| other.total_cmp(&figure).is_lt());
        let up_to = sorted.partition_point(|other| other.total_cmp(&figure).is_le());
        (below + 1 + up_to) as f64 / 2.0
    };
    figures.into_iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_order_is_1_and_the_opposite_is_minus_1() {
        let rising: Vec<(f64, f64)> = (0..9).map(f64::from).map(|x| (x, x.powi(3))).collect();
        let falling: Vec<(f64, f64)> = rising.iter().map(|&(x, y)| (x, -y)).collect();
        assert_eq!((kendall_tau(&rising), spearman(&rising)), (Some(1.0), Some(1.0)));
        assert_eq!((kendall_tau(&falling), spearman(&falling)), (Some(-1.0), Some(-1.0)));
    }

    #[test]
    fn ties_are_as_computed_by_hand() {
        // Pairs of positions: (1,2) agrees, (1,3) agrees, (2,3) is equal on the left: 2 / sqrt(2 * 3).
        let pairs = [(1.0, 1.0), (2.0, 2.0), (2.0, 3.0)];
        assert!((kendall_tau(&pairs).unwrap() - 2.0 / 6.0_f64.sqrt()).abs() < 1e-15);
        // Ranks 1, 2.5, 2.5 and 1, 2, 3: products 1 + 0 + 0.5, squares 1.5 and 2.
        assert!((spearman(&pairs).unwrap() - 1.5 / 3.0_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn equal_figures_have_no_order_to_agree_with() {
        for pairs in [&[][..], &[(1.0, 2.0)], &[(1.0, 1.0), (1.0, 2.0)]] {
            assert_eq!((kendall_tau(pairs), spearman(pairs)), (None, None));
        }
    }
}
