//! A run is a single search: resuming it with another part is refused with the name of that part, and nothing is
//! written.

use super::{StopAfter, copy};
use blockqnn::agent::{
    Agent, EvolutionConfig, LeastSquares, LeastSquaresConfig, ListedAgent, LocalSearch, Policy, QLearning,
    QLearningConfig, RandomAgent, RegularizedEvolution,
};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{BoxedEnvironment, Cancellation, EnvironmentExt};
use blockqnn::evaluation::{Evaluation, Reward};
use blockqnn::graph::{Cost, LayerGraph};
use blockqnn::reward::{Credit, RedefinedReward, RewardError, RewardShaper, SoftTargets};
use blockqnn::search::{RunFolder, Scheduling, Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace, LayerCode, TerminalRule};
use blockqnn::space::cell::{CellIdentity, CellSpace};
use blockqnn::space::{SearchSpace, SpaceError, Step};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;

/// The parts of a search.
struct Parts<S: SearchSpace> {
    space: S,
    agent: Box<dyn Agent<S>>,
    reward: Box<dyn RewardShaper>,
    environment: BoxedEnvironment<S::Architecture>,
}

/// What they should do, and in which folder.
#[derive(Clone, Copy)]
struct Task<'a> {
    path: Option<&'a Path>,
    scheduling: Scheduling,
    trials: u64,
    stop_after: u64,
}

impl<S: SearchSpace> Parts<S> {
    /// Starts or resumes the run of a task, and returns its records.
    fn run(self, task: &Task<'_>) -> Result<Vec<String>, String> {
        let flag = Cancellation::new();
        let config = SearchConfig::paper().with_seed(3).with_trials(task.trials, 4).with_scheduling(task.scheduling);
        let mut search = Search::new(self.space, self.agent, self.environment, config)
            .with_reward(self.reward)
            .with_cancellation(flag.clone())
            .with_observer(StopAfter(task.stop_after, flag));
        if let Some(path) = task.path {
            let is_run = path.join("search.json").exists();
            let folder = if is_run { RunFolder::resume(path) } else { RunFolder::create(path) };
            search = search.with_run_folder(folder.unwrap());
        }
        let report = search.run().map_err(|error| error.to_string())?;
        Ok(report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect())
    }
}

fn space() -> BlockSpace {
    BlockSpace::paper().with_max_layers(5).unwrap()
}

fn settings() -> QLearningConfig {
    // A policy that needs no schedule, so that the agent is the same for more trials.
    QLearningConfig { policy: Policy::Softmax { temperature: 0.5, uniform: 8 }, ..QLearningConfig::tuned(4) }
}

/// The parts with which the runs of these tests are started.
fn parts() -> Parts<BlockSpace> {
    Parts {
        space: space(),
        agent: Box::new(QLearning::new(settings()).unwrap()),
        reward: Box::new(RedefinedReward::paper()),
        environment: Synthetic::new().with_noise(3.0).boxed(),
    }
}

fn with_agent(agent: impl Agent<BlockSpace> + 'static) -> Parts<BlockSpace> {
    Parts { agent: Box::new(agent), ..parts() }
}

fn with_reward(reward: impl RewardShaper + 'static) -> Parts<BlockSpace> {
    Parts { reward: Box::new(reward), ..parts() }
}

/// The accuracy, with its own formula.
struct Plain;

impl RewardShaper for Plain {
    fn reward(&self, accuracy: f64, _: &Evaluation, _: Option<&Cost>) -> Result<Reward, RewardError> {
        Ok(Reward::new(accuracy)?)
    }
    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        Credit::EveryLayer.spread(reward, layers)
    }
}

/// Block codes with custom rules and without an identity.
struct Renamed(BlockSpace);

impl SearchSpace for Renamed {
    type State = LayerCode;
    type Action = LayerCode;
    type Architecture = BlockCode;
    fn initial_state(&self) -> LayerCode {
        self.0.initial_state()
    }
    fn actions(&self, state: &LayerCode) -> Vec<LayerCode> {
        self.0.actions(state)
    }
    fn step(&self, state: &LayerCode, action: &LayerCode) -> Result<Step<LayerCode>, SpaceError> {
        self.0.step(state, action)
    }
    fn decode(&self, actions: &[LayerCode]) -> Result<BlockCode, SpaceError> {
        self.0.decode(actions)
    }
    fn graph(&self, block: &BlockCode) -> Option<LayerGraph> {
        self.0.graph(block)
    }
}

/// Everything in a folder but its lock.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
    });
    files.filter(|(name, _)| name != "lock").collect()
}

/// A change, what the refusal must name, and the attempt.
type Change = (&'static str, &'static str, Box<dyn Fn(&Task<'_>) -> Result<Vec<String>, String>>);

fn changes() -> Vec<Change> {
    fn change<S: SearchSpace>(
        what: &'static str,
        named: &'static str,
        make: impl Fn() -> Parts<S> + 'static,
    ) -> Change {
        (what, named, Box::new(move |task| make().run(task)))
    }
    let cells = || Parts {
        space: CellSpace::new(),
        agent: Box::new(RandomAgent),
        reward: Box::new(RedefinedReward::paper()),
        environment: blockqnn::environment::environment_fn("cells", |_: &_, _| 50.0).boxed(),
    };
    vec![
        change("agent", r#""RandomAgent" now"#, || with_agent(RandomAgent)),
        change("agent", r#"agent: "QLearning" in the folder, "LeastSquares" now"#, || {
            with_agent(LeastSquares::new(LeastSquaresConfig::default()).unwrap())
        }),
        change("agent", r#""RegularizedEvolution" now"#, || {
            with_agent(RegularizedEvolution::new(EvolutionConfig::small()).unwrap())
        }),
        change("agent's settings", "agent.policy.softmax.temperature: 0.5 in the folder, 0.7 now", || {
            let policy = Policy::Softmax { temperature: 0.7, uniform: 8 };
            with_agent(QLearning::new(QLearningConfig { policy, ..settings() }).unwrap())
        }),
        change("agent's settings", "agent.learning_rate: 0.1 in the folder, 0.2 now", || {
            with_agent(QLearning::new(QLearningConfig { learning_rate: 0.2, ..settings() }).unwrap())
        }),
        change("space", r#"space: "BlockSpace" in the folder, "CellSpace" now"#, cells),
        change("space", r#""Renamed" now"#, || Parts {
            space: Renamed(space()),
            agent: Box::new(QLearning::new(settings()).unwrap()),
            reward: Box::new(RedefinedReward::paper()),
            environment: Synthetic::new().with_noise(3.0).boxed(),
        }),
        change("space's settings", "space.max_layers: 5 in the folder, 6 now", || Parts {
            space: BlockSpace::paper().with_max_layers(6).unwrap(),
            ..parts()
        }),
        change("space's settings", r#"space.terminal: "connected" in the folder, "unconnected" now"#, || Parts {
            space: space().with_terminal(TerminalRule::Unconnected),
            ..parts()
        }),
        change("reward", r#""Plain" now"#, || with_reward(Plain)),
        change("reward's settings", "reward.mu: 0.5 in the folder, -3.0 now", || {
            with_reward(RedefinedReward { mu: -3.0, ..RedefinedReward::paper() })
        }),
        change("reward's credit", r#"reward.credit: "every-layer" in the folder, "shared" now"#, || {
            with_reward(RedefinedReward { credit: Credit::Shared, ..RedefinedReward::paper() })
        }),
        change("reward's targets", "reward.targets: null in the folder, {", || {
            let targets = SoftTargets::default().with("flops", 1e18, 1.0);
            with_reward(RedefinedReward::paper().with_targets(targets))
        }),
        change(
            "environment",
            r#"environment: "synthetic 1, noise 3" in the folder, "synthetic 1, noise 4" now"#,
            || Parts { environment: Synthetic::new().with_noise(4.0).boxed(), ..parts() },
        ),
    ]
}

/// Resumes a stopped run with changes, with and without its checkpoint: each is refused by name and leaves every byte
/// as it was. The unchanged run ends as if it had not been stopped, with as many trials and with more.
fn refuses(scheduling: Scheduling, changes: &[Change], make: impl Fn(&Task<'_>) -> Result<Vec<String>, String>) {
    let parent = tempfile::tempdir().unwrap();
    let stopped = parent.path().join("stopped");
    let new = Task { path: None, scheduling, trials: 12, stop_after: u64::MAX };
    assert_eq!(make(&Task { path: Some(&stopped), stop_after: 7, ..new }).unwrap().len(), 7);
    for (trials, checkpoint) in [(12, true), (12, false), (20, true), (20, false)] {
        let path = parent.path().join(format!("{trials}-{checkpoint}"));
        copy(&stopped, &path);
        assert!(path.join("checkpoint").exists());
        if !checkpoint {
            fs::remove_file(path.join("checkpoint")).unwrap();
        }
        let before = contents(&path);
        let task = Task { path: Some(&path), trials, ..new };
        for (what, named, attempt) in changes {
            let case = format!("{what}, {scheduling:?}, checkpoint {checkpoint}, {trials} trials");
            let error = attempt(&task).map(|records| records.len()).expect_err(&case);
            assert!(error.contains("was started with other settings") && error.contains(named), "{case}: {error}");
            assert!(contents(&path) == before, "{case}: something was written");
        }
        assert_eq!(make(&task).unwrap(), make(&Task { trials, ..new }).unwrap(), "{scheduling:?}, {checkpoint}");
    }
}

#[test]
fn a_run_is_not_resumed_with_another_agent_space_reward_or_environment() {
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        refuses(scheduling, &changes(), |task| parts().run(task));
    }
}

/// A run as it was written before space, agent and reward had identities.
#[test]
fn a_run_that_does_not_know_its_parts_is_compared_with_its_journal() {
    for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let new = Task { path: None, scheduling, trials: 12, stop_after: u64::MAX };
        parts().run(&Task { path: Some(&path), stop_after: 7, ..new }).unwrap();
        let text = fs::read_to_string(path.join("search.json")).unwrap();
        let mut description: serde_json::Value = serde_json::from_str(&text).unwrap();
        for part in ["space", "agent", "reward"] {
            assert!(description.as_object_mut().unwrap().remove(part).unwrap().is_string());
        }
        fs::write(path.join("search.json"), description.to_string()).unwrap();

        let before = contents(&path);
        // Neither a checkpoint nor more trials keep the journal from being compared.
        let task = Task { path: Some(&path), trials: 20, ..new };
        let error = with_reward(Plain).run(&task).unwrap_err();
        assert!(error.contains("trial 0 differs from the journal: its reward is"), "{error}");
        let narrow = || Parts { space: BlockSpace::paper().with_max_layers(2).unwrap(), ..parts() };
        let error = narrow().run(&task).unwrap_err();
        assert!(error.contains("differs from the journal: its walk does not belong to this search space"), "{error}");
        assert!(contents(&path) == before);

        // Once resumed, the run knows its parts.
        assert_eq!(parts().run(&task).unwrap(), parts().run(&Task { trials: 20, ..new }).unwrap());
        let error = with_agent(RandomAgent).run(&task).unwrap_err();
        assert!(error.contains(r#""RandomAgent" now"#), "{error}");
    }
}

#[test]
fn a_list_may_be_continued_but_not_replaced() {
    let walk = |text: &str| text.parse::<BlockCode>().unwrap().layers().to_vec();
    let kernels: Vec<_> = [1, 3, 5].map(|kernel| walk(&format!("conv{kernel}(0) terminal(1)"))).into();
    let run = |path: &Path, walks: &[usize], trials| {
        let walks = walks.iter().map(|&place| kernels[place].clone());
        let agent = ListedAgent::new(&space(), walks).unwrap();
        with_agent(agent).run(&Task { path: Some(path), scheduling: Scheduling::Rolling, trials, stop_after: u64::MAX })
    };
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    run(&path, &[0, 1], 2).unwrap();
    let before = contents(&path);
    let error = run(&path, &[0, 2, 1], 3).unwrap_err();
    assert!(error.contains("agent: walk 1 (counted from 0) of its list has changed"), "{error}");
    assert!(contents(&path) == before);
    assert_eq!(run(&path, &[0, 1, 2], 3).unwrap().len(), 3);
    fs::remove_file(path.join("checkpoint")).unwrap();
    let error = run(&path, &[0, 2, 1], 3).unwrap_err();
    assert!(error.contains("trial 1 differs from the journal: the agent proposes the architecture"), "{error}");
}

#[test]
fn the_identities_of_all_built_in_parts_contain_what_their_decisions_depend_on() {
    let agents: [Box<dyn Agent<BlockSpace>>; 5] = [
        Box::new(QLearning::new(QLearningConfig::paper()).unwrap()),
        Box::new(LocalSearch::new()),
        Box::new(LocalSearch::new().with_starts(NonZeroU64::new(10).unwrap())),
        Box::new(RegularizedEvolution::new(EvolutionConfig::large()).unwrap()),
        Box::new(RandomAgent),
    ];
    let identities = agents.map(|agent| agent.identity());
    // Default settings are omitted as in files, so that a new setting does not change the identity of existing runs.
    assert!(identities[0].starts_with(r#"QLearning {"learning_rate":0.01,"discount":1.0,"initial_q":0.0,"epsilon":["#));
    assert!(identities[0].ends_with(r#""replay":{"rounds":64,"batch":128}}"#), "{}", identities[0]);
    assert_eq!(identities[1], r#"LocalSearch {"starts":1}"#);
    assert_eq!(identities[2], r#"LocalSearch {"starts":10}"#);
    assert_eq!(identities[3], r#"RegularizedEvolution {"population":50,"sample":25}"#);
    assert_eq!(identities[4], "RandomAgent");
    assert_eq!(
        BlockSpace::paper().identity(),
        r#"BlockSpace {"max_layers":23,"terminal":"connected","convolution":"pre-activation"}"#
    );
    let cells = CellSpace::new().with_identity(CellIdentity::Code);
    assert_eq!(SearchSpace::identity(&cells), r#"CellSpace {"identity":"code"}"#);
    assert_eq!(RedefinedReward::paper().identity(), r#"RedefinedReward {"mu":0.5,"rho":0.5,"credit":"every-layer"}"#);
}

#[cfg(feature = "flex")]
mod training {
    use super::*;
    use blockqnn::data::ImageSet;
    use blockqnn::graph::{ImageShape, NetworkConfig};
    use blockqnn::network::device::default_device;
    use blockqnn::train::{Recipe, TrainingEnvironment};

    fn pictures(name: &str, first: u8) -> ImageSet {
        let shape = ImageShape { channels: 1, height: 4, width: 4 };
        let pixels: Vec<u8> =
            (0..=u8::MAX).map(|place| if place == 0 { first } else { place.wrapping_mul(37) }).collect();
        let labels = (0..16).map(|place| place % 2).collect();
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        ImageSet::new(name, shape, classes, labels, pixels).unwrap()
    }

    fn trained(recipe: Recipe, first: u8) -> Parts<BlockSpace> {
        let (training, validation) = (pictures("training", first), pictures("validation", 9));
        let network = NetworkConfig { stages: 1, repeats: 1, width: 2, ..NetworkConfig::cifar() };
        let network = network.with_data(training.shape(), 2);
        let device = default_device().unwrap();
        let environment = TrainingEnvironment::with_parts(&training, &validation, network, recipe, &device).unwrap();
        Parts { environment: environment.boxed(), space: BlockSpace::paper().with_max_layers(4).unwrap(), ..parts() }
    }

    fn recipe() -> Recipe {
        Recipe { epochs: 1, batch_size: 8, ..Recipe::early_stop() }
    }

    #[test]
    fn a_run_is_not_resumed_with_another_recipe_or_other_pictures() {
        let refusal = "environment: \"training 1 sha256:";
        let changes: Vec<Change> = vec![
            ("recipe", refusal, Box::new(|task| trained(Recipe { learning_rate: 0.5, ..recipe() }, 1).run(task))),
            ("pictures", refusal, Box::new(|task| trained(recipe(), 2).run(task))),
        ];
        for scheduling in [Scheduling::Minibatch, Scheduling::Rolling] {
            refuses(scheduling, &changes, |task| {
                // Records hold the seconds of a training, which differ between runs.
                let records = trained(recipe(), 1).run(task)?;
                let timeless = |record: &String| {
                    let mut record: serde_json::Value = serde_json::from_str(record).unwrap();
                    if let Some(metrics) = record.pointer_mut("/evaluation/measured") {
                        metrics.as_object_mut().unwrap().remove("seconds");
                    }
                    record.to_string()
                };
                Ok(records.iter().map(timeless).collect())
            });
        }
    }
}
