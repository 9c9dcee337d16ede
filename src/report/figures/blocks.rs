//! What did the search find? Its objective against FLOPs and measurements, and the lengths and kinds of layers over time.

use super::{Chart, Drawn, axis, capitalised, colour_of, over_minibatches, range, staircase, value_scale};
use crate::evaluation::{Direction, significant};
use crate::report::colours::{PAPER, SERIES, SPREAD};
use crate::report::kind::Kind;
use crate::report::plot::{FEW, Plot, Point, Swatch};
use crate::report::run::{Finished, Run};
use crate::report::scale::Scale;
use crate::report::series::{Against, Minibatch, Series, Spread, pareto_front};
use crate::report::text::size;

/// Returns the title of an axis without what is specific to its scale.
fn title_of(against: Against<'_>) -> String {
    match against {
        Against::Flops => "FLOPs: multiply-adds of the whole network for one image".to_owned(),
        Against::Measurement(name) => name.to_owned(),
    }
}

/// A chart of the objective against FLOPs or a measurement, and where trials are in it.
struct Field<'a> {
    against: Against<'a>,
    is_logarithmic: bool,
    plot: Plot,
}

impl<'a> Field<'a> {
    /// Creates a chart with room for the measured trials. FLOPs are on a logarithmic axis, measurements if they are
    /// positive and the largest is more than ten times the smallest. `None` if there is no such trial.
    fn new<'t>(
        title: &str,
        run: &Run,
        against: Against<'a>,
        trials: impl Iterator<Item = &'t Finished>,
    ) -> Option<Self> {
        let is_flops = against == Against::Flops;
        let known = |trial: &Finished| {
            Some((against.of(trial).filter(|flops| !is_flops || *flops > 0.0)?, trial.final_value()?))
        };
        let points: Vec<Point> = trials.filter_map(known).collect();
        let (left, right) = range(points.iter().map(|point| point.0))?;
        let (low, high) = range(points.iter().map(|point| point.1))?;
        let is_logarithmic = is_flops || (left > 0.0 && right > 10.0 * left);
        let x = if is_logarithmic {
            Scale::logarithmic(left, right)
        } else {
            Scale::round(left, right, 6, f64::NEG_INFINITY..f64::INFINITY)
        };
        let name = format!("{}{}", title_of(against), if is_logarithmic { " (logarithmic)" } else { "" });
        let plot = Plot::new(title, (name, x), (axis(run), value_scale(run, low, high)));
        Some(Self { against, is_logarithmic, plot })
    }

    /// Returns where the measured ones of some trials are.
    fn places<'t>(&self, trials: impl IntoIterator<Item = &'t Finished>) -> Vec<Point> {
        let place = |trial: &Finished| {
            let x = self.against.of(trial)?;
            let x = if self.is_logarithmic { (x > 0.0).then(|| x.log10())? } else { x };
            Some((x, trial.final_value()?))
        };
        trials.into_iter().filter_map(place).collect()
    }

    /// Returns a front as a staircase: the best value with at most a number of FLOPs, or with a measurement that is at
    /// least as good.
    fn front_line(&self, run: &Run, front: &[Point]) -> Vec<Point> {
        let end = match self.against.direction(run) {
            Direction::Maximise => self.plot.x.low,
            Direction::Minimise => self.plot.x.high,
        };
        let last = front.last().map(|&(_, y)| (end, y));
        staircase(&front.iter().copied().chain(last).collect::<Vec<_>>())
    }
}

/// Draws the objective against FLOPs, with the Pareto front.
pub(super) fn against_flops(run: &Run) -> Drawn {
    if !run.has_costs() && !run.best().is_empty() {
        return Err(if run.objective().is_accuracy() {
            "Accuracy against FLOPs is not drawn: this search knows no cost."
        } else {
            "The objective against FLOPs is not drawn: this search knows no cost."
        });
    }
    let drawn = front(run, Against::Flops)?;
    let name = if run.objective().is_accuracy() { "accuracy-flops".to_owned() } else { "objective-flops".to_owned() };
    let columns = ["block", "FLOPs", "parameters", &run.objective().name, "layers"];
    let rows = drawn.front.iter().map(|trial| {
        let cost = trial.cost.map(|cost| [size(cost.flops), size(cost.parameters)]);
        let figures = std::iter::once(trial.id.to_string()).chain(cost.unwrap_or_default());
        figures.chain([run.show(trial.value()), trial.text.clone()]).collect()
    });
    let table = Series::new("pareto-front", &columns, rows.collect());
    let caption = format!(
        "Each point is a measured block. The line joins the {} that no other block beats with at most as many FLOPs.",
        drawn.front.len()
    );
    Ok(Chart::new(&name, &drawn.plot, caption).with_table(table))
}

/// Draws the objective against a measurement, with the Pareto front.
pub(super) fn against_measurement(run: &Run, name: &str) -> Drawn {
    let drawn = front(run, Against::Measurement(name))?;
    let columns = ["block", name, &run.objective().name, "layers"];
    let rows = drawn.front.iter().map(|trial| {
        let measured = trial.measurement(name).map(significant).unwrap_or_default();
        vec![trial.id.to_string(), measured, run.show(trial.value()), trial.text.clone()]
    });
    let table = Series::new("measurement-front", &columns, rows.collect());
    let more_or_less = match run.settings.search.direction_of(name) {
        Direction::Maximise => "at least",
        Direction::Minimise => "at most",
    };
    let caption = format!(
        "Each point is a measured block. The line joins the {} that no other block with {more_or_less} as much {name} \
         beats.",
        drawn.front.len()
    );
    let objective = if run.objective().is_accuracy() { "accuracy" } else { "objective" };
    Ok(Chart::new(&format!("{objective}-by-{}", run.slug_of(name)), &drawn.plot, caption).with_table(table))
}

/// A chart with a front, and the trials of the front.
struct Front<'a> {
    plot: Plot,
    front: Vec<&'a Finished>,
}

fn front<'a>(run: &'a Run, against: Against<'_>) -> Result<Front<'a>, &'static str> {
    let objective = run.objective();
    let name = match against {
        Against::Flops => "FLOPs",
        Against::Measurement(name) => name,
    };
    let title = capitalised(&format!("{} against {name}", objective.name));
    let mut field = Field::new(&title, run, against, run.trials.iter()).ok_or(if objective.is_accuracy() {
        "Accuracy against FLOPs is not drawn: no block has been measured yet."
    } else {
        "The objective against FLOPs is not drawn: no block has been measured yet."
    })?;
    let front = pareto_front(run, against);
    let front_places = field.places(front.iter().copied());
    // Late blocks are drawn above early ones, to show where the search arrived.
    let (early, late) = run.trials.split_at(run.trials.len() / 2);
    let (radius, opacity) = if run.trials.len() > 1_500 { (2.0, 0.45) } else { (3.0, 0.7) };
    for (trials, colour, name) in [(early, SERIES[5], "first half of the run"), (late, SERIES[0], "second half")] {
        let places = field.places(trials);
        field.plot.dots(places, colour, radius, opacity);
        field.plot.entry(Swatch::Dot, colour, name);
    }
    let line = field.front_line(run, &front_places);
    field.plot.line(line, SERIES[1], 2.0, false);
    field.plot.dots(front_places.clone(), SERIES[1], 4.0, 1.0);
    field.plot.entry(Swatch::Line { dashed: false }, SERIES[1], "Pareto front");
    let hint = |trial: &Finished| {
        let at = match against {
            Against::Flops => format!("{} FLOPs", trial.flops().map(size).unwrap_or_default()),
            Against::Measurement(name) => {
                format!("{name} {}", trial.measurement(name).map(significant).unwrap_or_default())
            }
        };
        format!("block {}: {} at {at}\n{}", trial.id, run.show(trial.value()), trial.text)
    };
    field.plot.hints = front_places.into_iter().zip(front.iter().map(|trial| hint(trial))).collect();
    Ok(Front { plot: field.plot, front })
}

pub(super) fn costs(runs: &[Run]) -> Drawn {
    let first = &runs[0];
    if runs.iter().any(|run| run.objective() != first.objective()) {
        return Err("Pareto fronts are not drawn side by side: the runs have different objectives.");
    }
    let fronts: Vec<Vec<&Finished>> = runs.iter().map(|run| pareto_front(run, Against::Flops)).collect();
    let all = fronts.iter().flatten().copied();
    let mut field = Field::new("Pareto fronts of the runs", first, Against::Flops, all).ok_or(
        "Pareto fronts are not drawn: no block of these runs has been measured yet, or its cost is not known.",
    )?;
    for (number, (run, front)) in runs.iter().zip(fronts).enumerate() {
        let (colour, front) = (colour_of(number), field.places(front));
        let line = field.front_line(run, &front);
        field.plot.line(line, colour, 2.0, number >= SERIES.len());
        field.plot.dots(front, colour, 3.0, 1.0);
        field.plot.entry(Swatch::Line { dashed: false }, colour, &run.name);
    }
    let caption = format!("The best {} of each run with at most this many FLOPs.", first.objective().name);
    Ok(Chart::new("comparison-flops", &field.plot, caption))
}

pub(super) fn lengths(run: &Run, minibatches: &[Minibatch]) -> Drawn {
    let layers: Vec<(&Minibatch, Spread)> = minibatches.iter().filter_map(|m| Some((m, m.layers?))).collect();
    let (_, highest) =
        range(layers.iter().map(|(_, layers)| layers.high.max(layers.mean))).ok_or(if run.trials.is_empty() {
            "Lengths and kinds of layers are not drawn: no block is finished yet."
        } else {
            "Lengths and kinds of layers are not drawn: the architectures have none."
        })?;
    let y = ("layers between start and terminal", Scale::round(0.0, highest, 6, 0.0..f64::INFINITY));
    let mut plot = over_minibatches(run, "Length of the blocks", y);
    let figures = |figure: fn(&Spread) -> f64| layers.iter().map(|(m, layers)| (m.place(), figure(layers))).collect();
    plot.area(figures(|layers| layers.high), figures(|layers| layers.low), SERIES[0], 0.16);
    plot.curve(figures(|layers| layers.mean), SERIES[0], false);
    plot.entry(Swatch::Line { dashed: false }, SERIES[0], "mean of the minibatch");
    plot.entry(Swatch::Area, SPREAD, "all but the longest and shortest tenth");
    let hint = |(m, Spread { mean, .. }): &(&Minibatch, Spread)| {
        ((m.place(), *mean), format!("minibatch {}: {mean:.1} layers on average", m.number + 1))
    };
    plot.hints = layers.iter().map(hint).collect();
    Ok(Chart::new("lengths", &plot, "Layers of the blocks of each minibatch, without start and terminal."))
}

pub(super) fn kinds(run: &Run, minibatches: &[Minibatch]) -> Drawn {
    let totals: [u64; Kind::ALL.len()] = std::array::from_fn(|kind| minibatches.iter().map(|m| m.kinds[kind]).sum());
    let all = totals.iter().sum::<u64>();
    if all == 0 {
        // The figure of the lengths already gives this reason.
        let is_said = minibatches.is_empty() || !run.has_layers();
        return Err(if is_said { "" } else { "Kinds of layers are not drawn: no block has a layer." });
    }
    let y = ("share of the minibatch's layers (%)", Scale::exact(0.0, 100.0, 5));
    let mut plot = over_minibatches(run, "Kinds of layers", y);
    let share = |layers: u64, of: u64| layers as f64 / of.max(1) as f64 * 100.0;
    let share_in = |m: &Minibatch, kind: usize| share(m.kinds[kind], m.kinds.iter().sum());
    // If there are few minibatches, each is as wide as its place, so that a single one is visible.
    let few = minibatches.len() <= FEW;
    let (first, last) = (&minibatches[0], &minibatches[minibatches.len() - 1]);
    let ends = |m: &Minibatch| {
        let from = if few || m.number == first.number { 0.5 } else { 0.0 };
        let to = if few || m.number == last.number { 0.5 } else { 0.0 };
        [m.place() - from, m.place() + to]
    };
    let outline = |tops: &[f64]| -> Vec<Point> {
        minibatches.iter().zip(tops).flat_map(|(m, &top)| ends(m).map(|x| (x, top))).collect()
    };
    let mut base = vec![0.0; minibatches.len()];
    let mut rows = Vec::new();
    for (kind, (name, colour)) in Kind::ALL.into_iter().enumerate().filter(|(kind, _)| totals[*kind] > 0) {
        let tops: Vec<f64> = minibatches.iter().zip(&base).map(|(m, base)| base + share_in(m, kind)).collect();
        plot.area(outline(&tops), outline(&base), colour, 1.0);
        plot.line(outline(&tops), PAPER, 1.0, false);
        plot.entry(Swatch::Area, colour, name);
        let shares = [share(totals[kind], all), share_in(first, kind), share_in(last, kind)];
        rows.push(std::iter::once(name.to_owned()).chain(shares.map(|share| format!("{share:.1} %"))).collect());
        base = tops;
    }
    let caption = "The share of each kind among the layers of each minibatch, from the bottom up in the order of the \
                   legend; additions and concatenations are layers too.";
    let table = Series::new("kinds", &["kind", "whole run", "first minibatch", "last minibatch"], rows);
    Ok(Chart::new("kinds", &plot, caption).with_table(table))
}
