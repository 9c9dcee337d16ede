use super::*;
use crate::agent::{QLearning, QLearningConfig, RandomAgent};
use crate::environment::synthetic::Synthetic;
use crate::environment::{BoxError, Cancellation, Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility, Metrics};
use crate::graph::{CostLimits, NetworkConfig, ToGraph};
use crate::reward::{Credit, FlopsOf, RedefinedReward};
use crate::space::block::{BlockCode, BlockSpace};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn config() -> SearchConfig {
    SearchConfig::paper().with_seed(3).with_trials(40, 16)
}

fn learner() -> QLearning<BlockSpace> {
    QLearning::new(QLearningConfig::paper()).unwrap()
}

fn trace(report: &SearchReport<BlockSpace>) -> Vec<(String, u64)> {
    report.records.iter().map(|r| (r.architecture.to_string(), r.reward.value().to_bits())).collect()
}

#[test]
fn the_same_seed_gives_the_same_blocks_and_rewards_and_another_seed_does_not() {
    let run = |seed| {
        let environment = Synthetic::new().with_noise(2.0);
        let search = Search::new(BlockSpace::paper(), learner(), environment, config().with_seed(seed));
        trace(&search.with_reward(RedefinedReward::paper()).run().unwrap())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn all_trials_of_a_run_are_different_architectures() {
    let space = BlockSpace::paper().with_max_layers(3).unwrap();
    let report = Search::new(space, learner(), Synthetic::new(), config()).run().unwrap();
    let distinct: HashSet<_> = report.records.iter().map(|record| record.fingerprint).collect();
    assert_eq!(distinct.len(), 40);
    assert_eq!(report.stop, StopReason::Completed);
    assert!(report.resampled > 0, "proposals of a small space recur");
}

#[test]
fn a_small_space_is_exhausted_and_not_searched_for_ever() {
    let space = BlockSpace::paper().with_max_layers(2).unwrap();
    let config = SearchConfig { max_resamples: 500, ..config() };
    let report = Search::new(space, RandomAgent, Synthetic::new(), config).run().unwrap();
    // 3 convolutions, 3x3 max and average pool, and the identity (to which 1x1 pools are equal), each with or without
    // the start layer next to it in the output. The identity alone is one block, the identity next to the start
    // another.
    assert_eq!(report.records.len(), 12);
    let told = report.stop.to_string();
    let StopReason::SpaceExhausted { discarded, pair: Some(pair) } = report.stop else { panic!("{told}") };
    assert_eq!(discarded, report.resampled);
    let [first, second] = pair.each_ref().map(|text| text.parse::<BlockCode>().unwrap());
    assert_ne!(first, second);
    assert_eq!(first.to_graph().fingerprint(), second.to_graph().fingerprint());
    let expected = format!(
        "the agent found no new architecture: {discarded} proposals were repeats of earlier ones; for example, {first} \
         and {second} count as the same"
    );
    assert_eq!(told, expected);
}

/// Counts evaluations, and returns, fails or panics depending on their number.
struct Faulty {
    calls: Arc<AtomicUsize>,
    fault: fn(usize) -> Result<Evaluation, BoxError>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fault(BoxError);

impl Environment<BlockCode> for Faulty {
    type Error = Fault;
    fn evaluate(&mut self, _: &BlockCode, _: &TrialContext<'_>) -> Result<Evaluation, Fault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        (self.fault)(call).map_err(Fault)
    }
    fn identity(&self) -> String {
        "faulty".to_owned()
    }
}

fn faulty(fault: fn(usize) -> Result<Evaluation, BoxError>) -> (Faulty, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    (Faulty { calls: Arc::clone(&calls), fault }, calls)
}

fn measured(accuracy: f64) -> Evaluation {
    Evaluation::Measured(Metrics::from_accuracy(accuracy))
}

#[test]
fn a_repeat_is_served_from_the_cache_with_structure_terms_of_its_own() {
    let space = BlockSpace::paper().with_max_layers(3).unwrap();
    let config = SearchConfig { repeats: Repeats::Reuse, ..config().with_trials(200, 8) };
    let (environment, calls) = faulty(|call| Ok(measured(call as f64 / 10.0)));
    let search = Search::new(space, RandomAgent, environment, config).with_reward(RedefinedReward::paper());
    let report = search.run().unwrap();
    assert!(report.cache_hits() > 20, "a small space repeats itself: {}", report.cache_hits());
    assert_eq!(calls.load(Ordering::SeqCst), 200 - report.cache_hits());
    let mut first = HashMap::new();
    for record in &report.records {
        let accuracy = first.entry(record.fingerprint).or_insert(record.evaluation.value());
        assert_eq!(record.evaluation.value(), *accuracy);
        let cost = record.architecture.to_graph().cost(&NetworkConfig::cifar()).unwrap();
        assert_eq!(
            record.reward.value(),
            accuracy.unwrap() - 0.5 * (cost.flops as f64).ln() - 0.5 * cost.density().ln()
        );
    }
}

#[test]
fn the_flops_of_the_reward_are_those_of_the_network_or_of_one_block() {
    let price = |flops_of| {
        let reward = RedefinedReward { flops_of, ..RedefinedReward::paper() };
        let search = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config());
        let records = search.with_reward(reward).run().unwrap().records;
        records.into_iter().filter(|record| record.evaluation.value().is_some()).collect::<Vec<_>>()
    };
    let network = NetworkConfig::cifar();
    let (whole, alone) = (price(FlopsOf::Network), price(FlopsOf::Block));
    assert!(whole.len() > 10 && whole.len() == alone.len());
    for (whole, alone) in whole.iter().zip(&alone) {
        // The recorded cost is the network's in both cases.
        assert_eq!((&whole.architecture, whole.cost), (&alone.architecture, alone.cost));
        let flops = alone.architecture.to_graph().block_flops(&network).unwrap();
        let all = whole.cost.unwrap().flops;
        assert!(flops < all);
        let less = 0.5 * ((all as f64).ln() - (flops.max(1) as f64).ln());
        assert!((alone.reward.value() - whole.reward.value() - less).abs() < 1e-9, "{}", alone.architecture);
    }
}

#[test]
fn errors_and_panics_are_tried_again_a_bounded_number_of_times() {
    let (environment, calls) = faulty(|call| match call % 3 {
        0 => Err("the device is gone".into()),
        1 => panic!("shape mismatch"),
        _ => Ok(measured(50.0)),
    });
    let config = SearchConfig { attempts: 3, ..config().with_trials(4, 1) };
    let report = Search::new(BlockSpace::paper(), RandomAgent, environment, config).run().unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 12);
    assert!(report.records.iter().all(|record| record.evaluation == measured(50.0)));

    let (environment, calls) = faulty(|_| panic!("shape mismatch"));
    let config = SearchConfig { attempts: 2, ..crate::search::tests::config().with_trials(1, 1) };
    let report = Search::new(BlockSpace::paper(), RandomAgent, environment, config).run().unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let failed = Infeasibility::Failed { attempts: 2, message: "panic: shape mismatch".to_owned() };
    assert_eq!(report.records[0].evaluation, Evaluation::Infeasible(failed));
    assert_eq!(report.records[0].reward.value(), 1.0, "100 classes: guessing gives 1 percent");
}

#[test]
fn a_trial_that_ran_out_of_time_or_memory_is_tried_once_more_alone() {
    fn timed_out() -> Evaluation {
        Evaluation::Infeasible(Infeasibility::TimedOut { limit_seconds: 60.0 })
    }
    fn out_of_memory() -> Evaluation {
        Evaluation::Infeasible(Infeasibility::OutOfMemory { message: "device full".to_owned() })
    }
    // Trials 0 to 3 are evaluated first, then 1 and 3 again after the others.
    let (environment, calls) = faulty(|call| match call {
        1 => Ok(timed_out()),
        3 | 5 => Ok(out_of_memory()),
        _ => Ok(measured(50.0)),
    });
    let config = SearchConfig { limits: CostLimits::default(), ..config().with_trials(4, 4) };
    let space = BlockSpace::paper().with_max_layers(4).unwrap();
    let report = Search::new(space, RandomAgent, environment, config).run().unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 6);
    let evaluations: Vec<_> = report.records.iter().map(|record| record.evaluation.clone()).collect();
    assert_eq!(evaluations, [measured(50.0), measured(50.0), measured(50.0), out_of_memory()]);
    assert_eq!(report.machine_dependent(), 1);
}

#[test]
fn an_accuracy_that_is_not_a_number_is_recorded_as_infeasible() {
    let (environment, _) = faulty(|_| Ok(measured(f64::NAN)));
    let report = Search::new(BlockSpace::paper(), RandomAgent, environment, config().with_trials(2, 2)).run().unwrap();
    assert!(report.records.iter().all(|record| record.evaluation.value().is_none()));
}

#[test]
fn blocks_over_the_limit_are_never_evaluated() {
    let limits = CostLimits { parameters: Some(300_000), ..CostLimits::default() };
    let (environment, calls) = faulty(|_| Ok(measured(50.0)));
    let config = SearchConfig { limits, ..config() };
    let report = Search::new(BlockSpace::paper(), RandomAgent, environment, config).run().unwrap();
    let over = |record: &RecordOf<BlockSpace>| {
        matches!(
            record.evaluation,
            Evaluation::Infeasible(Infeasibility::OverLimit { .. } | Infeasibility::Overflow { .. })
        )
    };
    let refused = report.records.iter().filter(|record| over(record)).count();
    assert!(refused > 0 && refused < 40, "{refused}");
    assert_eq!(calls.load(Ordering::SeqCst), 40 - refused);
    for record in &report.records {
        assert_eq!(over(record), record.cost.unwrap().parameters > 300_000);
    }
    let best = report.best();
    assert!(!over(best[0]) && over(best[39]), "infeasible blocks come last");
}

#[test]
fn a_cancelled_search_keeps_what_is_finished() {
    struct StopAfter(Cancellation, u32);
    impl Observer<BlockSpace> for StopAfter {
        fn on_finished(&mut self, _: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
            self.1 = self.1.saturating_sub(1);
            if self.1 == 0 {
                self.0.cancel();
            }
            Ok(())
        }
    }
    let cancellation = Cancellation::new();
    let report = Search::new(BlockSpace::paper(), learner(), Synthetic::new(), config())
        .with_cancellation(cancellation.clone())
        .with_observer(StopAfter(cancellation, 21))
        .run()
        .unwrap();
    assert_eq!(report.stop, StopReason::Cancelled);
    // Blocks that overflow need no evaluation, so a few more may be finished.
    assert!((21..32).contains(&report.records.len()), "{}", report.records.len());
}

#[test]
fn an_observer_sees_everything_in_order_and_can_stop_the_search() {
    #[derive(Default)]
    struct Log(Arc<std::sync::Mutex<Vec<String>>>);
    impl Observer<BlockSpace> for Log {
        fn on_start(&mut self, start: &Start<'_>) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(format!("start {}", start.environment));
            Ok(())
        }
        fn on_proposed(&mut self, trial: &crate::evaluation::Trial, _: &BlockCode) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(format!("proposed {}", trial.id));
            Ok(())
        }
        fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(format!("finished {}", record.id));
            Ok(())
        }
        fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(format!("learned {}", summary.minibatch));
            if summary.minibatch == 1 { Err("the disk is full".into()) } else { Ok(()) }
        }
    }
    let log = Log::default();
    let lines = Arc::clone(&log.0);
    let config = config().with_trials(6, 2);
    let search = Search::new(BlockSpace::paper(), learner(), Synthetic::new(), config).with_observer(log);
    let error = search.run().unwrap_err().to_string();
    assert_eq!(error, "an observer stopped the search: the disk is full");
    let expected = "start synthetic 1, noise 0|proposed 0|proposed 1|finished 0|finished 1|learned 0|\
        proposed 2|proposed 3|finished 2|finished 3|learned 1";
    assert_eq!(lines.lock().unwrap().join("|"), expected);
}

#[test]
fn a_zero_in_the_settings_is_named() {
    for (field, config) in [
        ("search.minibatch", config().with_trials(1, 0)),
        ("search.trials", config().with_trials(0, 1)),
        ("search.attempts", SearchConfig { attempts: 0, ..config() }),
        ("search.max_resamples", SearchConfig { max_resamples: 0, ..config() }),
    ] {
        let error = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config).run().unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn every_credit_gives_each_layer_its_reward() {
    for credit in [Credit::EveryLayer, Credit::Terminal, Credit::Shared] {
        let shaper = RedefinedReward::accuracy(credit);
        let search = Search::new(BlockSpace::paper(), learner(), Synthetic::new(), config().with_trials(8, 4));
        assert_eq!(search.with_reward(shaper).run().unwrap().records.len(), 8);
    }
}

#[test]
fn a_schedule_that_is_longer_than_the_search_causes_a_warning() {
    struct Heard(Arc<std::sync::Mutex<Vec<String>>>);
    impl Observer<BlockSpace> for Heard {
        fn on_start(&mut self, start: &Start<'_>) -> Result<(), BoxError> {
            self.0.lock().unwrap().extend_from_slice(start.warnings);
            Ok(())
        }
    }
    let warnings = |settings: QLearningConfig| {
        let heard = Arc::default();
        let agent: QLearning<BlockSpace> = QLearning::new(settings).unwrap();
        Search::new(BlockSpace::paper(), agent, Synthetic::new(), config())
            .with_observer(Heard(Arc::clone(&heard)))
            .run()
            .unwrap();
        heard.lock().unwrap().clone()
    };
    let paper = warnings(QLearningConfig::paper());
    assert!(
        paper[0].contains("lasts 178 minibatches, but the search has 3 (40 trials in minibatches of 16)"),
        "{paper:?}"
    );
    assert_eq!(paper.len(), 1);
    assert!(warnings(QLearningConfig::paper().scaled_to(3)).is_empty());
    // A constant schedule has no end to reach.
    let epsilon = crate::agent::EpsilonSchedule::constant(0.1, 178).unwrap();
    assert!(warnings(QLearningConfig { epsilon, ..QLearningConfig::paper() }).is_empty());
    assert!(warnings(QLearningConfig::rank()).is_empty());
}

/// An architecture and its reward.
type Rewarded = (crate::graph::Fingerprint, f64);

/// An agent that records the episodes that it was given to learn, call by call.
struct Overheard {
    agent: QLearning<BlockSpace>,
    learned: Arc<std::sync::Mutex<Vec<Vec<Rewarded>>>>,
}

impl crate::agent::Agent<BlockSpace> for Overheard {
    fn propose(
        &mut self,
        space: &BlockSpace,
        memory: &crate::agent::Memory<BlockSpace>,
        rng: &mut dyn rand::Rng,
    ) -> Result<crate::agent::TrajectoryOf<BlockSpace>, crate::agent::AgentError> {
        self.agent.propose(space, memory, rng)
    }

    fn learn(
        &mut self,
        space: &BlockSpace,
        minibatch: &[crate::agent::EpisodeOf<BlockSpace>],
        memory: &crate::agent::Memory<BlockSpace>,
        rng: &mut dyn rand::Rng,
    ) -> Result<(), crate::agent::AgentError> {
        assert!(memory.episodes().ends_with(minibatch), "what is learned is the end of the memory");
        let learned = minibatch.iter().map(|episode| (episode.fingerprint, episode.reward.value())).collect();
        self.learned.lock().unwrap().push(learned);
        self.agent.learn(space, minibatch, memory, rng)
    }
}

#[test]
fn repeats_that_are_replayed_are_learned_again_and_are_not_trials() {
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        let space = BlockSpace::paper().with_max_layers(3).unwrap();
        let config =
            SearchConfig { repeats: Repeats::Replay, ..config().with_trials(60, 12).with_scheduling(scheduling) };
        let (environment, calls) = faulty(|call| Ok(measured(call as f64)));
        let learned = Arc::default();
        let agent = Overheard { agent: learner(), learned: Arc::clone(&learned) };
        let report = Search::new(space, agent, environment, config).run().unwrap();
        // Each trial is a different architecture, evaluated once.
        let measured: HashMap<_, _> = report.records.iter().map(|r| (r.fingerprint, r.reward.value())).collect();
        assert_eq!((measured.len(), calls.load(Ordering::SeqCst)), (60, 60));
        assert!(report.resampled > 10, "a small space repeats itself: {}", report.resampled);
        // Every proposal is learned with the reward of its architecture, the repeats one by one.
        let learned = learned.lock().unwrap();
        assert_eq!(learned.iter().map(Vec::len).sum::<usize>() as u64, 60 + report.resampled);
        assert!(learned.iter().flatten().all(|(fingerprint, reward)| measured[fingerprint] == *reward));
        if scheduling == Scheduling::Minibatch {
            assert_eq!(learned.iter().filter(|call| call.len() == 12).count(), 5);
            assert_eq!(learned.iter().filter(|call| call.len() == 1).count() as u64, report.resampled);
        }
    }
}
