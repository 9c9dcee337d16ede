//! What did the search find? Accuracy against FLOPs, and the lengths and kinds of layers over time.

use super::{ACCURACY, Chart, Drawn, colour_of, over_minibatches, range, staircase};
use crate::report::colours::{PAPER, SERIES, SPREAD};
use crate::report::kind::Kind;
use crate::report::plot::{FEW, Plot, Point, Swatch};
use crate::report::run::{Finished, Run};
use crate::report::scale::Scale;
use crate::report::series::{Minibatch, Series, Spread, pareto_front};
use crate::report::text::{percent, size};

const FLOPS: &str = "FLOPs: multiply-adds of the whole network for one image (logarithmic)";

/// Returns the trials that were measured to the end as points: the decimal logarithm of FLOPs, and the accuracy.
fn places<'a>(trials: impl IntoIterator<Item = &'a Finished>) -> Vec<Point> {
    let flops = |trial: &Finished| trial.flops().filter(|flops| *flops > 0);
    trials.into_iter().filter_map(|trial| Some(((flops(trial)? as f64).log10(), trial.final_accuracy()?))).collect()
}

/// Creates a chart of accuracy against FLOPs with room for these points.
fn against_flops(title: &str, points: &[Point]) -> Option<Plot> {
    let (left, right) = range(points.iter().map(|point| point.0))?;
    let (low, high) = range(points.iter().map(|point| point.1))?;
    let x = Scale::logarithmic(10f64.powf(left), 10f64.powf(right));
    Some(Plot::new(title, (FLOPS, x), (ACCURACY, Scale::round(low, high, 6, 0.0..100.0))))
}

/// Returns a front as a staircase: the best accuracy with at most a number of FLOPs.
fn front_line(front: &[Point], right: f64) -> Vec<Point> {
    let end = front.last().map(|&(_, y)| (right, y));
    staircase(&front.iter().copied().chain(end).collect::<Vec<_>>())
}

pub(super) fn cost(run: &Run) -> Drawn {
    let all = places(&run.trials);
    if !run.has_costs() && !run.best().is_empty() {
        return Err("Accuracy against FLOPs is not drawn: this search knows no cost.");
    }
    let mut plot = against_flops("Accuracy against FLOPs", &all)
        .ok_or("Accuracy against FLOPs is not drawn: no block has been measured yet.")?;
    let front = pareto_front(run);
    let front_places = places(front.iter().copied());
    // Late blocks are drawn above early ones, to show where the search arrived.
    let (early, late) = run.trials.split_at(run.trials.len() / 2);
    let (radius, opacity) = if all.len() > 1_500 { (2.0, 0.45) } else { (3.0, 0.7) };
    for (trials, colour, name) in [(early, SERIES[5], "first half of the run"), (late, SERIES[0], "second half")] {
        plot.dots(places(trials), colour, radius, opacity);
        plot.entry(Swatch::Dot, colour, name);
    }
    plot.line(front_line(&front_places, plot.x.high), SERIES[1], 2.0, false);
    plot.dots(front_places.clone(), SERIES[1], 4.0, 1.0);
    plot.entry(Swatch::Line { dashed: false }, SERIES[1], "Pareto front");
    let hint = |trial: &Finished| {
        let (flops, accuracy) = (trial.flops().map(size).unwrap_or_default(), percent(trial.accuracy()));
        format!("block {}: {accuracy} at {flops} FLOPs\n{}", trial.id, trial.text)
    };
    plot.hints = front_places.into_iter().zip(front.iter().map(|trial| hint(trial))).collect();
    let caption = format!(
        "Each point is a measured block. The line joins the {} that no other block beats with at most as many FLOPs.",
        front.len()
    );
    let rows = front.iter().map(|trial| {
        let cost = trial.cost.map(|cost| [size(cost.flops), size(cost.parameters)]);
        let figures = std::iter::once(trial.id.to_string()).chain(cost.unwrap_or_default());
        figures.chain([percent(trial.accuracy()), trial.text.clone()]).collect()
    });
    let columns = ["block", "FLOPs", "parameters", "accuracy", "layers"];
    let table = Series::new("pareto-front", &columns, rows.collect());
    Ok(Chart::new("accuracy-flops", &plot, caption).with_table(table))
}

pub(super) fn costs(runs: &[Run]) -> Drawn {
    let fronts: Vec<Vec<Point>> = runs.iter().map(|run| places(pareto_front(run))).collect();
    let mut plot = against_flops("Pareto fronts of the runs", &fronts.concat()).ok_or(
        "Pareto fronts are not drawn: no block of these runs has been measured yet, or its cost is not known.",
    )?;
    for (number, (run, front)) in runs.iter().zip(fronts).enumerate() {
        let colour = colour_of(number);
        plot.line(front_line(&front, plot.x.high), colour, 2.0, number >= SERIES.len());
        plot.dots(front, colour, 3.0, 1.0);
        plot.entry(Swatch::Line { dashed: false }, colour, &run.name);
    }
    Ok(Chart::new("comparison-flops", &plot, "The best accuracy of each run with at most this many FLOPs."))
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
