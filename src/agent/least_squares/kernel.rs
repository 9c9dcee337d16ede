//! The regularised least-squares problem, extended one row at a time.

/// The Cholesky factor of `Phi Phi' + ridge I`: rows of a lower triangle, one after another.
#[derive(Debug, Clone, Default)]
pub(super) struct Cholesky {
    rows: Vec<f64>,
    size: usize,
}

impl Cholesky {
    fn row(&self, number: usize) -> &[f64] {
        let start = number * (number + 1) / 2;
        &self.rows[start..=start + number]
    }

    /// Appends a row of the matrix, given by its entries left of the diagonal and on it.
    pub(super) fn push(&mut self, mut entries: Vec<f64>, diagonal: f64) {
        debug_assert_eq!(entries.len(), self.size);
        self.forward(&mut entries);
        let rest = diagonal - dot(&entries, &entries);
        self.rows.extend(entries);
        // The ridge keeps it above 0 except for rounding errors.
        self.rows.push(rest.max(1e-9).sqrt());
        self.size += 1;
    }

    /// Solves `L x = b` in place.
    fn forward(&self, values: &mut [f64]) {
        for number in 0..values.len() {
            let row = self.row(number);
            let sum = dot(&row[..number], &values[..number]);
            values[number] = (values[number] - sum) / row[number];
        }
    }

    /// Solves `L L' x = b` in place.
    pub(super) fn solve(&self, values: &mut [f64]) {
        self.forward(values);
        for number in (0..values.len()).rev() {
            let row = self.row(number);
            let value = values[number] / row[number];
            values[number] = value;
            for (rest, entry) in values[..number].iter_mut().zip(row) {
                *rest -= value * entry;
            }
        }
    }
}

/// Returns the product of two vectors, summed in four parts so that the additions do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a4.zip(b4) {
        for lane in 0..4 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solution_solves_the_system() {
        let matrix = [
            [4.0, 1.0, 0.5, 0.2, 0.0],
            [1.0, 3.0, 0.1, 0.3, 0.4],
            [0.5, 0.1, 5.0, 1.0, 0.6],
            [0.2, 0.3, 1.0, 2.0, 0.1],
            [0.0, 0.4, 0.6, 0.1, 1.5],
        ];
        let mut factor = Cholesky::default();
        for (number, row) in matrix.iter().enumerate() {
            factor.push(row[..number].to_vec(), row[number]);
        }
        let wanted = [1.0, -2.0, 0.5, 3.0, -1.0];
        let mut values: Vec<f64> = matrix.iter().map(|row| dot(row, &wanted)).collect();
        factor.solve(&mut values);
        for (found, wanted) in values.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-12, "{values:?}");
        }
    }
}
