//! What did the search find? Accuracy against FLOPs, and the lengths and kinds of layers over time.

use super::{Chart, Drawn, colour_of};
use crate::report::colours::SERIES;
use crate::report::kind::Kind;
use crate::report::plot::{Layer, Plot, Swatch, thinned};
use crate::report::run::{Finished, Run};
use crate::report::scale::Scale;
use crate::report::series::{Series, Spread, minibatches, pareto_front};
use crate::report::text::{percent, size};

/// Returns the measured trials as points: the decimal logarithm of FLOPs, and the accuracy.
fn points<'a>(trials: impl IntoIterator<Item = &'a Finished>) -> Vec<(f64, f64)> {
    let flops = |trial: &Finished| trial.flops().filter(|flops| *flops > 0);
    trials.into_iter().filter_map(|trial| Some(((flops(trial)? as f64).log10(), trial.accuracy()?))).collect()
}

/// Returns the axes for these points.
fn scales(points: &[(f64, f64)]) -> Option<(Scale, Scale)> {
    let ends = |pick: fn(&(f64, f64)) -> f64| {
        let values = points.iter().map(pick);
        Some((values.clone().min_by(f64::total_cmp)?, values.max_by(f64::total_cmp)?))
    };
    let ((left, right), (low, high)) = (ends(|point| point.0)?, ends(|point| point.1)?);
    let x = Scale::logarithmic(10f64.powf(left), 10f64.powf(right));
    Some((x, Scale::round(low, high, 6, 0.0..100.0)))
}

const FLOPS: &str = "FLOPs: multiply-adds of the whole network for one image (logarithmic)";
const ACCURACY: &str = "accuracy on validation images (%)";

/// Returns a front as a staircase: the best accuracy with at most a number of FLOPs.
fn front_line(front: &[(f64, f64)], right: f64) -> Vec<(f64, f64)> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in front {
        if let Some(&(_, before)) = line.last() {
            line.push((x, before));
        }
        line.push((x, y));
    }
    line.extend(line.last().map(|&(_, y)| (right, y)));
    line
}

pub(super) fn cost(run: &Run) -> Drawn {
    let all = points(&run.trials);
    if !run.has_costs() && !run.best().is_empty() {
        return Ok(Err("Accuracy against FLOPs is not drawn: this search knows no cost.".to_owned()));
    }
    let Some((x, y)) = scales(&all) else {
        return Ok(Err("Accuracy against FLOPs is not drawn: no block has been measured yet.".to_owned()));
    };
    let front = pareto_front(run);
    let front_points = points(front.iter().copied());
    let mut plot = Plot::new("Accuracy against FLOPs", (FLOPS, x.clone()), (ACCURACY, y.clone()));
    // Late blocks are drawn above early ones, to show where the search arrived.
    let half = run.trials.len() / 2;
    let (early, late) = (points(&run.trials[..half]), points(&run.trials[half..]));
    let dense = all.len() > 1_500;
    let (radius, opacity) = if dense { (2.0, 0.45) } else { (3.0, 0.7) };
    let (early_colour, late_colour, front_colour) = (SERIES[5], SERIES[0], SERIES[1]);
    for (points, colour) in [(early, early_colour), (late, late_colour)] {
        let points = thinned(points, &x, &y);
        plot.layers.push(Layer::Dots { points, colour, radius, opacity, hollow: false });
    }
    let line = front_line(&front_points, x.high);
    plot.layers.push(Layer::Line { points: line, colour: front_colour, width: 2, dashed: false });
    let points = front_points.clone();
    plot.layers.push(Layer::Dots { points, colour: front_colour, radius: 4.0, opacity: 1.0, hollow: false });
    plot.legend = vec![
        (Swatch::Dot, early_colour, "first half of the run".to_owned()),
        (Swatch::Dot, late_colour, "second half".to_owned()),
        (Swatch::Line, front_colour, "Pareto front".to_owned()),
    ];
    plot.hints = front
        .iter()
        .zip(&front_points)
        .map(|(trial, &(x, y))| {
            let flops = trial.flops().map(size).unwrap_or_default();
            (x, y, format!("block {}: {} at {flops} FLOPs\n{}", trial.id, percent(trial.accuracy()), trial.text))
        })
        .collect();
    let caption = format!(
        "Each point is a measured block. The line joins the {} that no other block beats with at most as many FLOPs.",
        front.len()
    );
    let rows = front.iter().map(|trial| {
        let cost = trial.cost.map(|cost| [size(cost.flops), size(cost.parameters)]);
        std::iter::once(trial.id.to_string())
            .chain(cost.unwrap_or_default())
            .chain([percent(trial.accuracy()), trial.text.clone()])
            .collect()
    });
    let columns = ["block", "FLOPs", "parameters", "accuracy", "layers"];
    let table = Series::new("pareto-front", &columns, rows.collect());
    Ok(Ok(Chart { figure: plot.figure("accuracy-flops", &caption)?, caption, table: Some(table) }))
}

pub(super) fn costs(runs: &[Run]) -> Drawn {
    let fronts: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| points(pareto_front(run))).collect();
    let all: Vec<(f64, f64)> = fronts.iter().flatten().copied().collect();
    let Some((x, y)) = scales(&all) else {
        let reason = "no block of these runs has been measured yet, or its cost is not known";
        return Ok(Err(format!("Pareto fronts are not drawn: {reason}.")));
    };
    let mut plot = Plot::new("Pareto fronts of the runs", (FLOPS, x.clone()), (ACCURACY, y));
    for (number, (run, front)) in runs.iter().zip(fronts).enumerate() {
        let colour = colour_of(number);
        plot.layers.push(Layer::Line {
            points: front_line(&front, x.high),
            colour,
            width: 2,
            dashed: number >= SERIES.len(),
        });
        plot.layers.push(Layer::Dots { points: front, colour, radius: 3.0, opacity: 1.0, hollow: false });
        plot.legend.push((Swatch::Line, colour, run.name.clone()));
    }
    let caption = "The best accuracy of each run with at most this many FLOPs.".to_owned();
    Ok(Ok(Chart { figure: plot.figure("comparison-flops", &caption)?, caption, table: None }))
}

pub(super) fn lengths(run: &Run) -> Drawn {
    let spreads: Vec<(f64, u64, Spread)> = minibatches(run)
        .into_iter()
        .filter_map(|minibatch| Some(((minibatch.number + 1) as f64, minibatch.number + 1, minibatch.layers?)))
        .collect();
    let Some(highest) = spreads.iter().map(|(_, _, layers)| layers.high.max(layers.mean)).max_by(f64::total_cmp) else {
        let reason = if run.trials.is_empty() { "no block is finished yet" } else { "the architectures have none" };
        return Ok(Err(format!("Lengths and kinds of layers are not drawn: {reason}.")));
    };
    let planned = run.total().div_ceil(run.settings.search.minibatch.max(1));
    let mut plot = Plot::new(
        "Length of the blocks",
        ("minibatch", Scale::counting(planned)),
        ("layers between start and terminal", Scale::round(0.0, highest, 6, 0.0..f64::INFINITY)),
    );
    let colour = SERIES[0];
    let mean: Vec<_> = spreads.iter().map(|(x, _, layers)| (*x, layers.mean)).collect();
    plot.layers.push(Layer::Area {
        upper: spreads.iter().map(|(x, _, layers)| (*x, layers.high)).collect(),
        lower: spreads.iter().map(|(x, _, layers)| (*x, layers.low)).collect(),
        colour,
        opacity: 0.16,
    });
    plot.layers.push(Layer::Line { points: mean.clone(), colour, width: 2, dashed: false });
    if mean.len() <= 40 {
        plot.layers.push(Layer::Dots { points: mean, colour, radius: 3.0, opacity: 1.0, hollow: false });
    }
    plot.legend = vec![
        (Swatch::Line, colour, "mean of the minibatch".to_owned()),
        (Swatch::Area, (0xCF, 0xE3, 0xF0), "all but the longest and shortest tenth".to_owned()),
    ];
    plot.hints = spreads
        .iter()
        .map(|(x, number, Spread { mean, .. })| (*x, *mean, format!("minibatch {number}: {mean:.1} layers on average")))
        .collect();
    let caption = "Layers of the blocks of each minibatch, without start and terminal.".to_owned();
    Ok(Ok(Chart { figure: plot.figure("lengths", &caption)?, caption, table: None }))
}

pub(super) fn kinds(run: &Run) -> Drawn {
    let minibatches = minibatches(run);
    let totals = Kind::ALL.map(|kind| minibatches.iter().map(|m| m.kinds[kind.position()]).sum::<u64>());
    let all = totals.iter().sum::<u64>();
    if all == 0 {
        // The figure of the lengths already gives this reason.
        let reason = if minibatches.is_empty() || !run.has_layers() {
            ""
        } else {
            "Kinds of layers are not drawn: no block has a layer."
        };
        return Ok(Err(reason.to_owned()));
    }
    let planned = run.total().div_ceil(run.settings.search.minibatch.max(1));
    let mut plot = Plot::new(
        "Kinds of layers",
        ("minibatch", Scale::counting(planned)),
        ("share of the minibatch's layers (%)", Scale::exact(0.0, 100.0, 5)),
    );
    // If there are few minibatches, each is as wide as its place, so that a single one is visible.
    let few = minibatches.len() <= 40;
    let last = minibatches.len() - 1;
    let mut columns: Vec<(f64, f64, [f64; Kind::ALL.len()])> = Vec::new();
    for (place, minibatch) in minibatches.iter().enumerate() {
        let sum = minibatch.kinds.iter().sum::<u64>();
        let share = minibatch.kinds.map(|layers| layers as f64 / sum.max(1) as f64 * 100.0);
        let middle = minibatch.number as f64 + 1.0;
        let from = if few || place == 0 { middle - 0.5 } else { middle };
        let to = if few || place == last { middle + 0.5 } else { middle };
        columns.push((from, to, share));
    }
    let mut base = vec![0.0; columns.len()];
    for kind in Kind::ALL.into_iter().filter(|kind| totals[kind.position()] > 0) {
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        for ((from, to, share), base) in columns.iter().zip(&mut base) {
            let top = *base + share[kind.position()];
            lower.extend([(*from, *base), (*to, *base)]);
            upper.extend([(*from, top), (*to, top)]);
            *base = top;
        }
        let outline = upper.clone();
        plot.layers.push(Layer::Area { upper, lower, colour: kind.colour(), opacity: 1.0 });
        plot.layers.push(Layer::Line { points: outline, colour: (0xFF, 0xFF, 0xFF), width: 1, dashed: false });
        plot.legend.push((Swatch::Area, kind.colour(), kind.name().to_owned()));
    }
    let caption =
        "The share of each kind among the layers of each minibatch, from the bottom up in the order of the legend; \
         additions and concatenations are layers too."
            .to_owned();
    let present = Kind::ALL.into_iter().filter(|kind| totals[kind.position()] > 0);
    let (first, last) = (&columns[0].2, &columns[columns.len() - 1].2);
    let share = |value: f64| format!("{value:.1} %");
    let rows = present.map(|kind| {
        let total = totals[kind.position()] as f64 / all as f64 * 100.0;
        let ends = [share(total), share(first[kind.position()]), share(last[kind.position()])];
        std::iter::once(kind.name().to_owned()).chain(ends).collect()
    });
    let table = Series::new("kinds", &["kind", "whole run", "first minibatch", "last minibatch"], rows.collect());
    Ok(Ok(Chart { figure: plot.figure("kinds", &caption)?, caption, table: Some(table) }))
}
