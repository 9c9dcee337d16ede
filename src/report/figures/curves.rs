//! How did the trainings go? The learning curves of the trials.

use super::{Chart, Drawn, axis, capitalised, colour_of, range, value_scale};
use crate::report::colours::AXIS;
use crate::report::plot::{Plot, Point, Swatch};
use crate::report::run::{Finished, Run};
use crate::report::scale::Scale;
use crate::report::text::count;

/// The number of curves that are drawn for the best trials, each in its colour.
const BEST: usize = 5;

/// The most other curves that are drawn: more would be a grey area, and a page of megabytes.
const OTHERS: usize = 200;

pub(super) fn of_run(run: &Run) -> Drawn {
    let curved = |trial: &&Finished| trial.curve().len() > 1;
    let all: Vec<&Finished> = run.trials.iter().filter(curved).collect();
    let values = all.iter().flat_map(|trial| trial.curve().iter().map(|(_, value)| *value));
    let Some((low, high)) = range(values) else {
        return Err("No learning curve is drawn: no block of this run was measured after several epochs.");
    };
    let best: Vec<&Finished> = run.best().into_iter().filter(curved).take(BEST).collect();
    let others: Vec<&Finished> =
        all.iter().copied().filter(|trial| !best.iter().any(|best| best.id == trial.id)).collect();
    let drawn = others.iter().step_by(others.len().div_ceil(OTHERS).max(1));
    let last = all.iter().filter_map(|trial| trial.curve().last()).map(|(epoch, _)| *epoch).max().unwrap_or(1);
    let y = (axis(run), value_scale(run, low, high));
    let mut plot = Plot::new(
        &capitalised(&format!("{} by epoch", run.objective().name)),
        ("epoch", Scale::counting(last.into())),
        y,
    );
    for trial in drawn.clone() {
        plot.line(places(trial), AXIS, 0.6, false);
    }
    let ends: Vec<Point> =
        drawn.clone().filter(|trial| trial.is_stopped()).filter_map(|trial| places(trial).last().copied()).collect();
    if !ends.is_empty() {
        plot.rings(ends, AXIS);
    }
    for (number, trial) in best.iter().enumerate().rev() {
        plot.curve(places(trial), colour_of(number), false);
    }
    for (number, trial) in best.iter().enumerate() {
        let text = format!("no. {}: block {}, {}", number + 1, trial.id, run.show(trial.value()));
        plot.entry(Swatch::Line { dashed: false }, colour_of(number), text);
    }
    if !others.is_empty() {
        plot.entry(Swatch::Line { dashed: false }, AXIS, "other blocks; a ring ends one that was stopped early");
    }
    let hint = |trial: &&Finished| Some((*places(trial).last()?, format!("block {}: {}", trial.id, trial.text)));
    plot.hints = best.iter().filter_map(hint).collect();
    Ok(Chart::new("curves", &plot, caption(run, &all, others.len(), drawn.count())))
}

fn places(trial: &Finished) -> Vec<Point> {
    trial.curve().iter().map(|&(epoch, value)| (epoch.into(), value)).collect()
}

fn caption(run: &Run, all: &[&Finished], others: usize, drawn: usize) -> String {
    let few = match (drawn, others) {
        (drawn, others) if drawn < others => {
            format!(" Of the {} others, {} are drawn.", count(others as u64), count(drawn as u64))
        }
        _ => String::new(),
    };
    let stopped = run.trials.iter().filter(|trial| trial.is_stopped());
    let trained: u64 = stopped.clone().map(Finished::epochs).sum();
    let longest = all.iter().map(|trial| trial.epochs()).max().unwrap_or(0);
    let stopped = match stopped.count() as u64 {
        0 => String::new(),
        stopped => format!(
            " {} were stopped early, after {} of {} epochs together.",
            count(stopped),
            count(trained),
            count(stopped.saturating_mul(longest))
        ),
    };
    let all = count(all.len() as u64);
    format!(
        "The {} of {all} blocks in the course of their trainings, the best in colour.{few}{stopped}",
        run.objective().name
    )
}
