//! Trainers in a search with rungs.

use super::{block, children, command, config, folder, trial};
use blockqnn::agent::RandomAgent;
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics, Rung};
use blockqnn::evaluator::{Evaluator, InlineEvaluator, ProcessEvaluator, TrainerCommand, TrainerEnvironment};
use blockqnn::search::{Rungs, Search, SearchConfig};
use blockqnn::space::block::BlockCode;
use serde_json::json;
use std::convert::Infallible;
use std::path::Path;

/// Its accuracy grows with the share of the epochs that it trains for, and it continues what it left below.
const TRAINER: &str = r"
import blockqnn_worker, os

@blockqnn_worker.run(identity='test', rungs=True)
def train(task):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f'{task.fingerprint}-{task.seed}')
    done = 0
    if task.may_continue:
        with open(path) as file:
            done = int(file.read())
        task.continued_from(done)
    for epoch in range(done, task.epochs):
        task.progress(epoch + 1)
    with open(path, 'w') as file:
        file.write(str(task.epochs))
    accuracy = (90 - len(task.architecture) + task.seed % 7) * task.epochs / task.full_epochs
    return {'accuracy': accuracy, 'seconds': 0, 'epochs': task.epochs}
";

/// The same in Rust.
struct Same;

impl Environment<BlockCode> for Same {
    type Error = Infallible;

    fn evaluate(&mut self, block: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let epochs = context.rung().map_or(9, |rung| rung.epochs);
        let accuracy = 90.0 - block.layers().len() as f64 + (context.trial().seed % 7) as f64;
        let accuracy = accuracy * f64::from(epochs) / 9.0;
        Ok(Evaluation::Measured(Metrics { epochs, ..Metrics::from_accuracy(accuracy) }))
    }

    fn identity(&self) -> String {
        "same".to_owned()
    }

    fn full_epochs(&self) -> Option<u32> {
        Some(9)
    }
}

fn search_config() -> SearchConfig {
    SearchConfig::paper().with_seed(3).with_trials(24, 8).with_rungs(Rungs::new(3))
}

fn records(evaluator: impl Evaluator<BlockCode>) -> Vec<String> {
    let report = Search::with_evaluator(super::space(), RandomAgent, evaluator, search_config()).run().unwrap();
    assert!(report.promotions().count() > 3);
    report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

#[test]
fn a_trainer_continues_promoted_trials_and_gives_the_search_of_one_process() {
    let folder = folder(TRAINER);
    let trainer = command(folder.path()).with_epochs(9);
    let python = ProcessEvaluator::new(children(2), config(trainer)).unwrap();
    assert_eq!(records(python), records(InlineEvaluator::new(Same)));
}

#[test]
fn a_trainer_as_an_environment_is_told_the_rung_and_one_without_rungs_or_a_budget_is_refused() {
    let in_rungs = folder(TRAINER);
    let environment = |folder: &Path, epochs: Option<u32>| {
        let trainer = epochs.into_iter().fold(command(folder), TrainerCommand::with_epochs);
        TrainerEnvironment::<BlockCode>::new(json!(null), config(trainer)).unwrap()
    };
    let mut python = environment(in_rungs.path(), Some(9));
    assert_eq!(python.full_epochs(), Some(9));
    let trial = trial(0);
    for (number, epochs) in [(0, 1), (1, 3)] {
        let context = TrialContext::new(&trial).with_rung(Some(Rung { number, epochs }));
        let expected = Same.evaluate(&block(), &context).unwrap();
        let found = python.evaluate(&block(), &context).unwrap();
        assert_eq!(found.value(), expected.value());
    }
    assert_eq!(environment(in_rungs.path(), None).full_epochs(), None, "no budget is known");
    let plain = folder(&super::function("    return 50"));
    let plain = environment(plain.path(), Some(9));
    assert_eq!(plain.full_epochs(), None);
    let error = Search::new(super::space(), RandomAgent, plain, search_config()).run().unwrap_err().to_string();
    assert!(error.contains("cannot last for a part of their epochs"), "{error}");
}
