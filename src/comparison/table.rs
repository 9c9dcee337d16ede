//! The results of a comparison as a Markdown table and as CSV.

use super::Comparison;
use std::fmt;
use std::io::{self, Write};

/// A mean and its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Standard error of the mean; NaN for a single value.
    pub standard_error: f64,
}

impl Estimate {
    /// Returns the mean of `values` and its standard error.
    ///
    /// ```
    /// use blockqnn::comparison::Estimate;
    ///
    /// let estimate = Estimate::of([1.0, 3.0]);
    /// assert_eq!((estimate.mean, estimate.standard_error), (2.0, 1.0));
    /// ```
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, standard_error: (squares / (count - 1.0) / count).sqrt() }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.standard_error.is_nan() {
            write!(f, "{:.2}", self.mean)
        } else {
            write!(f, "{:.2} ± {:.3}", self.mean, self.standard_error)
        }
    }
}

impl fmt::Display for Comparison {
    /// Writes a Markdown table with one row per agent and one column per budget.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![vec!["agent".to_owned()]];
        rows[0].extend(self.budgets.iter().map(ToString::to_string));
        for standing in &self.standings {
            let mut row = vec![standing.agent.clone()];
            row.extend(standing.estimates.iter().map(ToString::to_string));
            rows.push(row);
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        for (number, row) in rows.iter().enumerate() {
            for (cell, &width) in row.iter().zip(&widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                widths.iter().try_for_each(|&width| write!(f, "| {} ", "-".repeat(width.max(3))))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

impl Comparison {
    /// Writes the result of every search as CSV. Columns: `benchmark`, `agent`, `budget`, `seed`, `evaluations`,
    /// `epochs` (if the budgets are in epochs), `seconds`, `worth`, `regret` (percentage points below the optimum).
    ///
    /// # Errors
    /// Returns an error if `out` cannot be written.
    pub fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        let epochs = self.counts_epochs();
        let mut columns = vec!["benchmark", "agent", "budget", "seed", "evaluations", "seconds", "worth", "regret"];
        if epochs {
            columns.insert(5, "epochs");
        }
        csv.write_record(columns)?;
        for standing in &self.standings {
            for (budget, results) in self.budgets.iter().zip(&standing.results) {
                for result in results {
                    let mut row = vec![
                        self.benchmark.clone(),
                        standing.agent.clone(),
                        budget.to_string(),
                        result.seed.to_string(),
                        result.evaluations.to_string(),
                        format!("{:.3}", result.seconds),
                        result.worth.to_string(),
                        format!("{:.6}", self.optimum - result.worth),
                    ];
                    if epochs {
                        row.insert(5, result.epochs.to_string());
                    }
                    csv.write_record(row)?;
                }
            }
        }
        csv.flush()
    }
}
