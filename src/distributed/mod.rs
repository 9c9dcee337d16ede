//! Evaluating on other machines, through the broker NATS JetStream.
//!
//! [`NatsEvaluator`] is the controller's side: an [`Evaluator`](crate::evaluator::Evaluator) that puts trials on a
//! broker and takes results from it. [`NatsWorker`] is the other side: a process for each device, started by a
//! cluster's scheduler, that takes a trial, has a child process train it, and stores the result. Workers may come and
//! go at any time; `docs/distributed.md` in the repository describes how to run them under Slurm and Kubernetes.
//!
//! The broker only passes work on; the journal of the search is the source of truth. A broker whose disk was wiped is
//! filled again, a controller that was killed continues from its [`RunFolder`](crate::search::RunFolder), and killing a
//! worker costs only the trial that it was evaluating. Each result is applied exactly once, and a search in minibatches
//! ends with the same table as on one machine.
//!
//! A complete worker:
//!
//! ```no_run
//! use blockqnn::distributed::{Broker, NatsWorker};
//! use blockqnn::environment::synthetic::Synthetic;
//! use std::convert::Infallible;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! NatsWorker::new(Broker::new("nats://localhost:4222")).run(|_| Ok::<_, Infallible>(Synthetic::new()))?;
//! # Ok(())
//! # }
//! ```
//!
//! And a complete controller:
//!
//! ```no_run
//! use blockqnn::agent::{QLearning, QLearningConfig};
//! use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator};
//! use blockqnn::environment::Environment;
//! use blockqnn::environment::synthetic::Synthetic;
//! use blockqnn::reward::RedefinedReward;
//! use blockqnn::search::{RunFolder, Search, SearchConfig};
//! use blockqnn::space::block::BlockSpace;
//!
//! let workers = NatsEvaluator::new(
//!     &Broker::new("nats://localhost:4222"),
//!     NatsConfig::new(Synthetic::new().identity()),
//! )?;
//! let agent = QLearning::new(QLearningConfig::paper())?;
//! // The whole search of the paper: 178 minibatches, the length of its epsilon schedule.
//! let search = Search::with_evaluator(BlockSpace::paper(), agent, workers, SearchConfig::paper());
//! let report = search.with_reward(RedefinedReward::paper()).with_run_folder(RunFolder::create("run")?).run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod connection;
mod controller;
mod duty;
mod evaluator;
mod lease;
mod protocol;
mod trainer;
mod worker;

pub use connection::Broker;
pub use evaluator::{NatsConfig, NatsEvaluator};
pub use worker::{Departure, NatsWorker};

use std::path::PathBuf;

/// An error in the work of a controller or a worker with a broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributedError {
    /// The broker cannot be reached, or rejects the connection.
    #[error("cannot connect to the broker at {url}: {message}; {hint}")]
    Connect {
        /// Its address.
        url: String,
        /// Why the connection failed.
        message: String,
        /// A likely cause.
        hint: &'static str,
    },
    /// A file of credentials or certificates cannot be read or used.
    #[error("cannot read {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The name of a search cannot be used in a subject.
    #[error("{name:?} is not a valid name of a search on a broker: use 1 to 64 letters, digits, - and _")]
    Name {
        /// The name.
        name: String,
    },
    /// The broker can be reached, but JetStream is off or this account may not use it.
    #[error(
        "the broker cannot store the queues of the search: {message}; it must run with JetStream (nats-server -js), \
         and the account must be allowed to create streams"
    )]
    JetStream {
        /// What the broker said.
        message: String,
    },
    /// Another controller uses this name.
    #[error(
        "the search {name:?} has a controller on this broker already ({holder}), and two would take each other's \
         results: wait for it or stop it, or give this search and its workers another name"
    )]
    Taken {
        /// The name.
        name: String,
        /// The controller that uses it.
        holder: String,
    },
    /// The controller refuses this worker.
    #[error("the controller refuses this worker: {reason}")]
    Refused {
        /// The reason.
        reason: String,
    },
    /// The environment cannot be created.
    #[error("the environment cannot be created: {message}")]
    Environment {
        /// The message of its error.
        message: String,
    },
    /// The child process that trains cannot be started, or ends before it is ready.
    #[error("the child process that trains cannot be started: {message}")]
    Trainer {
        /// What happened.
        message: String,
    },
    /// The asynchronous runtime cannot be started.
    #[error("cannot start the threads of the connection: {source}")]
    Runtime {
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// Reads bytes as a message of every kind, for the fuzzer. Not part of the public interface.
#[doc(hidden)]
pub fn read_any_message(bytes: &[u8]) {
    protocol::read_any(bytes);
}
