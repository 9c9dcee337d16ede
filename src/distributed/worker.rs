//! The worker's side: takes trials one after another, has them trained, and stores the results.

mod tasks;

use super::connection::{self, ANSWER, causes};
use super::lease::{Hand, Presence};
use super::protocol::{Doing, Hello, Names, PROTOCOL, Reply, Welcome, machine, short_identity};
use super::trainer::{Factory, Line, Trainer, is_child, serve};
use super::{Broker, DistributedError};
use crate::environment::{Cancellation, Environment};
use async_nats::RequestErrorKind;
use async_nats::jetstream::consumer::{Consumer, pull};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tasks::End;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How often a worker checks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// The longest wait for a task in one request.
const REQUEST: Duration = Duration::from_secs(2);

/// The time without a task after which a worker checks that the controller is still the one it knows.
const RENEW: Duration = Duration::from_secs(10);

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// It was asked to stop, and returned its current trial.
    Stopped,
    /// It had nothing to do for the time set by [`NatsWorker::with_idle_exit`].
    Idle,
}

/// A worker that evaluates the trials of a [`NatsEvaluator`](super::NatsEvaluator), one at a time, until it is stopped.
///
/// Training happens in a child process that lives as long as the worker, so that kernels are compiled only once. The
/// worker starts its own program again, with the same arguments, and in the child [`run`](Self::run) never returns. A
/// child that is killed for lack of memory, crashes or hangs costs one attempt at one trial. Since whatever `main` does
/// before `run` happens twice, create the environment in the closure given to `run`.
///
/// ```no_run
/// use blockqnn::distributed::{Broker, NatsWorker};
/// use blockqnn::environment::environment_fn;
/// use blockqnn::space::block::BlockCode;
/// use std::convert::Infallible;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let worker = NatsWorker::new(Broker::new("nats://localhost:4222"));
/// worker.run(|_| Ok::<_, Infallible>(environment_fn("constant", |_: &BlockCode, _seed| 50.0)))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NatsWorker {
    broker: Broker,
    search: String,
    name: String,
    patience: Duration,
    idle_exit: Option<Duration>,
    child: bool,
    cancellation: Cancellation,
}

impl NatsWorker {
    /// Creates a worker of the search `search` on a broker. It is named after its machine and process.
    #[must_use]
    pub fn new(broker: Broker) -> Self {
        let machine = machine().unwrap_or_else(|| "worker".to_owned());
        Self {
            broker,
            search: Names::DEFAULT.to_owned(),
            name: format!("{machine}-{}", std::process::id()),
            patience: Duration::from_mins(5),
            idle_exit: None,
            child: true,
            cancellation: Cancellation::new(),
        }
    }

    /// Sets the name of the search; see [`NatsConfig::name`](super::NatsConfig::name).
    #[must_use]
    pub fn with_search(self, name: impl Into<String>) -> Self {
        Self { search: name.into(), ..self }
    }

    /// Sets the name of the worker, which no other may have. It appears in the controller's progress and in the
    /// messages of faults.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Returns the name of the worker.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the worker's patience. A training that reports no [progress](crate::environment::TrialContext::report) for
    /// this long is considered hanging and killed, and another worker gets its trial. The default is 5 minutes, since
    /// the first step on a GPU may have kernels to compile.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Ends the worker when it has had nothing to do for this long. By default it waits for ever.
    #[must_use]
    pub fn with_idle_exit(self, idle: Duration) -> Self {
        Self { idle_exit: Some(idle), ..self }
    }

    /// Trains in a thread of the worker's own process, which is faster for evaluations of microseconds. A lack of
    /// memory, a crash or a hang then ends the whole worker.
    #[must_use]
    pub fn without_child_process(self) -> Self {
        Self { child: false, ..self }
    }

    /// Lets `cancellation` stop the worker: it returns its current trial, which does not count as an attempt. Raise it
    /// on SIGTERM.
    #[must_use]
    pub fn with_cancellation(self, cancellation: Cancellation) -> Self {
        Self { cancellation, ..self }
    }

    /// Works until it is stopped. `make` is called once in each child process, with the controller's
    /// [briefing](super::NatsConfig::briefing).
    ///
    /// If the broker or the controller goes away, the worker waits for it.
    ///
    /// # Errors
    /// Returns a [`DistributedError`] if the broker cannot be reached at the start or rejects the credentials, if the
    /// environment cannot be created, or if the controller refuses this worker.
    pub fn run<A, E, X>(
        self,
        make: impl Fn(&serde_json::Value) -> Result<E, X> + Send + Sync + 'static,
    ) -> Result<Departure, DistributedError>
    where
        A: DeserializeOwned + 'static,
        E: Environment<A> + 'static,
        X: Display + 'static,
    {
        let factory: Arc<Factory<E, X>> = Arc::new(make);
        if self.child && is_child() {
            serve(&*factory);
        }
        let child = self.child;
        let start = move |briefing: &serde_json::Value| {
            if child { Trainer::process(briefing) } else { Trainer::thread(&factory, briefing) }
        };
        let names = Names::new(&self.search)?;
        let runtime = connection::runtime()?;
        let departure = runtime.block_on(async {
            let client = self.broker.connect(&format!("worker {}", self.name), "_WORKER").await?;
            let (context, hand) = (connection::jetstream(&client), Hand::new(self.patience));
            let presence = Presence { client, context, names, worker: self.name.clone(), hand };
            let mut session = Session { worker: &self, presence, start: &start, busy: Instant::now() };
            let departure = session.work().await;
            let reason = match &departure {
                Ok(Departure::Stopped) => "it was stopped".to_owned(),
                Ok(Departure::Idle) => "it had nothing to do".to_owned(),
                Err(error) => error.to_string(),
            };
            session.presence.tell(Doing::Leaving { reason }, REQUEST).await;
            let _ = timeout(ANSWER, session.presence.client.flush()).await;
            departure
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
        departure
    }
}

/// A connected worker.
struct Session<'w> {
    worker: &'w NatsWorker,
    presence: Presence,
    start: &'w dyn Fn(&serde_json::Value) -> Result<Trainer, DistributedError>,
    /// When the worker last had a task.
    busy: Instant,
}

impl Session<'_> {
    fn is_stopped(&self) -> bool {
        self.worker.cancellation.is_cancelled()
    }

    async fn work(&mut self) -> Result<Departure, DistributedError> {
        let mut trainer: Option<(Trainer, serde_json::Value, String)> = None;
        // Ends when this function returns.
        let mut presence = JoinSet::new();
        let mut known: Option<Welcome> = None;
        self.busy = Instant::now();
        loop {
            let Some(welcome) = self.greet(None, known.as_ref()).await? else { return Ok(self.departure()) };
            if trainer.as_ref().is_none_or(|(_, briefing, _)| *briefing != welcome.briefing) {
                drop(trainer.take());
                let Some((started, identity)) = self.prepare(&welcome).await? else { return Ok(self.departure()) };
                trainer = Some((started, welcome.briefing, identity));
            }
            let Some((running, _, identity)) = &mut trainer else { continue };
            let Some(welcome) = self.greet(Some(identity), known.as_ref()).await? else { return Ok(self.departure()) };
            if presence.is_empty() {
                tracing::info!(worker = self.worker.name, "the controller accepts this worker");
                presence.spawn(self.presence.clone().keep(welcome.ack_wait));
            }
            let Presence { context, names, .. } = &self.presence;
            let Ok(consumer) = context.get_consumer_from_stream(&welcome.consumer, names.tasks()).await else {
                // The broker is away, or the controller has not noticed yet that the consumer is gone.
                sleep(Duration::from_millis(250)).await;
                continue;
            };
            let environment = short_identity(identity);
            let end = self.take_tasks(&consumer, &welcome, running, &environment).await;
            known = Some(welcome);
            match end {
                Some(Parting::Leave(departure)) => return Ok(departure),
                Some(Parting::NoTrainer) if self.worker.child => trainer = None,
                Some(Parting::NoTrainer) => {
                    let message = "the thread that trains hangs or is gone".to_owned();
                    return Err(DistributedError::Trainer { message });
                }
                None => {}
            }
        }
    }

    fn departure(&self) -> Departure {
        if self.is_stopped() { Departure::Stopped } else { Departure::Idle }
    }

    /// Returns whether the worker should end now.
    fn leaves(&self) -> bool {
        self.is_stopped() || self.worker.idle_exit.is_some_and(|longest| self.busy.elapsed() > longest)
    }

    /// Asks the controller for its terms and waits for the answer, or continues with the known ones. Returns `None` if
    /// the worker should end.
    async fn greet(
        &self,
        identity: Option<&str>,
        known: Option<&Welcome>,
    ) -> Result<Option<Welcome>, DistributedError> {
        let hello = Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            worker: self.worker.name.clone(),
            identity: identity.map(str::to_owned),
        };
        let Ok(payload) = serde_json::to_vec(&hello) else { unreachable!("a greeting is made of numbers and texts") };
        let Presence { client, names, .. } = &self.presence;
        let mut waiting = false;
        while !self.leaves() {
            let request = async_nats::Request::new().payload(payload.clone().into()).timeout(Some(ANSWER));
            let error = match client.send_request(names.hello(), request).await {
                Ok(answer) => match serde_json::from_slice(&answer.payload) {
                    Ok(Reply::Welcome(welcome)) => return Ok(Some(welcome)),
                    Ok(Reply::Refused { reason }) => return Err(DistributedError::Refused { reason }),
                    Err(error) => {
                        let reason = format!("its answer cannot be read ({error}): build both from the same version");
                        return Err(DistributedError::Refused { reason });
                    }
                },
                Err(error) => error,
            };
            if let Some(known) = known {
                return Ok(Some(known.clone()));
            }
            if !waiting {
                tracing::info!(%error, search = self.worker.search, "waiting for the controller");
                waiting = true;
            }
            let pause = if error.kind() == RequestErrorKind::NoResponders { 5 } else { 1 };
            for _ in 0..pause {
                sleep(LOOK).await;
            }
        }
        Ok(None)
    }

    /// Starts a trainer and waits until its environment is ready. Returns `None` if the worker should stop.
    async fn prepare(&self, welcome: &Welcome) -> Result<Option<(Trainer, String)>, DistributedError> {
        let mut trainer = (self.start)(&welcome.briefing)?;
        loop {
            match timeout(LOOK, trainer.next()).await {
                Ok(Some(Line::Ready { identity, .. })) => return Ok(Some((trainer, identity))),
                Ok(Some(Line::Unready { message })) => return Err(DistributedError::Environment { message }),
                Ok(None) => {
                    return Err(DistributedError::Trainer { message: trainer.end().reason() });
                }
                Err(_) if self.is_stopped() => return Ok(None),
                Ok(Some(_)) | Err(_) => {}
            }
        }
    }

    /// Takes one task after another, until there is none for a while or something else must be done first.
    async fn take_tasks(
        &mut self,
        consumer: &Consumer<pull::Config>,
        welcome: &Welcome,
        trainer: &mut Trainer,
        environment: &str,
    ) -> Option<Parting> {
        let mut quiet = Instant::now();
        while quiet.elapsed() < RENEW {
            if self.leaves() {
                return Some(Parting::Leave(self.departure()));
            }
            let message = match self.next_task(consumer).await {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(error = causes(&*error), "cannot get tasks now");
                    sleep(Duration::from_millis(100)).await;
                    return None;
                }
            };
            match self.task(&message, welcome, consumer, trainer, environment).await {
                End::Next => {}
                End::NoTrainer => return Some(Parting::NoTrainer),
                End::Stop => return Some(Parting::Leave(Departure::Stopped)),
                End::Stranger => return None,
            }
            quiet = Instant::now();
            self.busy = quiet;
        }
        None
    }
}

/// Why no more tasks are taken for now.
enum Parting {
    Leave(Departure),
    NoTrainer,
}
