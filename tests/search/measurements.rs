//! Objectives other than an accuracy, and measurements by name: in files, rewards, limits and fronts.

use blockqnn::agent::{QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::{BoxError, Environment, TrialContext};
use blockqnn::evaluation::{Direction, Evaluation, Infeasibility, Metrics, Objective, Reward};
use blockqnn::graph::{Cost, CostLimits, NetworkConfig};
use blockqnn::reward::{Credit, RedefinedReward, RewardError, RewardShaper, SoftTargets};
use blockqnn::search::{
    Durability, MinibatchSummary, Observer, RecordOf, RunFolder, Search, SearchConfig, SearchReport,
};
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::testing::{Rule, check_environment, check_environment_for};
use std::cell::RefCell;
use std::convert::Infallible;
use std::fs;
use std::path::Path;

/// A regression: its error is the smaller the closer a block is to six layers. Blocks of nine layers diverge.
#[derive(Clone, Copy)]
struct Regression;

impl Environment<BlockCode> for Regression {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, _: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let layers = block.len() as f64;
        if block.len() == 9 {
            return Ok(Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 0 }));
        }
        let metrics = Metrics::new(0.25 + (layers - 6.0).abs() / 8.0);
        Ok(Evaluation::Measured(metrics.with("latency_ms", layers / 2.0).with("r2", 1.0 - (layers - 6.0).abs() / 50.0)))
    }

    fn identity(&self) -> String {
        "regression 1".to_owned()
    }
}

fn config() -> SearchConfig {
    SearchConfig::new(96).with_seed(3).with_objective(Objective::minimise("RMSE", 4.0, 0.0).with_unit("mm"))
}

fn agent() -> QLearning<BlockSpace> {
    QLearning::new(QLearningConfig { learning_rate: 0.1, ..QLearningConfig::paper().scaled_to(6) }).unwrap()
}

fn run(config: SearchConfig, reward: impl RewardShaper) -> Result<SearchReport<BlockSpace>, String> {
    let search = Search::new(BlockSpace::paper(), agent(), Regression, config).with_reward(reward);
    search.run().map_err(|error| error.to_string())
}

fn plain() -> RedefinedReward {
    RedefinedReward::accuracy(Credit::Terminal)
}

fn csv(report: &SearchReport<BlockSpace>) -> Vec<std::collections::HashMap<String, String>> {
    let mut bytes = Vec::new();
    report.write_csv(&BlockSpace::paper(), &mut bytes).unwrap();
    csv::Reader::from_reader(bytes.as_slice()).deserialize().collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_lowest_error_wins_and_infeasible_trials_get_the_worst_one() {
    let report = run(config(), plain()).unwrap();
    let errors: Vec<f64> = report.best().iter().filter_map(|record| record.evaluation.value()).collect();
    assert!(errors.is_sorted() && errors[0] < 0.5, "{errors:?}");
    let infeasible: Vec<_> = report.records.iter().filter(|record| record.evaluation.value().is_none()).collect();
    assert!(!infeasible.is_empty() && infeasible.iter().all(|record| record.reward == Reward::default()));
    for record in &report.records {
        let Some(error) = record.evaluation.value() else { continue };
        assert_eq!(record.reward, Reward::new(100.0 * ((error - 4.0) / -4.0)).unwrap());
    }
    // The agent has learned which way is better.
    let mean = |records| SearchReport::<BlockSpace>::mean_value(records).unwrap();
    let (first, last) = (mean(&report.records[..16]), mean(&report.records[80..]));
    assert!(last < 0.8 * first, "{first} first, {last} at the end");
}

#[test]
fn the_csv_names_the_objective_and_has_a_column_for_each_measurement() {
    let report = run(config(), plain()).unwrap();
    let mut bytes = Vec::new();
    report.write_csv(&BlockSpace::paper(), &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("rank,trial,minibatch,RMSE,reward,latency_ms,r2,epochs,"), "{text}");
    assert!(!text.contains("accuracy") && !text.contains('%'));
    for row in csv(&report) {
        let record = &report.records[row["trial"].parse::<usize>().unwrap()];
        assert_eq!(row["RMSE"].parse().ok(), record.evaluation.value());
        assert_eq!(row["latency_ms"].parse().ok(), record.evaluation.measurement("latency_ms"));
    }
    // Names that are taken.
    let objective = Objective::minimise("seed", 4.0, 0.0);
    let search = Search::without_evaluator(BlockSpace::paper(), RandomAgent, "x", config().with_objective(objective));
    let mut session = search.open().unwrap();
    while let Some(asked) = session.ask().unwrap() {
        let metrics = Metrics::new(0.5).with("seconds", 7.0).with("measured_seconds", 8.0);
        session.tell(asked.trial.id, Evaluation::Measured(metrics)).unwrap();
    }
    let report = session.finish().unwrap();
    let row = &csv(&report)[0];
    assert_eq!((row["measured_seed"].as_str(), row["seconds"].as_str()), ("0.5", "0.000"));
    assert_eq!((row["measured_seconds"].as_str(), row["measured_measured_seconds"].as_str()), ("8", "7"));
}

/// Stops the search at a finished trial, and notes the summaries.
struct Stop<'a>(u64, &'a RefCell<Vec<MinibatchSummary>>);

impl Observer<BlockSpace> for Stop<'_> {
    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        if record.id == self.0 { Err("stopped".into()) } else { Ok(()) }
    }

    fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
        self.1.borrow_mut().push(summary.clone());
        Ok(())
    }
}

#[test]
fn a_search_that_minimises_is_killed_anywhere_and_resumed() {
    let parent = tempfile::tempdir().unwrap();
    let summaries = RefCell::new(Vec::new());
    let search = |path: &Path, stop| {
        Search::new(BlockSpace::paper(), agent(), Regression, config())
            .with_run_folder(RunFolder::open(path).unwrap().with_durability(Durability::EveryMinibatch))
            .with_observer(Stop(stop, &summaries))
            .run()
            .is_ok()
    };
    let journal = |path: &Path| fs::read(path.join("journal.jsonl")).unwrap();
    let whole = parent.path().join("whole");
    assert!(search(&whole, u64::MAX));
    let text = String::from_utf8(journal(&whole)).unwrap();
    assert!(!text.contains("accuracy") && text.contains(r#""measurements":{"latency_ms":"#));
    for summary in summaries.borrow().iter() {
        assert!(summary.best <= summary.mean, "{summary:?}");
    }
    assert!(summaries.borrow().windows(2).all(|pair| pair[1].best <= pair[0].best));

    let path = parent.path().join("killed");
    for stop in [5, 40, 63] {
        assert!(!search(&path, stop));
        // A line that was being written when the process was killed.
        let mut torn = journal(&path);
        torn.extend(b"{\"sum\":\"0");
        fs::write(path.join("journal.jsonl"), torn).unwrap();
    }
    assert!(search(&path, u64::MAX));
    assert_eq!(journal(&path), journal(&whole));
    let description = fs::read_to_string(path.join("search.json")).unwrap();
    assert!(description.contains(r#""name": "RMSE""#), "{description}");

    // Another objective is another search.
    let changed = config().with_objective(Objective::minimise("RMSE", 5.0, 0.0).with_unit("mm"));
    let search = Search::new(BlockSpace::paper(), agent(), Regression, changed);
    let error = search.with_run_folder(RunFolder::resume(&path).unwrap()).run().unwrap_err().to_string();
    assert!(error.contains("search.objective.worst: 4.0 in the folder, 5.0 now"), "{error}");
}

#[test]
fn the_default_objective_leaves_no_trace_in_files() {
    let json = serde_json::to_value(SearchConfig::new(8)).unwrap();
    for field in ["objective", "measurement_limits", "maximised_measurements"] {
        assert!(json.get(field).is_none(), "{field}");
    }
}

#[test]
fn fronts_by_measurement_obey_both_directions() {
    let report = run(config(), plain()).unwrap();
    for (name, direction) in [("latency_ms", Direction::Minimise), ("r2", Direction::Maximise)] {
        let point =
            |record: &RecordOf<BlockSpace>| Some((record.evaluation.measurement(name)?, record.evaluation.value()?));
        let points: Vec<(f64, f64)> = report.records.iter().filter_map(point).collect();
        let at_least = |a: f64, b: f64| direction.compare(a, b).is_ge();
        let dominated = |one: &(f64, f64)| points.iter().any(|a| a != one && at_least(a.0, one.0) && a.1 <= one.1);
        let mut expected: Vec<_> = points.iter().filter(|point| !dominated(point)).copied().collect();
        expected.sort_by(|a, b| direction.compare(b.0, a.0));
        expected.dedup();
        let front: Vec<_> = report.measurement_front(name, direction).into_iter().filter_map(point).collect();
        assert_eq!(front, expected, "{name}");
    }
    assert!(report.measurement_front("latency_ms", Direction::Minimise).len() > 2);
    assert!(report.measurement_front("unknown", Direction::Minimise).is_empty());
}

#[test]
fn a_soft_target_lowers_the_reward_by_the_measurement() {
    let targets = SoftTargets::default().with("latency_ms", 1.5, 10.0);
    let report = run(config(), plain().with_targets(targets)).unwrap();
    let mut over = 0;
    for record in &report.records {
        let Some(metrics) = record.evaluation.metrics() else {
            assert_eq!(record.reward, Reward::default(), "the worst value, and no penalty");
            continue;
        };
        let penalty = 10.0 * (metrics.measurements["latency_ms"] / 1.5).log2().max(0.0);
        over += u32::from(penalty > 0.0);
        let expected = Objective::minimise("", 4.0, 0.0).score(metrics.value) - penalty;
        assert!((record.reward.value() - expected).abs() < 1e-9);
    }
    assert!(over > 10 && over < 90, "{over}");
}

#[test]
fn a_measurement_over_its_limit_makes_a_trial_infeasible() {
    let report = run(config().with_measurement_limit("latency_ms", 2.5), plain()).unwrap();
    let mut over = 0;
    for record in &report.records {
        let layers = record.architecture.len();
        match &record.evaluation {
            Evaluation::Measured(metrics) => assert!(metrics.measurements["latency_ms"] <= 2.5),
            Evaluation::Infeasible(reason) if layers != 9 => {
                let value = 0.25 + (layers as f64 - 6.0).abs() / 8.0;
                let measured = layers as f64 / 2.0;
                let told = format!("latency_ms of {measured} exceeds the limit of 2.5 (its value was {value})");
                assert_eq!(reason.to_string(), told);
                assert_eq!(record.reward, Reward::default());
                over += 1;
            }
            _ => {}
        }
    }
    assert!(over > 0);
    let invalid = |config: SearchConfig| config.validate().unwrap_err().to_string();
    let limit = |name: &str, limit| config().with_measurement_limit(name, limit);
    assert!(invalid(limit("latency_ms", f64::NAN)).starts_with("search.measurement_limits.latency_ms is NaN"));
    assert!(invalid(limit("flops", 1.0)).contains("limit this cost with search.limits.flops"));
}

/// A reward whose identity does not tell its settings.
struct Unnamed(RedefinedReward);

impl RewardShaper for Unnamed {
    fn reward(&self, score: f64, evaluation: &Evaluation, cost: Option<&Cost>) -> Result<Reward, RewardError> {
        self.0.reward(score, evaluation, cost)
    }

    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        self.0.credit(reward, layers)
    }

    fn identity(&self) -> String {
        "unnamed".to_owned()
    }
}

#[test]
fn a_measurement_that_is_needed_and_missing_is_named_at_the_first_trial_and_on_resuming() {
    let missing = "the measurement \"latency\" is needed, but the environment measured \"latency_ms\", \"r2\": have it \
                   report \"latency\" (`Metrics::with`), or correct the name";
    let error = run(config().with_measurement_limit("latency", 1.0), plain()).unwrap_err();
    let limits = "the limits of `search.measurement_limits` cannot be checked for trial 0: ";
    assert_eq!(error, format!("{limits}{missing}"));
    let targeted = || plain().with_targets(SoftTargets::default().with("latency", 1.0, 1.0));
    assert_eq!(run(config(), targeted()).unwrap_err(), format!("trial 0 has no reward: {missing}"));

    // A run whose trials lack it does not go on: that is found when it is opened.
    let parent = tempfile::tempdir().unwrap();
    let open = |reward| {
        let search = Search::without_evaluator(BlockSpace::paper(), RandomAgent, "x", config());
        let folder = RunFolder::open(parent.path().join("run")).unwrap();
        search.with_reward(Unnamed(reward)).with_run_folder(folder).open()
    };
    let mut session = open(plain()).unwrap();
    let asked = session.ask().unwrap().unwrap();
    let metrics = Metrics::new(1.0).with("latency_ms", 1.0).with("r2", 0.0);
    session.tell(asked.trial.id, Evaluation::Measured(metrics)).unwrap();
    drop(session);
    assert_eq!(open(targeted()).unwrap_err().to_string(), format!("trial 0 has no reward: {missing}"));
}

#[test]
fn costs_that_are_needed_are_asked_for_before_measurements() {
    let targets = SoftTargets::default().with("latency_ms", 1.0, 1.0).with("flops", 1e6, 1.0);
    let error = run(config(), plain().with_targets(targets.clone())).unwrap_err();
    assert_eq!(error, RewardError::NoCost.to_string());
    let limits = CostLimits { flops: Some(100_000_000), ..CostLimits::default() };
    let known = SearchConfig { limits, ..config().with_network(NetworkConfig::cifar()) };
    let report = run(known, plain().with_targets(targets)).unwrap();
    // The worst error and not the chance accuracy, for what is refused too.
    let refused = report.records.iter().filter(|record| record.cost.unwrap().flops > 100_000_000);
    assert!(refused.into_iter().all(|record| record.reward.value() < 0.0));
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let search = Search::without_evaluator(BlockSpace::paper(), RandomAgent, "x", config());
    let mut session = search.open().unwrap();
    for metrics in [Metrics::new(f64::NAN), Metrics::new(1.0).with("energy", f64::INFINITY)] {
        let asked = session.ask().unwrap().unwrap();
        session.tell(asked.trial.id, Evaluation::Measured(metrics)).unwrap();
    }
    let report = session.finish().unwrap();
    let reasons =
        ["the environment reported NaN as its RMSE", "the environment reported inf as its measurement \"energy\""];
    for (record, expected) in report.records.iter().zip(reasons) {
        let Evaluation::Infeasible(reason) = &record.evaluation else { panic!("{record:?}") };
        assert_eq!(reason.to_string(), expected);
    }
}

#[test]
fn an_environment_is_checked_for_its_objective() {
    struct Percent;
    impl Environment<BlockCode> for Percent {
        type Error = Infallible;
        fn evaluate(&mut self, _: &BlockCode, _: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
            Ok(Evaluation::Measured(Metrics::new(250.0)))
        }
        fn identity(&self) -> String {
            "percent".to_owned()
        }
    }
    let space = BlockSpace::paper();
    assert_eq!(check_environment(&space, || Percent, 4).unwrap_err().rule, Rule::ValuesArePossible);
    check_environment_for(&Objective::minimise("RMSE", 1.0, 0.0), &space, || Percent, 4).unwrap();
    check_environment_for(&config().objective, &space, || Regression, 20).unwrap();
}
