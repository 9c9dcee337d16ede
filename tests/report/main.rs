//! The report: what the page of each kind of run folder says, and that nothing from outside becomes markup.
#![cfg(feature = "report")]

mod objectives;
mod outside;
mod trainings;

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
