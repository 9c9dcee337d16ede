//! The report: what the page of each kind of run folder says, and that nothing from outside becomes markup.
#![cfg(feature = "report")]

use blockqnn::agent::{QLearning, QLearningConfig, RandomAgent, ReplayConfig};
use blockqnn::environment::{BoxError, Environment, Progress, TrialContext, synthetic::Synthetic};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics, Objective};
use blockqnn::files::{FolderError, OwnedFolder};
use blockqnn::graph::NetworkConfig;
use blockqnn::report::{Report, ReportError, Run, Series, TensorBoard};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{
    Durability, MedianStopping, MinibatchSummary, Observer, Repeats, RunFolder, RungAgreement, Rungs, Search,
    SearchConfig,
};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HOSTILE: &str = "<script>alert(1)</script>";

/// The synthetic environment with times, failures and faults.
struct Eventful {
    inner: Synthetic,
    calls: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the device said {HOSTILE} & \"left\"")]
struct Fault;

impl Environment<BlockCode> for Eventful {
    type Error = Fault;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Fault> {
        self.calls += 1;
        if self.calls.is_multiple_of(11) {
            return Err(Fault);
        }
        if self.calls.is_multiple_of(13) {
            return Ok(Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 3 }));
        }
        match self.inner.evaluate(block, context) {
            Ok(Evaluation::Measured(metrics)) => {
                let seconds = 30.0 + block.len() as f64;
                Ok(Evaluation::Measured(Metrics { seconds, value: 20.0 + metrics.value * 0.5, ..metrics }))
            }
            Ok(other) => Ok(other),
            Err(never) => match never {},
        }
    }

    fn identity(&self) -> String {
        format!("eventful {HOSTILE}")
    }
}

struct Nobody;
impl Observer<BlockSpace> for Nobody {}

/// A new run folder that does not wait for the disk after every block.
fn create(path: &Path) -> RunFolder {
    RunFolder::create(path).unwrap().with_durability(Durability::EveryMinibatch).with_checkpoint_every(0)
}

fn search(path: &Path, trials: u64, observer: impl Observer<BlockSpace> + 'static) {
    let agent = QLearningConfig { replay: ReplayConfig { rounds: 4, batch: 32 }, ..QLearningConfig::paper() };
    let reward = RedefinedReward::paper();
    let details = serde_json::json!({
        "space": BlockSpace::paper(), "agent": agent, "reward": reward, "recipe": {}, "data": { "dataset": HOSTILE }
    });
    let config = SearchConfig { repeats: Repeats::Reuse, ..SearchConfig::paper().with_trials(trials, 16) };
    let space = BlockSpace::paper().with_max_layers(5).unwrap();
    let environment = Eventful { inner: Synthetic::new().with_noise(2.0), calls: 0 };
    Search::new(space, QLearning::new(agent).unwrap(), environment, config)
        .with_reward(reward)
        .with_run_folder(create(path).with_details(&details).unwrap())
        .with_observer(observer)
        .run()
        .unwrap();
}

fn page(path: &Path) -> String {
    Report::read([path]).unwrap().html()
}

/// Markup that the page did not make itself would be here.
fn assert_inert(html: &str) {
    assert_eq!(html.matches("<script").count(), 1, "the page's own script");
    assert!(html.contains("&lt;script&gt;alert(1)"), "hostile text is shown");
    for fetched in [" src=", "url(", "@import", "<link rel=\"stylesheet", "<iframe", "<img", "onload=", "onerror="] {
        assert!(!html.contains(fetched), "{fetched}");
    }
    let addresses = html.split("href=\"").skip(1);
    assert!(addresses.into_iter().all(|rest| rest.starts_with("data:") || rest.starts_with('#')));
    let outside = html.matches("://").count() - html.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(outside, 0, "no address but the name of SVG's namespace");
}

#[test]
fn a_finished_run_has_every_picture_and_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("run \"quoted\" 'single' {}", HOSTILE.replace('/', "-")));
    search(&path, 96, Nobody);
    fs::write(path.join("verified.csv"), "trial,accuracy\n0,91.5\n3,92.25\n7,90\n").unwrap();
    let utilisation = r#"{ "workers": 4, "wall": 10.0, "busy": 30.0, "barrier": 8.0 }"#;
    fs::write(path.join("utilisation.json"), utilisation).unwrap();
    let report = Report::read([&path]).unwrap();
    let html = report.html();
    assert_inert(&html);
    for text in [
        "4 workers were busy 75 % of the time",
        "Finished: 96 of 96 blocks",
        "cache hits",
        "diverged",
        "Failed attempts",
        "Kendall",
        "ε = 1",
    ] {
        assert!(html.contains(text), "{text}");
    }
    let pictures = report.figures();
    let names: Vec<&str> = pictures.iter().map(|picture| picture.name.as_str()).collect();
    for name in [
        "learning",
        "early-stop",
        "accuracy-flops",
        "lengths",
        "kinds",
        "times",
        "workers",
        "failures",
        "block-1",
        "block-6",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(html.matches("role=\"img\"").count(), pictures.len(), "every picture is told to screen readers");
    for picture in &pictures {
        assert!(!picture.description.is_empty());
        let png = picture.png().unwrap();
        let (width, height) = picture.size;
        // Width and height stand in the first chunk of a PNG.
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        assert_eq!((number(16), number(20)), (2 * width, 2 * height), "{}", picture.name);
    }
    assert_eq!(html, page(&path), "the same folder gives the same page");
}

#[test]
fn a_running_search_is_reported_and_refreshed() {
    struct Reporter(PathBuf);
    impl Observer<BlockSpace> for Reporter {
        fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
            let report = Report::read([&self.0])?.with_refresh(5);
            let html = report.html();
            assert!(report.is_running());
            let done = (summary.minibatch + 1) * 16;
            assert!(html.contains(&format!("Running: {done} of 48 blocks so far")));
            assert!(html.contains("http-equiv=\"refresh\" content=\"5\""));
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    search(&path, 48, Reporter(path.clone()));
    let report = Report::read([&path]).unwrap().with_refresh(5);
    assert!(!report.is_running());
    assert!(!report.html().contains("http-equiv=\"refresh\""), "a finished run is not read again");
}

#[test]
fn an_unfinished_minibatch_is_a_ring_and_no_part_of_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    search(&path, 48, Nobody);
    let journal = fs::read_to_string(path.join("journal.jsonl")).unwrap();
    // Up to the fifth result of the third minibatch, and a line that was cut.
    let finished: Vec<usize> = journal.match_indices("\"event\":{\"finished\"").map(|(at, _)| at).collect();
    fs::write(path.join("journal.jsonl"), &journal[..finished[37] + 40]).unwrap();
    let html = page(&path);
    assert!(html.contains("Not finished and not running: 37 of 48 blocks"));
    assert!(html.contains("unfinished minibatch (ring)"));
    assert!(html.contains("of the journal are incomplete"));
}

#[test]
fn an_empty_run_has_a_page_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    search(&path, 16, Nobody);
    fs::remove_file(path.join("journal.jsonl")).unwrap();
    let report = Report::read([&path]).unwrap();
    let html = report.html();
    assert!(html.contains("No block is finished yet"));
    assert!(html.contains("0 of 16 blocks"));
    assert!(report.figures().is_empty());
    assert_eq!(report.series()[0].csv().lines().count(), 1, "only the names of the columns");
}

#[test]
fn a_damaged_run_is_reported_up_to_the_damage_and_a_folder_without_run_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    search(&path, 48, Nobody);
    let mut journal = fs::read(path.join("journal.jsonl")).unwrap();
    let at = journal.len() * 2 / 3;
    journal[at] ^= 1;
    let line = journal[..at].split(|&byte| byte == b'\n').count();
    fs::write(path.join("journal.jsonl"), &journal).unwrap();
    let html = page(&path);
    assert!(html.contains(&format!("is damaged in line {line}")), "the damage is named");
    assert!(html.contains("role=\"img\""), "what comes before is drawn");

    let nothing = folder.path().join("nothing");
    let error = Report::read([&nothing]).unwrap_err();
    assert!(matches!(error, ReportError::RunFolder(_)));
    assert!(error.to_string().contains("is not a run folder"), "{error}");
}

#[test]
fn runs_stand_side_by_side_with_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a/run", "b/run", "c/other"].map(|name| folder.path().join(name));
    for (path, trials) in paths.iter().zip([48, 32, 48]) {
        search(path, trials, Nobody);
    }
    let report = Report::read(&paths).unwrap().with_best(1);
    let html = report.html();
    assert_inert(&html);
    assert!(html.contains("Side by side") && html.contains("Pareto fronts of the runs"));
    let out = folder.path().join("out");
    let count = report.write_svg(&out).unwrap();
    report.write_csv(&out).unwrap();
    let svgs = fs::read_dir(&out)
        .unwrap()
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "svg"));
    assert_eq!(svgs.count(), count, "no picture took another's file");
    for (name, trials) in [("run-trials.csv", 48), ("run-2-trials.csv", 32), ("other-trials.csv", 48)] {
        assert_eq!(fs::read_to_string(out.join(name)).unwrap().lines().count(), trials + 1, "{name}");
    }
    assert!(out.join("comparison-learning.svg").exists());
    // A later report of one run writes to the same folder; one with files of others is left alone.
    let one = Report::read(&paths[..1]).unwrap();
    one.write_svg(&out).unwrap();
    fs::write(out.join("thesis.tex"), "mine").unwrap();
    for result in [one.write_svg(&out), one.write_png(&out), one.write_csv(&out), one.write_csv(&paths[0])] {
        assert!(matches!(result, Err(ReportError::Folder(FolderError::NotEmpty { .. }))), "{result:?}");
    }
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("my.svg"), "mine").unwrap();
    let error = one.write_svg(&foreign).unwrap_err().to_string();
    assert!(error.contains("contains my.svg, which does not belong to this program"), "{error}");
    let held = OwnedFolder::create(folder.path().join("held"), |_| false).unwrap();
    assert!(matches!(one.write_csv(held.path()), Err(ReportError::Folder(FolderError::InUse { .. }))));
}

#[test]
fn blocks_of_a_search_without_a_network_are_drawn_without_channels_and_nothing_has_a_cost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let search = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), SearchConfig::new(32));
    search.with_run_folder(create(&path)).run().unwrap();
    let report = Report::read([&path]).unwrap();
    let html = report.html();
    for unknown in [" channel", ">parameters</th>", ">FLOPs</th>", ">depth</th>", "Pareto", "too many"] {
        assert!(!html.contains(unknown), "{unknown}");
    }
    assert!(html.contains("Accuracy against FLOPs is not drawn: this search knows no cost."));
    let names: Vec<String> = report.figures().into_iter().map(|figure| figure.name).collect();
    for name in ["lengths", "kinds", "block-1"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    let trials = report.series().into_iter().find(|series| series.name() == "trials").unwrap().csv();
    assert!(trials.starts_with("trial,minibatch,accuracy_percent,reward,layers,seconds,"), "{trials}");
}

/// Goes through six epochs, each block at its own pace.
struct Learning;

impl Environment<BlockCode> for Learning {
    type Error = Fault;

    fn evaluate(&mut self, _: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Fault> {
        let pace = (context.trial().seed % 100) as f64 / 10.0;
        for epoch in 1..=6 {
            context.report(Progress::new(epoch, 6, 0, 0.0).with_value(pace * f64::from(epoch)));
            if context.should_stop() && epoch < 6 {
                return Ok(Evaluation::Measured(Metrics::stopped_after(context.curve())));
            }
        }
        Ok(Evaluation::Measured(Metrics { epochs: 6, ..Metrics::from_accuracy(pace * 6.0) }))
    }

    fn identity(&self) -> String {
        "learning".to_owned()
    }
}

#[test]
fn learning_curves_are_drawn_and_blocks_that_were_stopped_early_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let rule = MedianStopping { grace_epochs: 1, min_trials: 3 };
    let config = SearchConfig::new(48).with_minibatch(8).with_median_stopping(rule);
    let search = Search::new(BlockSpace::paper(), RandomAgent, Learning, config);
    let found = search.with_run_folder(create(&path)).run().unwrap();
    assert!(found.stopped() > 5, "{}", found.stopped());
    let report = Report::read([&path]).unwrap();
    let html = report.html();
    let stopped = format!("<dt>stopped early</dt><dd>{}</dd>", found.stopped());
    assert!(html.contains(&stopped) && html.contains(&format!(" {} were stopped early, after ", found.stopped())));
    let figure = report.figures().into_iter().find(|figure| figure.name == "curves").unwrap();
    assert!(figure.svg.contains("no. 1: block ") && figure.svg.contains("a ring ends one that was stopped early"));

    let series = report.series();
    let rows = |name: &str| -> Vec<HashMap<String, String>> {
        let csv = series.iter().find(|series| series.name() == name).unwrap().csv();
        csv::Reader::from_reader(csv.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap()
    };
    let curves: Vec<_> = found.records.iter().filter_map(|record| record.evaluation.metrics()).collect();
    assert_eq!(rows("curves").len(), curves.iter().map(|metrics| metrics.curve.len()).sum::<usize>());
    let of_trials = rows("trials");
    assert_eq!(of_trials.iter().filter(|row| row["stopped"] == "true").count(), found.stopped());
    let mut table = Vec::new();
    found.write_csv(&BlockSpace::paper(), &mut table).unwrap();
    let table: Vec<HashMap<String, String>> =
        csv::Reader::from_reader(table.as_slice()).deserialize().collect::<Result<_, _>>().unwrap();
    let ranked: Vec<bool> = table.iter().map(|row| row["stopped"] == "true").collect();
    assert!(ranked.is_sorted() && !ranked[0]);
    let mut lines = Vec::new();
    found.write_curves(&mut lines).unwrap();
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 1 + rows("curves").len());
}

#[test]
fn rungs_and_promotions_are_drawn_and_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let config = SearchConfig::new(96).with_minibatch(8).with_rungs(Rungs::new(3));
    let environment = Synthetic::new().with_noise(3.0).with_epochs(9);
    let search = Search::new(BlockSpace::paper(), RandomAgent, environment, config);
    let found = search.with_run_folder(create(&path)).run().unwrap();
    let report = Report::read([&path]).unwrap();
    let figure = |name: &str| report.figures().into_iter().find(|figure| figure.name == name).unwrap();
    assert!(figure("rungs").svg.contains(" of 9 epochs") && figure("rungs").svg.contains("promoted"));
    assert!(figure("learning-by-rung").svg.contains("1 epoch"));
    let best = found.best()[0];
    assert!(figure("block-1").svg.contains(&format!("No. 1: block {}", best.id)));
    assert!(report.html().contains("tau of 1 and 3 epochs"));
    let series = report.series();
    let rows = |name: &str| -> Vec<HashMap<String, String>> {
        let csv = series.iter().find(|series| series.name() == name).unwrap().csv();
        csv::Reader::from_reader(csv.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap()
    };
    let by_rung = rows("rungs");
    let [low, middle, high] = &by_rung[..] else { panic!("three rungs") };
    let count = |row: &HashMap<String, String>, column: &str| row[column].parse::<usize>().unwrap();
    assert_eq!(count(low, "trials") + count(middle, "trials") + count(high, "trials"), 96);
    assert_eq!((count(low, "promoted"), count(middle, "promoted")), (count(middle, "trials"), count(high, "trials")));
    let agreement = RungAgreement::of(&found.records)[0];
    assert_eq!(
        (low["tau_with_next"].clone(), count(low, "compared")),
        (format!("{:.3}", agreement.kendall), agreement.count)
    );
    assert_eq!(high["tau_with_next"], "");
    for (row, record) in rows("trials").iter().zip(&found.records) {
        let rung = record.rung.unwrap();
        assert_eq!((count(row, "rung"), count(row, "epochs")), (rung.number as usize, rung.epochs as usize));
        let mut from = found.records[..usize::try_from(record.id).unwrap()].iter();
        let from = from.rfind(|other| other.fingerprint == record.fingerprint).map(|other| other.id.to_string());
        assert_eq!(row["promoted_from"], from.unwrap_or_default());
    }
}

#[test]
fn a_run_of_an_earlier_version_is_reported_with_its_costs() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run-format-1");
    let report = Report::read([golden]).unwrap();
    assert!(report.html().contains(">FLOPs</th>"));
    assert!(report.figures().iter().any(|figure| figure.name == "accuracy-flops"));
    let trials = report.series().into_iter().find(|series| series.name() == "trials").unwrap().csv();
    let columns = "trial,minibatch,accuracy_percent,reward,parameters,flops,activation_bytes,depth,layers,density,\
                   seconds,cached,verified_percent,infeasible,architecture";
    assert_eq!(trials.lines().next(), Some(columns));
}

#[test]
fn a_series_tells_what_the_journal_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    search(&path, 64, Nobody);
    let run = Run::read(&path).unwrap();
    let report = Report::new(vec![run]);
    let series = report.series();
    let table = |name: &str| -> Vec<HashMap<String, String>> {
        let csv = series.iter().find(|series| series.name() == name).unwrap().csv();
        csv::Reader::from_reader(csv.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap()
    };
    let trials = table("trials");
    for minibatch in table("minibatches") {
        let number = &minibatch["minibatch"];
        let own = trials.iter().filter(|trial| &trial["minibatch"] == number);
        let accuracies: Vec<f64> = own.filter_map(|trial| trial["accuracy_percent"].parse().ok()).collect();
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        let told: f64 = minibatch["mean_accuracy_percent"].parse().unwrap();
        assert!((mean - told).abs() < 1e-9, "minibatch {number}: {mean} and {told}");
    }
}

/// The README's pictures, made by a search of 2,848 blocks in the synthetic environment. With `BLOCKQNN_BLESS` set they
/// are written in place of being compared.
#[test]
fn pictures_of_the_readme_are_the_crates_own() {
    use blockqnn::agent::EpsilonSchedule;
    use blockqnn::reward::Credit;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let agent = QLearningConfig {
        learning_rate: 0.1,
        epsilon: EpsilonSchedule::short(),
        replay: ReplayConfig { rounds: 8, batch: 128 },
        ..QLearningConfig::paper()
    };
    let details = serde_json::json!({ "agent": agent });
    let config = SearchConfig::paper().with_seed(1).with_trials(89 * 32, 32);
    Search::new(BlockSpace::paper(), QLearning::new(agent).unwrap(), Synthetic::new().with_noise(2.0), config)
        .with_reward(RedefinedReward::accuracy(Credit::Terminal))
        .with_run_folder(create(&path).with_details(&details).unwrap())
        .run()
        .unwrap();
    let pictures = Report::read([&path]).unwrap().figures();
    for (name, file) in [("learning", "learning.svg"), ("block-1", "block.svg")] {
        let picture = pictures.iter().find(|picture| picture.name == name).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures").join(file);
        if std::env::var_os("BLOCKQNN_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &picture.svg).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap() == picture.svg, "{} is of other code: bless it", path.display());
    }
}

/// Pages of every kind of run, for `tests/report_page.py` to look at in a browser.
#[test]
fn pages_for_a_browser_are_written() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let long = format!("{HOSTILE}-{}", "a-very-long-name-".repeat(6)).replace('/', "-");
    search(&path(&long), 192, Nobody);
    fs::write(path(&long).join("verified.csv"), "trial,accuracy\n0,91.5\n3,92.25\n7,90\n").unwrap();
    search(&path("short"), 32, Nobody);
    search(&path("damaged"), 96, Nobody);
    search(&path("empty"), 16, Nobody);
    fs::remove_file(path("empty").join("journal.jsonl")).unwrap();
    let mut journal = fs::read(path("damaged").join("journal.jsonl")).unwrap();
    let middle = journal.len() / 2;
    journal[middle] ^= 1;
    fs::write(path("damaged").join("journal.jsonl"), &journal).unwrap();

    for (name, runs) in [
        ("finished", vec![long.as_str()]),
        ("short", vec!["short"]),
        ("damaged", vec!["damaged"]),
        ("empty", vec!["empty"]),
        ("several", vec![long.as_str(), "short", "damaged", "empty"]),
    ] {
        let report = Report::read(runs.into_iter().map(path)).unwrap();
        fs::create_dir_all(&out).unwrap();
        report.write_html(out.join(format!("{name}.html"))).unwrap();
        let page = fs::read_to_string(out.join(format!("{name}.html"))).unwrap();
        assert!(!page.contains(r#"d="M""#) && !page.contains(r#"d="MZ""#), "{name} has a path without points");
    }
}

/// A regression in the units of its target: the closer to four layers, the smaller the error.
fn regression(path: &Path, measures: bool) -> SearchConfig {
    let objective = Objective::minimise("RMSE", 4.0, 0.0).with_unit("mm");
    let mut config = SearchConfig::new(48).with_objective(objective).with_network(NetworkConfig::cifar());
    config.maximised_measurements.insert("f1 <score>".to_owned());
    let space = BlockSpace::paper().with_max_layers(7).unwrap();
    let search = Search::without_evaluator(space, RandomAgent, "a regression", config.clone());
    let mut session = search.with_run_folder(create(path)).open().unwrap();
    while let Some(asked) = session.ask().unwrap() {
        let layers = asked.architecture.len() as f64;
        let metrics = Metrics::new(0.25 + (layers - 4.0).abs() / 8.0 + asked.trial.id as f64 / 1_000.0);
        let evaluation = match asked.trial.id {
            7 => Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 0 }),
            _ if measures => {
                Evaluation::Measured(metrics.with("latency_ms", layers / 2.0).with("f1 <score>", layers / 10.0))
            }
            _ => Evaluation::Measured(metrics),
        };
        session.tell(asked.trial.id, evaluation).unwrap();
    }
    session.finish().unwrap();
    config
}

#[test]
fn the_report_of_another_objective_speaks_of_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    regression(&path, true);
    let report = Report::read([&path]).unwrap();
    let html = report.html();
    // Shares are percentages whatever the objective, and so are widths of the style.
    let (_, body) = html.split_once("<body").unwrap();
    let (body, _) = body.split_once("<script").unwrap();
    assert!(!html.contains("accuracy") && !html.contains("Accuracy"));
    for (place, _) in body.match_indices('%') {
        let around: String = body[..place].chars().rev().take(60).collect();
        let around: String = around.chars().rev().collect();
        assert!(around.contains("share") || around.contains("<td class=\"number\">"), "{around}%");
    }
    for text in ["best RMSE", "RMSE by minibatch", "RMSE (mm)", " mm</td>", "Blocks without RMSE", "were 4.0000 mm"] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("f1 &lt;score&gt;") && !html.contains("<score>"));

    let series = report.series();
    let csv = |name: &str| series.iter().find(|series| series.name() == name).map(Series::csv).unwrap();
    for series in &series {
        let (head, text) = (series.csv().lines().next().unwrap().to_owned(), series.csv());
        assert!(!head.contains("percent") && !text.contains("accuracy") && !text.contains('%'), "{head}");
    }
    assert!(csv("trials").starts_with("trial,minibatch,RMSE_mm,reward,parameters,flops,"));
    assert!(csv("trials").lines().next().unwrap().contains(",f1 <score>,latency_ms,seconds,"));
    assert!(csv("minibatches").contains("mean_RMSE_mm,tenth_RMSE_mm,nine_tenths_RMSE_mm,best_RMSE_mm"));

    // The best falls, and fronts go the way of both directions.
    let rows = |name: &str| -> Vec<HashMap<String, String>> {
        csv::Reader::from_reader(csv(name).as_bytes()).deserialize().map(Result::unwrap).collect()
    };
    let numbers =
        |name: &str, column: &str| -> Vec<f64> { rows(name).iter().map(|row| row[column].parse().unwrap()).collect() };
    assert!(numbers("minibatches", "best_RMSE_mm").is_sorted_by(|a, b| a >= b));
    for (name, column, rises) in [("pareto-latency_ms", "latency_ms", true), ("pareto-f1--score", "f1 <score>", false)]
    {
        let (measured, errors) = (numbers(name, column), numbers(name, "RMSE_mm"));
        assert!(!measured.is_empty() && errors.is_sorted_by(|a, b| a > b), "{errors:?}");
        assert!(measured.is_sorted_by(|a, b| if rises { a < b } else { a > b }), "{measured:?}");
    }
    let names: Vec<String> = report.figures().into_iter().map(|figure| figure.name).collect();
    for name in ["objective-flops", "objective-by-latency_ms", "objective-by-f1--score"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
}

#[test]
fn runs_with_different_objectives_are_not_drawn_into_one_chart() {
    let folder = tempfile::tempdir().unwrap();
    let [error, accuracy] = ["error", "accuracy"].map(|name| folder.path().join(name));
    regression(&error, false);
    search(&accuracy, 32, Nobody);
    let report = Report::read([&error, &accuracy]).unwrap();
    let html = report.html();
    assert!(html.contains("the runs have different objectives") && html.contains("best value"));
    let names: Vec<String> = report.figures().into_iter().map(|figure| figure.name).collect();
    assert!(!names.iter().any(|name| name.starts_with("comparison")), "{names:?}");
    assert!(names.contains(&"accuracy-accuracy-flops".to_owned()), "{names:?}");
}

#[test]
fn a_measurement_has_a_column_a_chart_and_a_front_beside_the_accuracy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let search = Search::without_evaluator(BlockSpace::paper(), RandomAgent, "x", SearchConfig::new(16));
    let mut session = search.with_run_folder(create(&path)).open().unwrap();
    while let Some(asked) = session.ask().unwrap() {
        let metrics = Metrics::from_accuracy(60.0 + asked.trial.id as f64);
        let measured = if asked.trial.id == 3 { metrics } else { metrics.with("latency_ms", asked.trial.id as f64) };
        session.tell(asked.trial.id, Evaluation::Measured(measured)).unwrap();
    }
    session.finish().unwrap();
    let report = Report::read([&path]).unwrap();
    let trials = report.series().into_iter().find(|series| series.name() == "trials").unwrap().csv();
    assert!(trials.starts_with("trial,minibatch,accuracy_percent,reward,layers,latency_ms,seconds,"), "{trials}");
    assert!(report.html().contains(">latency_ms</th>"));
    assert!(report.figures().iter().any(|figure| figure.name == "accuracy-by-latency_ms"));
    let front = report.series().into_iter().find(|series| series.name() == "pareto-latency_ms").unwrap().csv();
    assert_eq!(front.lines().count(), 16, "every block but the one without a latency:\n{front}");
}

/// The reader of `TensorBoard` itself finds the numbers of the CSV.
#[test]
#[ignore = "needs tensorboard (pip install tensorboard; name that Python with BLOCKQNN_TENSORBOARD_PYTHON)"]
fn tensorboard_reads_the_numbers_of_the_csv() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let space = BlockSpace::paper();
    // Ended after two minibatches, and extended.
    for trials in [32, 64] {
        let config = SearchConfig::paper().with_trials(trials, 16);
        let environment = Eventful { inner: Synthetic::new(), calls: 0 };
        let report = Search::new(space.clone(), RandomAgent, environment, config)
            .with_run_folder(RunFolder::open(&run).unwrap())
            .with_observer(TensorBoard::new(run.join("tensorboard"), space.clone()))
            .run()
            .unwrap();
        assert_eq!(report.records.len() as u64, trials);
    }
    Report::read([&run]).unwrap().write_csv(folder.path().join("csv")).unwrap();
    let python = std::env::var("BLOCKQNN_TENSORBOARD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/events.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("64 trials agree"), "{text}{errors}");
}
