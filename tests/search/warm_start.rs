//! Searches that begin with architectures to evaluate first, and with results from elsewhere.

use super::agents::{NAMES, agent};
use blockqnn::agent::{Agent, EpsilonPhase, EpsilonSchedule, QLearning, QLearningConfig, RandomAgent};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics, Objective};
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{
    History, Repeats, RunFolder, RunHistory, Scheduling, Search, SearchConfig, SearchError, SearchReport,
};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, LayerCode};
use blockqnn::space::cell::CellSpace;
use blockqnn::space::{SearchSpace, random_trajectory, walk};
use std::collections::HashSet;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const TRIALS: u64 = 40;
const MINIBATCH: u64 = 5;

fn blocks() -> [Vec<LayerCode>; 3] {
    ["conv3(0) terminal(1)", "conv5(0) conv3(1) terminal(2)", "conv3(0) conv3(1) add(0,2) terminal(3)"]
        .map(|block| block.parse::<BlockCode>().unwrap().layers().to_vec())
}

/// Random blocks and their accuracies.
fn history() -> History<LayerCode> {
    let space = BlockSpace::paper();
    let mut history = History::new();
    for number in 0..30 {
        let walk = random_trajectory(&space, &mut seed::stream(8, "elsewhere", number)).unwrap();
        let accuracy = 40.0 + 40.0 * seed::unit(&mut seed::stream(9, "elsewhere", number));
        history.push(&space, &walk.actions, Metrics::from_accuracy(accuracy)).unwrap();
    }
    history
}

/// Evaluates slowly if the process is to be killed; the results are the same.
struct Slow;

impl Environment<BlockCode> for Slow {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        if std::env::var_os(CHILD).is_some() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Synthetic::new().with_noise(2.0).evaluate(block, context)
    }

    fn identity(&self) -> String {
        "slow".to_owned()
    }
}

fn config() -> SearchConfig {
    SearchConfig::paper().with_seed(5).with_trials(TRIALS, MINIBATCH)
}

type Boxed = Box<dyn Agent<BlockSpace>>;

/// A search with architectures to evaluate first and a history.
fn search(name: &str, config: SearchConfig) -> Search<'static, BlockSpace, Boxed, Inline> {
    plain(name, config).enqueue(blocks()).with_history(history())
}

type Inline = blockqnn::evaluator::InlineEvaluator<BlockCode, Slow>;

fn plain(name: &str, config: SearchConfig) -> Search<'static, BlockSpace, Boxed, Inline> {
    Search::new(BlockSpace::paper(), agent(name), Slow, config)
        .with_reward(RedefinedReward::accuracy(Credit::EveryLayer))
}

fn end((report, agent): (SearchReport<BlockSpace>, Boxed)) -> (Vec<String>, Vec<u8>) {
    let mut state = Vec::new();
    agent.save(&mut state).unwrap();
    (report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect(), state)
}

#[test]
fn what_is_enqueued_comes_first_and_what_the_history_has_is_not_proposed_and_not_counted() {
    let space = BlockSpace::paper();
    let elsewhere: Vec<_> = (0..30)
        .map(|number| random_trajectory(&space, &mut seed::stream(8, "elsewhere", number)).unwrap())
        .map(|walk| space.fingerprint(&space.decode(&walk.actions).unwrap()))
        .collect();
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        for name in NAMES {
            let report = search(name, config().with_scheduling(scheduling)).run().unwrap();
            assert_eq!(report.records.len() as u64, TRIALS, "{name}");
            let first: Vec<_> = report.records[..3].iter().map(|record| record.actions.clone()).collect();
            assert_eq!(first, blocks(), "{name}");
            assert_eq!((report.records[2].id, report.records[5].minibatch), (2, 1));
            assert!(report.records.iter().all(|record| !elsewhere.contains(&record.fingerprint)), "{name}");
        }
    }
}

/// The mean reward of the first minibatch that the agent proposes, over several seeds.
fn first_rewards(name: &str, history: &History<LayerCode>) -> f64 {
    let seeds = 0..20;
    let of = |seed| {
        let config = SearchConfig::paper().with_seed(seed).with_trials(5, 5);
        let search = Search::new(BlockSpace::paper(), agent(name), Synthetic::new(), config);
        let report = search.with_history(history.clone()).run().unwrap();
        report.records.iter().map(|record| record.reward.value()).sum::<f64>() / 5.0
    };
    let count = seeds.end as f64;
    seeds.map(of).sum::<f64>() / count
}

/// 150 random blocks with the accuracies of the environment.
fn informed() -> History<LayerCode> {
    let space = BlockSpace::paper();
    let config = SearchConfig::paper().with_seed(99).with_trials(150, 50);
    let report = Search::new(space.clone(), RandomAgent, Synthetic::new(), config).run().unwrap();
    let mut history = History::new();
    for record in &report.records {
        if let Some(metrics) = record.evaluation.metrics() {
            history.push(&space, &record.actions, metrics.clone()).unwrap();
        }
    }
    history
}

#[test]
fn agents_of_every_kind_propose_better_blocks_from_the_start_with_a_history() {
    let informed = informed();
    for name in ["rank", "best", "best-with-priors", "evolution", "local", "local10"] {
        let [without, with] = [History::new(), informed.clone()].map(|history| first_rewards(name, &history));
        println!("{name}: {without:.1} without a history, {with:.1} with one");
        assert!(with > without + 2.0, "{name}: {without} without a history, {with} with one");
    }
}

#[test]
fn the_papers_learner_has_values_of_the_history_before_its_first_proposal() {
    // Its schedule begins with random trials, history or not; a greedy one shows what it knows.
    let epsilon = EpsilonSchedule::new(vec![EpsilonPhase { epsilon: 0.0, minibatches: 1 }]).unwrap();
    let agent = QLearning::new(QLearningConfig { epsilon, ..QLearningConfig::paper() }).unwrap();
    let space = BlockSpace::paper();
    let mut taken = HashSet::new();
    for number in 0..30 {
        let walk = random_trajectory(&space, &mut seed::stream(8, "elsewhere", number)).unwrap();
        taken.extend(walk.states.into_iter().zip(walk.actions));
    }
    let config = SearchConfig { repeats: Repeats::Reuse, ..SearchConfig::paper().with_seed(1).with_trials(1, 1) };
    let search = Search::new(space.clone(), agent, Synthetic::new(), config);
    let report =
        search.with_reward(RedefinedReward::accuracy(Credit::EveryLayer)).with_history(history()).run().unwrap();
    let first = walk(&space, &report.records[0].actions).unwrap();
    let known: HashSet<LayerCode> = taken.iter().map(|(state, _)| *state).collect();
    let decisions: Vec<_> =
        first.states.into_iter().zip(first.actions).filter(|(state, _)| known.contains(state)).collect();
    assert!(!decisions.is_empty());
    // What was tried has a value above that of what was not.
    assert!(decisions.iter().all(|decision| taken.contains(decision)), "{decisions:?}");
}

#[test]
fn a_warm_start_is_resumed_to_the_same_end_wherever_it_was_cut_whether_it_is_given_again_or_not() {
    let mut rng = seed::stream(3, "cuts", 0);
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        for name in ["paper", "rank", "best", "evolution", "local"] {
            let parent = tempfile::tempdir().unwrap();
            let whole = parent.path().join("whole");
            let config = || config().with_scheduling(scheduling);
            let expected = end(search(name, config()).run_with_agent().unwrap());
            let folder = RunFolder::create(&whole).unwrap();
            assert_eq!(end(search(name, config()).with_run_folder(folder).run_with_agent().unwrap()), expected);
            let journal = fs::read(whole.join("journal.jsonl")).unwrap();
            for cut in 0..6 {
                let path = parent.path().join(format!("cut{cut}"));
                fs::create_dir(&path).unwrap();
                for file in ["search.json", "warm-start.json", "checkpoint"] {
                    fs::copy(whole.join(file), path.join(file)).unwrap();
                }
                let length = seed::index(&mut rng, journal.len());
                fs::write(path.join("journal.jsonl"), &journal[..length]).unwrap();
                let search = if cut % 2 == 0 { search(name, config()) } else { plain(name, config()) };
                let resumed = search.with_run_folder(RunFolder::resume(&path).unwrap()).run_with_agent().unwrap();
                assert!(end(resumed) == expected, "{name}, {scheduling:?}, cut at byte {length}");
            }
        }
    }
}

/// The variable with the name of the agent and the path of the run, for the process that is to be killed.
const CHILD: &str = "BLOCKQNN_TEST_WARM_RUN";

/// Not a test itself: the process that [`a_killed_process_leaves_no_trace_in_a_warm_start`] kills.
#[test]
fn child_process() {
    let Ok(child) = std::env::var(CHILD) else { return };
    let (name, path) = child.split_once(' ').unwrap();
    search(name, config()).with_run_folder(RunFolder::open(Path::new(path)).unwrap()).run().unwrap();
}

#[test]
fn a_killed_process_leaves_no_trace_in_a_warm_start() {
    let mut rng = seed::stream(7, "kills", 0);
    for name in ["paper", "best", "evolution", "local"] {
        let expected = end(search(name, config()).run_with_agent().unwrap());
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let mut kills = 0;
        for _ in 0..6 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "warm_start::child_process", "--test-threads", "1"])
                .env(CHILD, format!("{name} {}", path.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(2_000 + seed::index(&mut rng, 60_000) as u64));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
            child.wait().unwrap();
        }
        assert!(kills > 0, "{name}: no process was killed before its end");
        let search = search(name, config()).with_run_folder(RunFolder::open(&path).unwrap());
        assert_eq!(end(search.run_with_agent().unwrap()), expected, "{name}");
    }
}

fn refusal(search: Search<'static, BlockSpace, Boxed, Inline>, path: &Path) -> String {
    let folder = RunFolder::resume(path).unwrap();
    search.with_run_folder(folder).run().unwrap_err().to_string()
}

#[test]
fn another_warm_start_or_a_damaged_one_is_refused_by_name_on_resuming() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    search("evolution", config()).with_run_folder(RunFolder::create(&path).unwrap()).run().unwrap();
    let run: RunHistory<BlockSpace> = RunFolder::read(&path).unwrap();
    assert!(run.settings.first.unwrap().starts_with("3 architectures sha256:"));
    assert!(run.settings.history.unwrap().starts_with("30 results sha256:"));

    let [one, ..] = blocks();
    let other = refusal(plain("evolution", config()).enqueue([one]).with_history(history()), &path);
    assert!(other.contains("first: \"3 architectures sha256:") && other.contains("\"1 architectures"), "{other}");
    assert!(!other.contains("history:"), "{other}");
    let mut longer = history();
    longer.extend(informed());
    let other = refusal(plain("evolution", config()).enqueue(blocks()).with_history(longer), &path);
    assert!(other.contains("history: \"30 results sha256:"), "{other}");

    let cold = parent.path().join("cold");
    plain("evolution", config()).with_run_folder(RunFolder::create(&cold).unwrap()).run().unwrap();
    let other = refusal(search("evolution", config()), &cold);
    assert!(other.contains("history: null in the folder, \"30 results"), "{other}");

    let file = path.join("warm-start.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"value\":", "\"value\":1", 1)).unwrap();
    let damaged = refusal(plain("evolution", config()), &path);
    assert!(damaged.contains("warm-start.json is damaged: it does not hold what search.json says"), "{damaged}");
    fs::remove_file(&file).unwrap();
    let lost = refusal(plain("evolution", config()), &path);
    assert!(lost.contains("cannot use") && lost.contains("warm-start.json"), "{lost}");
}

#[test]
fn architectures_that_cannot_be_evaluated_first_are_refused_before_anything_is_written() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let refused = |walks: Vec<Vec<LayerCode>>, trials| {
        let search = plain("random", config().with_trials(trials, 5)).enqueue(walks);
        let error = search.with_run_folder(RunFolder::create(&path).unwrap()).run().unwrap_err();
        assert!(!path.join("search.json").exists());
        error
    };
    let [one, two, _] = blocks();
    let error = refused(vec![one.clone(), two.clone(), one.clone()], 10);
    assert!(matches!(error, SearchError::First { number: 3, .. }), "{error}");
    assert!(error.to_string().ends_with("is the same architecture as number 1: give it once"), "{error}");
    let error = refused(vec![one.clone(), two[..2].to_vec()], 10);
    assert!(matches!(error, SearchError::First { number: 2, .. }), "{error}");
    let error = refused(vec![one, two], 1).to_string();
    assert!(error.starts_with("search.trials is 1: it must be at least 2"), "{error}");
}

#[test]
fn repeats_of_the_history_are_learned_again_or_evaluated_as_the_setting_says() {
    let space = BlockSpace::paper().with_max_layers(2).unwrap();
    let mut elsewhere = History::new();
    let walk = random_trajectory(&space, &mut seed::stream(1, "one", 0)).unwrap();
    let fingerprint = space.fingerprint(&space.decode(&walk.actions).unwrap());
    elsewhere.push(&space, &walk.actions, Metrics::from_accuracy(99.0)).unwrap();
    let run = |repeats| {
        let config = SearchConfig { repeats, max_resamples: 300, ..SearchConfig::paper().with_trials(60, 5) };
        let search = Search::new(space.clone(), RandomAgent, Synthetic::new(), config);
        search.with_history(elsewhere.clone()).run().unwrap()
    };
    let has = |report: &SearchReport<BlockSpace>| {
        report.records.iter().find(|record| record.fingerprint == fingerprint).map(|record| record.evaluation.clone())
    };
    assert_eq!(has(&run(Repeats::Resample)), None);
    assert_eq!(has(&run(Repeats::Replay)), None);
    let evaluated = has(&run(Repeats::Reuse)).unwrap();
    assert!(evaluated.value().unwrap() < 99.0, "a trial has its own result: {evaluated:?}");
}

#[test]
fn a_history_is_read_from_a_run_and_from_its_table() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let space = BlockSpace::paper();
    let config = SearchConfig::paper().with_seed(2).with_trials(24, 8);
    let search = Search::new(space.clone(), RandomAgent, Synthetic::new(), config);
    let report = search.with_run_folder(RunFolder::create(&path).unwrap()).run().unwrap();
    let measured = report.records.iter().filter(|record| record.evaluation.value().is_some()).count();
    let of_run = History::read_run(&space, &path).unwrap();
    assert_eq!(of_run.len(), measured);
    let table = parent.path().join("results.csv");
    let mut bytes = Vec::new();
    report.write_csv(&space, &mut bytes).unwrap();
    fs::write(&table, bytes).unwrap();
    assert_eq!(History::read_csv(&space, &table).unwrap().len(), measured);
}

#[test]
fn a_history_of_another_objective_is_refused_by_name() {
    let mut history = History::new();
    let space = BlockSpace::paper();
    let folder = tempfile::tempdir().unwrap();
    let run = Search::new(space.clone(), RandomAgent, Synthetic::new(), SearchConfig::new(4));
    run.with_run_folder(RunFolder::open(folder.path().join("run")).unwrap()).run().unwrap();
    history.extend(History::read_run(&space, folder.path().join("run")).unwrap());
    let config = SearchConfig::new(4).with_objective(Objective::minimise("RMSE", 8.0, 0.0).with_unit("mm"));
    let search = Search::new(space, RandomAgent, Synthetic::new(), config).with_history(history);
    let expected = "search.objective is RMSE (mm) (minimise): it must be accuracy (%) (maximise), as in the history";
    assert_eq!(search.run().unwrap_err().to_string(), expected);
}

#[test]
fn a_history_of_another_space_or_no_history_is_refused_by_name() {
    let parent = tempfile::tempdir().unwrap();
    let (cells, long) = (parent.path().join("cells"), parent.path().join("long"));
    let config = SearchConfig::new(4).with_minibatch(4);
    let accuracy = blockqnn::environment::environment_fn("half", |_: &blockqnn::space::cell::CellCode, _| 50.0);
    let search = Search::new(CellSpace::new(), RandomAgent, accuracy, config.clone());
    search.with_run_folder(RunFolder::create(&cells).unwrap()).run().unwrap();
    let space = BlockSpace::paper();
    let of_cells = History::read_run(&space, &cells).unwrap_err().to_string();
    assert!(of_cells.contains("is of another search space: CellSpace"), "{of_cells}");

    // The same kind of space: what matters is whether its architectures belong here.
    let search = Search::new(space.clone(), RandomAgent, Synthetic::new(), config);
    search.with_run_folder(RunFolder::create(&long).unwrap()).run().unwrap();
    let small = space.clone().with_max_layers(2).unwrap();
    let of_long = History::read_run(&small, &long).unwrap_err().to_string();
    assert!(of_long.starts_with("trial ") && of_long.contains("must be of the search space BlockSpace {"), "{of_long}");
    let none = History::read_run(&space, parent.path()).unwrap_err().to_string();
    assert!(none.contains("is not a run folder"), "{none}");

    let table = |text: &str| {
        let path = parent.path().join("table.csv");
        fs::write(&path, text).unwrap();
        History::read_csv(&space, path).map(|history| history.len()).map_err(|error| error.to_string())
    };
    let quoted = "\"conv3(0) conv3(1) add(0,2) terminal(3)\"";
    assert_eq!(table(&format!("rank,architecture,accuracy\n1,{quoted},61.5\n2,conv3(0) terminal(1),\n")), Ok(1));
    assert_eq!(table(&format!("architecture,accuracy,stopped\n{quoted},61.5,true\n{quoted},61.5,false\n")), Ok(1));
    for (text, expected) in [
        ("architecture\nconv3(0) terminal(1)\n", "it has no column \"accuracy\""),
        ("architecture,accuracy\nconv3(0) terminal(1),half\n", "line 2: the accuracy is \"half\""),
        ("architecture,accuracy\n\nconv3(0) terminal(1),101\n", "line 3: the accuracy is \"101\""),
        ("architecture,accuracy\nconv9(0) terminal(1),50\n", "line 2: \"conv9(0) terminal(1)\""),
        ("architecture,accuracy\n\"conv3(0) terminal(1),50\n", "line 2: a quote is not closed"),
    ] {
        let error = table(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
