//! A search that is driven by hand, with `ask` and `tell`, is the same as one that is run.

use blockqnn::agent::{Agent, EpsilonPhase, EpsilonSchedule, QLearning, QLearningConfig, ReplayConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{BoxError, Cancellation, Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Infeasibility, Metrics};
use blockqnn::evaluator::{Assignment, Evaluator, EvaluatorError, Event, Verdict};
use blockqnn::graph::CostLimits;
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{
    Observer, RecordOf, Repeats, RunFolder, Scheduling, Search, SearchConfig, SearchError, SearchReport, Session,
    StopReason,
};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::fs;
use std::path::Path;

type Asked = Assignment<BlockCode>;
type Open = Session<'static, BlockSpace, QLearning<BlockSpace>>;

const TRIALS: u64 = 60;

/// A small space with repeats, and limits that some blocks exceed, so that some trials need no evaluation.
fn config(scheduling: Scheduling) -> SearchConfig {
    let limits = CostLimits { parameters: Some(400_000), ..CostLimits::default() };
    let config = SearchConfig { limits, repeats: Repeats::Reuse, ..SearchConfig::paper() };
    config.with_seed(5).with_trials(TRIALS, 16).with_scheduling(scheduling)
}

fn space() -> BlockSpace {
    BlockSpace::paper().with_max_layers(4).unwrap()
}

fn agent() -> QLearning<BlockSpace> {
    let phases = [1.0, 0.5, 0.1].map(|epsilon| EpsilonPhase { epsilon, minibatches: 1 });
    let epsilon = EpsilonSchedule::new(phases.to_vec()).unwrap();
    let replay = ReplayConfig { rounds: 8, batch: 16 };
    QLearning::new(QLearningConfig { epsilon, replay, ..QLearningConfig::paper() }).unwrap()
}

fn environment() -> Synthetic {
    Synthetic::new().with_noise(3.0)
}

fn measure(asked: &Asked) -> Evaluation {
    environment().evaluate(&asked.architecture, &TrialContext::new(&asked.trial)).unwrap()
}

/// Opens the search by hand, in a new folder or one that holds a run.
fn open(path: &Path, config: SearchConfig) -> Open {
    let folder = if path.exists() { RunFolder::resume(path) } else { RunFolder::create(path) };
    let identity = Environment::<BlockCode>::identity(&environment());
    let search = Search::without_evaluator(space(), agent(), identity, config);
    search.with_reward(RedefinedReward::paper()).with_run_folder(folder.unwrap()).open().unwrap()
}

/// The outcome of a run.
#[derive(Debug, PartialEq)]
struct End {
    journal: String,
    checkpoint: Vec<u8>,
    description: String,
    table: Vec<u8>,
    records: Vec<String>,
    stop: StopReason,
    resampled: u64,
}

fn end(path: &Path, (report, agent): (SearchReport<BlockSpace>, QLearning<BlockSpace>)) -> End {
    let mut table = Vec::new();
    agent.save(&mut table).unwrap();
    let records = report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    End {
        journal: fs::read_to_string(path.join("journal.jsonl")).unwrap(),
        checkpoint: fs::read(path.join("checkpoint")).unwrap(),
        description: fs::read_to_string(path.join("search.json")).unwrap(),
        table,
        records,
        stop: report.stop,
        resampled: report.resampled,
    }
}

fn run(path: &Path, config: SearchConfig, evaluator: impl Evaluator<BlockCode>) -> End {
    let folder = if path.exists() { RunFolder::resume(path) } else { RunFolder::create(path) };
    let search = Search::with_evaluator(space(), agent(), evaluator, config).with_run_folder(folder.unwrap());
    end(path, search.with_reward(RedefinedReward::paper()).run_with_agent().unwrap())
}

fn inline() -> impl Evaluator<BlockCode> {
    blockqnn::evaluator::InlineEvaluator::new(environment())
}

/// All trials that are handed out now.
fn ask_all(session: &mut Open) -> Vec<Asked> {
    std::iter::from_fn(|| session.ask().unwrap()).collect()
}

/// Drives a session to its end, one trial at a time.
fn one_by_one(mut session: Open, path: &Path) -> End {
    while let Some(asked) = session.ask().unwrap() {
        session.tell(asked.trial.id, measure(&asked)).unwrap();
    }
    assert_eq!(session.waiting(), 0);
    end(path, session.finish_with_agent().unwrap())
}

/// Evaluates the trial that was submitted last first.
struct LastFirst(Vec<Asked>);

impl Evaluator<BlockCode> for LastFirst {
    fn submit(&mut self, assignment: Asked) -> Result<(), EvaluatorError> {
        self.0.push(assignment);
        Ok(())
    }
    fn wait(&mut self, _: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        let last = self.0.pop().ok_or_else(|| EvaluatorError("nothing was submitted".into()))?;
        listener(Event::Ended { trial: last.trial.id, verdict: measure(&last).into() });
        Ok(())
    }
    fn identity(&self) -> String {
        Environment::<BlockCode>::identity(&environment())
    }
}

#[test]
fn a_search_driven_by_hand_leaves_the_bytes_of_one_that_is_run() {
    let parent = tempfile::tempdir().unwrap();
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        let path = |name: &str| parent.path().join(format!("{name} {scheduling:?}"));
        let expected = run(&path("run"), config(scheduling), inline());
        assert_eq!((expected.records.len() as u64, &expected.stop), (TRIALS, &StopReason::Completed));
        let count = |text: &str| expected.records.iter().filter(|record| record.contains(text)).count();
        assert!(count("\"cached\":true") > 0 && count("over-limit") > 0, "some need no evaluation");
        let by_hand = one_by_one(open(&path("hand"), config(scheduling)), &path("hand"));
        assert_eq!(by_hand, expected, "{scheduling:?}");
    }
}

#[test]
fn the_order_of_results_within_a_minibatch_changes_only_the_order_of_the_journal() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    let config = config(Scheduling::Minibatch);
    let ordered = run(&path("ordered"), config.clone(), inline());
    let reverse = run(&path("reverse"), config.clone(), LastFirst(Vec::new()));

    let mut session = open(&path("hand"), config);
    loop {
        let asked = ask_all(&mut session);
        if asked.is_empty() {
            break;
        }
        assert_eq!(session.waiting(), asked.len());
        for asked in asked.iter().rev() {
            session.tell(asked.trial.id, measure(asked)).unwrap();
        }
    }
    let by_hand = end(&path("hand"), session.finish_with_agent().unwrap());
    assert_eq!(by_hand, reverse);
    assert_ne!(by_hand.journal, ordered.journal);
    assert_eq!((&by_hand.records, &by_hand.table), (&ordered.records, &ordered.table));
    let events = |journal: &str| {
        let event = |line: &str| line.split_once(",\"event\":").unwrap().1.to_owned();
        let mut events: Vec<String> = journal.lines().map(event).collect();
        events.sort();
        events
    };
    assert_eq!(events(&by_hand.journal), events(&ordered.journal));
}

#[test]
fn a_session_that_is_dropped_anywhere_is_continued_by_hand_or_by_a_run() {
    let parent = tempfile::tempdir().unwrap();
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        let expected = run(&parent.path().join(format!("run {scheduling:?}")), config(scheduling), inline());
        let is_asked = |record: &&String| !record.contains("\"cached\":true") && !record.contains("over-limit");
        let asked = expected.records.iter().filter(is_asked).count();
        assert!(asked > 16, "more than a minibatch: {asked}");
        for told in (0..asked).step_by(3) {
            for by_hand in [true, false] {
                let path = parent.path().join(format!("{scheduling:?} {told} {by_hand}"));
                let mut session = open(&path, config(scheduling));
                for _ in 0..told {
                    let asked = session.ask().unwrap().unwrap();
                    session.tell(asked.trial.id, measure(&asked)).unwrap();
                }
                let lost = session.ask().unwrap().unwrap();
                drop(session);
                let end = if by_hand {
                    let mut session = open(&path, config(scheduling));
                    let again = session.ask().unwrap().unwrap();
                    assert_eq!((again.trial.id, again.attempt), (lost.trial.id, 1), "what was not told is asked again");
                    session.tell(again.trial.id, measure(&again)).unwrap();
                    one_by_one(session, &path)
                } else {
                    run(&path, config(scheduling), inline())
                };
                assert_eq!(end, expected, "{scheduling:?}, {told} told");
            }
        }
    }
}

#[test]
fn telling_the_result_of_a_trial_that_is_not_waiting_is_refused_and_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    let expected = run(&path("run"), config(Scheduling::Minibatch), inline());
    let mut session = open(&path("hand"), config(Scheduling::Minibatch));
    let asked = session.ask().unwrap().unwrap();
    let refused = |session: &mut Open, trial: u64| {
        let before = fs::read(path("hand").join("journal.jsonl")).unwrap();
        let error = session.tell(trial, measure(&asked)).unwrap_err();
        assert!(matches!(error, SearchError::NotAsked { trial: found } if found == trial), "{error}");
        assert_eq!(fs::read(path("hand").join("journal.jsonl")).unwrap(), before);
    };
    for never_asked in [asked.trial.id + 1, TRIALS, u64::MAX] {
        refused(&mut session, never_asked);
    }
    session.tell(asked.trial.id, measure(&asked)).unwrap();
    refused(&mut session, asked.trial.id);
    assert_eq!(one_by_one(session, &path("hand")), expected);
}

#[test]
fn a_failed_attempt_is_handed_out_again_and_one_that_lacked_room_once_more_alone() {
    let config = SearchConfig { attempts: 2, ..config(Scheduling::Minibatch) };
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        let config = SearchConfig { limits: CostLimits::default(), ..config.clone() }.with_trials(4, 4);
        let search = Search::without_evaluator(space(), agent(), "by hand", config.with_scheduling(scheduling));
        let mut session = search.open().unwrap();
        for id in 0..4 {
            assert_eq!(session.ask().unwrap().unwrap().trial.id, id);
        }
        assert!(session.ask().unwrap().is_none(), "{scheduling:?}: there are four");
        let (fails, lacks, other, last) = (0, 1, 2, 3);
        let full = Evaluation::Infeasible(Infeasibility::OutOfMemory { message: "full".to_owned() });
        session.tell(lacks, full.clone()).unwrap();
        session.tell(fails, Verdict::Fault { message: "a fuse".to_owned() }).unwrap();
        let again = session.ask().unwrap().unwrap();
        assert_eq!((again.trial.id, again.attempt), (fails, 2));
        session.tell(fails, Verdict::Fault { message: "a fuse".to_owned() }).unwrap();
        session.tell(other, Evaluation::Measured(Metrics::from_accuracy(50.0))).unwrap();
        assert!(session.ask().unwrap().is_none(), "one trial is still waiting");
        session.tell(last, Evaluation::Measured(Metrics::from_accuracy(60.0))).unwrap();
        let alone = session.ask().unwrap().unwrap();
        assert_eq!((alone.trial.id, alone.attempt), (lacks, 2));
        assert!(session.ask().unwrap().is_none(), "it has the machine to itself");
        session.tell(lacks, full.clone()).unwrap();
        assert!(session.ask().unwrap().is_none(), "it is over");
        let report = session.finish().unwrap();
        assert_eq!((report.records.len(), report.stop), (4, StopReason::Completed));
        let failed = Infeasibility::Failed { attempts: 2, message: "a fuse".to_owned() };
        assert_eq!(report.records[0].evaluation, Evaluation::Infeasible(failed));
        assert_eq!(report.records[1].evaluation, full);
    }
}

#[test]
fn a_stopped_session_hands_out_nothing_and_reports_what_it_has() {
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        let flag = Cancellation::new();
        let search = Search::without_evaluator(space(), agent(), "by hand", config(scheduling));
        let mut session = search.with_cancellation(flag.clone()).open().unwrap();
        let (first, second) = (session.ask().unwrap().unwrap(), session.ask().unwrap().unwrap());
        flag.cancel();
        assert!(session.ask().unwrap().is_none());
        session.tell(second.trial.id, measure(&second)).unwrap();
        session.tell(first.trial.id, Verdict::Cancelled).unwrap();
        let report = session.finish().unwrap();
        assert_eq!(report.stop, StopReason::Cancelled);
        assert!(report.records.iter().any(|record| record.id == second.trial.id));
        assert!(report.records.iter().all(|record| record.id != first.trial.id));
    }
}

#[test]
fn a_session_that_failed_cannot_be_used() {
    struct Full;
    impl Observer<BlockSpace> for Full {
        fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
            if record.evaluation.value().is_some() { Err("the disk is full".into()) } else { Ok(()) }
        }
    }
    let search = Search::without_evaluator(space(), agent(), "by hand", config(Scheduling::Rolling));
    let mut session = search.with_observer(Full).open().unwrap();
    let asked = session.ask().unwrap().unwrap();
    assert!(matches!(session.tell(asked.trial.id, measure(&asked)), Err(SearchError::Observer(_))));
    assert!(matches!(session.ask(), Err(SearchError::Broken)));
    assert!(matches!(session.tell(asked.trial.id, measure(&asked)), Err(SearchError::Broken)));
    assert!(matches!(session.finish(), Err(SearchError::Broken)));
}
