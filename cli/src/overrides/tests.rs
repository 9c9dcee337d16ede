use super::*;
use blockqnn::agent::{EvolutionConfig, LeastSquaresConfig, ReplayConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::search::{MedianStopping, RunFolder, Rungs, Search};
use blockqnn::space::block::BlockSpace;
use blockqnn::train::{OptimizerConfig, Schedule};
use serde_json::json;

fn q_learning(experiment: &Experiment) -> &QLearningConfig {
    let AgentConfig::QLearning(agent) = &experiment.agent else { panic!("{}", experiment.agent) };
    agent
}

#[test]
fn settings_that_are_omitted_at_their_default_can_be_set_and_are_written_then() {
    let base = serde_json::to_value(Experiment::paper()).unwrap();
    for (path, value) in [
        ("agent.next_values", "old"),
        ("reward.flops_of", "block"),
        ("space.connections", "equal"),
        ("space.connections", "any"),
        ("search.repeats", "replay"),
    ] {
        let mut overrides = Overrides::new();
        overrides.set_text(&format!("{path}={value}")).unwrap();
        let experiment = overrides.apply(Preset::Paper).unwrap();
        experiment.validate().unwrap();
        let written = serde_json::to_value(&experiment).unwrap();
        let pointer = format!("/{}", path.replace('.', "/"));
        assert_eq!(written.pointer(&pointer), Some(&json!(value)), "{path}");
        assert_ne!(base.pointer(&pointer), Some(&json!(value)), "{path} is the default");
        assert_eq!(serde_json::from_value::<Experiment>(written).unwrap(), experiment);
    }
}

#[test]
fn the_network_follows_the_data_set_unless_it_is_set() {
    let mut overrides = Overrides::new();
    overrides.set("data.dataset", "cifar10");
    let experiment = overrides.apply(Preset::Paper).unwrap();
    assert_eq!(experiment.network().classes, 10);
    overrides.set("search.network.classes", 7);
    assert_eq!(overrides.apply(Preset::Paper).unwrap().network().classes, 7);
}

#[test]
fn a_choice_is_replaced_and_everything_else_merged() {
    let mut overrides = Overrides::new();
    overrides.set("recipe.optimizer", json!({"sgd": {"momentum": 0.9, "weight_decay": 0.0}}));
    overrides.set("recipe.schedule", json!("constant"));
    overrides.set("agent.replay.rounds", 1);
    let experiment = overrides.apply(Preset::Paper).unwrap();
    assert_eq!(q_learning(&experiment).replay, ReplayConfig { rounds: 1, batch: 128 });
    assert_eq!(experiment.recipe.schedule, Schedule::Constant);
    overrides.set("recipe.optimizer.sgd.momentum", 0.5);
    let expected = OptimizerConfig::Sgd { momentum: 0.5, weight_decay: 0.0 };
    assert_eq!(overrides.apply(Preset::Paper).unwrap().recipe.optimizer, expected);
}

#[test]
fn several_changes_of_one_section_all_count() {
    let mut overrides = Overrides::new();
    overrides.set("search.trials", 4);
    overrides.set("search.minibatch", 2);
    let experiment = overrides.apply(Preset::Quick).unwrap();
    assert_eq!((experiment.search.trials, experiment.search.minibatch), (4, 2));
}

#[test]
fn a_change_of_the_rule_for_stopping_turns_it_on_with_its_other_settings_at_their_defaults() {
    let rule = |settings: &[&str]| {
        let mut overrides = Overrides::new();
        for setting in settings {
            overrides.set_text(setting).unwrap();
        }
        overrides.apply(Preset::Quick).unwrap().search.median_stopping
    };
    let (grace, trials) = ("search.median_stopping.grace_epochs=1", "search.median_stopping.min_trials=4");
    let defaults = MedianStopping::default();
    assert_eq!(rule(&[]), None);
    assert_eq!(rule(&[grace]), Some(MedianStopping { grace_epochs: 1, ..defaults }));
    assert_eq!(rule(&[grace, trials]), Some(MedianStopping { grace_epochs: 1, min_trials: 4 }));
    assert_eq!(rule(&[grace, "search.median_stopping=null"]), None);
}

#[test]
fn a_change_of_the_rungs_turns_them_on_with_their_other_settings_at_their_defaults() {
    let rungs = |preset: Preset, setting: &str| {
        let mut overrides = Overrides::new();
        overrides.set_text(setting).unwrap();
        overrides.apply(preset).unwrap().search.rungs
    };
    assert_eq!(rungs(Preset::Quick, "search.trials=8"), None);
    assert_eq!(rungs(Preset::Quick, "search.rungs.count=2"), Some(Rungs::new(2)));
    assert_eq!(rungs(Preset::Quick, "search.rungs.one_in=4"), Some(Rungs { one_in: 4, ..Rungs::new(3) }));
    assert_eq!(rungs(Preset::Economical, "search.trials=8"), Some(Rungs::new(3)));
    assert_eq!(rungs(Preset::Economical, "search.rungs=null"), None);
}

#[test]
fn every_field_of_a_preset_can_be_overridden() {
    fn leaves(prefix: &str, value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    leaves(&path, value, out);
                }
            }
            _ => out.push(prefix.to_owned()),
        }
    }
    let base = serde_json::to_value(Experiment::paper()).unwrap();
    let mut paths = Vec::new();
    leaves("", &base, &mut paths);
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths {
        let pointer = format!("/{}", path.replace('.', "/"));
        let mut overrides = Overrides::new();
        let value = base.pointer(&pointer).unwrap().clone();
        overrides.set_text(&format!("{path}={value}")).unwrap();
        assert!(overrides.contains(&path));
        overrides.apply(Preset::Quick).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn wrong_settings_are_refused_by_name() {
    for (text, expected) in [
        ("agent.learning=1", "agent.learning: unknown field `learning`, expected one of `learning_rate`"),
        ("agents.learning_rate=1", "unknown section `agents`"),
        ("recipe.epochs=many", "recipe.epochs: expected a whole number, found \"many\""),
        ("recipe.batch_size=\"32\"", "recipe.batch_size: expected a whole number, found \"32\""),
        ("recipe.batch_size=32.5", "recipe.batch_size: expected a whole number, found 32.5"),
        ("recipe.batch_size=-1", "recipe.batch_size: expected a whole number from 0 to 18446744073709551615, found -1"),
        ("space.max_layers=300", "space.max_layers: expected a whole number from 0 to 255, found 300"),
        ("recipe.learning_rate=NaN", "recipe.learning_rate: expected a number, found \"NaN\""),
        ("recipe.optimizer.sgd.momentum=[]", "recipe.optimizer.sgd.momentum: expected a number, found []"),
        ("recipe.optimizer={\"sgd\":{}}", "recipe.optimizer.sgd: missing field"),
        ("recipe.optimizer=3", "recipe.optimizer: expected a name, or an object with one name, found 3"),
        ("search.seed.x=1", "search.seed: expected a whole number, found {\"x\":1}"),
        ("search.limits.flops=low", "search.limits.flops: expected a whole number, found \"low\""),
        ("agent.clip_at_median=1", "agent.clip_at_median: expected true or false, found 1"),
        ("recipe=5", "recipe: expected an object with settings, found 5"),
        ("agent.local.starts=0", "agent.local.starts: expected a whole number of at least 1, found 0"),
        ("data.dataset=mnist", "data.dataset: unknown variant `mnist`, expected one of `embedded`"),
        ("space.max_layers=1", "space.max_layers is 1"),
    ] {
        let mut overrides = Overrides::new();
        overrides.set_text(text).unwrap();
        let message = match overrides.apply(Preset::Quick) {
            Err(error) => error,
            Ok(experiment) => panic!("{text} is accepted: {experiment:?}"),
        };
        assert!(message.starts_with(expected), "{text}: {message}");
    }
    for text in ["epochs", "=3", "a..b=3"] {
        assert!(Overrides::new().set_text(text).unwrap_err().contains("path=value"), "{text}");
    }
    for (text, field) in [
        ("recipe.batch_size=0", "recipe.batch_size is 0"),
        ("search.minibatch=0", "search.minibatch is 0"),
        ("data.validation=0", "data.validation is 0"),
        ("data.train_limit=0", "data.train_limit is 0"),
        ("search.network.width=0", "search.network.width is 0"),
        ("recipe.schedule.step.factor=2", "recipe.schedule.step.factor is 2"),
        ("agent.least-squares.noise=0", "agent.least-squares.noise is 0"),
        ("agent.evolution={\"population\":2,\"sample\":3}", "agent.evolution.sample is 3"),
        ("reward.targets.flops={\"target\":0,\"weight\":1}", "reward.targets.flops.target is 0"),
    ] {
        let mut overrides = Overrides::new();
        overrides.set_text(text).unwrap();
        let message = overrides.apply(Preset::Quick).unwrap().validate().unwrap_err().to_string();
        assert!(message.starts_with(field), "{text}: {message}");
    }
}

#[test]
fn a_configuration_file_is_read_or_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.json");
    let mut overrides = Overrides::new();
    let missing = overrides.set_file(&path).unwrap_err();
    assert!(missing.contains("settings.json"), "{missing}");
    std::fs::write(&path, "[1]").unwrap();
    assert!(overrides.set_file(&path).unwrap_err().contains("is not a JSON object"));
    let settings = r#"{"recipe": {"epochs": 5}}"#;
    let utf16 = |order: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(settings.encode_utf16()).flat_map(order).collect()
    };
    for (bytes, found) in [
        ([b"\xef\xbb\xbf", settings.as_bytes()].concat(), "is in UTF-8 with a byte order mark"),
        (utf16(u16::to_le_bytes, true), "is in UTF-16"),
        (utf16(u16::to_be_bytes, true), "is in UTF-16"),
        (utf16(u16::to_le_bytes, false), "is in UTF-16"),
        (utf16(u16::to_be_bytes, false), "is in UTF-16"),
        (b"{\"recipe\": \"\xe4\"}".to_vec(), "is in another encoding"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let message = overrides.set_file(&path).unwrap_err();
        assert!(message.contains(found) && message.contains("save it as that"), "{message}");
    }
    std::fs::write(&path, r#"{"recipe": {"epochs": 5, "batch_size": 8, "epochs": 6}}"#).unwrap();
    let message = overrides.set_file(&path).unwrap_err();
    assert!(message.contains("the field `epochs` occurs twice"), "{message}");
    std::fs::write(&path, settings).unwrap();
    overrides.set_file(&path).unwrap();
    assert_eq!(overrides.apply(Preset::Quick).unwrap().recipe.epochs, 5);
}

/// Runs an experiment's search in a run folder, new or to be resumed, with a synthetic environment in place of
/// training.
fn run_in(path: &Path, experiment: &Experiment) {
    let Experiment { space, search, reward, .. } = experiment.clone();
    let is_run = path.join("search.json").exists();
    let folder = if is_run { RunFolder::resume(path) } else { RunFolder::create(path) };
    let folder = folder.unwrap().with_details(&experiment.details()).unwrap();
    Search::new(space, experiment.agent.build().unwrap(), Synthetic::new(), search)
        .with_reward(reward)
        .with_run_folder(folder)
        .run()
        .unwrap();
}

/// The overrides that a run folder keeps.
fn settings_of_run(path: &Path) -> Overrides {
    let mut overrides = Overrides::new();
    overrides.set_run(&RunFolder::resume(path).unwrap().settings().unwrap()).unwrap();
    overrides
}

#[test]
fn a_run_gives_back_the_experiment_it_was_started_with() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let mut overrides = Overrides::new();
    overrides.set_text("reward.mu=0.1").unwrap();
    overrides.set_text("search.trials=4").unwrap();
    let experiment = overrides.apply(Preset::Short).unwrap();
    run_in(&path, &experiment);

    let mut overrides = settings_of_run(&path);
    assert_eq!(overrides.apply(Preset::Quick).unwrap(), experiment);
    overrides.set_text("search.trials=8").unwrap();
    let longer = overrides.apply(Preset::Quick).unwrap();
    assert_eq!(longer.search.trials, 8);
    // More trials are no other search: the schedule is the one it was started with, and the run goes on.
    assert_eq!(longer.agent, experiment.agent);
    run_in(&path, &longer);
    assert_eq!(RunFolder::read::<BlockSpace>(&path).unwrap().records.len(), 8);
}

/// A page offers its settings as a file; the file makes the experiment.
#[cfg(feature = "report")]
#[test]
fn the_settings_that_a_report_saves_repeat_the_experiment() {
    let experiment = Experiment::short();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let search = blockqnn::search::SearchConfig { trials: 8, minibatch: 8, ..experiment.search.clone() };
    let experiment = Experiment { search, ..experiment };
    run_in(&path, &experiment);
    let html = blockqnn::report::Report::read([&path]).unwrap().html();
    let address = html.split("href=\"data:application/json,").nth(1).unwrap().split('"').next().unwrap();
    let mut parts = address.split('%');
    let mut bytes: Vec<u8> = parts.next().unwrap().bytes().collect();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].bytes());
    }
    let file = folder.path().join("config.json");
    std::fs::write(&file, bytes).unwrap();
    let mut overrides = Overrides::new();
    overrides.set_file(&file).unwrap();
    assert_eq!(overrides.apply(Preset::Quick).unwrap(), experiment);
}

#[test]
fn another_agent_takes_the_place_of_the_q_learner() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let mut overrides = Overrides::new();
    overrides.set("agent", "best");
    overrides.set_text("agent.least-squares.uniform=5").unwrap();
    overrides.set_text("search.minibatch=4").unwrap();
    let experiment = overrides.apply(Preset::Quick).unwrap();
    experiment.validate().unwrap();
    let best = LeastSquaresConfig { uniform: 5, ..LeastSquaresConfig::default() };
    assert_eq!(experiment.agent, AgentConfig::LeastSquares(best));
    // The preset's schedule has 8 minibatches; the agent has no schedule of its own.
    assert_eq!((experiment.search.trials, experiment.scheduled_trials()), (8 * 4, None));
    run_in(&path, &experiment);

    // A run gives it back, and it can be changed for another.
    let mut overrides = settings_of_run(&path);
    assert_eq!(overrides.apply(Preset::Quick).unwrap(), experiment);
    let agent_of = |overrides: &Overrides| overrides.apply(Preset::Quick).unwrap().agent;
    overrides.set_text("agent=random").unwrap();
    assert_eq!(agent_of(&overrides), AgentConfig::Random);
    overrides.set_text("agent=evolution50").unwrap();
    overrides.set_text("agent.evolution.sample=10").unwrap();
    assert_eq!(agent_of(&overrides), AgentConfig::Evolution(EvolutionConfig { population: 50, sample: 10 }));
    overrides.set("agent", json!(Experiment::quick().agent));
    assert_eq!(agent_of(&overrides), Experiment::quick().agent);
    overrides.set_text("agent=rank").unwrap();
    overrides.set_text("agent.initial_q=5").unwrap();
    let rank = QLearningConfig { initial_q: 5.0, ..QLearningConfig::rank() };
    assert_eq!(agent_of(&overrides), AgentConfig::QLearning(rank));
    overrides.set_text("agent=paper").unwrap();
    assert_eq!(agent_of(&overrides), AgentConfig::QLearning(QLearningConfig::paper()));

    let error = |text: &str| {
        let mut wrong = settings_of_run(&path);
        wrong.set_text(text).unwrap();
        wrong.apply(Preset::Quick).unwrap_err()
    };
    let unused = error("agent.learning_rate=0.1");
    assert!(unused.contains("agent.learning_rate would not be used, because the agent is least-squares"), "{unused}");
    let unknown = error("agent=genius");
    assert!(unknown.contains("agent is \"genius\": it must be paper, metaqnn"), "{unknown}");
}

/// Once an agent other than the Q-learner was a section `searcher` beside `agent`.
#[test]
fn a_file_with_a_section_searcher_is_read() {
    let mut written = serde_json::to_value(Experiment::quick()).unwrap();
    assert_eq!(serde_json::from_value::<Experiment>(written.clone()).unwrap(), Experiment::quick());
    let best = AgentConfig::LeastSquares(LeastSquaresConfig { uniform: 5, ..LeastSquaresConfig::default() });
    written["searcher"] = json!(best);
    let experiment: Experiment = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(experiment, Experiment { agent: best, ..Experiment::quick() });

    let mut overrides = Overrides::new();
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("old.json");
    std::fs::write(&file, written.to_string()).unwrap();
    overrides.set_file(&file).unwrap();
    assert_eq!(overrides.apply(Preset::Paper).unwrap(), experiment);
    overrides.set_text("searcher.least-squares.uniform=6").unwrap();
    assert_ne!(overrides.apply(Preset::Paper).unwrap(), experiment);
}

/// The folder was written when another agent was a section `searcher`, by training networks on the embedded images.
#[test]
fn a_run_with_a_section_searcher_is_resumed() {
    use blockqnn::network::Device;
    use blockqnn::train::TrainingEnvironment;

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/searcher-format-1");
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    std::fs::create_dir(&path).unwrap();
    for name in ["search.json", "journal.jsonl", "checkpoint"] {
        std::fs::copy(golden.join(name), path.join(name)).unwrap();
    }
    let experiment = settings_of_run(&path).apply(Preset::Paper).unwrap();
    let agent = LeastSquaresConfig { uniform: 2, ..LeastSquaresConfig::default() };
    assert_eq!(experiment.agent, AgentConfig::LeastSquares(agent));

    let resume = |experiment: Experiment| {
        let folder = RunFolder::resume(&path).unwrap().with_details(&experiment.details()).unwrap();
        let Experiment { space, agent, reward, search, recipe, data } = experiment;
        let (training, validation) = data.load(None, &mut |_| {}).unwrap();
        let network = search.network.clone().unwrap();
        let trainer =
            TrainingEnvironment::with_parts(&training, &validation, network, recipe, &Device::flex()).unwrap();
        let search = Search::new(space, agent.build().unwrap(), trainer, search).with_reward(reward);
        search.with_run_folder(folder).run().map(|report| report.records.len())
    };
    let error = resume(Experiment { agent: AgentConfig::Random, ..experiment.clone() }).unwrap_err().to_string();
    assert!(error.contains("agent"), "{error}");
    assert_eq!(resume(experiment.clone()).unwrap(), 4);
    let journal = |folder: &Path| std::fs::read(folder.join("journal.jsonl")).unwrap();
    assert_eq!(journal(&path), journal(&golden));
    let search = blockqnn::search::SearchConfig { trials: 6, ..experiment.search.clone() };
    assert_eq!(resume(Experiment { search, ..experiment }).unwrap(), 6);
}

/// Files of settings, or with a first byte of `+` words for --set, whole and cut off anywhere: what is accepted reads
/// back.
#[test]
fn damaged_settings_are_refused_without_a_panic() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/settings");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.json");
    let mut accepted = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        for end in (0..=bytes.len()).rev() {
            let mut overrides = Overrides::new();
            if let Some(words) = bytes[..end].strip_prefix(b"+") {
                String::from_utf8_lossy(words).lines().for_each(|word| drop(overrides.set_text(word)));
            } else {
                std::fs::write(&path, &bytes[..end]).unwrap();
                let _ = overrides.set_file(&path);
            }
            match overrides.apply(Preset::Quick) {
                Err(error) => assert!(!error.contains("invalid type"), "{error}"),
                Ok(experiment) => {
                    let json = serde_json::to_string(&experiment).unwrap();
                    assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment);
                    accepted += 1;
                }
            }
        }
    }
    assert!(accepted > 0);
}
