//! What did the rungs do? Which blocks were promoted, and the learning curve at each rung.

use super::{Chart, Drawn, axis, capitalised, colour_of, over_minibatches, range, value_scale};
use crate::evaluation::Rung;
use crate::report::colours::AXIS;
use crate::report::plot::{Plot, Point, Swatch};
use crate::report::run::{Finished, Run};
use crate::report::scale::Scale;
use crate::report::series::by_rung;
use crate::report::text::count;
use std::collections::BTreeMap;

/// Draws every measured trial at its rung, and a line from each that was promoted to the trial that continues it.
pub(super) fn promotions(run: &Run) -> Drawn {
    let ladder = run.ladder();
    let values = run.trials.iter().filter(|trial| trial.rung.is_some()).filter_map(Finished::final_value);
    let (low, high) = range(values.collect::<Vec<_>>().into_iter()).ok_or("")?;
    let x = ("trial", Scale::exact(0.0, run.total() as f64, 7));
    let mut plot = Plot::new("Rungs and promotions", x, (axis(run), value_scale(run, low, high)));
    let place = |trial: &Finished| Some((trial.id as f64, trial.final_value()?));
    let places: BTreeMap<u64, Point> = run.trials.iter().filter_map(|trial| Some((trial.id, place(trial)?))).collect();
    for trial in &run.trials {
        let from = trial.promoted_from.and_then(|from| places.get(&from));
        if let (Some(from), Some(to)) = (from, places.get(&trial.id)) {
            plot.line(vec![*from, *to], AXIS, 0.7, false);
        }
    }
    for rung in &ladder {
        let colour = colour_of(rung.number as usize);
        plot.dots(run.at(*rung).filter_map(place).collect(), colour, 3.0, 0.8);
        plot.entry(Swatch::Dot, colour, format!("{} of {}", count(run.at(*rung).count() as u64), epochs(*rung)));
    }
    plot.entry(Swatch::Line { dashed: false }, AXIS, "promoted");
    let hint = |trial: &Finished| Some((place(trial)?, format!("block {}: {}", trial.id, trial.text)));
    plot.hints = run.trials.iter().filter(|trial| trial.promoted_from.is_some()).filter_map(hint).collect();
    let agreements: Vec<String> = run.rungs.iter().map(|agreement| format!(" {agreement}.")).collect();
    let caption = format!(
        "The {} of each trial at its rung, joined where a block was promoted. The values of different rungs are not \
         comparable.{}{}",
        run.objective().name,
        agreements.concat(),
        if agreements.is_empty() { "" } else { " (The error is that of rankings that have nothing in common.)" },
    );
    Ok(Chart::new("rungs", &plot, caption).with_table(by_rung(run)))
}

/// Draws the mean value of each minibatch at each rung.
pub(super) fn learning(run: &Run) -> Drawn {
    let ladder = run.ladder();
    let curves: Vec<Vec<Point>> = ladder.iter().map(|rung| means(run, *rung)).collect();
    let values: Vec<f64> = curves.iter().flatten().map(|(_, value)| *value).collect();
    let (low, high) = range(values.into_iter()).ok_or("")?;
    let title = capitalised(&format!("{} by minibatch, at each rung", run.objective().name));
    let mut plot = over_minibatches(run, &title, (axis(run), value_scale(run, low, high)));
    for (rung, points) in ladder.iter().zip(curves) {
        let colour = colour_of(rung.number as usize);
        plot.curve(points, colour, false);
        plot.entry(Swatch::Line { dashed: false }, colour, epochs(*rung));
    }
    let name = &run.objective().name;
    let of_the_paper =
        if run.objective().is_accuracy() { " (Figure 7 of the paper is of this kind, without rungs.)" } else { "" };
    let caption = format!(
        "Mean {name} of the blocks of each minibatch that were measured at a rung. Above the lowest they are the best of \
         the rung below.{of_the_paper}"
    );
    Ok(Chart::new("learning-by-rung", &plot, caption))
}

/// The mean values of the minibatches that have a measured trial at a rung.
fn means(run: &Run, rung: Rung) -> Vec<Point> {
    let mut values: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (minibatch, value) in run.at(rung).filter_map(|trial| Some((trial.minibatch, trial.final_value()?))) {
        values.entry(minibatch).or_default().push(value);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|(minibatch, values)| ((minibatch + 1) as f64, mean(values))).collect()
}

/// `1 epoch`, `3 epochs`.
fn epochs(rung: Rung) -> String {
    if rung.epochs == 1 { "1 epoch".to_owned() } else { format!("{} epochs", rung.epochs) }
}
