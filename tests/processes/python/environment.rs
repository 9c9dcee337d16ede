//! A trainer as an environment, and what it may say of itself once it knows its settings.

use super::{block, command, config, folder, function, trial};
use blockqnn::agent::RandomAgent;
use blockqnn::environment::{Cancellation, Environment, Progress, TrialContext, environment_fn};
use blockqnn::evaluation::{Evaluation, Infeasibility};
use blockqnn::evaluator::{InlineEvaluator, TrainerEnvironment};
use blockqnn::search::{Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use serde_json::json;
use std::cell::RefCell;
use std::path::Path;

fn environment(folder: &Path) -> TrainerEnvironment<BlockCode> {
    let environment = TrainerEnvironment::new(json!({ "data": "photos" }), config(command(folder).with_epochs(3)));
    environment.unwrap().with_form("text", |block: &BlockCode| block.to_string().into())
}

#[test]
fn a_search_with_a_trainer_as_its_environment_is_that_of_the_same_function_here() {
    let folder = folder(&function("    return 90 - len(task.architecture) + task.seed % 7"));
    let search = |evaluator: Box<dyn blockqnn::evaluator::Evaluator<BlockCode>>| {
        let config = SearchConfig::paper().with_trials(8, 4);
        let space = BlockSpace::paper().with_max_layers(6).unwrap();
        let report = Search::with_evaluator(space, RandomAgent, evaluator, config).run().unwrap();
        report.records.into_iter().map(|record| (record.architecture, record.evaluation.value())).collect::<Vec<_>>()
    };
    let same = |block: &BlockCode, seed: u64| 90.0 - block.layers().len() as f64 + (seed % 7) as f64;
    let python = search(Box::new(InlineEvaluator::new(environment(folder.path()))));
    assert_eq!(python, search(Box::new(InlineEvaluator::new(environment_fn("same", same)))));
}

#[test]
fn a_trainer_that_ends_is_replaced_and_told_that_it_may_continue() {
    let folder = folder(&function(
        "    if task.attempt == 1: os._exit(4)
    if task.attempt == 2: os.kill(os.getpid(), 9)
    task.progress(2)
    return {'accuracy': 10 * task.attempt + task.may_continue, 'epochs': task.epochs}",
    ));
    let mut environment = environment(folder.path());
    let (block, trial) = (block(), trial(3));
    let error = environment.evaluate(&block, &TrialContext::new(&trial)).unwrap_err().to_string();
    assert!(error.starts_with("the trainer `python3 ") && error.contains("exit status: 4"), "{error}");
    // As when the system kills what takes too much memory.
    let killed = environment.evaluate(&block, &TrialContext::new(&trial)).unwrap();
    assert!(matches!(killed, Evaluation::Infeasible(Infeasibility::OutOfMemory { .. })), "{killed:?}");
    let heard = RefCell::new(Vec::new());
    let listen = |progress: Progress| heard.borrow_mut().push(progress.epoch);
    let evaluation = environment.evaluate(&block, &TrialContext::new(&trial).with_progress(&listen)).unwrap();
    let metrics = evaluation.metrics().unwrap();
    assert_eq!((metrics.value, metrics.epochs, heard.into_inner()), (31.0, 3, vec![2]));
}

#[test]
fn a_cancelled_evaluation_kills_the_trainer() {
    let folder = folder(&function("    task.progress(1)\n    time.sleep(600)"));
    let mut environment = environment(folder.path());
    let cancellation = Cancellation::new();
    let stop = |_: Progress| cancellation.cancel();
    let trial = trial(0);
    let context = TrialContext::new(&trial).with_progress(&stop).with_cancellation(cancellation.clone());
    environment.evaluate(&block(), &context).unwrap_err();
}

#[test]
fn an_identity_can_depend_on_the_settings_and_a_trainer_can_say_what_it_lacks() {
    let with = |identity: &str| function("    return 1").replace("identity='test'", &format!("identity={identity}"));
    let named = folder(&with("lambda settings: 'trained on ' + settings['data']"));
    assert!(environment(named.path()).identity().starts_with("trained on photos, trained by `python3 "));
    let error = |code: &str| {
        let folder = folder(code);
        let settings = json!({ "data": "photos" });
        let environment = TrainerEnvironment::<BlockCode>::new(settings, config(command(folder.path())));
        environment.unwrap_err().to_string()
    };
    let lacking = error(&with("lambda settings: int(settings['data'])"));
    assert!(lacking.contains("train.py` is not ready: invalid literal for int()"), "{lacking}");
    let missing = error("import blockqnn_worker\nblockqnn_worker.unready('there is no card')");
    assert!(missing.ends_with("train.py` is not ready: there is no card"), "{missing}");
}
