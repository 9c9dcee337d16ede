//! Searches for something that is no network of layers, or whose network nobody builds: nothing is said about its cost.

use blockqnn::agent::{AgentConfig, QLearning, QLearningConfig, RandomAgent};
use blockqnn::comparison::{Benchmark, Budget, Comparison, ComparisonConfig, Contender};
use blockqnn::environment::{BoxError, Environment, EnvironmentExt, environment_fn};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics, NotFinite, Reward, Trial};
use blockqnn::graph::{Cost, CostError, CostLimits, CostQuantity, Fingerprint, NetworkConfig};
use blockqnn::reward::{Credit, FlopsOf, RedefinedReward, RewardError, RewardShaper};
use blockqnn::search::{
    Observer, RecordOf, RunFolder, RunHistory, Search, SearchConfig, SearchError, SearchReport, StopReason,
};
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::space::{SearchSpace, SpaceError, Step, walk};
use blockqnn::testing::{check_agent, check_environment, check_space};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, path::Path};

/// A layer of a perceptron: its width and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Choice {
    Layer { width: u16, gelu: bool },
    End,
}

/// A multilayer perceptron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mlp {
    widths: Vec<u16>,
    gelu: Vec<bool>,
    dropout: f64,
}

/// What the space says of its architectures.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Nothing,
    /// A fingerprint of the depth alone, which takes most architectures for the same.
    Depth,
    /// The parameters, without a graph.
    Parameters,
}

/// Perceptrons of one to four layers.
#[derive(Debug, Clone)]
struct Mlps(Says);

impl SearchSpace for Mlps {
    type State = u8;
    type Action = Choice;
    type Architecture = Mlp;

    fn initial_state(&self) -> u8 {
        0
    }
    fn actions(&self, depth: &u8) -> Vec<Choice> {
        let layers = [32, 64, 128, 512].into_iter().flat_map(|width| [false, true].map(|gelu| (width, gelu)));
        let layers = layers.map(|(width, gelu)| Choice::Layer { width, gelu }).filter(|_| *depth < 4);
        layers.chain((*depth > 0).then_some(Choice::End)).collect()
    }
    fn step(&self, depth: &u8, choice: &Choice) -> Result<Step<u8>, SpaceError> {
        match choice {
            _ if !self.actions(depth).contains(choice) => Err(SpaceError::illegal(depth, choice)),
            Choice::End => Ok(Step::Terminal),
            Choice::Layer { .. } => Ok(Step::Next(depth + 1)),
        }
    }
    fn decode(&self, choices: &[Choice]) -> Result<Mlp, SpaceError> {
        let mut mlp = Mlp { widths: Vec::new(), gelu: Vec::new(), dropout: 0.1 };
        for choice in walk(self, choices)?.actions {
            if let Choice::Layer { width, gelu } = choice {
                mlp.widths.push(width);
                mlp.gelu.push(gelu);
            }
        }
        Ok(mlp)
    }
    fn fingerprint(&self, mlp: &Mlp) -> Fingerprint {
        match self.0 {
            Says::Depth => Fingerprint::of_name(&mlp.widths.len().to_le_bytes()),
            _ => Fingerprint::of_json(mlp).unwrap(),
        }
    }
    fn cost(&self, mlp: &Mlp, _: Option<&NetworkConfig>) -> Result<Option<Cost>, CostError> {
        let pairs = mlp.widths.windows(2).map(|pair| u64::from(pair[0]) * u64::from(pair[1]));
        let (parameters, depth) = (pairs.sum(), mlp.widths.len() as u64);
        let cost = Cost { parameters, flops: parameters, activation_bytes: 0, depth, nodes: depth, edges: depth };
        Ok((self.0 == Says::Parameters).then_some(cost))
    }
}

const SPACE: Mlps = Mlps(Says::Nothing);

fn wide(mlp: &Mlp) -> f64 {
    mlp.widths.iter().map(|&width| f64::from(width)).sum::<f64>() / 30.0
}

/// Prefers wide perceptrons, and counts how often it is asked.
fn environment() -> (impl Environment<Mlp>, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let environment = environment_fn("wide is good", move |mlp: &Mlp, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        wide(mlp)
    });
    (environment, calls)
}

fn config(trials: u64) -> SearchConfig {
    SearchConfig::new(trials).with_seed(5)
}

fn learner<S: SearchSpace>() -> QLearning<S> {
    QLearning::new(QLearningConfig::paper().scaled_to(4)).unwrap()
}

fn run(path: &Path, trials: u64) -> SearchReport<Mlps> {
    let folder = RunFolder::open(path).unwrap();
    Search::new(SPACE, learner(), environment().0, config(trials)).with_run_folder(folder).run().unwrap()
}

#[test]
fn all_parts_of_a_space_without_graphs_keep_their_contracts() {
    check_space(&SPACE).unwrap();
    check_environment(&SPACE, || environment().0, 50).unwrap();
    for name in AgentConfig::names() {
        check_agent(&SPACE, || AgentConfig::named(name, 4, 8).unwrap().build::<Mlps>().unwrap()).unwrap();
    }
}

#[test]
fn a_closure_is_asked_once_for_each_trial() {
    let calls = AtomicUsize::new(0);
    // As in the README, in the block space, whose blocks would be networks.
    let environment = environment_fn("prefers six layers", |block: &BlockCode, _seed| {
        calls.fetch_add(1, Ordering::SeqCst);
        90.0 - (block.len() as f64 - 6.0).abs()
    });
    let config = SearchConfig::new(64).with_minibatch(16).with_seed(1);
    let search = Search::new(BlockSpace::paper(), learner(), environment, config);
    let report = search.with_reward(RedefinedReward::accuracy(Credit::EveryLayer)).run().unwrap();
    assert_eq!((calls.load(Ordering::SeqCst), report.records.len()), (64, 64));
    assert!(report.records.iter().all(|record| record.cost.is_none()));
}

#[test]
fn a_run_without_costs_has_none_in_its_folder_its_csv_and_its_front_and_is_resumed() {
    let parent = tempfile::tempdir().unwrap();
    let (whole, halves) = (parent.path().join("whole"), parent.path().join("halves"));
    let report = run(&whole, 64);
    assert_eq!(report.records.len(), 64);
    assert!(report.pareto_front(CostQuantity::Flops).is_empty());
    for file in ["search.json", "journal.jsonl"] {
        let text = fs::read_to_string(whole.join(file)).unwrap();
        assert!(!text.contains("cost") && !text.contains("network"), "{file}: {text}");
    }
    let mut csv = Vec::new();
    report.write_csv(&SPACE, &mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let columns = "rank,trial,minibatch,accuracy,reward,epochs,restarts,seconds,cached,seed,fingerprint,\
                   architecture,infeasible";
    assert_eq!(csv.lines().next().unwrap(), columns);

    run(&halves, 32);
    assert!(run(&halves, 64).records == report.records);
    let history: RunHistory<Mlps> = RunFolder::read(&halves).unwrap();
    assert!(history.records == report.records && history.settings.search.network.is_none());
}

#[test]
fn a_record_is_read_with_and_without_a_cost() {
    let report = Search::new(BlockSpace::paper(), RandomAgent, blocks(), SearchConfig::paper().with_trials(1, 1)).run();
    let record = report.unwrap().records.remove(0);
    let mut json = serde_json::to_value(&record).unwrap();
    assert_eq!(serde_json::from_value::<RecordOf<BlockSpace>>(json.clone()).unwrap(), record);
    json.as_object_mut().unwrap().remove("cost").unwrap();
    let without: RecordOf<BlockSpace> = serde_json::from_value(json.clone()).unwrap();
    assert_eq!((without.cost, serde_json::to_value(&without).unwrap()), (None, json));
    // Trials pass between processes and machines, where earlier versions always find the field.
    let trial = Trial { id: 1, seed: 2, fingerprint: record.fingerprint, cost: None };
    let json = serde_json::to_string(&trial).unwrap();
    assert!(json.contains(r#""cost":null"#), "{json}");
    assert_eq!(serde_json::from_str::<Trial>(&json).unwrap(), trial);
}

fn blocks() -> impl Environment<BlockCode> {
    environment_fn("short is good", |block: &BlockCode, _| 90.0 - block.len() as f64)
}

fn error<S: SearchSpace + std::fmt::Debug>(space: S, config: SearchConfig, reward: impl RewardShaper) -> String
where
    S::Architecture: Serialize,
{
    let calls = AtomicUsize::new(0);
    let environment = environment_fn("never asked", |_: &S::Architecture, _| {
        calls.fetch_add(1, Ordering::SeqCst);
        50.0
    });
    let error = Search::new(space, RandomAgent, environment, config).with_reward(reward).run().unwrap_err();
    assert_eq!(calls.load(Ordering::SeqCst), 0, "an evaluation is paid for");
    error.to_string()
}

#[test]
fn a_reward_or_a_limit_that_needs_a_cost_is_refused_before_anything_is_evaluated() {
    let needs_cost = "the reward depends on the cost of the network, which is not known: set `search.network`";
    let block_flops = RedefinedReward { flops_of: FlopsOf::Block, ..RedefinedReward::paper() };
    for message in [
        error(SPACE, config(8), RedefinedReward::paper()),
        error(SPACE, config(8).with_network(NetworkConfig::cifar()), RedefinedReward::paper()),
        error(BlockSpace::paper(), config(8), RedefinedReward::paper()),
        // Parameters are known, the FLOPs of a block are not.
        error(Mlps(Says::Parameters), config(8).with_network(NetworkConfig::cifar()), block_flops),
    ] {
        assert!(message.starts_with(needs_cost), "{message}");
    }
    let limits = CostLimits { flops: Some(1_000), ..CostLimits::default() };
    let message = error(SPACE, SearchConfig { limits, ..config(8) }, RedefinedReward::accuracy(Credit::Terminal));
    assert!(message.contains("search.limits") && message.contains("set `search.network`"), "{message}");
}

#[test]
fn a_refused_search_leaves_no_run_behind() {
    let parent = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(parent.path().join("run")).unwrap();
    let search = Search::new(SPACE, RandomAgent, environment().0, config(8)).with_run_folder(folder);
    let error = search.with_reward(RedefinedReward::paper()).run().unwrap_err();
    assert!(matches!(error, SearchError::NoReward(RewardError::NoCost)), "{error}");
    RunFolder::create(parent.path().join("run")).unwrap();
}

#[test]
fn a_space_may_know_a_cost_without_a_graph() {
    let limits = CostLimits { parameters: Some(20_000), ..CostLimits::default() };
    let search =
        Search::new(Mlps(Says::Parameters), RandomAgent, environment().0, SearchConfig { limits, ..config(64) });
    let report = search.with_reward(RedefinedReward { mu: 0.5, ..RedefinedReward::default() }).run().unwrap();
    for record in &report.records {
        let cost = record.cost.unwrap();
        let refused = matches!(record.evaluation, Evaluation::Infeasible(Infeasibility::OverLimit { .. }));
        assert_eq!(refused, cost.parameters > 20_000);
        // Nothing is known of classes among which a network could guess.
        let accuracy = if refused { 0.0 } else { wide(&record.architecture) };
        assert_eq!(record.reward, Reward::new(accuracy - 0.5 * (cost.flops.max(1) as f64).ln()).unwrap());
    }
    assert!(report.pareto_front(CostQuantity::Parameters).len() > 1);
}

#[test]
fn architectures_are_told_apart_by_their_json() {
    let report = Search::new(SPACE, RandomAgent, environment().0, config(300)).run().unwrap();
    assert_eq!((report.records.len(), &report.stop), (300, &StopReason::Completed));
    let [first, second] = [0, 1].map(|trial| report.records[trial].fingerprint);
    assert_ne!(first, second);
    // It is the same in every release, because run folders contain it.
    let mlp = Mlp { widths: vec![32, 64], gelu: vec![false, true], dropout: 0.1 };
    assert_eq!(SPACE.fingerprint(&mlp).to_string(), "22eb45a51ef343411193da7139db2cf4");
}

#[test]
fn a_fingerprint_that_takes_most_architectures_for_the_same_is_told_with_an_example() {
    let config = SearchConfig { max_resamples: 200, ..config(64) };
    let report = Search::new(Mlps(Says::Depth), RandomAgent, environment().0, config).run().unwrap();
    assert_eq!(report.records.len(), 4);
    let StopReason::SpaceExhausted { discarded, pair: Some(pair) } = &report.stop else { panic!("{}", report.stop) };
    assert!(*discarded >= 200 && *discarded == report.resampled);
    let [first, second] = pair.each_ref().map(|text| serde_json::from_str::<Mlp>(text).unwrap());
    assert!(first != second && first.widths.len() == second.widths.len(), "{first:?} {second:?}");

    let violation = check_space(&Mlps(Says::Depth)).unwrap_err().to_string();
    assert!(violation.starts_with("architectures that differ must not count as one: "), "{violation}");
    assert!(violation.contains("have 4 fingerprints; {\"widths\":["), "{violation}");
}

#[test]
fn agents_are_compared_on_a_space_without_graphs() {
    let benchmark = Benchmark::new("wide", SPACE, || environment().0.boxed(), wide, 2_048.0 / 30.0);
    let contenders = ["random", "best", "evolution"].map(|name| Contender::named(name).unwrap());
    let config = ComparisonConfig::new([Budget::Evaluations(100)]).with_seeds(2);
    let comparison = Comparison::run(&benchmark, &contenders, &config, &|_| {}).unwrap();
    let [random, best, _] = &comparison.standings[..] else { panic!("three agents") };
    assert!(best.estimates[0].mean > random.estimates[0].mean);
}

/// Counts what it is told.
#[derive(Default)]
struct Count(u64);

impl Observer<Mlps> for Count {
    fn on_finished(&mut self, _: &RecordOf<Mlps>) -> Result<(), BoxError> {
        self.0 += 1;
        Ok(())
    }
}

/// The accuracy, and no reward where there is none.
struct Measured;

impl RewardShaper for Measured {
    fn reward(&self, _: f64, evaluation: &Evaluation, _: Option<&Cost>) -> Result<Reward, RewardError> {
        Ok(Reward::new(evaluation.metrics().map_or(f64::NAN, |metrics: &Metrics| metrics.value))?)
    }
    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        Credit::Shared.spread(reward, layers)
    }
}

#[test]
fn observers_and_rewards_are_lent_or_boxed() {
    let (mut lent, mut boxed, reward) = (Count::default(), Box::new(Count::default()), Measured);
    let search = || Search::new(SPACE, RandomAgent, environment().0, config(16));
    search().with_observer(&mut lent).with_observer(&mut boxed).with_reward(&reward).run().unwrap();
    let any: Box<dyn Observer<Mlps>> = boxed;
    search().with_observer(any).with_observer(&mut lent).with_reward(Arc::new(reward)).run().unwrap();
    assert_eq!(lent.0, 32);
}

#[test]
fn a_reward_that_is_not_finite_names_the_trial() {
    let environment = environment_fn("nothing works", |_: &Mlp, _| f64::NAN);
    let error = Search::new(SPACE, RandomAgent, environment, config(4)).with_reward(Measured).run().unwrap_err();
    assert!(error.to_string().starts_with("trial 0 has no reward: a reward must be finite"), "{error}");
    let SearchError::Reward { source: RewardError::NotFinite(NotFinite(value)), .. } = error else { panic!("{error}") };
    assert!(value.is_nan());
}
