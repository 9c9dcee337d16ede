//! Searches with rungs: every architecture for a few epochs, and the best for more.

use blockqnn::agent::{
    Agent, AgentError, EpisodeOf, EvolutionConfig, LeastSquares, LeastSquaresConfig, LocalSearch, Memory, QLearning,
    QLearningConfig, RandomAgent, RegularizedEvolution, TrajectoryOf,
};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{BoxError, Cancellation, Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics, Rung};
use blockqnn::evaluator::{Evaluator, InlineEvaluator, ThreadEvaluator};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{
    MedianStopping, MinibatchSummary, Observer, RecordOf, Repeats, RunFolder, Rungs, Scheduling, Search, SearchConfig,
    SearchReport, StopReason,
};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace};
use rand::Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroU64;
use std::path::Path;

const MINIBATCH: u64 = 8;
type Boxed = Box<dyn Agent<BlockSpace>>;

fn environment() -> Synthetic {
    Synthetic::new().with_noise(3.0).with_epochs(9)
}

fn config() -> SearchConfig {
    SearchConfig::paper().with_seed(3).with_trials(100, MINIBATCH).with_rungs(Rungs::new(3))
}

fn agents() -> [(&'static str, Boxed); 6] {
    let fitted = LeastSquaresConfig { uniform: 20, window: 30, ..LeastSquaresConfig::default() };
    let by_prior = LeastSquaresConfig { priors: true, ..fitted };
    let tabular = QLearning::new(QLearningConfig::paper().scaled_to(12)).unwrap();
    [
        ("random", Box::new(RandomAgent)),
        ("q-learning", Box::new(tabular)),
        ("evolution", Box::new(RegularizedEvolution::new(EvolutionConfig::small()).unwrap())),
        ("local", Box::new(LocalSearch::new().with_starts(NonZeroU64::new(5).unwrap()))),
        ("least-squares", Box::new(LeastSquares::new(fitted).unwrap())),
        ("priors", Box::new(LeastSquares::new(by_prior).unwrap())),
    ]
}

fn agent(name: &str) -> Boxed {
    agents().into_iter().find(|(of, _)| *of == name).unwrap().1
}

fn run(agent: Boxed, evaluator: impl Evaluator<BlockCode>, folder: Option<RunFolder>) -> SearchReport<BlockSpace> {
    let search = Search::with_evaluator(BlockSpace::paper(), agent, evaluator, config());
    let search = search.with_reward(RedefinedReward::paper());
    match folder {
        Some(folder) => search.with_run_folder(folder).run().unwrap(),
        None => search.run().unwrap(),
    }
}

fn inline() -> InlineEvaluator<BlockCode, Synthetic> {
    InlineEvaluator::new(environment())
}

fn texts(report: &SearchReport<BlockSpace>) -> Vec<String> {
    report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

fn number(record: &RecordOf<BlockSpace>) -> u32 {
    record.rung.unwrap().number
}

#[test]
fn an_architecture_climbs_rung_by_rung_with_one_seed_and_the_best_third_is_promoted() {
    let report = run(agent("random"), inline(), None);
    assert_eq!((report.records.len(), &report.stop), (100, &StopReason::Completed));
    let mut reached: HashMap<_, (u32, u64)> = HashMap::new();
    for record in &report.records {
        let rung = record.rung.unwrap();
        assert_eq!(rung.epochs, [1, 3, 9][rung.number as usize]);
        assert_eq!(record.evaluation.metrics().unwrap().epochs, rung.epochs);
        match reached.insert(record.fingerprint, (rung.number, record.seed)) {
            None => assert_eq!(rung.number, 0),
            Some(before) => assert_eq!((rung.number, record.seed), (before.0 + 1, before.1)),
        }
    }
    // Before each minibatch, what the rule says is due, computed from the whole table: the first trials of it.
    for minibatch in 0..report.records.len().div_ceil(8) {
        let (before, now) = report.records.split_at(8 * minibatch);
        let mut expected = Vec::new();
        for rung in 0..2 {
            let at = |number_of| before.iter().filter(move |record| number(record) == number_of);
            let promoted: HashSet<_> = at(rung + 1).map(|record| record.fingerprint).collect();
            let mut waiting: Vec<_> = at(rung).filter(|record| !promoted.contains(&record.fingerprint)).collect();
            waiting.sort_by(|a, b| b.reward.cmp(&a.reward).then(a.id.cmp(&b.id)));
            let places = (at(rung).count() / 3).saturating_sub(promoted.len());
            expected.extend(waiting.iter().take(places).map(|record| (record.fingerprint, rung + 1)));
        }
        let promotions = now[..now.len().min(8)].iter().take_while(|record| record.is_promotion());
        let found: Vec<_> = promotions.map(|record| (record.fingerprint, number(record))).collect();
        assert_eq!(found, expected, "minibatch {minibatch}");
        assert!(now.iter().take(8).skip(found.len()).all(|record| !record.is_promotion()));
    }
    let count = |rung| report.records.iter().filter(|record| number(record) == rung).count();
    assert!(count(0) > 60 && count(1) > 15 && count(2) > 4, "{:?}", [count(0), count(1), count(2)]);
}

#[test]
fn any_number_of_workers_gives_the_same_search_with_every_agent() {
    for (name, agent_of_one) in agents() {
        let expected = texts(&run(agent_of_one, inline(), None));
        for workers in [1, 4] {
            let threads = ThreadEvaluator::new(vec![environment(); workers]).unwrap();
            assert_eq!(texts(&run(agent(name), threads, None)), expected, "{name} with {workers} workers");
        }
    }
}

#[test]
fn a_run_is_resumed_to_the_same_bytes_wherever_it_was_cut_with_every_agent() {
    let parent = tempfile::tempdir().unwrap();
    let mut rng = seed::stream(2, "cuts", 0);
    for (name, agent_of_whole) in agents() {
        let whole = parent.path().join(name);
        let expected = texts(&run(agent_of_whole, inline(), Some(RunFolder::create(&whole).unwrap())));
        let journal = fs::read(whole.join("journal.jsonl")).unwrap();
        for cut in 0..10 {
            let path = parent.path().join(format!("{name}-{cut}"));
            fs::create_dir(&path).unwrap();
            // Without the checkpoint, everything is learned again.
            let copied: &[&str] = if cut % 3 == 0 { &["search.json"] } else { &["search.json", "checkpoint"] };
            for file in copied {
                fs::copy(whole.join(file), path.join(file)).unwrap();
            }
            let length = seed::index(&mut rng, journal.len());
            fs::write(path.join("journal.jsonl"), &journal[..length]).unwrap();
            let found = texts(&run(agent(name), inline(), Some(RunFolder::resume(&path).unwrap())));
            assert!(found == expected, "{name}, cut at byte {length}");
            assert!(fs::read(path.join("journal.jsonl")).unwrap() == journal, "{name}, cut at byte {length}");
        }
    }
}

#[test]
fn a_run_whose_checkpoint_was_written_amid_promotions_goes_on_as_if_it_had_not_been() {
    struct StopAfter(u64, Cancellation);
    impl Observer<BlockSpace> for StopAfter {
        fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
            if summary.minibatch == self.0 {
                self.1.cancel();
            }
            Ok(())
        }
    }
    let parent = tempfile::tempdir().unwrap();
    for (name, agent_of_whole) in agents() {
        let whole = parent.path().join(format!("{name}-whole"));
        let expected = texts(&run(agent_of_whole, inline(), Some(RunFolder::create(&whole).unwrap())));
        let path = parent.path().join(name);
        for minibatch in [1, 4, 9] {
            let folder = if path.exists() { RunFolder::resume(&path) } else { RunFolder::create(&path) };
            let flag = Cancellation::new();
            let search = Search::new(BlockSpace::paper(), agent(name), environment(), config());
            let search = search.with_reward(RedefinedReward::paper()).with_cancellation(flag.clone());
            let search = search.with_observer(StopAfter(minibatch, flag)).with_run_folder(folder.unwrap());
            assert_eq!(search.run().unwrap().stop, StopReason::Cancelled);
        }
        let found = run(agent(name), inline(), Some(RunFolder::resume(&path).unwrap()));
        assert!(texts(&found) == expected, "{name}");
        let journals = [&path, &whole].map(|path| fs::read(path.join("journal.jsonl")).unwrap());
        assert!(journals[0] == journals[1], "{name}");
    }
}

#[test]
fn a_search_driven_by_hand_hands_out_the_rungs() {
    let expected = run(agent("least-squares"), inline(), None);
    let identity = Environment::<BlockCode>::identity(&environment());
    let by_hand = || Search::without_evaluator(BlockSpace::paper(), agent("least-squares"), identity.clone(), config());
    let mut session = by_hand().with_full_epochs(9).with_reward(RedefinedReward::paper()).open().unwrap();
    while let Some(asked) = session.ask().unwrap() {
        let context = TrialContext::new(&asked.trial).with_rung(asked.rung);
        let evaluation = environment().evaluate(&asked.architecture, &context).unwrap();
        session.tell(asked.trial.id, evaluation).unwrap();
    }
    assert_eq!(texts(&session.finish().unwrap()), texts(&expected));
    let error = by_hand().open().err().unwrap().to_string();
    assert!(error.starts_with("search.rungs.count is 3: it must be left out where evaluations cannot"), "{error}");
}

#[test]
fn the_results_have_each_architecture_once_and_the_highest_rung_first() {
    let report = run(agent("evolution"), inline(), None);
    let best = report.best();
    let distinct: HashSet<_> = report.records.iter().map(|record| record.fingerprint).collect();
    assert_eq!(best.len(), distinct.len());
    assert!(best.iter().map(|record| number(record)).rev().is_sorted(), "the highest rung comes first");
    let top: Vec<_> = best.iter().filter(|record| number(record) == 2).map(|record| record.reward).collect();
    assert!(top.len() > 3 && top.iter().rev().is_sorted());
    let mut bytes = Vec::new();
    report.write_csv(&BlockSpace::paper(), &mut bytes).unwrap();
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let column = reader.headers().unwrap().iter().position(|name| name == "rung").unwrap();
    let rungs: Vec<u32> = reader.records().map(|row| row.unwrap()[column].parse().unwrap()).collect();
    assert_eq!(rungs.len(), 100, "the table has all trials");
    assert!(rungs.iter().rev().is_sorted());
}

/// A random agent that checks what it is told.
struct Told {
    replaced: usize,
    learned: u64,
}

impl Agent<BlockSpace> for Told {
    fn propose(
        &mut self,
        space: &BlockSpace,
        memory: &Memory<BlockSpace>,
        rng: &mut dyn Rng,
    ) -> Result<TrajectoryOf<BlockSpace>, AgentError> {
        RandomAgent.propose(space, memory, rng)
    }

    fn learn(
        &mut self,
        _: &BlockSpace,
        minibatch: &[EpisodeOf<BlockSpace>],
        memory: &Memory<BlockSpace>,
        _: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        self.learned += minibatch.len() as u64;
        assert_eq!(memory.learned(), self.learned);
        let mut appended = 0;
        for (&place, episode) in memory.latest(minibatch.len()).iter().zip(minibatch) {
            assert_eq!(&memory.episodes()[place], episode);
            self.replaced += usize::from(episode.rung > 0);
            appended += usize::from(episode.rung == 0);
        }
        let distinct: HashSet<_> = memory.episodes().iter().map(|episode| episode.fingerprint).collect();
        assert_eq!(distinct.len(), memory.episodes().len(), "an architecture is there once");
        assert_eq!(memory.episodes().len() as u64, memory.proposals());
        assert_eq!(memory.proposed(), memory.proposals() + self.replaced as u64);
        assert!(appended > 0);
        Ok(())
    }

    fn save(&self, _: &mut dyn Write) -> Result<(), AgentError> {
        Ok(())
    }

    fn load(&mut self, _: &BlockSpace, _: &mut dyn Read) -> Result<(), AgentError> {
        Ok(())
    }
}

#[test]
fn the_episode_of_a_higher_rung_takes_the_place_of_the_earlier_one() {
    let told = Told { replaced: 0, learned: 0 };
    let search = Search::new(BlockSpace::paper(), told, environment(), config());
    let (report, told) = search.run_with_agent().unwrap();
    assert_eq!(told.replaced, report.promotions().count());
}

/// Measures what it is told, by the number of the rung.
struct Fails(u32);

impl Environment<BlockCode> for Fails {
    type Error = std::convert::Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Self::Error> {
        if context.rung().is_some_and(|rung| rung.number == self.0) {
            return Ok(Evaluation::Infeasible(Infeasibility::Diverged { epoch: 2, restarts: 0 }));
        }
        environment().evaluate(block, context)
    }

    fn identity(&self) -> String {
        format!("fails at rung {}", self.0)
    }

    fn full_epochs(&self) -> Option<u32> {
        Some(9)
    }
}

#[test]
fn an_architecture_that_fails_at_a_higher_rung_is_last_and_not_promoted_again() {
    let search = Search::new(BlockSpace::paper(), RandomAgent, Fails(1), config());
    let report = search.run().unwrap();
    assert!(report.promotions().count() > 10);
    assert!(report.records.iter().all(|record| number(record) < 2), "nothing was measured at rung 1");
    let failed: HashSet<_> = report.promotions().map(|record| record.fingerprint).collect();
    assert_eq!(failed.len(), report.promotions().count(), "each was promoted once");
    let last = &report.best()[report.best().len() - failed.len()..];
    assert!(last.iter().all(|record| failed.contains(&record.fingerprint)));
}

#[test]
fn a_worker_that_ignores_the_rung_is_a_fault_and_its_result_does_not_count() {
    struct Ignores;
    impl Environment<BlockCode> for Ignores {
        type Error = std::convert::Infallible;
        fn evaluate(&mut self, _: &BlockCode, _: &TrialContext<'_>) -> Result<Evaluation, Self::Error> {
            Ok(Evaluation::Measured(Metrics { epochs: 9, ..Metrics::from_accuracy(50.0) }))
        }
        fn identity(&self) -> String {
            "ignores".to_owned()
        }
        fn full_epochs(&self) -> Option<u32> {
            Some(9)
        }
    }
    let config = SearchConfig { attempts: 2, ..config() }.with_trials(2, 2);
    let report = Search::new(BlockSpace::paper(), RandomAgent, Ignores, config).run().unwrap();
    let Evaluation::Infeasible(Infeasibility::Failed { attempts: 2, message }) = &report.records[0].evaluation else {
        panic!("{:?}", report.records[0]);
    };
    assert!(message.starts_with("it was evaluated for more epochs than its rung has"), "{message}");
}

#[test]
fn a_space_that_is_exhausted_is_promoted_to_the_end() {
    let space = BlockSpace::paper().with_max_layers(2).unwrap();
    let config = SearchConfig { max_resamples: 500, ..config() };
    let search = || Search::new(space.clone(), RandomAgent, environment(), config.clone());
    let report = search().run().unwrap();
    let at = |rung| report.records.iter().filter(|record| number(record) == rung).count();
    assert_eq!([at(0), at(1), at(2)], [12, 4, 1]);
    assert!(matches!(report.stop, StopReason::SpaceExhausted { .. }), "{:?}", report.stop);
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    search().with_run_folder(RunFolder::create(&path).unwrap()).run().unwrap();
    let journal = fs::read(path.join("journal.jsonl")).unwrap();
    for cut in (0..journal.len()).step_by(journal.len() / 12) {
        fs::write(path.join("journal.jsonl"), &journal[..cut]).unwrap();
        search().with_run_folder(RunFolder::resume(&path).unwrap()).run().unwrap();
        assert!(fs::read(path.join("journal.jsonl")).unwrap() == journal, "cut at byte {cut}");
    }
}

/// Which trials it was told that they are ruled out.
#[derive(Default)]
struct RuledOut {
    told: Vec<u64>,
    of_minibatch: BTreeMap<u64, Vec<u64>>,
    last: u64,
    summaries: Vec<MinibatchSummary>,
}

impl Observer<BlockSpace> for RuledOut {
    fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
        self.last = summary.minibatch;
        self.summaries.push(summary.clone());
        Ok(())
    }

    fn on_ruled_out(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.told.push(record.id);
        self.of_minibatch.entry(self.last).or_default().push(record.id);
        Ok(())
    }
}

#[test]
fn observers_hear_once_which_trials_will_not_be_promoted_and_none_of_them_is() {
    let mut heard = RuledOut::default();
    let search = Search::new(BlockSpace::paper(), RandomAgent, environment(), config());
    let report = search.with_observer(&mut heard).run().unwrap();
    let distinct: HashSet<u64> = heard.told.iter().copied().collect();
    assert_eq!(distinct.len(), heard.told.len());
    let promoted = |id: u64| {
        let record = &report.records[usize::try_from(id).unwrap()];
        report.records.iter().any(|other| other.fingerprint == record.fingerprint && number(other) > number(record))
    };
    let below_the_top = report.records.iter().filter(|record| number(record) < 2);
    let expected: HashSet<u64> = below_the_top.map(|record| record.id).filter(|id| !promoted(*id)).collect();
    assert_eq!(distinct, expected, "in the end all are out that were not promoted");
    assert!(heard.of_minibatch.len() > 2, "some of them early: {:?}", heard.of_minibatch);
    let promotions: u64 = heard.summaries.iter().map(|summary| summary.promoted).sum();
    assert_eq!(promotions, report.promotions().count() as u64);
    let last = heard.summaries.last().unwrap();
    let [low, high] = last.rungs[..] else { panic!("{last:?}") };
    assert_eq!((low.lower.epochs, low.upper.epochs, high.upper.epochs), (1, 3, 9));
    assert!(low.count > high.count && low.kendall.abs() <= 1.0);
    let at_the_top = report.records.iter().filter(|record| number(record) == 2);
    let best = at_the_top.filter_map(|record| record.evaluation.final_value()).reduce(f64::max);
    assert_eq!(last.best, best);
}

fn refusal(config: SearchConfig, environment: Synthetic, folder: Option<&Path>) -> String {
    let search = Search::new(BlockSpace::paper(), RandomAgent, environment, config);
    match folder {
        Some(path) => search.with_run_folder(RunFolder::resume(path).unwrap()).run(),
        None => search.run(),
    }
    .unwrap_err()
    .to_string()
}

#[test]
fn what_does_not_go_with_rungs_and_other_rungs_on_resuming_are_refused_by_name() {
    let rolling = refusal(config().with_scheduling(Scheduling::Rolling), environment(), None);
    assert_eq!(rolling, "search.scheduling is rolling: it must be minibatch, which search.rungs needs");
    let median = refusal(config().with_median_stopping(MedianStopping::default()), environment(), None);
    let expected = "search.median_stopping is set: it must be left out: search.rungs stops evaluations too";
    assert_eq!(median, expected);
    let reuse = refusal(SearchConfig { repeats: Repeats::Reuse, ..config() }, environment(), None);
    assert_eq!(reuse, "search.repeats is reuse: it must be resample, which search.rungs needs");
    for (rungs, path) in [(Rungs::new(1), "count"), (Rungs::new(3).with_one_in(1), "one_in")] {
        let error = refusal(config().with_rungs(rungs), environment(), None);
        assert_eq!(error, format!("search.rungs.{path} is 1: it must be at least 2"));
    }
    let whole_only = refusal(config(), environment().with_epochs(0), None);
    assert!(whole_only.contains("Environment::full_epochs"), "{whole_only}");
    let short = refusal(config(), environment().with_epochs(1), None);
    assert!(short.ends_with("it must be left out, or the evaluations at least 2 epochs long"), "{short}");
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let search = Search::new(BlockSpace::paper(), RandomAgent, environment(), config().with_trials(8, 4));
    search.with_run_folder(RunFolder::create(&path).unwrap()).run().unwrap();
    let other = refusal(config().with_rungs(Rungs { one_in: 4, ..Rungs::new(3) }), environment(), Some(&path));
    assert!(other.contains("search.rungs.one_in: 3 in the folder, 4 now"), "{other}");
    let off = refusal(SearchConfig { rungs: None, ..config() }, environment(), Some(&path));
    assert!(off.contains("search.rungs: {"), "{off}");
}

#[test]
fn rungs_are_omitted_from_files_where_there_are_none() {
    let config = SearchConfig::paper().with_seed(3).with_trials(4, 2);
    assert!(!serde_json::to_string(&config).unwrap().contains("rungs"));
    let report = Search::new(BlockSpace::paper(), RandomAgent, environment(), config).run().unwrap();
    assert!(!serde_json::to_string(&report.records).unwrap().contains("rung"));
    let rung = Rung { number: 1, epochs: 3 };
    assert_eq!(serde_json::to_string(&rung).unwrap(), r#"{"number":1,"epochs":3}"#);
}
