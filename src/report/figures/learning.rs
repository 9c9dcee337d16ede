//! Is the search learning? Mean accuracy by minibatch over the phases of epsilon (Figures 7, 3 and 6).

use super::{Chart, Drawn, axis, capitalised, colour_of, over_minibatches, points, range, staircase, value_scale};
use crate::report::colours::{SERIES, SPREAD};
use crate::report::plot::{Plot, Point, Swatch};
use crate::report::run::Run;
use crate::report::scale::Scale;
use crate::report::series::{Minibatch, Series, Spread, minibatches};
use crate::report::text::count;

pub(super) fn of_run(run: &Run, minibatches: &[Minibatch]) -> Drawn {
    let y = scale(run, minibatches, |value| [value.low, value.high, value.mean])
        .ok_or("The learning curve is not drawn: no block has been measured yet.")?;
    let mut plot =
        over_minibatches(run, &capitalised(&format!("{} by minibatch", run.objective().name)), (axis(run), y));
    plot.bands = bands(run, run.minibatches(), 1.0);
    let (complete, partial): (Vec<_>, Vec<_>) = minibatches.iter().partition(|minibatch| minibatch.complete);
    let (mean, best) = (SERIES[0], SERIES[1]);
    let tenths = |pick: fn(&Spread) -> f64| points(complete.iter().copied(), |m| m.value.as_ref().map(pick));
    plot.area(tenths(|value| value.high), tenths(|value| value.low), mean, 0.16);
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
        let mean = m.value?.mean;
        let epsilon = m.epsilon.map(|epsilon| format!(", epsilon {epsilon}")).unwrap_or_default();
        let [shown, best] = [Some(mean), m.best].map(|value| run.show(value));
        let text = format!("minibatch {}: mean {shown}{epsilon}, best so far {best}", m.number + 1);
        Some(((m.place(), mean), text))
    };
    plot.hints = minibatches.iter().filter_map(hint).collect();
    let bands = if plot.bands.is_empty() {
        "The run's settings have no epsilon schedule."
    } else {
        "The bands are the phases of the epsilon schedule."
    };
    let rungs = if run.ladder().is_empty() {
        ""
    } else {
        " The mean is that of the lowest rung, and the best that of the highest rung reached."
    };
    let caption = format!(
        "Mean {} of the measured blocks of each minibatch of {}, and the best block so far: {} of {} finished blocks \
         were measured.{rungs} {bands}{}",
        run.objective().name,
        count(run.settings.search.minibatch),
        count(run.trials.iter().filter(|trial| trial.outcome.is_ok()).count() as u64),
        count(run.trials.len() as u64),
        if run.objective().is_accuracy() { " (Figure 7 of the paper is of this kind.)" } else { "" },
    );
    let figure = plot.figure("learning", &format!("{caption} {}", summary(run, &complete)));
    Ok(Chart { figure, caption, table: Some(table(run, minibatches)) })
}

pub(super) fn of_runs(runs: &[Run]) -> Drawn {
    let all: Vec<Vec<Minibatch>> = runs.iter().map(minibatches).collect();
    let every: Vec<Minibatch> = all.iter().flatten().cloned().collect();
    // The tenths are not drawn here and need no room.
    let first = &runs[0];
    if runs.iter().any(|run| run.objective() != first.objective()) {
        return Err("Learning curves are not drawn side by side: the runs have different objectives.");
    }
    let y = scale(first, &every, |value| [value.mean; 3])
        .ok_or("Learning curves are not drawn: no block of these runs has been measured yet.")?;
    let total = runs.iter().map(Run::total).max().unwrap_or(1);
    let x = ("blocks evaluated", Scale::exact(0.0, total as f64, 7));
    let mut plot =
        Plot::new(capitalised(&format!("{} of the runs, side by side", first.objective().name)), x, (axis(first), y));
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
    let caption = format!(
        "Mean {} of the measured blocks of each minibatch (solid) and the best block so far (dashed), by blocks \
         evaluated. (Figures 3 and 6 of the paper are of this kind.)",
        first.objective().name
    );
    Ok(Chart::new("comparison-learning", &plot, caption))
}

fn means<'a>(minibatches: impl IntoIterator<Item = &'a Minibatch>) -> Vec<Point> {
    points(minibatches, |minibatch| Some(minibatch.value?.mean))
}

/// Returns a vertical axis with room for what is drawn of each minibatch, and for the best value.
fn scale(run: &Run, minibatches: &[Minibatch], drawn: fn(Spread) -> [f64; 3]) -> Option<Scale> {
    let values = minibatches.iter().filter_map(|m| Some(drawn(m.value?).into_iter().chain([m.best?])));
    let values: Vec<f64> = values.flatten().collect();
    let (low, high) = range(values.into_iter())?;
    Some(value_scale(run, low, high))
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
fn summary(run: &Run, complete: &[&Minibatch]) -> String {
    let mean = |minibatch: &&&Minibatch| minibatch.value.map(|value| (minibatch.number + 1, value.mean));
    let (first, last) = (complete.first().as_ref().and_then(mean), complete.last().as_ref().and_then(mean));
    match (first, last) {
        (Some((first, from)), Some((last, to))) if last > first => {
            let [from, to] = [from, to].map(|mean| run.objective().show(mean));
            format!("The mean goes from {from} in minibatch {first} to {to} in minibatch {last}.")
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
        let means: Vec<f64> = members.iter().filter_map(|(_, m)| Some(m.value?.mean)).collect();
        let mean = (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64);
        let infeasible = members.iter().map(|(_, minibatch)| minibatch.infeasible).sum();
        let span = if from == to { from.to_string() } else { format!("{from} to {to}") };
        vec![group(first), span, run.show(mean), run.show(last.best), count(infeasible)]
    });
    let first = if run.schedule.is_some() { "epsilon" } else { "part of the run" };
    let mean = format!("mean {}", run.objective().name);
    let columns = [first, "minibatches", &mean, "best so far", "infeasible"];
    Series::new("learning-by-epsilon", &columns, rows.collect())
}
