//! Was the search worth it? Early stop against converged training, times, failures.

use super::{Chart, Drawn};
use crate::report::colours::SERIES;
use crate::report::plot::{Layer, Plot, Swatch};
use crate::report::run::{Finished, Run};
use crate::report::scale::Scale;
use crate::report::series::{self, Series, minibatches};
use crate::report::text::{count, duration};
use crate::reward::calibration::Agreement;
use std::fmt::Write;

/// A number of a block, if the block has it.
type Figured<'a> = &'a dyn Fn(&Finished) -> Option<f64>;

/// A line of the comparison: its name, its colour, whether it is dashed, and its values.
type Line<'a> = (&'static str, (u8, u8, u8), bool, Figured<'a>);

/// The number of blocks in the comparison, as in Figure 4.
const TOP: usize = 100;

pub(super) fn early_stop(run: &Run) -> Drawn {
    let verified = |trial: &Finished| run.verified.get(&trial.id).copied();
    let early = |trial: &Finished| trial.accuracy().unwrap_or(0.0);
    let is_verified = run.trials.iter().any(|trial| trial.outcome.is_ok() && verified(trial).is_some());
    let mut top: Vec<&Finished> = run.trials.iter().filter(|trial| trial.outcome.is_ok()).collect();
    if is_verified {
        top.retain(|trial| verified(trial).is_some());
        top.sort_by(|a, b| verified(b).unwrap_or(0.0).total_cmp(&verified(a).unwrap_or(0.0)).then(a.id.cmp(&b.id)));
    } else {
        if !run.redefines_reward() {
            return Ok(Err(
                "Early stop against converged training is not drawn: no block of this run is verified, and its \
                           reward is the accuracy itself."
                    .to_owned(),
            ));
        }
        top.sort_by(|a, b| early(b).total_cmp(&early(a)).then(a.id.cmp(&b.id)));
    }
    top.truncate(TOP);
    let lines: [Line<'_>; 3] = [
        ("early stop", SERIES[4], false, &|trial| Some(early(trial))),
        ("redefined reward", SERIES[1], true, &|trial| run.redefines_reward().then_some(trial.reward)),
        ("converged", SERIES[0], false, &verified),
    ];
    let values = || top.iter().flat_map(|trial| lines.iter().filter_map(|line| line.3(trial)));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let mut plot = Plot::new(
        if is_verified { "Early stop against converged" } else { "Early stop and redefined reward" },
        (
            if is_verified {
                "blocks by converged accuracy, best first"
            } else {
                "blocks by early-stop accuracy, best first"
            },
            Scale::counting(top.len() as u64),
        ),
        ("accuracy (%) and reward (percentage points)", Scale::round(low, high, 6, f64::NEG_INFINITY..100.0)),
    );
    for (name, colour, dashed, value) in lines {
        let points: Vec<_> =
            top.iter().enumerate().filter_map(|(place, trial)| Some(((place + 1) as f64, value(trial)?))).collect();
        if points.is_empty() {
            continue;
        }
        if points.len() <= 40 {
            let points = points.clone();
            plot.layers.push(Layer::Dots { points, colour, radius: 3.0, opacity: 1.0, hollow: false });
        }
        plot.layers.push(Layer::Line { points, colour, width: 2, dashed });
        plot.legend.push((if dashed { Swatch::Dashes } else { Swatch::Line }, colour, name.to_owned()));
    }
    let mut caption = if is_verified {
        format!(
            "The {} best verified blocks: accuracy of the search, its reward, and accuracy after training to \
             convergence.",
            top.len()
        )
    } else {
        format!("The {} best blocks by accuracy of the search, and the reward from which the agent learned.", top.len())
    };
    if is_verified {
        let tau = |value: Figured<'_>| {
            let pairs: Vec<_> = top.iter().filter_map(|trial| Some((value(trial)?, verified(trial)?))).collect();
            Agreement::of_pairs(&pairs)
                .map_or_else(|| "not defined".to_owned(), |found| format!("{:.2}", found.kendall))
        };
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            caption,
            " Kendall's tau with converged accuracy: {} for early stop, {} for the reward.",
            tau(&|trial| Some(early(trial))),
            tau(&|trial| Some(trial.reward))
        );
    } else {
        caption.push_str(" No block of this run is verified, so there are no converged accuracies.");
    }
    caption.push_str(" (Figure 4 of the paper.)");
    Ok(Ok(Chart { figure: plot.figure("early-stop", &caption)?, caption, table: None }))
}

pub(super) fn times(run: &Run) -> Drawn {
    let minibatches = minibatches(run);
    let trained: f64 = minibatches.iter().map(|minibatch| minibatch.seconds).sum();
    if trained <= 0.0 {
        return Ok(Err("Training times are not drawn: the evaluations of this run have none.".to_owned()));
    }
    let saved = saved_seconds(run);
    let longest = minibatches.iter().map(|m| m.seconds).fold(0.0, f64::max);
    let (unit, name) = match longest {
        0.0..180.0 => (1.0, "seconds of training"),
        180.0..10_800.0 => (60.0, "minutes of training"),
        _ => (3_600.0, "hours of training"),
    };
    let planned = run.total().div_ceil(run.settings.search.minibatch.max(1));
    let y = Scale::round(0.0, longest / unit, 6, 0.0..f64::INFINITY);
    let mut plot = Plot::new("Training time by minibatch", ("minibatch", Scale::counting(planned)), (name, y));
    let colour = SERIES[2];
    let points: Vec<_> = minibatches.iter().map(|m| ((m.number + 1) as f64, m.seconds / unit)).collect();
    plot.hints = minibatches
        .iter()
        .zip(&points)
        .map(|(m, &(x, y))| (x, y, format!("minibatch {}: {}", m.number + 1, duration(m.seconds))))
        .collect();
    if points.len() <= 40 {
        let points = points.clone();
        plot.layers.push(Layer::Dots { points, colour, radius: 3.0, opacity: 1.0, hollow: false });
    }
    plot.layers.push(Layer::Line { points, colour, width: 2, dashed: false });
    let hits = run.trials.iter().filter(|trial| trial.cached).count() as u64;
    let mut caption = format!("The training times of each minibatch, added up: {} in all.", duration(trained));
    if hits > 0 {
        let _ = write!(caption, " {} blocks were known already, which saved {}.", count(hits), duration(saved));
    }
    Ok(Ok(Chart { figure: plot.figure("times", &caption)?, caption, table: None }))
}

/// Returns the seconds of training that cached results saved.
pub(in crate::report) fn saved_seconds(run: &Run) -> f64 {
    run.trials.iter().filter(|trial| trial.cached).map(Finished::seconds).sum()
}

pub(super) fn workers(run: &Run) -> Drawn {
    let Some(utilisation) = run.utilisation.filter(|utilisation| utilisation.share() > 0.0) else {
        return Ok(Err(
            "Worker utilisation is not drawn: the folder has no utilisation.json, the record of how busy the \
                       workers were."
                .to_owned(),
        ));
    };
    let (busy, barrier) = (100.0 * utilisation.share(), 100.0 * utilisation.barrier_share());
    let rest = (100.0 - busy - barrier).max(0.0);
    let shares = [("training", busy), ("waiting for the minibatch", barrier), ("idle otherwise", rest)];
    let rows: Vec<(&str, f64, String)> =
        shares.into_iter().map(|(name, share)| (name, share, format!("{share:.1} %"))).collect();
    let mut plot = bars("Time of the workers", ("share of the workers' time (%)", Scale::exact(0.0, 108.0, 5)), &rows);
    for layer in &mut plot.layers {
        if let Layer::Bars { colour, .. } = layer {
            *colour = SERIES[2];
        }
    }
    let caption = format!("{utilisation}, over the {} since the search was last started.", duration(utilisation.wall));
    Ok(Ok(Chart { figure: plot.figure("workers", &caption)?, caption, table: None }))
}

/// Returns a chart of horizontal bars, given by name, length and the text beside the bar.
fn bars(title: &str, x: (&'static str, Scale), rows: &[(&str, f64, String)]) -> Plot {
    let place = |number: usize| (rows.len() - number) as f64;
    let mut plot = Plot::new(title, x, ("", Scale::exact(0.4, rows.len() as f64 + 0.6, 1)));
    let bars = rows.iter().enumerate().map(|(number, (_, length, _))| (place(number), *length)).collect();
    plot.layers.push(Layer::Bars { bars, colour: SERIES[1] });
    plot.names = Some(rows.iter().enumerate().map(|(n, (name, ..))| (place(n), (*name).to_owned())).collect());
    plot.texts = rows.iter().enumerate().map(|(n, (_, length, text))| (*length, place(n), text.clone())).collect();
    plot.height = 130 + 34 * u32::try_from(rows.len()).unwrap_or(1);
    plot
}

pub(super) fn failures(run: &Run) -> Drawn {
    let failures = series::failures(run);
    if failures.is_empty() {
        return Ok(Err(if run.trials.is_empty() {
            String::new()
        } else {
            "Failures are not drawn: there are none.".to_owned()
        }));
    }
    let most = failures.iter().map(|(_, trials)| *trials).max().unwrap_or(1) as f64;
    let bar = |(name, trials): &(&'static str, u64)| (*name, *trials as f64, count(*trials));
    let rows: Vec<_> = failures.iter().map(bar).collect();
    // The axis leaves room for the number beside the longest bar.
    let x = Scale::round(0.0, most * 1.08, 6, 0.0..f64::INFINITY);
    let plot = bars("Blocks without accuracy, by reason", ("blocks", x), &rows);
    let caption = "Infeasible blocks by reason. They are rewarded with the chance accuracy.".to_owned();
    let rows = failures.iter().map(|(name, trials)| vec![(*name).to_owned(), count(*trials)]).collect();
    let table = Series::new("failures", &["reason", "blocks"], rows);
    Ok(Ok(Chart { figure: plot.figure("failures", &caption)?, caption, table: Some(table) }))
}
