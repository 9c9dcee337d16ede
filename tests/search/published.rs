//! The examples on the pages, in the documentation of the crate and in `examples/`: those that search with the paper's learner give it
//! the paper's reward, or at least give the accuracy to every layer, and a schedule as long as the search, so that
//! learning changes its proposals.

use blockqnn::agent::{Agent, AgentError, Memory, QLearning, QLearningConfig, TrajectoryOf};
use blockqnn::environment::environment_fn;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use rand::Rng;
use std::fs;
use std::path::{Path, PathBuf};

/// The files below `folder` with one of these endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, endings, found);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
}

/// The blocks of code of a page, or of the documentation in a source file.
fn code_blocks(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let documentation = path.extension().is_some_and(|ending| ending == "rs");
    let of_line = |line: &str| {
        let comment = line.trim_start().strip_prefix("///").or(line.trim_start().strip_prefix("//!"));
        if documentation { comment.map(str::to_owned) } else { Some(line.to_owned()) }
    };
    let (mut blocks, mut open): (Vec<String>, Option<String>) = (Vec::new(), None);
    for line in text.lines().filter_map(of_line) {
        match (&mut open, line.trim_start().starts_with("```")) {
            (Some(_), true) => blocks.extend(open.take()),
            (Some(block), false) => block.extend([line.as_str(), "\n"]),
            (None, true) => open = Some(String::new()),
            (None, false) => {}
        }
    }
    blocks
}

/// The numbers that `code` passes to a function, if it calls that.
fn numbers(code: &str, function: &str) -> Option<Vec<u64>> {
    let (_, rest) = code.split_once(&format!("{function}("))?;
    let (list, _) = rest.split_once(')')?;
    Some(list.split(',').filter_map(|number| number.trim().parse().ok()).collect())
}

/// What scales the schedule of an agent; recipes can be scaled too.
const SCALED: &str = "QLearningConfig::paper().scaled_to";

/// Every published search with the paper's learner: where it is, and its code.
fn published() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md")];
    files(&root.join("docs"), &["md"], &mut paths);
    files(&root.join("src"), &["rs"], &mut paths);
    let mut examples = Vec::new();
    files(&root.join("examples"), &["rs"], &mut examples);
    let on_page = |path: PathBuf| code_blocks(&path).into_iter().map(move |code| (path.clone(), code));
    let whole = |path: PathBuf| (path.clone(), fs::read_to_string(path).unwrap());
    let all = paths.into_iter().flat_map(on_page).chain(examples.into_iter().map(whole));
    all.filter(|(_, code)| code.contains("QLearningConfig::paper()") && code.contains("Search::")).collect()
}

/// An agent that never learns.
struct Deaf(QLearning<BlockSpace>);

impl Agent<BlockSpace> for Deaf {
    fn propose(
        &mut self,
        space: &BlockSpace,
        memory: &Memory<BlockSpace>,
        rng: &mut dyn Rng,
    ) -> Result<TrajectoryOf<BlockSpace>, AgentError> {
        self.0.propose(space, memory, rng)
    }
}

/// The blocks that an agent proposes, with a formula in place of the example's evaluation.
fn proposals(agent: impl Agent<BlockSpace>, config: &SearchConfig, reward: RedefinedReward) -> Vec<BlockCode> {
    let environment =
        environment_fn("prefers six layers", |block: &BlockCode, _seed| 90.0 - (block.len() as f64 - 6.0).abs());
    let search = Search::new(BlockSpace::paper(), agent, environment, config.clone());
    let report = search.with_reward(reward).run().unwrap();
    report.records.into_iter().map(|record| record.architecture).collect()
}

#[test]
fn every_published_search_with_the_papers_learner_proposes_something_else_when_it_learns() {
    let published = published();
    assert!(published.len() >= 15, "{} examples found", published.len());
    for (path, code) in published {
        let place = path.display();
        let reward = if code.contains("RedefinedReward::paper()") {
            RedefinedReward::paper()
        } else {
            assert!(code.contains("accuracy(Credit::EveryLayer)"), "{place}: not the paper's reward in\n{code}");
            RedefinedReward::accuracy(Credit::EveryLayer)
        };
        let mut config = SearchConfig::paper();
        // Without the paper's settings: trials, in minibatches of 16 unless said otherwise.
        let of_new = numbers(&code, "SearchConfig::new").map(|trials| {
            let minibatch = numbers(&code, "with_minibatch").unwrap_or_else(|| vec![16]);
            [trials, minibatch].concat()
        });
        if let Some(trials) = numbers(&code, "with_trials").or(of_new) {
            let minibatch = *trials.last().expect("the size of a minibatch");
            let scaled = numbers(&code, SCALED).unwrap_or_else(|| panic!("{place}: whole schedule in\n{code}"));
            // The number of trials may be a variable.
            let whole = if trials.len() == 2 { trials[0] } else { scaled[0] * minibatch };
            config = config.with_trials(whole, minibatch);
            assert_eq!(scaled, [whole.div_ceil(minibatch)], "{place}: the schedule has another length in\n{code}");
        } else {
            // The whole search of the paper. The first greedy decisions are in its 96th minibatch.
            config = config.with_trials(97 * 64, 64);
        }
        if let Some(&[seed]) = numbers(&code, "with_seed").as_deref() {
            config = config.with_seed(seed);
        }
        let settings = numbers(&code, SCALED)
            .map_or_else(QLearningConfig::paper, |minibatches| QLearningConfig::paper().scaled_to(minibatches[0]));
        let learner = || QLearning::new(settings.clone()).unwrap();
        let (learning, deaf) =
            (proposals(learner(), &config, reward.clone()), proposals(Deaf(learner()), &config, reward));
        assert_eq!(learning.len(), deaf.len());
        assert_ne!(learning, deaf, "{place}: what the agent learns changes nothing in\n{code}");
    }
}
