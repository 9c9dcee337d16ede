//! The figures of a report, each with a caption, and the reasons for those that are not drawn.

mod blocks;
mod learning;
mod outcomes;
mod regret;

pub(super) use outcomes::saved_seconds;
pub use regret::regret;

use super::ReportError;
use super::colours::SERIES;
use super::drawing::BlockDrawing;
use super::figure::Figure;
use super::run::Run;
use super::series::Series;
use super::text::{percent, size};
use crate::graph::Cost;

/// A chart with its caption, and the figures in it as a table.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) figure: Figure,
    pub(super) caption: String,
    pub(super) table: Option<Series>,
}

/// The figures of a run, or of several side by side.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) charts: Vec<Chart>,
    pub(super) drawings: Vec<Figure>,
    /// A sentence for each figure that has nothing to draw.
    pub(super) omitted: Vec<String>,
}

impl Figures {
    fn push(&mut self, chart: Result<Result<Chart, String>, ReportError>) -> Result<(), ReportError> {
        match chart? {
            Ok(chart) => self.charts.push(chart),
            Err(reason) if reason.is_empty() => {}
            Err(reason) => self.omitted.push(reason),
        }
        Ok(())
    }

    /// The figures in the order of the page.
    pub(super) fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.charts.iter().map(|chart| &chart.figure).chain(&self.drawings)
    }
}

/// The result of drawing a figure: the figure, or a sentence that explains why there is none.
type Drawn = Result<Result<Chart, String>, ReportError>;

/// Draws the figures of one run, and its `best` best blocks.
pub(super) fn of_run(run: &Run, best: usize) -> Result<Figures, ReportError> {
    let mut figures = Figures::default();
    figures.push(learning::of_run(run))?;
    figures.push(outcomes::early_stop(run))?;
    figures.push(blocks::cost(run))?;
    figures.push(blocks::lengths(run))?;
    figures.push(blocks::kinds(run))?;
    figures.push(outcomes::times(run))?;
    figures.push(outcomes::failures(run))?;
    figures.push(outcomes::workers(run))?;
    figures.drawings = drawings(run, best);
    Ok(figures)
}

/// Draws the figures of several runs side by side.
pub(super) fn of_runs(runs: &[Run]) -> Result<Figures, ReportError> {
    let mut figures = Figures::default();
    figures.push(learning::of_runs(runs))?;
    figures.push(blocks::costs(runs))?;
    Ok(figures)
}

fn drawings(run: &Run, best: usize) -> Vec<Figure> {
    let best = run.best().into_iter().take(best).enumerate();
    best.filter_map(|(place, trial)| {
        let graph = run.graphs.get(&trial.id)?;
        let verified = run.verified.get(&trial.id);
        let verified = verified.map(|accuracy| format!(", {} verified", percent(Some(*accuracy)))).unwrap_or_default();
        let drawing = BlockDrawing::new(graph, run.settings.search.network.as_ref())
            .with_name(format!("block-{}", place + 1))
            .with_title(format!("No. {}: block {}", place + 1, trial.id))
            .with_caption(format!("{}{verified}, reward {:.2}", percent(trial.accuracy()), trial.reward));
        let cost = |cost: Cost| format!("{} FLOPs, {} parameters", size(cost.flops), size(cost.parameters));
        let drawing = trial.cost.map(cost).into_iter().fold(drawing, BlockDrawing::with_caption);
        Some(drawing.figure())
    })
    .collect()
}

/// Returns the colour of the run with this number.
fn colour_of(number: usize) -> (u8, u8, u8) {
    SERIES[number % SERIES.len()]
}
