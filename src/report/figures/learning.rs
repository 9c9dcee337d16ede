//! Is the search learning? Mean accuracy by minibatch over the phases of epsilon (Figures 7, 3 and 6).

use super::{ACCURACY, Chart, Drawn, colour_of, over_minibatches, points, range, staircase};
use crate::report::colours::{SERIES, SPREAD};
use crate::report::plot::{Plot, Point, Swatch};
use crate::report::run::Run;
use crate::report::scale::Scale;
use crate::report::series::{Minibatch, Series, Spread, minibatches};
use crate::report::text::{count, percent};

pub(super) fn of_run(run: &Run, minibatches: &[Minibatch]) -> Drawn {
    let y = accuracy_scale(minibatches, |accuracy| accuracy.low.min(accuracy.mean))
        .ok_or("The learning curve is not drawn: no block has been measured yet.")?;
    let mut plot = over_minibatches(run, "Accuracy by minibatch", (ACCURACY, y));
    plot.bands = bands(run, run.minibatches(), 1.0);
    let (complete, partial): (Vec<_>, Vec<_>) = minibatches.iter().partition(|minibatch| minibatch.complete);
    let (mean, best) = (SERIES[0], SERIES[1]);
    let tenths = |pick: fn(&Spread) -> f64| points(complete.iter().copied(), |m| m.accuracy.as_ref().map(pick));
    plot.area(tenths(|accuracy| accuracy.high), tenths(|accuracy| accuracy.low), mean, 0.16);
    plot.line(staircase(&points(minibatches, |m| m.best)), best, 2.0, true);
    plot.curve(means(complete.iter().copied()), mean, false);
    plot.entry(Swatch::Line { dashed: false }, mean, "mean of the minibatch");
    plot.entry(Swatch::Area, SPREAD, "all but the best and worst tenth");
    plot.entry(Swatch::Line { dashed: true }, best, "best so far");
    let partial = means(partial);
    if !partial.is_empty() {
        plot.rings(partial, mean);
        plot.entry(Swatch::Dot, mean, "unfinished minibatch (ring)");
    }
    let hint = |m: &Minibatch| {
        let mean = m.accuracy?.mean;
        let epsilon = m.epsilon.map(|epsilon| format!(", epsilon {epsilon}")).unwrap_or_default();
        let text = format!("minibatch {}: mean {mean:.2} %{epsilon}, best so far {}", m.number + 1, percent(m.best));
        Some(((m.place(), mean), text))
    };
    plot.hints = minibatches.iter().filter_map(hint).collect();
    let bands = if plot.bands.is_empty() {
        "The run's settings have no epsilon schedule."
    } else {
        "The bands are the phases of the epsilon schedule."
    };
    let caption = format!(
        "Mean accuracy of the measured blocks of each minibatch of {}, and the best block so far: {} of {} finished \
         blocks were measured. {bands} (Figure 7 of the paper.)",
        count(run.settings.search.minibatch),
        count(run.trials.iter().filter(|trial| trial.outcome.is_ok()).count() as u64),
        count(run.trials.len() as u64)
    );
    let figure = plot.figure("learning", &format!("{caption} {}", summary(&complete)));
    Ok(Chart { figure, caption, table: Some(table(run, minibatches)) })
}

pub(super) fn of_runs(runs: &[Run]) -> Drawn {
    let all: Vec<Vec<Minibatch>> = runs.iter().map(minibatches).collect();
    let every: Vec<Minibatch> = all.iter().flatten().cloned().collect();
    // The tenths are not drawn here and need no room.
    let y = accuracy_scale(&every, |accuracy| accuracy.mean)
        .ok_or("Learning curves are not drawn: no block of these runs has been measured yet.")?;
    let total = runs.iter().map(Run::total).max().unwrap_or(1);
    let x = ("blocks evaluated", Scale::exact(0.0, total as f64, 7));
    let mut plot = Plot::new("Accuracy of the runs, side by side", x, (ACCURACY, y));
    let first = &runs[0];
    let size = first.settings.search.minibatch;
    if runs.iter().all(|run| run.schedule == first.schedule && run.settings.search.minibatch == size) {
        plot.bands = bands(first, total.div_ceil(size.max(1)), size as f64);
    }
    for (number, (run, minibatches)) in runs.iter().zip(&all).enumerate() {
        let (colour, size) = (colour_of(number), run.settings.search.minibatch as f64);
        let by_blocks = |points: Vec<Point>| points.into_iter().map(|(x, y)| (x * size, y)).collect::<Vec<_>>();
        plot.line(staircase(&by_blocks(points(minibatches, |m| m.best))), colour, 1.0, true);
        plot.curve(by_blocks(means(minibatches.iter().filter(|minibatch| minibatch.complete))), colour, false);
        plot.entry(Swatch::Line { dashed: false }, colour, &run.name);
    }
    plot.entry(Swatch::Line { dashed: true }, SERIES[6], "dashed: best so far");
    Ok(Chart::new(
        "comparison-learning",
        &plot,
        "Mean accuracy of the measured blocks of each minibatch (solid) and the best block so far (dashed), by blocks \
         evaluated. (Figures 3 and 6 of the paper are of this kind.)",
    ))
}

fn means<'a>(minibatches: impl IntoIterator<Item = &'a Minibatch>) -> Vec<Point> {
    points(minibatches, |minibatch| Some(minibatch.accuracy?.mean))
}

/// Returns a vertical axis with room from the lowest of the accuracies to the best.
fn accuracy_scale(minibatches: &[Minibatch], lowest: fn(Spread) -> f64) -> Option<Scale> {
    let accuracies = minibatches.iter().filter_map(|m| Some([lowest(m.accuracy?), m.best?]));
    let (low, high) = range(accuracies.flatten())?;
    Some(Scale::round(low, high, 6, 0.0..100.0))
}

/// Returns the phases of the schedule, where a minibatch is `unit` wide and the first ends at `unit`.
fn bands(run: &Run, planned: u64, unit: f64) -> Vec<(f64, f64, String)> {
    let Some(schedule) = &run.schedule else { return Vec::new() };
    // Minibatches are at whole numbers if they are counted, and at their ends if blocks are counted.
    let edge = |minibatches: u64| if unit > 1.0 { minibatches as f64 * unit } else { minibatches as f64 + 0.5 };
    let mut bands = Vec::new();
    let mut from = 0;
    for (number, phase) in schedule.phases().iter().enumerate() {
        let last = number + 1 == schedule.phases().len();
        // The last epsilon is used until the end.
        let to = if last { planned } else { from.max(phase.minibatches.saturating_add(from).min(planned)) };
        if to > from {
            let label = if bands.is_empty() { format!("ε = {}", phase.epsilon) } else { phase.epsilon.to_string() };
            bands.push((edge(from), edge(to), label));
        }
        from = to;
    }
    bands
}

/// Describes the first and the last minibatch in words.
fn summary(complete: &[&Minibatch]) -> String {
    let mean = |minibatch: &&&Minibatch| minibatch.accuracy.map(|accuracy| (minibatch.number + 1, accuracy.mean));
    let (first, last) = (complete.first().as_ref().and_then(mean), complete.last().as_ref().and_then(mean));
    match (first, last) {
        (Some((first, from)), Some((last, to))) if last > first => {
            format!("The mean goes from {from:.2} % in minibatch {first} to {to:.2} % in minibatch {last}.")
        }
        _ => String::new(),
    }
}

/// Returns the means by phase of the schedule, or by tenth of the run if there is none.
fn table(run: &Run, minibatches: &[Minibatch]) -> Series {
    let tenth = minibatches.len().div_ceil(10).max(1);
    let numbered: Vec<(usize, &Minibatch)> = minibatches.iter().enumerate().collect();
    let group = |(place, minibatch): (usize, &Minibatch)| match minibatch.epsilon {
        Some(epsilon) => epsilon.to_string(),
        None => format!("part {}", place / tenth + 1),
    };
    let rows = numbered.chunk_by(|&a, &b| group(a) == group(b)).map(|members| {
        let (first, last) = (members[0], members[members.len() - 1].1);
        let (from, to) = (first.1.number + 1, last.number + 1);
        let means: Vec<f64> = members.iter().filter_map(|(_, m)| Some(m.accuracy?.mean)).collect();
        let mean = (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64);
        let infeasible = members.iter().map(|(_, minibatch)| minibatch.infeasible).sum();
        let span = if from == to { from.to_string() } else { format!("{from} to {to}") };
        vec![group(first), span, percent(mean), percent(last.best), count(infeasible)]
    });
    let first = if run.schedule.is_some() { "epsilon" } else { "part of the run" };
    let columns = [first, "minibatches", "mean accuracy", "best so far", "infeasible"];
    Series::new("learning-by-epsilon", &columns, rows.collect())
}
