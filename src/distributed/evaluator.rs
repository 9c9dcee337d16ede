//! The controller's side: an evaluator that passes trials to workers elsewhere.

use super::controller::{Command, Controller};
use super::protocol::{Names, Task, key, short_identity};
use super::{Broker, DistributedError, connection};
use crate::environment::{Cancellation, EarlyStop};
use crate::evaluator::{Assignment, Evaluator, EvaluatorError, Event, POLL, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// The longest wait for the last acknowledgements.
const FAREWELL: Duration = Duration::from_secs(5);

/// The settings of a [`NatsEvaluator`].
///
/// ```
/// use blockqnn::distributed::NatsConfig;
/// use std::time::Duration;
///
/// let ack_wait = Duration::from_secs(30);
/// let config = NatsConfig { name: "first-try".into(), ack_wait, ..NatsConfig::new("synthetic 1, noise 0") };
/// assert_eq!(config.attempts, 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// The name of the search on the broker: 1 to 64 letters, digits, `-` and `_`. Searches with different names share
    /// a broker without interfering; only one controller can use a name at a time. The default is `search`.
    pub name: String,
    /// The [identity](crate::environment::Environment::identity) of the environments of the search. A worker with
    /// another identity is refused.
    pub identity: String,
    /// What a worker creates its environment from, in whatever form the worker expects. The default is `null`.
    pub briefing: serde_json::Value,
    /// The lease: a worker that shows no sign of life for this long loses its trial. The default is one minute.
    pub ack_wait: Duration,
    /// How many workers may be lost over a trial (or hang in it) before it is recorded as
    /// [`Infeasibility::Failed`](crate::evaluation::Infeasibility::Failed). The default is 3. Failures that an
    /// environment reports itself are limited by [`SearchConfig::attempts`](crate::search::SearchConfig::attempts)
    /// instead.
    pub attempts: u32,
    /// The [epochs of a full evaluation](crate::environment::Environment::full_epochs), for a search with rungs. The
    /// default is none, with which rungs are refused.
    pub full_epochs: Option<u32>,
}

impl NatsConfig {
    /// Creates the default settings of a search whose environments have this identity.
    pub fn new(identity: impl Into<String>) -> Self {
        let briefing = serde_json::Value::Null;
        let (name, ack_wait) = (Names::DEFAULT.to_owned(), Duration::from_mins(1));
        Self { name, identity: identity.into(), briefing, ack_wait, attempts: 3, full_epochs: None }
    }
}

/// An evaluator whose trials are evaluated by [`NatsWorker`](super::NatsWorker)s on any number of machines.
///
/// Workers may come and go at any time; with none, the search waits. The broker keeps a result until the search has it
/// in its journal, and each result is applied once. A search that is stopped leaves its queue behind: workers continue
/// to evaluate it, and the results are there when the search is resumed.
///
/// If the broker loses tasks they are stored again, if its queues are gone they are created again, and a consumer that
/// is stuck is replaced. All of this only requires that the broker returns at its address.
#[derive(Debug)]
pub struct NatsEvaluator<A> {
    commands: UnboundedSender<Command>,
    events: Receiver<Event>,
    /// What may stop each of the submitted trials early, until it was passed on.
    submitted: BTreeMap<u64, Option<EarlyStop>>,
    identity: String,
    full_epochs: Option<u32>,
    environment: String,
    workers: Arc<AtomicUsize>,
    /// Why the controller ended, if it failed.
    failure: Arc<OnceLock<String>>,
    /// Present until the evaluator is dropped.
    runtime: Option<Runtime>,
    architecture: PhantomData<fn(A)>,
}

impl<A: Serialize> NatsEvaluator<A> {
    /// Connects to a broker, and creates the queues of the search if they do not exist. This takes a second, in which
    /// it listens for another controller of this name.
    ///
    /// # Errors
    /// Returns a [`DistributedError`] if the broker cannot be reached, rejects the credentials or has no JetStream, or
    /// if another controller uses this name.
    pub fn new(broker: &Broker, config: NatsConfig) -> Result<Self, DistributedError> {
        let names = Names::new(&config.name)?;
        let runtime = connection::runtime()?;
        let (commands, queue) = unbounded_channel();
        let (sender, events) = channel();
        let workers = Arc::new(AtomicUsize::new(0));
        let (identity, environment) = (config.identity.clone(), short_identity(&config.identity));
        let full_epochs = config.full_epochs;
        let failure = Arc::new(OnceLock::new());
        let (count, reason) = (Arc::clone(&workers), Arc::clone(&failure));
        let (controller, subscriptions) =
            runtime.block_on(Controller::connect(broker, names, config, sender, count, reason))?;
        runtime.spawn(controller.run(subscriptions, queue));
        let (submitted, runtime, architecture) = (BTreeMap::new(), Some(runtime), PhantomData);
        Ok(Self {
            commands,
            events,
            submitted,
            identity,
            full_epochs,
            environment,
            workers,
            failure,
            runtime,
            architecture,
        })
    }
}

impl<A> NatsEvaluator<A> {
    /// Returns the error of an evaluator whose controller has ended.
    fn gone(&self) -> EvaluatorError {
        let reason = self.failure.get().map_or("the connection to the broker was closed", String::as_str);
        EvaluatorError(reason.into())
    }

    /// Passes on which trials should stop early.
    fn pass_on_stops(&mut self) -> Result<(), EvaluatorError> {
        let asked = |early_stop: &mut EarlyStop| early_stop.is_asked();
        let asked: Vec<u64> = self
            .submitted
            .iter_mut()
            .filter_map(|(trial, early_stop)| early_stop.take_if(asked).map(|_| *trial))
            .collect();
        asked.into_iter().try_for_each(|trial| self.commands.send(Command::Stop { trial }).map_err(|_| self.gone()))
    }
}

impl<A: Serialize> Evaluator<A> for NatsEvaluator<A> {
    fn submit(&mut self, assignment: Assignment<A>) -> Result<(), EvaluatorError> {
        let Assignment { trial, attempt, architecture, early_stop, rung } = assignment;
        let thresholds = early_stop.thresholds().clone();
        let (id, key) = (trial.id, key(&trial, attempt, &self.environment, &thresholds, rung));
        let (environment, architecture) = (self.environment.clone(), &*architecture);
        let task = Task { trial, attempt, environment, architecture, thresholds, rung };
        let payload = serde_json::to_vec(&task).map_err(|error| EvaluatorError(Box::new(error)))?;
        self.commands.send(Command::Submit { trial: id, key, payload }).map_err(|_| self.gone())?;
        self.submitted.insert(id, Some(early_stop));
        Ok(())
    }

    fn wait(&mut self, cancellation: &Cancellation, listener: &mut dyn FnMut(Event)) -> Result<(), EvaluatorError> {
        if self.submitted.is_empty() {
            return Err(EvaluatorError::idle());
        }
        loop {
            // Queued and running trials continue elsewhere, for whoever resumes this search.
            if cancellation.is_cancelled()
                && let Some((trial, _)) = self.submitted.pop_first()
            {
                listener(Event::Ended { trial, verdict: Verdict::Cancelled });
                return Ok(());
            }
            self.pass_on_stops()?;
            match self.events.recv_timeout(POLL) {
                Ok(Event::Ended { trial, verdict }) => {
                    if self.submitted.remove(&trial).is_some() {
                        listener(Event::Ended { trial, verdict });
                        return Ok(());
                    }
                }
                Ok(event) => listener(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
            }
        }
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn full_epochs(&self) -> Option<u32> {
        self.full_epochs
    }

    fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed).max(1)
    }

    fn acknowledge(&mut self, trial: u64) -> Result<(), EvaluatorError> {
        self.commands.send(Command::Acknowledge { trial }).map_err(|_| self.gone())
    }
}

impl<A> Drop for NatsEvaluator<A> {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Close { done }).is_ok() {
            // Unsent acknowledgements only cost a redelivery, so do not wait for a broker that is away.
            let _ = runtime.block_on(async { tokio::time::timeout(FAREWELL, finished).await });
        }
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
