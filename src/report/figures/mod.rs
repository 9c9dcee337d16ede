//! The figures of a report, each with a caption, and the reasons for those that are not drawn.

mod blocks;
mod curves;
mod learning;
mod outcomes;
mod rated;
mod regret;
mod rungs;

pub(super) use outcomes::saved_seconds;
pub use rated::{RatedBlock, rated};
pub use regret::regret;

use super::colours::{Colour, SERIES};
use super::drawing::BlockDrawing;
use super::figure::Figure;
use super::plot::{Plot, Point};
use super::run::{Finished, Run};
use super::scale::Scale;
use super::series::{Minibatch, Series, minibatches};
use super::text::{percent, size};
use crate::graph::Cost;

/// Returns the title of the axis of the objective.
fn axis(run: &Run) -> String {
    let objective = run.objective();
    if objective.is_accuracy() { "accuracy on validation images (%)".to_owned() } else { objective.label() }
}

/// Returns an axis for values of the objective from `low` to `high`.
fn value_scale(run: &Run, low: f64, high: f64) -> Scale {
    let bounds = if run.objective().is_accuracy() { 0.0..100.0 } else { f64::NEG_INFINITY..f64::INFINITY };
    Scale::round(low, high, 6, bounds)
}

/// Returns a text that begins with a capital letter.
fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A chart with its caption, and the figures in it as a table.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) figure: Figure,
    pub(super) caption: String,
    pub(super) table: Option<Series>,
}

impl Chart {
    fn new(name: &str, plot: &Plot, caption: impl Into<String>) -> Self {
        let caption = caption.into();
        Self { figure: plot.figure(name, &caption), caption, table: None }
    }

    fn with_table(self, table: Series) -> Self {
        Self { table: Some(table), ..self }
    }
}

/// A chart, or a sentence that explains why there is none; it is empty if another one says so too.
type Drawn = Result<Chart, &'static str>;

/// The figures of a run, or of several side by side.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    pub(super) charts: Vec<Chart>,
    pub(super) drawings: Vec<Figure>,
    /// A sentence for each figure that has nothing to draw.
    pub(super) omitted: Vec<&'static str>,
}

impl Figures {
    fn new(drawn: impl IntoIterator<Item = Drawn>, drawings: Vec<Figure>) -> Self {
        let mut figures = Self { charts: Vec::new(), drawings, omitted: Vec::new() };
        for chart in drawn {
            match chart {
                Ok(chart) => figures.charts.push(chart),
                Err("") => {}
                Err(reason) => figures.omitted.push(reason),
            }
        }
        figures
    }

    /// Returns the figures in the order of the page.
    pub(super) fn into_figures(self) -> impl Iterator<Item = Figure> {
        self.charts.into_iter().map(|chart| chart.figure).chain(self.drawings)
    }
}

/// Draws the figures of one run, and its `best` best blocks.
pub(super) fn of_run(run: &Run, best: usize) -> Figures {
    let minibatches = minibatches(run);
    let beginning = [
        learning::of_run(run, &minibatches),
        rungs::learning(run),
        rungs::promotions(run),
        curves::of_run(run),
        outcomes::early_stop(run),
        blocks::against_flops(run),
    ];
    let measurements = run.measurements().into_iter().map(|name| blocks::against_measurement(run, name));
    let end = [
        blocks::lengths(run, &minibatches),
        blocks::kinds(run, &minibatches),
        outcomes::times(run, &minibatches),
        outcomes::failures(run),
        outcomes::workers(run),
    ];
    Figures::new(beginning.into_iter().chain(measurements).chain(end), drawings(run, best))
}

/// Draws the figures of several runs side by side.
pub(super) fn of_runs(runs: &[Run]) -> Figures {
    Figures::new([learning::of_runs(runs), blocks::costs(runs)], Vec::new())
}

fn drawings(run: &Run, best: usize) -> Vec<Figure> {
    let best = run.best().into_iter().take(best).enumerate();
    // A number alone says of a percentage what it is.
    let value = |trial: &Finished| match run.objective() {
        objective if objective.is_accuracy() => run.show(trial.value()),
        objective => format!("{} {}", objective.name, run.show(trial.value())),
    };
    best.filter_map(|(place, trial)| {
        let graph = run.graphs.get(&trial.id)?;
        let verified = run.verified.get(&trial.id);
        let verified = verified.map(|accuracy| format!(", {} verified", percent(Some(*accuracy)))).unwrap_or_default();
        let drawing = BlockDrawing::new(graph, run.settings.search.network.as_ref())
            .with_name(format!("block-{}", place + 1))
            .with_title(format!("No. {}: block {}", place + 1, trial.id))
            .with_caption(format!("{}{verified}, reward {:.2}", value(trial), trial.reward));
        let cost = |cost: Cost| format!("{} FLOPs, {} parameters", size(cost.flops), size(cost.parameters));
        let drawing = trial.cost.map(cost).into_iter().fold(drawing, BlockDrawing::with_caption);
        Some(drawing.figure())
    })
    .collect()
}

/// Creates a chart over the minibatches of a run.
fn over_minibatches(run: &Run, title: &str, y: (impl Into<String>, Scale)) -> Plot {
    Plot::new(title, ("minibatch", Scale::counting(run.minibatches())), y)
}

/// Returns a point for each minibatch that has a value.
fn points<'a>(
    minibatches: impl IntoIterator<Item = &'a Minibatch>,
    value: impl Fn(&Minibatch) -> Option<f64>,
) -> Vec<Point> {
    minibatches.into_iter().filter_map(|minibatch| Some((minibatch.place(), value(minibatch)?))).collect()
}

/// Returns the lowest and the highest of some values.
fn range(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((values.clone().min_by(f64::total_cmp)?, values.max_by(f64::total_cmp)?))
}

/// Returns a staircase through points: the value of each holds until the next.
fn staircase(points: &[Point]) -> Vec<Point> {
    let corners = points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
    corners.chain(points.last().copied()).collect()
}

/// Returns the colour of the run or agent with this number.
fn colour_of(number: usize) -> Colour {
    SERIES[number % SERIES.len()]
}
