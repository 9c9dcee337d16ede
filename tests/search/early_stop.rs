//! Trials that are stopped early: by the median rule, which repeats, and by whoever watches.

use blockqnn::agent::{Agent, QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Environment, Progress, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics, Objective};
use blockqnn::evaluator::{Evaluator, InlineEvaluator, ThreadEvaluator};
use blockqnn::graph::CostQuantity;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{
    MedianStopping, MinibatchSummary, Observer, Repeats, RunFolder, Scheduling, Search, SearchConfig, SearchReport,
};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const EPOCHS: u32 = 12;
const RULE: MedianStopping = MedianStopping { grace_epochs: 2, min_trials: 5 };

/// Approaches the accuracy of [`Synthetic`] in twelve epochs, each block at its own pace, and stops when it should
/// unless it is stubborn.
#[derive(Clone, Default)]
struct Learning {
    is_stubborn: bool,
    evaluations: Arc<AtomicU64>,
}

impl Environment<BlockCode> for Learning {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        self.evaluations.fetch_add(1, Ordering::SeqCst);
        let evaluation = Synthetic::new().with_noise(3.0).evaluate(block, context)?;
        let Evaluation::Measured(metrics) = evaluation else { return Ok(evaluation) };
        let pace = 0.2 + seed::unit(&mut seed::stream(context.trial().seed, "pace", 0));
        for epoch in 1..=EPOCHS {
            let accuracy = metrics.value * (1.0 - (-pace * f64::from(epoch)).exp());
            context.report(Progress::new(epoch, EPOCHS, 0, 0.0).with_value(accuracy));
            if context.should_stop() && epoch < EPOCHS && !self.is_stubborn {
                return Ok(Evaluation::Measured(Metrics::stopped_after(context.curve())));
            }
        }
        Ok(Evaluation::Measured(Metrics { epochs: EPOCHS, ..metrics }))
    }

    fn identity(&self) -> String {
        "learning".to_owned()
    }
}

fn config() -> SearchConfig {
    SearchConfig::paper().with_seed(3).with_trials(96, 16).with_median_stopping(RULE)
}

fn agent() -> QLearning<BlockSpace> {
    QLearning::new(QLearningConfig::paper().scaled_to(6)).unwrap()
}

fn run(evaluator: impl Evaluator<BlockCode>, folder: Option<RunFolder>) -> (SearchReport<BlockSpace>, Vec<u8>) {
    let search = Search::with_evaluator(BlockSpace::paper(), agent(), evaluator, config());
    let search = search.with_reward(RedefinedReward::paper());
    let search = match folder {
        Some(folder) => search.with_run_folder(folder),
        None => search,
    };
    let (report, agent) = search.run_with_agent().unwrap();
    let mut table = Vec::new();
    agent.save(&mut table).unwrap();
    (report, table)
}

fn inline() -> InlineEvaluator<BlockCode, Learning> {
    InlineEvaluator::new(Learning::default())
}

fn texts(report: &SearchReport<BlockSpace>) -> Vec<String> {
    report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

/// The epoch after which a trial is to stop, by the definition: its best so far against the median of the means.
fn expected_stop(curve: &[f64], earlier: &[&Metrics]) -> Option<usize> {
    (RULE.grace_epochs as usize + 1..EPOCHS as usize).find(|&epoch| {
        let came_as_far = earlier.iter().filter(|metrics| metrics.curve.len() >= epoch);
        let mut means: Vec<f64> = came_as_far
            .map(|metrics| metrics.curve[..epoch].iter().map(|(_, value)| value).sum::<f64>() / epoch as f64)
            .collect();
        means.sort_by(f64::total_cmp);
        let best = curve.iter().take(epoch).copied().fold(f64::MIN, f64::max);
        let count = means.len();
        count as u64 >= RULE.min_trials && best < f64::midpoint(means[(count - 1) / 2], means[count / 2])
    })
}

#[test]
fn the_median_rule_stops_each_trial_after_the_epoch_that_its_definition_says() {
    let (report, _) = run(inline(), None);
    let whole = |id: usize| {
        let record = &report.records[id];
        let trial = blockqnn::evaluation::Trial {
            id: record.id,
            seed: record.seed,
            fingerprint: record.fingerprint,
            cost: record.cost,
        };
        let context = TrialContext::new(&trial);
        Learning::default().evaluate(&record.architecture, &context).unwrap();
        context.curve().into_iter().map(|(_, accuracy)| accuracy).collect::<Vec<f64>>()
    };
    for record in &report.records {
        let Some(metrics) = record.evaluation.metrics() else { continue };
        let earlier = report.records.iter().filter(|other| other.minibatch < record.minibatch);
        let earlier: Vec<&Metrics> = earlier.filter_map(|other| other.evaluation.metrics()).collect();
        let curve = whole(usize::try_from(record.id).unwrap());
        let stop = expected_stop(&curve, &earlier);
        assert_eq!(metrics.stopped, stop.is_some(), "trial {}", record.id);
        let epochs = stop.unwrap_or(EPOCHS as usize);
        assert_eq!((metrics.epochs as usize, metrics.curve.len()), (epochs, epochs), "trial {}", record.id);
        if metrics.stopped {
            assert_eq!(metrics.value.to_bits(), curve[epochs - 1].to_bits(), "it has its last value");
        }
    }
    assert!((10..80).contains(&report.stopped()), "{}", report.stopped());
}

#[test]
fn any_number_of_workers_gives_the_same_search() {
    let (expected, table) = run(inline(), None);
    for workers in [1, 4] {
        let threads = ThreadEvaluator::new(vec![Learning::default(); workers]).unwrap();
        let (found, found_table) = run(threads, None);
        assert_eq!(texts(&found), texts(&expected), "{workers} workers");
        assert!(found_table == table, "{workers} workers");
    }
}

#[test]
fn a_run_with_the_median_rule_is_resumed_to_the_same_end_wherever_it_was_cut() {
    let parent = tempfile::tempdir().unwrap();
    let whole = parent.path().join("whole");
    let (expected, table) = run(inline(), Some(RunFolder::create(&whole).unwrap()));
    let journal = fs::read(whole.join("journal.jsonl")).unwrap();
    let mut rng = seed::stream(2, "cuts", 0);
    for cut in 0..20 {
        let path = parent.path().join(format!("cut{cut}"));
        fs::create_dir(&path).unwrap();
        for name in ["search.json", "checkpoint"] {
            fs::copy(whole.join(name), path.join(name)).unwrap();
        }
        let length = seed::index(&mut rng, journal.len());
        fs::write(path.join("journal.jsonl"), &journal[..length]).unwrap();
        let (found, found_table) = run(inline(), Some(RunFolder::resume(&path).unwrap()));
        assert!(texts(&found) == texts(&expected) && found_table == table, "cut at byte {length}");
    }
}

fn refusal(config: SearchConfig, folder: Option<&Path>) -> String {
    let search = Search::new(BlockSpace::paper(), agent(), Learning::default(), config);
    let search = search.with_reward(RedefinedReward::paper());
    match folder {
        Some(path) => search.with_run_folder(RunFolder::resume(path).unwrap()).run(),
        None => search.run(),
    }
    .unwrap_err()
    .to_string()
}

#[test]
fn rolling_scheduling_no_trials_and_another_rule_on_resuming_are_refused_by_name() {
    let rolling = refusal(config().with_scheduling(Scheduling::Rolling), None);
    let expected = "search.scheduling is rolling: it must be minibatch, which search.median_stopping needs";
    assert_eq!(rolling, expected);
    let least = refusal(config().with_objective(Objective::minimise("loss", 5.0, 0.0)), None);
    let expected = "search.objective.direction is minimise: it must be maximise, which search.median_stopping needs";
    assert_eq!(least, expected);
    let none = refusal(config().with_median_stopping(MedianStopping { min_trials: 0, ..RULE }), None);
    assert!(none.starts_with("search.median_stopping.min_trials is 0"), "{none}");
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    run(inline(), Some(RunFolder::create(&path).unwrap()));
    let other = refusal(config().with_median_stopping(MedianStopping { grace_epochs: 7, ..RULE }), Some(&path));
    assert!(other.contains("search.median_stopping.grace_epochs: 2 in the folder, 7 now"), "{other}");
    let off = refusal(SearchConfig { median_stopping: None, ..config() }, Some(&path));
    assert!(off.contains("search.median_stopping: {"), "{off}");
}

#[test]
fn an_environment_that_does_not_stop_finishes_and_its_result_counts() {
    let stubborn = Learning { is_stubborn: true, ..Learning::default() };
    let (report, _) = run(InlineEvaluator::new(stubborn), None);
    assert_eq!(report.stopped(), 0);
    let mut measured = report.records.iter().filter_map(|record| record.evaluation.metrics());
    assert!(measured.all(|metrics| metrics.epochs == EPOCHS && metrics.curve.len() == EPOCHS as usize));
}

#[test]
fn a_stopped_trial_is_never_the_best_and_not_on_the_front_but_the_agent_learns_its_last_value() {
    // The best of all is stopped, by somebody who does not know better.
    struct Meddler(f64, u64);
    impl Observer<BlockSpace> for Meddler {
        fn should_stop(&mut self, _: u64, progress: &Progress) -> bool {
            progress.epoch == EPOCHS - 1 && progress.value > Some(self.0)
        }
        fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), blockqnn::environment::BoxError> {
            self.1 += summary.stopped;
            assert!(summary.best.is_none_or(|best| best <= self.0 + 3.0), "{summary:?}");
            Ok(())
        }
    }
    let run = |observer: &mut Meddler| {
        let config = SearchConfig::paper().with_seed(3).with_trials(96, 16);
        let search = Search::new(BlockSpace::paper(), agent(), Learning::default(), config).with_observer(observer);
        search.with_reward(RedefinedReward::paper()).run().unwrap()
    };
    let undisturbed = run(&mut Meddler(100.0, 0));
    let mut finals: Vec<f64> =
        undisturbed.records.iter().filter_map(|record| record.evaluation.final_value()).collect();
    finals.sort_by(f64::total_cmp);
    let mut meddler = Meddler(finals[finals.len() * 3 / 4], 0);
    let report = run(&mut meddler);
    let (best, stopped) = (report.best(), report.stopped());
    assert!(stopped > 3 && meddler.1 == stopped as u64, "{stopped}");
    let classes: Vec<u8> = best
        .iter()
        .map(|record| match (record.evaluation.final_value(), record.evaluation.value()) {
            (Some(_), _) => 0,
            (None, Some(_)) => 1,
            (None, None) => 2,
        })
        .collect();
    assert!(classes.is_sorted() && classes.contains(&1), "{classes:?}");
    let highest = report.records.iter().max_by(|a, b| a.reward.cmp(&b.reward)).unwrap();
    assert!(highest.evaluation.is_stopped(), "the reward of a stopped trial is that of its last value");
    let front = report.pareto_front(CostQuantity::Flops);
    assert!(!front.is_empty() && front.iter().all(|record| !record.evaluation.is_stopped()));
}

/// Stops every trial after its third epoch, until it is told otherwise.
struct Impatient(Arc<AtomicU64>);

impl Observer<BlockSpace> for Impatient {
    fn should_stop(&mut self, trial: u64, progress: &Progress) -> bool {
        trial < self.0.load(Ordering::SeqCst) && progress.epoch == 3
    }
}

#[test]
fn a_stopped_evaluation_serves_no_later_trial() {
    for repeats in [Repeats::Reuse, Repeats::Replay] {
        // A space of few blocks: later trials repeat earlier ones.
        let space = BlockSpace::paper().with_max_layers(2).unwrap();
        let environment = Learning::default();
        let evaluations = Arc::clone(&environment.evaluations);
        let config = SearchConfig { repeats, ..SearchConfig::paper().with_seed(3).with_trials(40, 5) };
        let search = Search::new(space, RandomAgent, environment, config);
        let report = search.with_observer(Impatient(Arc::new(AtomicU64::new(5)))).run().unwrap();
        assert_eq!(report.stopped(), 5, "{repeats:?}");
        let stopped = &report.records[..5];
        let again: Vec<_> = report.records[5..]
            .iter()
            .filter(|record| stopped.iter().any(|first| first.fingerprint == record.fingerprint))
            .collect();
        assert!(!again.is_empty(), "{repeats:?}: nothing was repeated");
        for record in again {
            let first = report.records[5..].iter().find(|other| other.fingerprint == record.fingerprint).unwrap();
            assert_eq!(record.cached, first.id != record.id, "{repeats:?}: the first repeat is evaluated anew");
            assert_eq!(record.evaluation.metrics().unwrap().epochs, EPOCHS);
        }
        let cached = report.records.iter().filter(|record| record.cached).count();
        assert_eq!(evaluations.load(Ordering::SeqCst), (report.records.len() - cached) as u64, "{repeats:?}");
    }
}

#[test]
fn an_observer_stops_trials_of_threads_and_of_the_callers_own() {
    let threads = || ThreadEvaluator::new(vec![Learning::default(); 2]).unwrap();
    let config = SearchConfig::paper().with_seed(3).with_trials(8, 4);
    let all = Arc::new(AtomicU64::new(u64::MAX));
    let inline = Search::new(BlockSpace::paper(), RandomAgent, Learning::default(), config.clone());
    let report = inline.with_observer(Impatient(Arc::clone(&all))).run().unwrap();
    let epochs = |report: &SearchReport<BlockSpace>| {
        report.records.iter().filter_map(|record| Some(record.evaluation.metrics()?.epochs)).collect::<Vec<_>>()
    };
    assert!(epochs(&report).iter().all(|epochs| *epochs == 3), "{report:?}");
    // A thread may be further when it notices, or done.
    let report = Search::with_evaluator(BlockSpace::paper(), RandomAgent, threads(), config)
        .with_observer(Impatient(all))
        .run()
        .unwrap();
    assert!(epochs(&report).iter().all(|epochs| (3..=EPOCHS).contains(epochs)), "{report:?}");
}

#[test]
fn a_trial_that_is_asked_for_has_its_thresholds() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let (expected, _) = run(inline(), Some(RunFolder::create(&path).unwrap()));
    let search = Search::without_evaluator(BlockSpace::paper(), agent(), "learning", config());
    let mut session = search.with_reward(RedefinedReward::paper()).open().unwrap();
    while let Some(asked) = session.ask().unwrap() {
        let context = TrialContext::new(&asked.trial).with_early_stop(asked.early_stop.clone());
        let evaluation = Learning::default().evaluate(&asked.architecture, &context).unwrap();
        let evaluation = match evaluation {
            Evaluation::Measured(metrics) => Evaluation::Measured(Metrics { curve: context.curve(), ..metrics }),
            evaluation => evaluation,
        };
        session.tell(asked.trial.id, evaluation).unwrap();
    }
    assert_eq!(texts(&session.finish().unwrap()), texts(&expected));
}
