//! Every agent fulfils what the controller relies on: its proposals are valid, a seed always gives the same search, and
//! resuming leaves no trace.

use blockqnn::agent::{Agent, Edit, EvolutionConfig, LeastSquares, LeastSquaresConfig, LocalSearch, Policy, QLearning};
use blockqnn::agent::{QLearningConfig, RandomAgent, RegularizedEvolution, TrajectoryOf};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::Evaluation;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{RunFolder, Search, SearchConfig};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, ConvolutionRule, LayerCode, TerminalRule};
use blockqnn::space::{SearchSpace, SpaceError, walk, walk_by};
use proptest::prelude::*;
use std::convert::Infallible;
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

pub(super) const NAMES: [&str; 9] =
    ["paper", "tuned", "rank", "best", "best-with-priors", "random", "evolution", "local", "local10"];

/// Settings with which an agent leaves its random beginning within a few dozen trials.
pub(super) fn agent(name: &str) -> Box<dyn Agent<BlockSpace>> {
    let tabular = |config| Box::new(QLearning::new(config).unwrap()) as Box<dyn Agent<BlockSpace>>;
    match name {
        "paper" => {
            let epsilon = QLearningConfig::paper().epsilon.scaled_to(12);
            tabular(QLearningConfig { epsilon, ..QLearningConfig::paper() })
        }
        "tuned" => tabular(QLearningConfig::tuned(12)),
        "rank" => {
            let policy = Policy::Softmax { temperature: 0.5, uniform: 10 };
            tabular(QLearningConfig { policy, ..QLearningConfig::rank() })
        }
        // A small window, so that it moves, and few edits, so that ten thousand episodes do not take minutes.
        "best" | "best-with-priors" => {
            let priors = name == "best-with-priors";
            let config = LeastSquaresConfig { window: 30, edits: 4, priors, ..LeastSquaresConfig::default() };
            Box::new(LeastSquares::new(config).unwrap())
        }
        "random" => Box::new(RandomAgent),
        "evolution" => Box::new(RegularizedEvolution::new(EvolutionConfig::small()).unwrap()),
        "local" => Box::new(LocalSearch::new()),
        "local10" => Box::new(LocalSearch::new().with_starts(NonZeroU64::new(10).unwrap())),
        _ => unreachable!("{name}"),
    }
}

/// Evaluates slowly if a process is to be killed in the middle; the results are the same.
struct Slow(Synthetic);

impl Environment<BlockCode> for Slow {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        if std::env::var_os(CHILD).is_some() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.0.evaluate(block, context)
    }

    fn identity(&self) -> String {
        Environment::<BlockCode>::identity(&self.0)
    }
}

/// The outcome of a search: every record and the agent's state.
fn run(
    name: &str,
    space: &BlockSpace,
    trials: u64,
    minibatch: u64,
    folder: Option<RunFolder>,
) -> (Vec<String>, Vec<u8>) {
    let config = SearchConfig::paper().with_seed(5).with_trials(trials, minibatch);
    let environment = Slow(Synthetic::new().with_noise(2.0));
    let mut search = Search::new(space.clone(), agent(name), environment, config)
        .with_reward(RedefinedReward::accuracy(Credit::EveryLayer));
    if let Some(folder) = folder {
        search = search.with_run_folder(folder);
    }
    let (report, agent) = search.run_with_agent().unwrap();
    let mut state = Vec::new();
    agent.save(&mut state).unwrap();
    (report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect(), state)
}

#[test]
fn one_seed_of_any_agent_gives_one_search() {
    for name in NAMES {
        let space = BlockSpace::paper();
        assert_eq!(run(name, &space, 60, 5, None), run(name, &space, 60, 5, None), "{name}");
    }
}

/// A run whose process died leaves the beginning of a journal, and an earlier checkpoint or none.
#[test]
fn a_search_killed_anywhere_and_resumed_ends_the_same_with_every_agent() {
    for name in NAMES {
        let space = BlockSpace::paper();
        for minibatch in [1, 5] {
            let expected = run(name, &space, 60, minibatch, None);
            let parent = tempfile::tempdir().unwrap();
            let whole = parent.path().join("whole");
            assert_eq!(run(name, &space, 60, minibatch, Some(RunFolder::create(&whole).unwrap())), expected, "{name}");
            // A checkpoint of 35 trials, for runs that are killed later.
            let early = parent.path().join("early");
            run(name, &space, 35, minibatch, Some(RunFolder::create(&early).unwrap()));
            let journal = fs::read(whole.join("journal.jsonl")).unwrap();
            for tenth in [2, 5, 8] {
                for checkpoint in [None, Some(&early)] {
                    let killed = parent.path().join(format!("killed-{tenth}-{}", checkpoint.is_some()));
                    fs::create_dir(&killed).unwrap();
                    fs::copy(whole.join("search.json"), killed.join("search.json")).unwrap();
                    fs::write(killed.join("journal.jsonl"), &journal[..journal.len() * tenth / 10]).unwrap();
                    if let Some(early) = checkpoint {
                        fs::copy(early.join("checkpoint"), killed.join("checkpoint")).unwrap();
                    }
                    let resumed = run(name, &space, 60, minibatch, Some(RunFolder::resume(&killed).unwrap()));
                    assert_eq!(resumed, expected, "{name}, {tenth} tenths");
                }
            }
        }
    }
}

/// The variables with the name of the agent and the path of the run, for the process that is to be killed.
const CHILD: &str = "BLOCKQNN_TEST_AGENT_RUN";

/// Not a test itself: the process that [`a_killed_process_leaves_no_trace_in_the_search_of_any_agent`] kills.
#[test]
fn child_process() {
    let Ok(child) = std::env::var(CHILD) else { return };
    let (name, path) = child.split_once(' ').unwrap();
    let path = Path::new(path);
    let folder = if path.join("journal.jsonl").exists() { RunFolder::resume(path) } else { RunFolder::create(path) };
    run(name, &BlockSpace::paper(), 60, 5, Some(folder.unwrap()));
}

#[test]
fn a_killed_process_leaves_no_trace_in_the_search_of_any_agent() {
    let mut rng = seed::stream(7, "kills", 0);
    for name in NAMES {
        let space = BlockSpace::paper();
        let expected = run(name, &space, 60, 5, None);
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let lines = || fs::read_to_string(path.join("journal.jsonl")).map_or(0, |text| text.lines().count());
        let mut kills = 0;
        // The second process resumes the run of the first and is killed later.
        for earliest in [5, 70] {
            let wanted = earliest + seed::index(&mut rng, 40);
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "agents::child_process", "--test-threads", "1"])
                .env(CHILD, format!("{name} {}", path.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while child.try_wait().unwrap().is_none() {
                if lines() >= wanted {
                    child.kill().unwrap();
                    break;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            kills += usize::from(!child.wait().unwrap().success());
            assert!(lines() >= wanted, "{name}: the process ended at {} lines of {wanted}", lines());
        }
        assert!(kills > 0, "{name}: no process was killed before its end");
        let resumed = run(name, &space, 60, 5, Some(RunFolder::resume(&path).unwrap()));
        assert_eq!(resumed, expected, "{name}");
    }
}

#[test]
fn a_checkpoint_is_taken_up_by_every_agent() {
    for name in NAMES {
        let space = BlockSpace::paper();
        let expected = run(name, &space, 60, 5, None);
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        run(name, &space, 40, 5, Some(RunFolder::create(&path).unwrap()));
        // A longer schedule extends the finished run from its checkpoint.
        assert!(path.join("checkpoint").exists());
        assert_eq!(run(name, &space, 60, 5, Some(RunFolder::resume(&path).unwrap())), expected, "{name}");
    }
}

#[test]
fn ten_thousand_episodes_of_every_agent_are_valid_blocks() {
    std::thread::scope(|scope| {
        for name in NAMES {
            scope.spawn(move || {
                let config = SearchConfig::paper().with_seed(6).with_trials(10_000, 500);
                let space = BlockSpace::paper();
                let report = Search::new(space.clone(), agent(name), Synthetic::new(), config).run().unwrap();
                assert_eq!(report.records.len(), 10_000, "{name}");
                for record in &report.records {
                    let block = space.decode(&record.actions).unwrap();
                    assert_eq!(block.layers(), record.actions);
                }
            });
        }
    });
}

fn spaces() -> [BlockSpace; 4] {
    let paper = BlockSpace::paper();
    let ablation = BlockSpace::paper().with_convolution(ConvolutionRule::Separate);
    let unconnected = |space: &BlockSpace| space.clone().with_terminal(TerminalRule::Unconnected);
    [unconnected(&paper), unconnected(&ablation), paper, ablation]
}

fn random_trajectory(space: &BlockSpace, number: u64) -> TrajectoryOf<BlockSpace> {
    let mut rng = seed::stream(8, "mutations", number);
    let choose = |state: &LayerCode| Ok::<_, SpaceError>(*seed::choose(&mut rng, &space.actions(state)).unwrap());
    walk_by(space, choose).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutations_of_blocks_never_break_table_1(number in any::<u64>(), which in 0..4usize, steps in 1..40usize) {
        let space = &spaces()[which];
        let mut current = random_trajectory(space, number);
        let mut rng = seed::stream(9, "mutations", number);
        for _ in 0..steps {
            let next = Edit::random(space, &current, &mut rng).unwrap();
            prop_assert_ne!(&next.actions, &current.actions);
            // A walk of legal actions, with the states in between, is a block by the rules of Table 1.
            prop_assert_eq!(&walk(space, &next.actions).unwrap(), &next);
            let block = BlockCode::new(next.actions.clone()).unwrap();
            prop_assert!(block.len() <= 23);
            current = next;
        }
    }
}
