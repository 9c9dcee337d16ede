//! Was the search worth it? Early stop against converged training, times, failures.

use super::{Chart, Drawn, over_minibatches, points, range};
use crate::report::colours::{Colour, SERIES};
use crate::report::plot::{Plot, Swatch};
use crate::report::run::{Finished, Run};
use crate::report::scale::Scale;
use crate::report::series::{self, Minibatch, Series};
use crate::report::text::{count, duration};
use crate::reward::calibration::Tau;

/// A number of a block, if the block has it.
type Figured<'a> = &'a dyn Fn(&Finished) -> Option<f64>;

/// A line of the comparison: its name, its colour, whether it is dashed, and its values.
type Line<'a> = (&'a str, Colour, bool, Figured<'a>);

/// The number of blocks in the comparison, as in Figure 4.
const TOP: usize = 100;

pub(super) fn early_stop(run: &Run) -> Drawn {
    let verified = |trial: &Finished| run.verified.get(&trial.id).copied();
    let mut top: Vec<&Finished> = run.best();
    let is_verified = top.iter().any(|trial| verified(trial).is_some());
    if !is_verified && !run.redefines_reward() {
        return Err(if run.objective().is_accuracy() {
            "Early stop against converged training is not drawn: no block of this run is verified, and its reward is \
             the accuracy itself."
        } else {
            "The reward is not drawn: it is the score of the objective itself."
        });
    }
    let name = &run.objective().name;
    let score = |trial: &Finished| trial.value().map(|value| run.objective().score(value));
    let rank = |trial: &Finished| if is_verified { verified(trial) } else { score(trial) };
    top.retain(|trial| rank(trial).is_some());
    top.sort_by(|a, b| rank(b).unwrap_or(0.0).total_cmp(&rank(a).unwrap_or(0.0)).then(a.id.cmp(&b.id)));
    top.truncate(TOP);
    let lines: [Line<'_>; 3] = [
        (if run.objective().is_accuracy() { "early stop" } else { name }, SERIES[4], false, &score),
        ("redefined reward", SERIES[1], true, &|trial| run.redefines_reward().then_some(trial.reward)),
        ("converged", SERIES[0], false, &verified),
    ];
    let values = top.iter().flat_map(|trial| lines.iter().filter_map(|line| line.3(trial)));
    let (low, high) = range(values).unwrap_or_default();
    let (title, x_title, shown) = if is_verified {
        (
            "Early stop against converged".to_owned(),
            "blocks by converged accuracy, best first".to_owned(),
            "best verified blocks: accuracy of the search, its reward, and accuracy after training to convergence"
                .to_owned(),
        )
    } else if run.objective().is_accuracy() {
        (
            "Early stop and redefined reward".to_owned(),
            "blocks by early-stop accuracy, best first".to_owned(),
            "best blocks by accuracy of the search, and the reward from which the agent learned".to_owned(),
        )
    } else {
        (
            format!("Score of the {name} and redefined reward"),
            format!("blocks by {name}, best first"),
            format!("best blocks by {name}, as scores, and the reward from which the agent learned"),
        )
    };
    let y = if run.objective().is_accuracy() {
        let y = Scale::round(low, high, 6, f64::NEG_INFINITY..100.0);
        ("accuracy (%) and reward (percentage points)", y)
    } else {
        ("score and reward (percentage points)", Scale::round(low, high, 6, f64::NEG_INFINITY..f64::INFINITY))
    };
    let mut plot = Plot::new(title, (x_title, Scale::counting(top.len() as u64)), y);
    for (name, colour, dashed, value) in lines {
        let places = top.iter().zip(1u32..);
        let points: Vec<_> = places.filter_map(|(trial, place)| Some((place.into(), value(trial)?))).collect();
        if !points.is_empty() {
            plot.curve(points, colour, dashed);
            plot.entry(Swatch::Line { dashed }, colour, name);
        }
    }
    let end = if is_verified {
        let tau = |value: Figured<'_>| {
            let pairs: Vec<_> = top.iter().filter_map(|trial| Some((value(trial)?, verified(trial)?))).collect();
            Tau::of_pairs(&pairs).map_or_else(|| "not defined".to_owned(), |tau| format!("{tau:.2}"))
        };
        let (early, reward) = (tau(&score), tau(&|trial| Some(trial.reward)));
        format!("Kendall's tau with converged accuracy: {early} for early stop, {reward} for the reward.")
    } else {
        "No block of this run is verified, so there are no converged accuracies.".to_owned()
    };
    let end = if run.objective().is_accuracy() {
        format!(" {end} (Figure 4 of the paper is of this kind.)")
    } else {
        String::new()
    };
    let caption = format!("The {} {shown}.{end}", top.len());
    Ok(Chart::new("early-stop", &plot, caption))
}

pub(super) fn times(run: &Run, minibatches: &[Minibatch]) -> Drawn {
    let trained: f64 = minibatches.iter().map(|minibatch| minibatch.seconds).sum();
    if trained <= 0.0 {
        return Err("Training times are not drawn: the evaluations of this run have none.");
    }
    let longest = minibatches.iter().map(|m| m.seconds).fold(0.0, f64::max);
    let (unit, name) = match longest {
        0.0..180.0 => (1.0, "seconds of training"),
        180.0..10_800.0 => (60.0, "minutes of training"),
        _ => (3_600.0, "hours of training"),
    };
    let y = Scale::round(0.0, longest / unit, 6, 0.0..f64::INFINITY);
    let mut plot = over_minibatches(run, "Training time by minibatch", (name, y));
    let times = points(minibatches, |m| Some(m.seconds / unit));
    let hint = |m: &Minibatch| format!("minibatch {}: {}", m.number + 1, duration(m.seconds));
    plot.hints = times.iter().copied().zip(minibatches.iter().map(hint)).collect();
    plot.curve(times, SERIES[2], false);
    let hits = run.trials.iter().filter(|trial| trial.cached).count() as u64;
    let saved = match hits {
        0 => String::new(),
        hits => format!(" {} blocks were known already, which saved {}.", count(hits), duration(saved_seconds(run))),
    };
    let trained = duration(trained);
    let caption = format!("The training times of each minibatch, added up: {trained} in all.{saved}");
    Ok(Chart::new("times", &plot, caption))
}

/// Returns the seconds of training that cached results saved.
pub(in crate::report) fn saved_seconds(run: &Run) -> f64 {
    run.trials.iter().filter(|trial| trial.cached).map(Finished::seconds).sum()
}

pub(super) fn workers(run: &Run) -> Drawn {
    let utilisation = run.utilisation.filter(|utilisation| utilisation.share() > 0.0).ok_or(
        "Worker utilisation is not drawn: the folder has no utilisation.json, the record of how busy the workers were.",
    )?;
    let (busy, barrier) = (100.0 * utilisation.share(), 100.0 * utilisation.barrier_share());
    let rest = (100.0 - busy - barrier).max(0.0);
    let shares = [("training", busy), ("waiting for the minibatch", barrier), ("idle otherwise", rest)];
    let rows = shares.map(|(name, share)| (name, share, format!("{share:.1} %")));
    let x = ("share of the workers' time (%)", Scale::exact(0.0, 108.0, 5));
    let plot = Plot::bars("Time of the workers", x, SERIES[2], &rows);
    let wall = duration(utilisation.wall);
    Ok(Chart::new("workers", &plot, format!("{utilisation}, over the {wall} since the search was last started.")))
}

pub(super) fn failures(run: &Run) -> Drawn {
    let failures = series::failures(run);
    let Some(&(_, most)) = failures.first() else {
        return Err(if run.trials.is_empty() { "" } else { "Failures are not drawn: there are none." });
    };
    let rows: Vec<_> = failures.iter().map(|&(name, trials)| (name, trials as f64, count(trials))).collect();
    // The axis leaves room for the number beside the longest bar.
    let x = ("blocks", Scale::round(0.0, most as f64 * 1.08, 6, 0.0..f64::INFINITY));
    let objective = run.objective();
    let plot = Plot::bars(&format!("Blocks without {}, by reason", objective.name), x, SERIES[1], &rows);
    let rows = rows.into_iter().map(|(name, _, trials)| vec![name.to_owned(), trials]).collect();
    let as_if = match objective.worst {
        Some(worst) => format!("as if their {} were {}", objective.name, objective.show(worst)),
        None => "with the chance accuracy".to_owned(),
    };
    let caption = format!("Infeasible blocks by reason. They are rewarded {as_if}.");
    Ok(Chart::new("failures", &plot, caption).with_table(Series::new("failures", &["reason", "blocks"], rows)))
}
