//! The page: self-contained HTML, readable without scripts.

mod settings;

use super::figure::Figure;
use super::figures::{self, Chart, Figures};
use super::run::{Run, State};
use super::series::{Series, minibatches};
use super::text::{count, duration, escape, percent, size};
use super::{Report, ReportError};
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Rows of the table of best blocks.
const BEST_ROWS: usize = 50;

pub(super) fn page(report: &Report) -> Result<String, ReportError> {
    let title = match report.runs.as_slice() {
        [run] => format!("Search {}", run.name),
        runs => format!("{} searches", runs.len()),
    };
    let title = escape(&title);
    let refresh = match report.refresh {
        Some(seconds) if report.is_running() => format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n"),
        _ => String::new(),
    };
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; img-src data:\">\n{refresh}\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1>"
    );
    // Writing to a string cannot fail, here and below.
    if report.runs.len() > 1 {
        html.push_str("<nav aria-label=\"Runs\"><ol>");
        for (number, run) in report.runs.iter().enumerate() {
            let _ = write!(html, "<li><a href=\"#run-{number}\">{}</a></li>", escape(&run.name));
        }
        html.push_str("</ol></nav>");
    }
    html.push_str("</header>\n<main>\n");
    if report.runs.len() > 1 {
        comparison(&mut html, &report.runs)?;
    }
    for (number, run) in report.runs.iter().enumerate() {
        let figures = figures::of_run(run, report.best)?;
        section(&mut html, run, &figures, (report.runs.len() > 1).then_some(number));
    }
    let _ = write!(
        html,
        "</main>\n<footer>Made by blockqnn {}. This page needs no network.</footer>\n<script>\n{SCRIPT}</script>\n\
         </body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    Ok(html)
}

/// Writes several runs side by side.
fn comparison(html: &mut String, runs: &[Run]) -> Result<(), ReportError> {
    html.push_str(
        "<section class=\"run\" aria-labelledby=\"side-by-side\"><h2 id=\"side-by-side\">Side by side</h2>\n",
    );
    let columns =
        ["run", "state", "blocks", "best accuracy", "mean of the last minibatch", "infeasible", "training time"];
    let rows = runs.iter().map(|run| {
        let figures = KeyFigures::of(run);
        vec![
            run.name.clone(),
            state_name(run.state).to_owned(),
            format!("{} of {}", count(run.trials.len() as u64), count(run.total())),
            percent(figures.best),
            percent(figures.last_mean),
            count(figures.infeasible),
            figures.trained.map_or_else(|| "–".to_owned(), duration),
        ]
    });
    table(html, "The runs", &Series::new("runs", &columns, rows.collect()), true);
    let figures = figures::of_runs(runs)?;
    charts(html, &figures.charts);
    for reason in &figures.omitted {
        let _ = writeln!(html, "<p class=\"note\">{}</p>", escape(reason));
    }
    html.push_str("</section>\n");
    Ok(())
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
    cached: u64,
    trained: Option<f64>,
    machine_dependent: u64,
}

impl KeyFigures {
    fn of(run: &Run) -> Self {
        let minibatches = minibatches(run);
        let last = minibatches.iter().rev().find(|minibatch| minibatch.complete);
        let trained: f64 = minibatches.iter().map(|minibatch| minibatch.seconds).sum();
        let dependent = run.trials.iter().filter(|trial| {
            let reason = trial.outcome.as_ref().err().cloned();
            reason.is_some_and(|reason| crate::evaluation::Evaluation::Infeasible(reason).depends_on_machine())
        });
        Self {
            best: run.trials.iter().filter_map(super::run::Finished::accuracy).max_by(f64::total_cmp),
            last_mean: last.and_then(|minibatch| minibatch.accuracy).map(|accuracy| accuracy.mean),
            epsilon: run.epsilon(minibatches.last().map_or(0, |minibatch| minibatch.number)),
            infeasible: run.trials.iter().filter(|trial| trial.outcome.is_err()).count() as u64,
            cached: run.trials.iter().filter(|trial| trial.cached).count() as u64,
            trained: (trained > 0.0).then_some(trained),
            machine_dependent: dependent.count() as u64,
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
    let (class, text) = match run.state {
        State::Finished => ("finished", format!("Finished: {done}.")),
        State::Running => {
            ("running", format!("Running: {done} so far, {} being evaluated. This is a snapshot.", count(run.pending)))
        }
        State::Stopped => (
            "stopped",
            format!("Not finished and not running: {done}. The search can be resumed from its folder {}.", run.path),
        ),
    };
    let _ = writeln!(html, "<p class=\"state {class}\">{}</p>", escape(&text));
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
    let dependent = KeyFigures::of(run).machine_dependent;
    if dependent > 0 {
        warn(&format!(
            "{} blocks failed because of the machine (time limit, memory or faults), so the same seed may not \
             reproduce this run.",
            count(dependent)
        ));
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
    let mut items = vec![
        ("blocks evaluated", count(run.trials.len() as u64)),
        ("best accuracy", percent(figures.best)),
        ("mean of the last minibatch", percent(figures.last_mean)),
    ];
    items.extend(figures.epsilon.map(|epsilon| ("epsilon", epsilon.to_string())));
    items.push(("infeasible", count(figures.infeasible)));
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
        let _ = write!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
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
                "layers" | "message" => " class=\"code\"",
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
                 filters. (Figures 5 and 8 of the paper.)</p>",
                network.width
            );
        }
    }
    let is_verified = !run.verified.is_empty();
    let mut columns =
        vec!["rank", "block", "accuracy", "reward", "parameters", "FLOPs", "depth", "minibatch", "layers"];
    if is_verified {
        columns.insert(3, "verified");
    }
    let rows = best.iter().take(BEST_ROWS).enumerate().map(|(place, trial)| {
        let mut row = vec![
            (place + 1).to_string(),
            trial.id.to_string(),
            percent(trial.accuracy()),
            format!("{:.3}", trial.reward),
            trial.cost.map(|cost| size(cost.parameters)).unwrap_or_default(),
            trial.cost.map(|cost| size(cost.flops)).unwrap_or_default(),
            trial.cost.map(|cost| cost.depth.to_string()).unwrap_or_default(),
            (trial.minibatch + 1).to_string(),
            trial.text.clone(),
        ];
        if is_verified {
            row.insert(3, percent(run.verified.get(&trial.id).copied()));
        }
        row
    });
    let rows: Vec<_> = rows.collect();
    let caption = format!("The {} best blocks by reward", rows.len());
    let series = Series::new("best", &columns, rows).without_empty(&["parameters", "FLOPs", "depth"]);
    table(html, &caption, &series, true);
}

fn failed_attempts(html: &mut String, run: &Run) {
    if run.faults.is_empty() {
        return;
    }
    let mut messages: BTreeMap<&str, u64> = BTreeMap::new();
    for fault in &run.faults {
        *messages.entry(fault.message.as_str()).or_default() += 1;
    }
    let mut messages: Vec<_> = messages.into_iter().collect();
    messages.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let kinds = messages.len();
    let rows = messages.into_iter().take(20).map(|(message, times)| vec![count(times), message.to_owned()]).collect();
    let _ = writeln!(
        html,
        "<h3>Failed attempts</h3>\n<p>{} attempts to evaluate a block failed and were repeated, up to the limit of \
         attempts; {} different messages.</p>",
        count(run.faults.len() as u64),
        count(kinds as u64)
    );
    table(html, "Most frequent messages", &Series::new("faults", &["times", "message"], rows), false);
}
