//! The page: self-contained HTML, readable without scripts.

mod settings;

use super::Report;
use super::figure::Figure;
use super::figures::{self, Chart, Figures};
use super::run::{Finished, Run, State};
use super::series::{Column, Series, minibatches, most_frequent};
use super::text::{count, duration, escape, percent, size};
use crate::evaluation::{Evaluation, significant};
use std::fmt::Write;

/// Rows of the table of best blocks.
const BEST_ROWS: usize = 50;

pub(super) fn page(report: &Report) -> String {
    let runs = report.runs.as_slice();
    let title = match runs {
        [run] => format!("Search {}", run.name),
        runs => format!("{} searches", runs.len()),
    };
    let refresh = report.refresh.filter(|_| report.is_running());
    let refresh = refresh.map(|seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"));
    let (mut contents, mut main) = (String::new(), String::new());
    if runs.len() > 1 {
        contents.push_str("<nav aria-label=\"Runs\"><ol>");
        for (number, run) in runs.iter().enumerate() {
            // Writing to a string cannot fail, here and below.
            let _ = write!(contents, "<li><a href=\"#run-{number}\">{}</a></li>", escape(&run.name));
        }
        contents.push_str("</ol></nav>");
        comparison(&mut main, runs);
    }
    for (number, run) in runs.iter().enumerate() {
        let figures = figures::of_run(run, report.best);
        section(&mut main, run, &figures, (runs.len() > 1).then_some(number));
    }
    format!(
        include_str!("page.html"),
        refresh = refresh.unwrap_or_default(),
        title = escape(&title),
        style = include_str!("style.css"),
        contents = contents,
        main = main,
        version = env!("CARGO_PKG_VERSION"),
        script = include_str!("script.js"),
    )
}

/// Writes several runs side by side.
fn comparison(html: &mut String, runs: &[Run]) {
    html.push_str(
        "<section class=\"run\" aria-labelledby=\"side-by-side\"><h2 id=\"side-by-side\">Side by side</h2>\n",
    );
    let is_one = runs.iter().all(|run| run.objective().name == runs[0].objective().name);
    let best = if is_one { format!("best {}", runs[0].objective().name) } else { "best value".to_owned() };
    let columns: [Column<'_, (&Run, KeyFigures)>; 7] = [
        ("run", &|(run, _)| run.name.clone()),
        ("state", &|(run, _)| state_name(run.state).to_owned()),
        ("blocks", &|(run, _)| format!("{} of {}", count(run.trials.len() as u64), count(run.total()))),
        (&best, &|(run, figures)| run.show(figures.best)),
        ("mean of the last minibatch", &|(run, figures)| run.show(figures.last_mean)),
        ("infeasible", &|(_, figures)| count(figures.infeasible)),
        ("training time", &|(_, figures)| figures.trained.map_or_else(|| "–".to_owned(), duration)),
    ];
    let rows = runs.iter().map(|run| (run, KeyFigures::of(run)));
    table(html, "The runs", &Series::of("runs", rows, &columns), true);
    let figures = figures::of_runs(runs);
    charts(html, &figures.charts);
    for reason in &figures.omitted {
        let _ = writeln!(html, "<p class=\"note\">{}</p>", escape(reason));
    }
    html.push_str("</section>\n");
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Finished => "finished",
        State::Running => "running",
        State::Stopped => "stopped",
    }
}

/// The key figures of a run, shown at its top.
struct KeyFigures {
    best: Option<f64>,
    last_mean: Option<f64>,
    epsilon: Option<f64>,
    infeasible: u64,
    stopped: u64,
    cached: u64,
    trained: Option<f64>,
}

impl KeyFigures {
    fn of(run: &Run) -> Self {
        let minibatches = minibatches(run);
        let last = minibatches.iter().rev().find(|minibatch| minibatch.complete);
        let trained: f64 = minibatches.iter().map(|minibatch| minibatch.seconds).sum();
        Self {
            best: minibatches.last().and_then(|minibatch| minibatch.best),
            last_mean: last.and_then(|minibatch| minibatch.value).map(|value| value.mean),
            epsilon: run.epsilon(minibatches.last().map_or(0, |minibatch| minibatch.number)),
            infeasible: run.trials.iter().filter(|trial| trial.outcome.is_err()).count() as u64,
            stopped: run.trials.iter().filter(|trial| trial.is_stopped()).count() as u64,
            cached: run.trials.iter().filter(|trial| trial.cached).count() as u64,
            trained: (trained > 0.0).then_some(trained),
        }
    }
}

/// Writes one run: its state, key figures, charts, best blocks, failures and settings.
fn section(html: &mut String, run: &Run, figures: &Figures, number: Option<usize>) {
    // A lone run stands under the title of the page; each of several runs has its own heading.
    let (id, heading) = match number {
        Some(number) => (format!("run-{number}"), escape(&run.name)),
        None => ("run".to_owned(), "Overview".to_owned()),
    };
    let _ = writeln!(html, "<section class=\"run\" aria-labelledby=\"{id}\"><h2 id=\"{id}\">{heading}</h2>");
    state(html, run);
    key_figures(html, run);
    charts(html, &figures.charts);
    best_blocks(html, run, &figures.drawings);
    failed_attempts(html, run);
    if !figures.omitted.is_empty() {
        html.push_str("<details class=\"notes\"><summary>What is not drawn, and why</summary><ul>");
        for reason in &figures.omitted {
            let _ = write!(html, "<li>{}</li>", escape(reason));
        }
        html.push_str("</ul></details>\n");
    }
    settings::settings(html, run);
    html.push_str("</section>\n");
}

fn state(html: &mut String, run: &Run) {
    let done = format!("{} of {} blocks", count(run.trials.len() as u64), count(run.total()));
    let text = match run.state {
        State::Finished => format!("Finished: {done}."),
        State::Running => {
            format!("Running: {done} so far, {} being evaluated. This is a snapshot.", count(run.pending))
        }
        State::Stopped => {
            format!("Not finished and not running: {done}. The search can be resumed from its folder {}.", run.path)
        }
    };
    let _ = writeln!(html, "<p class=\"state {}\">{}</p>", state_name(run.state), escape(&text));
    let mut warn = |text: &str| {
        let _ = writeln!(html, "<p class=\"warning\" role=\"note\"><strong>Note.</strong> {}</p>", escape(text));
    };
    if let Some(damage) = &run.damage {
        warn(&format!("This report shows only the trials before the damage in the journal: {damage}."));
    }
    if run.torn > 0 && run.state != State::Running {
        warn(&format!(
            "The last {} bytes of the journal are incomplete (the process was killed, or the disk was full). No \
             finished trial is lost; they are cut off when the run is resumed.",
            count(run.torn)
        ));
    }
    let failed = run.trials.iter().filter_map(|trial| trial.outcome.as_ref().err().cloned());
    let dependent = failed.map(Evaluation::Infeasible).filter(Evaluation::depends_on_machine).count();
    if dependent > 0 {
        warn(&format!(
            "{} blocks failed because of the machine (time limit, memory or faults), so the same seed may not \
             reproduce this run.",
            count(dependent as u64)
        ));
    }
    for agreement in run.rungs.iter().filter(|agreement| agreement.is_low()) {
        warn(&format!("{agreement}. The shorter training does not rank blocks: use fewer rungs, or train for longer."));
    }
    if run.trials.is_empty() {
        let _ = writeln!(html, "<p>No block is finished yet: there is nothing to draw.</p>");
    }
}

fn key_figures(html: &mut String, run: &Run) {
    if run.trials.is_empty() {
        return;
    }
    let figures = KeyFigures::of(run);
    let saved = figures::saved_seconds(run);
    let best = format!("best {}", run.objective().name);
    let mut items = vec![
        ("blocks evaluated", count(run.trials.len() as u64)),
        (best.as_str(), run.show(figures.best)),
        ("mean of the last minibatch", run.show(figures.last_mean)),
    ];
    items.extend(figures.epsilon.map(|epsilon| ("epsilon", epsilon.to_string())));
    items.push(("infeasible", count(figures.infeasible)));
    items.extend((figures.stopped > 0).then(|| ("stopped early", count(figures.stopped))));
    let hits = match figures.cached {
        0 => "0".to_owned(),
        hits if saved > 0.0 => format!("{}, saving {}", count(hits), duration(saved)),
        hits => count(hits),
    };
    items.push(("cache hits", hits));
    items.extend(figures.trained.map(|seconds| ("training time", duration(seconds))));
    items.extend(run.utilisation.map(|busy| {
        let workers = if busy.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", busy.workers) };
        ("worker utilisation", format!("{workers}, {:.0} % busy", 100.0 * busy.share()))
    }));
    html.push_str("<dl class=\"figures\">");
    for (name, value) in items {
        let _ = write!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(&value));
    }
    html.push_str("</dl>\n");
}

fn charts(html: &mut String, charts: &[Chart]) {
    if charts.is_empty() {
        return;
    }
    html.push_str("<div class=\"charts\">\n");
    for chart in charts {
        let _ = write!(
            html,
            "<figure><div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{}\">{}</div>\
             <figcaption>{}</figcaption>",
            escape(&chart.figure.title),
            chart.figure.svg,
            escape(&chart.caption)
        );
        if let Some(series) = &chart.table {
            html.push_str("<details><summary>As a table</summary>");
            table(html, &chart.figure.title, series, false);
            html.push_str("</details>");
        }
        html.push_str("</figure>\n");
    }
    html.push_str("</div>\n");
}

/// Writes a table. Numbers are aligned to the right, and long texts may be broken.
fn table(html: &mut String, caption: &str, series: &Series, sortable: bool) {
    let class = if sortable { " class=\"sortable\"" } else { "" };
    let _ = write!(
        html,
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\"><table{class}><caption>{0}</caption>\
         <thead><tr>",
        escape(caption)
    );
    for (place, column) in series.columns.iter().enumerate() {
        let numbers = series.rows.first().is_some_and(|row| is_number(&row[place])) && column != "layers";
        let class = if numbers { " class=\"number\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(column));
    }
    html.push_str("</tr></thead><tbody>\n");
    for row in &series.rows {
        html.push_str("<tr>");
        for (field, column) in row.iter().zip(&series.columns) {
            let class = match column.as_str() {
                "layers" | "message" | "value" => " class=\"code\"",
                _ if is_number(field) => " class=\"number\"",
                _ => "",
            };
            let _ = write!(html, "<td{class}>{}</td>", escape(field));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
}

/// Returns whether a field of a table is a number, possibly with a unit, or the sign of a missing number.
fn is_number(field: &str) -> bool {
    field.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '–')
}

fn best_blocks(html: &mut String, run: &Run, drawings: &[Figure]) {
    let best = run.best();
    if best.is_empty() {
        return;
    }
    html.push_str("<h3>Best blocks</h3>\n");
    if !drawings.is_empty() {
        html.push_str("<div class=\"drawings\">\n");
        for drawing in drawings {
            let _ = writeln!(html, "<figure>{}</figure>", drawing.svg);
        }
        html.push_str("</div>\n");
        if let Some(network) = &run.settings.search.network {
            let _ = writeln!(
                html,
                "<p class=\"note\">Channels are those in the first block of the network, where convolutions have {} \
                 filters. (Figures 5 and 8 of the paper are of this kind.)</p>",
                network.width
            );
        }
    }
    let verified = |(_, trial): &(usize, &Finished)| percent(run.verified.get(&trial.id).copied());
    let columns: &[Column<'_, (usize, &Finished)>] = &[
        ("rank", &|(rank, _)| rank.to_string()),
        ("block", &|(_, trial)| trial.id.to_string()),
        (&run.objective().name, &|(_, trial)| run.show(trial.value())),
        ("verified", &verified),
        ("reward", &|(_, trial)| format!("{:.3}", trial.reward)),
        ("parameters", &|(_, trial)| trial.cost.map(|cost| size(cost.parameters)).unwrap_or_default()),
        ("FLOPs", &|(_, trial)| trial.cost.map(|cost| size(cost.flops)).unwrap_or_default()),
        ("depth", &|(_, trial)| trial.cost.map(|cost| cost.depth.to_string()).unwrap_or_default()),
        ("minibatch", &|(_, trial)| (trial.minibatch + 1).to_string()),
        ("layers", &|(_, trial)| trial.text.clone()),
    ];
    let rows: Vec<(usize, &Finished)> = (1..).zip(best).take(BEST_ROWS).collect();
    let mut best = Series::of("best", rows.iter().copied(), columns).without_empty(&["parameters", "FLOPs", "depth"]);
    if run.verified.is_empty() {
        best = best.without("verified");
    }
    for name in run.measurements() {
        let fields = rows.iter().map(|(_, trial)| measurement(trial, name));
        best = best.with_column_before("minibatch", name.to_owned(), fields);
    }
    table(html, &format!("The {} best blocks by reward", best.rows.len()), &best, true);
}

/// Returns a measurement as text, or the sign of a missing number.
fn measurement(trial: &Finished, name: &str) -> String {
    trial.measurement(name).map_or_else(|| "–".to_owned(), significant)
}

fn failed_attempts(html: &mut String, run: &Run) {
    let messages = most_frequent(run.faults.iter().map(|fault| fault.message.as_str()));
    if messages.is_empty() {
        return;
    }
    let _ = writeln!(
        html,
        "<h3>Failed attempts</h3>\n<p>{} attempts to evaluate a block failed and were repeated, up to the limit of \
         attempts; {} different messages.</p>",
        count(run.faults.len() as u64),
        count(messages.len() as u64)
    );
    let columns: [Column<'_, (&str, u64)>; 2] =
        [("times", &|(_, times)| count(*times)), ("message", &|(message, _)| (*message).to_owned())];
    table(html, "Most frequent messages", &Series::of("faults", messages.into_iter().take(20), &columns), false);
}
