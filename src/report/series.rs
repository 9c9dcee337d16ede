//! The numbers behind the figures, as tables: each becomes a CSV file, and some become tables of the page.

use super::kind::Kind;
use super::run::{Finished, Run, failure_name};
use crate::evaluation::{Direction, Objective, Rung};
use crate::search::{self, free_name};
use std::collections::BTreeMap;

/// A series of numbers, as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The name in file names: letters, digits, `-` and `_`.
    pub(super) name: String,
    /// Names of the columns, with units where there are any.
    pub(super) columns: Vec<String>,
    /// The rows, with a field for each column; a field without a value is empty.
    pub(super) rows: Vec<Vec<String>>,
}

/// A column of a table: its name, and the field in it of each item.
pub(super) type Column<'a, T> = (&'a str, &'a dyn Fn(&T) -> String);

impl Series {
    /// Creates a table with a row for each item.
    pub(super) fn of<T>(name: &str, items: impl IntoIterator<Item = T>, columns: &[Column<'_, T>]) -> Self {
        let row = |item: T| columns.iter().map(|(_, field)| field(&item)).collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        Self::new(name, &names, items.into_iter().map(row).collect())
    }

    pub(super) fn new(name: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { name: name.to_owned(), columns: columns.iter().map(|&column| column.to_owned()).collect(), rows }
    }

    /// Leaves out those of `columns` that have no value in any row.
    pub(super) fn without_empty(mut self, columns: &[&str]) -> Self {
        let is_kept: Vec<bool> = (self.columns.iter().enumerate())
            .map(|(place, column)| {
                !columns.contains(&column.as_str()) || self.rows.iter().any(|row| !row[place].is_empty())
            })
            .collect();
        for fields in self.rows.iter_mut().chain([&mut self.columns]) {
            let mut kept = is_kept.iter();
            fields.retain(|_| kept.next().copied().unwrap_or(true));
        }
        self
    }

    /// Leaves out a column.
    pub(super) fn without(mut self, column: &str) -> Self {
        if let Some(place) = self.columns.iter().position(|name| name == column) {
            for fields in self.rows.iter_mut().chain([&mut self.columns]) {
                fields.remove(place);
            }
        }
        self
    }

    /// Adds a column before another one.
    pub(super) fn with_column_before(
        mut self,
        column: &str,
        name: String,
        fields: impl Iterator<Item = String>,
    ) -> Self {
        let place = self.columns.iter().position(|name| name == column).unwrap_or(self.columns.len());
        self.columns.insert(place, name);
        self.rows.iter_mut().zip(fields).for_each(|(row, field)| row.insert(place, field));
        self
    }

    /// Returns the name of the series: letters, digits, `-` and `_`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the table as CSV (RFC 4180), under a line of column names.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut csv = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            // Writing to memory cannot fail.
            let _ = csv.write_record(row);
        }
        String::from_utf8(csv.into_inner().unwrap_or_default()).unwrap_or_default()
    }
}

/// The numbers of a minibatch.
#[derive(Debug, Clone)]
pub(super) struct Minibatch {
    pub(super) number: u64,
    /// Whether all its trials are finished.
    pub(super) complete: bool,
    pub(super) trials: u64,
    pub(super) infeasible: u64,
    pub(super) cached: u64,
    pub(super) epsilon: Option<f64>,
    /// Mean, lowest tenth and highest tenth of the values of the objective; with rungs, at the lowest.
    pub(super) value: Option<Spread>,
    /// Best value of the run so far; with rungs, at the highest that was reached.
    pub(super) best: Option<f64>,
    pub(super) mean_reward: f64,
    /// Mean and tenths of the number of layers, if there are any.
    pub(super) layers: Option<Spread>,
    /// Number of layers of each kind.
    pub(super) kinds: [u64; Kind::ALL.len()],
    /// Seconds of training.
    pub(super) seconds: f64,
}

impl Minibatch {
    /// Returns the place of the minibatch in charts: its number, from 1.
    pub(super) fn place(&self) -> f64 {
        (self.number + 1) as f64
    }
}

/// The mean of some numbers, and their first and ninth deciles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Spread {
    pub(super) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let last = numbers.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
            let below = place.floor() as usize;
            let above = (below + 1).min(last);
            numbers[below] + (numbers[above] - numbers[below]) * place.fract()
        };
        Some(Self { mean: numbers.iter().sum::<f64>() / numbers.len() as f64, low: at(0.1), high: at(0.9) })
    }
}

/// Returns the minibatches that have a finished trial, in order.
pub(super) fn minibatches(run: &Run) -> Vec<Minibatch> {
    let mut groups: BTreeMap<u64, Vec<&Finished>> = BTreeMap::new();
    for trial in &run.trials {
        groups.entry(trial.minibatch).or_default().push(trial);
    }
    // The values of different rungs are not comparable.
    let mut best: Option<(u32, f64)> = None;
    let size = run.settings.search.minibatch;
    groups
        .into_iter()
        .map(|(number, trials)| {
            let at_the_lowest = trials.iter().filter(|trial| trial.rung.is_none_or(|rung| rung.number == 0));
            let values: Vec<f64> = at_the_lowest.filter_map(|trial| trial.value()).collect();
            for (value, rung) in trials.iter().filter_map(|trial| Some((trial.final_value()?, trial.standing().0))) {
                best = match best {
                    Some((highest, best)) if highest == rung => Some((rung, run.objective().better(best, value))),
                    Some((highest, _)) if highest > rung => best,
                    _ => Some((rung, value)),
                };
            }
            let measured = trials.iter().filter(|trial| trial.value().is_some()).count() as u64;
            let count = trials.len() as u64;
            let expected = run.total().saturating_sub(number.saturating_mul(size)).min(size);
            let mut kinds = [0; Kind::ALL.len()];
            for trial in &trials {
                kinds.iter_mut().zip(trial.kinds).for_each(|(sum, layers)| *sum += u64::from(layers));
            }
            let layers = trials.iter().filter_map(|trial| trial.layers);
            Minibatch {
                number,
                complete: count >= expected,
                trials: count,
                infeasible: count - measured,
                cached: trials.iter().filter(|trial| trial.cached).count() as u64,
                epsilon: run.epsilon(number),
                value: Spread::of(values),
                best: best.map(|(_, value)| value),
                mean_reward: trials.iter().map(|trial| trial.reward).sum::<f64>() / count as f64,
                layers: Spread::of(layers.map(|layers| layers as f64).collect()),
                kinds,
                seconds: trials.iter().filter(|trial| !trial.cached).map(|trial| trial.seconds()).sum(),
            }
        })
        .collect()
}

/// What the objective is drawn against: FLOPs, or a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against<'a> {
    Flops,
    Measurement(&'a str),
}

impl Against<'_> {
    /// Returns the quantity of a trial, if it is known.
    pub(super) fn of(self, trial: &Finished) -> Option<f64> {
        match self {
            Self::Flops => trial.flops().map(|flops| flops as f64),
            Self::Measurement(name) => trial.measurement(name),
        }
    }

    /// Returns which quantities are better.
    pub(super) fn direction(self, run: &Run) -> Direction {
        match self {
            Self::Flops => Direction::Minimise,
            Self::Measurement(name) => run.settings.search.direction_of(name),
        }
    }
}

/// Returns the trials measured to the end that no other trial with at most as many FLOPs, or a measurement that is at least as
/// good, beats in the objective; the one with the best quantity first.
pub(super) fn pareto_front<'a>(run: &'a Run, against: Against<'_>) -> Vec<&'a Finished> {
    let sign = if against.direction(run) == Direction::Maximise { -1.0 } else { 1.0 };
    let highest = run.trials.iter().map(|trial| trial.standing().0).max().unwrap_or_default();
    search::pareto_front(&run.trials, run.objective().direction, |trial: &Finished| {
        let is_at_the_top = trial.standing().0 == highest;
        Some((sign * against.of(trial)?, trial.final_value().filter(|_| is_at_the_top)?, trial.id))
    })
}

/// Returns the name of a column for the objective: `mean_accuracy_percent`.
fn column_of(objective: &Objective, prefix: &str) -> String {
    let unit = match objective.unit.as_str() {
        "" => String::new(),
        "%" => "_percent".to_owned(),
        unit => format!("_{unit}"),
    };
    format!("{prefix}{}{unit}", objective.name)
}

/// Returns the number of infeasible trials for each reason, most frequent first.
pub(super) fn failures(run: &Run) -> Vec<(&'static str, u64)> {
    most_frequent(run.trials.iter().filter_map(|trial| trial.outcome.as_ref().err()).map(failure_name))
}

/// Returns how often each text occurs, most frequent first.
pub(super) fn most_frequent<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<(&'a str, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    // Equally frequent ones stay in the order of the alphabet.
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Returns all series of a run.
pub(super) fn all(run: &Run) -> Vec<Series> {
    let verified = run.trials.iter().filter_map(|trial| Some((trial, run.verified.get(&trial.id)?)));
    let mut series = vec![trials(run), by_minibatch(run)];
    series.extend(run.has_layers().then(|| kinds_by_minibatch(run)));
    series.extend((!run.ladder().is_empty()).then(|| by_rung(run)));
    series.extend(run.has_costs().then(|| pareto(run)));
    series.extend(run.trials.iter().any(|trial| !trial.curve().is_empty()).then(|| curves(run)));
    series.extend(run.measurements().into_iter().map(|name| measurement_front(run, name)));
    // Only accuracies are verified.
    series.extend(run.objective().is_accuracy().then(|| {
        Series::of(
            "verified",
            verified,
            &[
                ("trial", &|(trial, _)| trial.id.to_string()),
                ("early_stop_percent", &|(trial, _)| optional(trial.value())),
                ("reward", &|(trial, _)| trial.reward.to_string()),
                ("verified_percent", &|(_, accuracy)| accuracy.to_string()),
            ],
        )
    }));
    series.extend([
        Series::of(
            "failures",
            failures(run),
            &[("reason", &|(name, _)| (*name).to_owned()), ("trials", &|(_, trials)| trials.to_string())],
        ),
        Series::of(
            "failed-attempts",
            &run.faults,
            &[
                ("trial", &|fault| fault.trial.to_string()),
                ("attempt", &|fault| fault.attempt.to_string()),
                ("message", &|fault| fault.message.clone()),
            ],
        ),
    ]);
    series
}

fn pareto(run: &Run) -> Series {
    Series::of(
        "pareto",
        pareto_front(run, Against::Flops),
        &[
            ("trial", &|trial| trial.id.to_string()),
            ("flops", &|trial| optional(trial.flops())),
            ("parameters", &|trial| optional(trial.cost.map(|cost| cost.parameters))),
            (&column_of(run.objective(), ""), &|trial| optional(trial.value())),
            ("architecture", &|trial| trial.text.clone()),
        ],
    )
}

fn curves(run: &Run) -> Series {
    let points = run.trials.iter().flat_map(|trial| trial.curve().iter().map(|point| (trial.id, point)));
    Series::of(
        "curves",
        points,
        &[
            ("trial", &|(trial, _)| trial.to_string()),
            ("epoch", &|(_, (epoch, _))| epoch.to_string()),
            (&column_of(run.objective(), ""), &|(_, (_, value))| value.to_string()),
        ],
    )
}

fn measurement_front(run: &Run, name: &str) -> Series {
    let mut columns = ["trial", "architecture"].map(str::to_owned).to_vec();
    columns.insert(1, free_name(&column_of(run.objective(), ""), &columns));
    columns.insert(1, free_name(name, &columns));
    let rows = pareto_front(run, Against::Measurement(name)).into_iter().map(|trial| {
        let numbers = [Some(trial.id as f64), trial.measurement(name), trial.value()];
        numbers.map(optional).into_iter().chain([trial.text.clone()]).collect()
    });
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    Series::new(&format!("pareto-{}", run.slug_of(name)), &columns, rows.collect())
}

fn trials(run: &Run) -> Series {
    let value = column_of(run.objective(), "");
    let columns: &[Column<'_, &Finished>] = &[
        ("trial", &|trial| trial.id.to_string()),
        ("minibatch", &|trial| trial.minibatch.to_string()),
        (&value, &|trial| optional(trial.value())),
        ("reward", &|trial| trial.reward.to_string()),
        ("parameters", &|trial| optional(trial.cost.map(|cost| cost.parameters))),
        ("flops", &|trial| optional(trial.cost.map(|cost| cost.flops))),
        ("activation_bytes", &|trial| optional(trial.cost.map(|cost| cost.activation_bytes))),
        ("depth", &|trial| optional(trial.cost.map(|cost| cost.depth))),
        ("layers", &|trial| optional(trial.layers)),
        ("density", &|trial| optional(trial.cost.map(|cost| cost.density()))),
        ("seconds", &|trial| trial.seconds().to_string()),
        ("rung", &|trial| optional(trial.rung.map(|rung| rung.number))),
        ("epochs", &|trial| optional(trial.rung.map(|rung| rung.epochs))),
        ("promoted_from", &|trial| optional(trial.promoted_from)),
        ("cached", &|trial| trial.cached.to_string()),
        ("stopped", &|trial| optional(trial.is_stopped().then_some(true))),
        ("verified_percent", &|trial| optional(run.verified.get(&trial.id))),
        ("infeasible", &|trial| optional(trial.outcome.as_ref().err())),
        ("architecture", &|trial| trial.text.clone()),
    ];
    let mut series = Series::of("trials", &run.trials, columns);
    if !run.objective().is_accuracy() {
        series = series.without("verified_percent");
    }
    for name in run.measurements() {
        let column = free_name(name, &series.columns);
        let fields = run.trials.iter().map(|trial| optional(trial.measurement(name)));
        series = series.with_column_before("seconds", column, fields);
    }
    let optional = ["parameters", "flops", "activation_bytes", "depth", "layers", "density", "stopped"];
    series.without_empty(&optional).without_empty(&["rung", "epochs", "promoted_from"])
}

fn by_minibatch(run: &Run) -> Series {
    let [mean, tenth, nine_tenths, best] =
        ["mean_", "tenth_", "nine_tenths_", "best_"].map(|prefix| column_of(run.objective(), prefix));
    let series = Series::of(
        "minibatches",
        minibatches(run),
        &[
            ("minibatch", &|m| m.number.to_string()),
            ("trials", &|m| m.trials.to_string()),
            ("complete", &|m| m.complete.to_string()),
            ("epsilon", &|m| optional(m.epsilon)),
            (&mean, &|m| optional(m.value.map(|value| value.mean))),
            (&tenth, &|m| optional(m.value.map(|value| value.low))),
            (&nine_tenths, &|m| optional(m.value.map(|value| value.high))),
            (&best, &|m| optional(m.best)),
            ("mean_reward", &|m| m.mean_reward.to_string()),
            ("mean_layers", &|m| optional(m.layers.map(|layers| layers.mean))),
            ("tenth_layers", &|m| optional(m.layers.map(|layers| layers.low))),
            ("nine_tenths_layers", &|m| optional(m.layers.map(|layers| layers.high))),
            ("infeasible", &|m| m.infeasible.to_string()),
            ("cached", &|m| m.cached.to_string()),
            ("training_seconds", &|m| m.seconds.to_string()),
        ],
    );
    series.without_empty(&["mean_layers", "tenth_layers", "nine_tenths_layers"])
}

/// A row for each rung: its epochs and trials, the best value, and how its ranking agrees with that of the next.
pub(super) fn by_rung(run: &Run) -> Series {
    let values = |rung| run.at(rung).filter_map(Finished::final_value);
    let next = |rung: &Rung| run.rungs.iter().find(|agreement| agreement.lower == *rung);
    let best = column_of(run.objective(), "best_");
    Series::of(
        "rungs",
        run.ladder(),
        &[
            ("rung", &|rung| rung.number.to_string()),
            ("epochs", &|rung| rung.epochs.to_string()),
            ("trials", &|rung| run.at(*rung).count().to_string()),
            ("promoted", &|rung| run.at(*rung).filter(|trial| trial.is_promoted).count().to_string()),
            (&best, &|rung| optional(values(*rung).reduce(|best, value| run.objective().better(best, value)))),
            ("tau_with_next", &|rung| optional(next(rung).map(|agreement| format!("{:.3}", agreement.kendall)))),
            ("error_of_tau", &|rung| optional(next(rung).map(|agreement| format!("{:.3}", agreement.error)))),
            ("compared", &|rung| optional(next(rung).map(|agreement| agreement.count))),
        ],
    )
}

fn kinds_by_minibatch(run: &Run) -> Series {
    let names = Kind::ALL.map(|(name, _)| name.replace('×', "x"));
    let columns: Vec<&str> = std::iter::once("minibatch").chain(names.iter().map(String::as_str)).collect();
    let rows = minibatches(run).into_iter().map(|minibatch| {
        std::iter::once(minibatch.number).chain(minibatch.kinds).map(|number| number.to_string()).collect()
    });
    Series::new("kinds", &columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_interpolates_and_no_numbers_have_none() {
        let spread = Spread::of((0..=10).map(f64::from).collect()).unwrap();
        assert_eq!((spread.mean, spread.low, spread.high), (5.0, 1.0, 9.0));
        assert_eq!(Spread::of(vec![3.0]), Some(Spread { mean: 3.0, low: 3.0, high: 3.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn commas_and_quotes_stay_in_their_field() {
        let series = Series::new("s", &["a", "b"], vec![vec!["add(1,2)".to_owned(), "say \"no\"".to_owned()]]);
        assert_eq!(series.csv(), "a,b\n\"add(1,2)\",\"say \"\"no\"\"\"\n");
    }
}
