//! Is the search learning? Mean accuracy by minibatch over the phases of epsilon (Figures 7, 3 and 6).

use super::{Chart, Drawn, colour_of};
use crate::report::colours::SERIES;
use crate::report::plot::{Layer, Plot, Swatch};
use crate::report::run::Run;
use crate::report::scale::Scale;
use crate::report::series::{Minibatch, Series, minibatches};
use crate::report::text::{count, percent};

/// Up to this many points are drawn as dots: a line alone would hide where they are.
const FEW: usize = 40;

pub(super) fn of_run(run: &Run) -> Drawn {
    let minibatches = minibatches(run);
    let Some(y) = accuracy_scale(&minibatches) else {
        return Ok(Err("The learning curve is not drawn: no block has been measured yet.".to_owned()));
    };
    let size = run.settings.search.minibatch;
    let planned = run.total().div_ceil(size.max(1));
    let x = |minibatch: &Minibatch| (minibatch.number + 1) as f64;
    let mut plot = Plot::new(
        "Accuracy by minibatch",
        ("minibatch", Scale::counting(planned)),
        ("accuracy on validation images (%)", y),
    );
    plot.bands = bands(run, planned, 1.0);
    let complete: Vec<&Minibatch> = minibatches.iter().filter(|minibatch| minibatch.complete).collect();
    let spread = |pick: fn(&crate::report::series::Spread) -> f64| -> Vec<(f64, f64)> {
        complete.iter().filter_map(|m| Some((x(m), pick(m.accuracy.as_ref()?)))).collect()
    };
    let (mean, best_colour) = (SERIES[0], SERIES[1]);
    let points = spread(|spread| spread.mean);
    plot.layers.push(Layer::Area {
        upper: spread(|spread| spread.high),
        lower: spread(|spread| spread.low),
        colour: mean,
        opacity: 0.16,
    });
    plot.layers.push(Layer::Line { points: steps(&minibatches, x), colour: best_colour, width: 2, dashed: true });
    plot.layers.push(Layer::Line { points: points.clone(), colour: mean, width: 2, dashed: false });
    if points.len() <= FEW {
        plot.layers.push(Layer::Dots { points, colour: mean, radius: 3.0, opacity: 1.0, hollow: false });
    }
    plot.legend = vec![
        (Swatch::Line, mean, "mean of the minibatch".to_owned()),
        (Swatch::Area, (0xCF, 0xE3, 0xF0), "all but the best and worst tenth".to_owned()),
        (Swatch::Dashes, best_colour, "best so far".to_owned()),
    ];
    let partial = minibatches.iter().filter(|minibatch| !minibatch.complete);
    let partial: Vec<_> = partial.filter_map(|m| Some((x(m), m.accuracy?.mean))).collect();
    if !partial.is_empty() {
        plot.layers.push(Layer::Dots { points: partial, colour: mean, radius: 4.0, opacity: 1.0, hollow: true });
        plot.legend.push((Swatch::Dot, mean, "unfinished minibatch (ring)".to_owned()));
    }
    plot.hints = minibatches
        .iter()
        .filter_map(|m| {
            let accuracy = m.accuracy?;
            let epsilon = m.epsilon.map(|epsilon| format!(", epsilon {epsilon}")).unwrap_or_default();
            let text = format!(
                "minibatch {}: mean {:.2} %{epsilon}, best so far {}",
                m.number + 1,
                accuracy.mean,
                percent(m.best)
            );
            Some((x(m), accuracy.mean, text))
        })
        .collect();
    let bands = if plot.bands.is_empty() {
        "The run's settings have no epsilon schedule."
    } else {
        "The bands are the phases of the epsilon schedule."
    };
    let (measured, finished) = measured(&minibatches);
    let caption = format!(
        "Mean accuracy of the measured blocks of each minibatch of {}, and the best block so far: {} of {} finished \
         blocks were measured. {bands} (Figure 7 of the paper.)",
        count(size),
        count(measured),
        count(finished)
    );
    let figure = plot.figure("learning", &format!("{caption} {}", summary(&complete)))?;
    Ok(Ok(Chart { figure, caption, table: Some(table(run, &minibatches)) }))
}

pub(super) fn of_runs(runs: &[Run]) -> Drawn {
    let all: Vec<Vec<Minibatch>> = runs.iter().map(minibatches).collect();
    let every: Vec<Minibatch> = all.iter().flatten().cloned().collect();
    let Some(mut y) = accuracy_scale(&every) else {
        return Ok(Err("Learning curves are not drawn: no block of these runs has been measured yet.".to_owned()));
    };
    // The tenths are not drawn here and need no room.
    let means = every.iter().filter_map(|minibatch| minibatch.accuracy.map(|accuracy| accuracy.mean));
    let lowest = means.fold(f64::INFINITY, f64::min);
    y = Scale::round(lowest, y.high, 6, 0.0..100.0);
    let total = runs.iter().map(Run::total).max().unwrap_or(1);
    let mut plot = Plot::new(
        "Accuracy of the runs, side by side",
        ("blocks evaluated", Scale::exact(0.0, total as f64, 7)),
        ("accuracy on validation images (%)", y),
    );
    let first = &runs[0];
    let size = first.settings.search.minibatch;
    let same = runs.iter().all(|run| run.schedule == first.schedule && run.settings.search.minibatch == size);
    if same {
        plot.bands = bands(first, total.div_ceil(size.max(1)), size as f64);
    }
    for (number, (run, minibatches)) in runs.iter().zip(&all).enumerate() {
        let colour = colour_of(number);
        let size = run.settings.search.minibatch as f64;
        let x = |minibatch: &Minibatch| (minibatch.number as f64 + 1.0) * size;
        let complete = minibatches.iter().filter(|minibatch| minibatch.complete);
        let points: Vec<_> = complete.filter_map(|m| Some((x(m), m.accuracy?.mean))).collect();
        plot.layers.push(Layer::Line { points: steps(minibatches, x), colour, width: 1, dashed: true });
        if points.len() <= FEW {
            let points = points.clone();
            plot.layers.push(Layer::Dots { points, colour, radius: 2.5, opacity: 1.0, hollow: false });
        }
        plot.layers.push(Layer::Line { points, colour, width: 2, dashed: false });
        plot.legend.push((Swatch::Line, colour, run.name.clone()));
    }
    plot.legend.push((Swatch::Dashes, SERIES[6], "dashed: best so far".to_owned()));
    let caption = "Mean accuracy of the measured blocks of each minibatch (solid) and the best block so far (dashed), \
                   by blocks evaluated. (Figures 3 and 6 of the paper are of this kind.)"
        .to_owned();
    let figure = plot.figure("comparison-learning", &caption)?;
    Ok(Ok(Chart { figure, caption, table: None }))
}

/// Returns a vertical axis with room for means, tenths and the best.
fn accuracy_scale(minibatches: &[Minibatch]) -> Option<Scale> {
    let low = minibatches.iter().filter_map(|m| m.accuracy).map(|accuracy| accuracy.low.min(accuracy.mean));
    let low = low.min_by(f64::total_cmp)?;
    let best = minibatches.iter().filter_map(|m| m.best).max_by(f64::total_cmp)?;
    Some(Scale::round(low, best, 6, 0.0..100.0))
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
    if unit <= 1.0
        && let Some(first) = bands.first_mut()
    {
        first.0 = 0.5;
    }
    bands
}

/// Returns the best accuracy so far as a staircase.
fn steps(minibatches: &[Minibatch], x: impl Fn(&Minibatch) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for minibatch in minibatches {
        let Some(best) = minibatch.best else { continue };
        if let Some(&(_, before)) = points.last()
            && before < best
        {
            points.push((x(minibatch), before));
        }
        points.push((x(minibatch), best));
    }
    points
}

/// Returns how many of the finished trials have an accuracy, and how many there are.
fn measured(minibatches: &[Minibatch]) -> (u64, u64) {
    let finished: u64 = minibatches.iter().map(|minibatch| minibatch.trials).sum();
    let infeasible: u64 = minibatches.iter().map(|minibatch| minibatch.infeasible).sum();
    (finished - infeasible, finished)
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
    let mut groups: Vec<(String, Vec<&Minibatch>)> = Vec::new();
    let tenth = minibatches.len().div_ceil(10).max(1);
    for (place, minibatch) in minibatches.iter().enumerate() {
        let name = match minibatch.epsilon {
            Some(epsilon) => epsilon.to_string(),
            None => format!("part {}", place / tenth + 1),
        };
        match groups.last_mut() {
            Some((last, group)) if *last == name => group.push(minibatch),
            _ => groups.push((name, vec![minibatch])),
        }
    }
    let rows = groups.into_iter().map(|(name, group)| {
        let (from, to) = (group[0].number + 1, group[group.len() - 1].number + 1);
        let means: Vec<f64> = group.iter().filter_map(|m| Some(m.accuracy?.mean)).collect();
        let mean = (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64);
        let infeasible = group.iter().map(|minibatch| minibatch.infeasible).sum::<u64>();
        let span = if from == to { from.to_string() } else { format!("{from} to {to}") };
        vec![name, span, percent(mean), percent(group[group.len() - 1].best), count(infeasible)]
    });
    let first = if run.schedule.is_some() { "epsilon" } else { "part of the run" };
    let columns = [first, "minibatches", "mean accuracy", "best so far", "infeasible"];
    Series::new("learning-by-epsilon", &columns, rows.collect())
}
