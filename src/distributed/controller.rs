//! The controller's end of the connection: stores tasks and receives results.

mod mending;

use super::connection::{self, causes};
use super::duty::Guard;
use super::evaluator::NatsConfig;
use super::protocol::{
    AGAIN, Claimed, Doing, Hello, Names, Reply, Report, Status, Welcome, longest_silence, refusal, trial_of,
};
use super::{Broker, DistributedError};
use crate::evaluator::{Event, Verdict};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{Acker, PublishMessage};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The silence after which the queues of the broker are checked. It doubles with each check, up to [`LONGEST`].
const QUIET: Duration = Duration::from_secs(1);

/// The longest silence between two checks.
const LONGEST: Duration = Duration::from_secs(15);

/// How long after a start that found no queues workers may still be evaluating trials unknown to the broker.
const UNSURE: Duration = Duration::from_secs(10);

/// The longest time between two reminders that there are no workers.
const LONGEST_REMINDER: Duration = Duration::from_mins(10);

const RESULT_CONSUMER: &str = "controller";

/// A request of the evaluator to its connection.
pub(super) enum Command {
    Submit { trial: u64, key: String, payload: Vec<u8> },
    Acknowledge { trial: u64 },
    Stop { trial: u64 },
    Close { done: oneshot::Sender<()> },
}

/// A task that has no result yet.
struct Flight {
    trial: u64,
    payload: Vec<u8>,
    told_started: bool,
    /// Whether it should stop early.
    stops: bool,
}

/// A known worker.
struct Seen {
    at: Instant,
    every: Duration,
}

pub(super) struct Controller {
    client: Client,
    context: Context,
    names: Names,
    welcome: Welcome,
    flights: HashMap<String, Flight>,
    /// Results that are applied but not yet safe in the journal: what to acknowledge once they are.
    held: HashMap<u64, Vec<Acker>>,
    /// Attempts whose result was stored before this controller started.
    known: HashSet<String>,
    /// Until when a task may already be in the hands of a worker when it is stored.
    unsure: Option<Instant>,
    events: Sender<Event>,
    workers: HashMap<String, Seen>,
    count: Arc<AtomicUsize>,
    results: Option<pull::Stream>,
    quiet: Quiet,
    /// Whether the task consumer looked stalled at the last check as well.
    stalled: bool,
    guard: Guard,
    /// Why the controller ended, if it failed.
    failure: Arc<OnceLock<String>>,
    alone: Alone,
}

/// Trials are waiting and there is no worker: since when, and when to report it next.
struct Alone {
    since: Instant,
    next: Duration,
}

/// When to check the broker next.
struct Quiet {
    since: Instant,
    pause: Duration,
    connects: u64,
}

/// Where workers call the controller.
pub(super) struct Subscriptions {
    hello: Subscriber,
    status: Subscriber,
    claims: Subscriber,
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

impl Controller {
    pub(super) async fn connect(
        broker: &Broker,
        names: Names,
        config: NatsConfig,
        events: Sender<Event>,
        count: Arc<AtomicUsize>,
        failure: Arc<OnceLock<String>>,
    ) -> Result<(Self, Subscriptions), DistributedError> {
        let client = broker.connect("blockqnn controller", "_CONTROLLER").await?;
        let guard = Guard::take(&client, &names).await?;
        let context = connection::jetstream(&client);
        let NatsConfig { identity, briefing, ack_wait, attempts, .. } = config;
        let welcome = Welcome { briefing, identity, consumer: String::new(), ack_wait, attempts };
        let connects = client.statistics().connects.load(Ordering::Relaxed);
        let quiet = Quiet { since: Instant::now(), pause: QUIET, connects };
        let alone = Alone { since: Instant::now(), next: welcome.ack_wait / 2 };
        let mut controller = Self {
            client,
            context,
            names,
            welcome,
            flights: HashMap::new(),
            held: HashMap::new(),
            known: HashSet::new(),
            unsure: None,
            events,
            workers: HashMap::new(),
            count,
            results: None,
            quiet,
            stalled: false,
            guard,
            failure,
            alone,
        };
        let without_queues = |error: Broken| DistributedError::JetStream { message: causes(&*error) };
        // Before the queues: the broker works through a connection's requests in order, so once it has answered about
        // the queues, workers that call this controller are heard.
        let subscriptions = controller.listen().await.map_err(|error| without_queues(error.into()))?;
        if controller.mend().await.map_err(without_queues)? {
            controller.unsure = Some(Instant::now() + UNSURE);
        }
        controller.known = controller.subjects(&controller.names.results(), "result").await.map_err(without_queues)?;
        Ok((controller, subscriptions))
    }

    /// Runs until it is closed or the evaluator is dropped.
    pub(super) async fn run(mut self, subscriptions: Subscriptions, mut commands: UnboundedReceiver<Command>) {
        let Subscriptions { mut hello, mut status, mut claims } = subscriptions;
        let mut tick = interval(Duration::from_millis(250));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Submit { trial, key, payload }) => self.submit(trial, key, payload).await,
                    Some(Command::Acknowledge { trial }) => self.acknowledge(trial).await,
                    Some(Command::Stop { trial }) => self.stop(trial).await,
                    Some(Command::Close { done }) => {
                        // Fails only without a connection; see the evaluator's `Drop`.
                        let _ = self.client.flush().await;
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                message = next_result(&mut self.results) => match message {
                    Some(message) => self.take(message).await,
                    None => self.results = None,
                },
                Some(message) = hello.next() => self.greet(&message).await,
                Some(message) = status.next() => self.hear(&message).await,
                Some(message) = claims.next() => self.answer(&message).await,
                _ = tick.tick() => {
                    if let Err(error) = self.guard.check(&self.names) {
                        let _ = self.failure.set(error.to_string());
                        return;
                    }
                    self.look().await;
                }
            }
        }
    }

    async fn listen(&self) -> Result<Subscriptions, async_nats::SubscribeError> {
        Ok(Subscriptions {
            hello: self.client.subscribe(self.names.hello()).await?,
            status: self.client.subscribe(self.names.status()).await?,
            claims: self.client.subscribe(self.names.subject("claim", "*")).await?,
        })
    }

    /// Accepts a trial: looks for an existing result, and otherwise stores the task.
    async fn submit(&mut self, trial: u64, key: String, payload: Vec<u8>) {
        self.flights.insert(key.clone(), Flight { trial, payload, told_started: false, stops: false });
        if self.known.remove(&key) {
            match self.fetch(&key, true).await {
                Ok(true) => return,
                Ok(false) => {}
                // The next check of the queues looks for it again.
                Err(error) => return tracing::debug!(%error, key, "cannot read a stored result"),
            }
        }
        if trial == 0 {
            // The search is just beginning, so no worker can be evaluating any of its trials.
            self.unsure = None;
        }
        let again = self.unsure.is_some_and(|until| Instant::now() < until);
        self.put(&key, again).await;
    }

    /// Stores a task unless it is stored already. The next check of the queues repairs what goes wrong here.
    async fn put(&self, key: &str, again: bool) {
        let Some(flight) = self.flights.get(key) else { return };
        let mut message =
            PublishMessage::build().payload(flight.payload.clone().into()).expected_last_subject_sequence(0);
        if again {
            message = message.header(AGAIN, "1");
        }
        match self.context.send_publish(self.names.subject("task", key), message).await {
            Ok(stored) => {
                let key = key.to_owned();
                tokio::spawn(async move {
                    match stored.await {
                        Err(error) if error.kind() != PublishErrorKind::WrongLastSequence => {
                            tracing::debug!(%error, key, "a task is not stored yet");
                        }
                        _ => {}
                    }
                });
            }
            Err(error) => tracing::debug!(%error, key, "cannot store a task now"),
        }
    }

    /// Reads the result of an attempt from the stream itself. A fault from before this controller started is deleted,
    /// because its cause may have been fixed since. Returns whether there was a result.
    async fn fetch(&mut self, key: &str, old: bool) -> Result<bool, Broken> {
        let stream = self.context.get_stream_no_info(self.names.results()).await?;
        let message = stream.get_last_raw_message_by_subject(&self.names.subject("result", key)).await?;
        let report: Report = serde_json::from_slice(&message.payload)?;
        if old && matches!(report.verdict, Verdict::Fault { .. }) {
            stream.delete_message(message.sequence).await?;
            return Ok(false);
        }
        self.apply(report, None).await;
        Ok(true)
    }

    /// Handles a delivered result.
    async fn take(&mut self, message: jetstream::Message) {
        let (message, acker) = message.split();
        match serde_json::from_slice::<Report>(&message.payload) {
            Ok(report) => self.apply(report, Some(acker)).await,
            Err(error) => {
                tracing::warn!(%error, subject = %message.subject, "a result cannot be read");
                let _ = acker.ack().await;
            }
        }
    }

    /// Reports a result to the search, once; it is acknowledged when the search has it in its journal.
    async fn apply(&mut self, report: Report, acker: Option<Acker>) {
        let Report { key, worker, verdict } = report;
        let Some(flight) = self.flights.remove(&key) else {
            // Applied already, or of an earlier search. If it is not in the journal yet, acknowledge it once it is.
            match (trial_of(&key).and_then(|trial| self.held.get_mut(&trial)), acker) {
                (Some(held), Some(acker)) => held.push(acker),
                (None, Some(acker)) => {
                    let _ = acker.ack().await;
                }
                _ => {}
            }
            return;
        };
        self.held.entry(flight.trial).or_default().extend(acker);
        self.quiet.reset();
        let trial = flight.trial;
        if !flight.told_started {
            self.tell(Event::Started { trial, worker: worker.clone() });
        }
        let verdict = match verdict {
            Verdict::Fault { message } => Verdict::Fault { message: format!("{worker}: {message}") },
            verdict => verdict,
        };
        self.tell(Event::Ended { trial, verdict });
    }

    /// Reports an event to the search; everything else goes through here. An evaluator that was dropped needs no
    /// events.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    async fn acknowledge(&mut self, trial: u64) {
        for acker in self.held.remove(&trial).unwrap_or_default() {
            // A lost acknowledgement only costs a redelivery.
            let _ = acker.ack().await;
        }
    }

    /// Accepts a worker, or tells it why it is refused.
    async fn greet(&mut self, message: &Message) {
        let reply = match serde_json::from_slice::<Hello>(&message.payload) {
            Err(error) => Reply::Refused { reason: format!("its greeting cannot be read: {error}") },
            Ok(hello) => {
                if let Some(reason) = refusal(&hello, &self.welcome.identity, env!("CARGO_PKG_VERSION")) {
                    self.tell(Event::WorkerLost { worker: hello.worker, message: format!("refused: {reason}") });
                    Reply::Refused { reason }
                } else {
                    if hello.identity.is_some() {
                        self.see(&hello.worker, Duration::from_secs(5));
                    }
                    Reply::Welcome(self.welcome.clone())
                }
            }
        };
        connection::reply(&self.client, message, &reply).await;
    }

    /// Tells a worker that received an old task that its result is stored or no longer needed.
    async fn answer(&self, message: &Message) {
        let key = message.subject.rsplit('.').next().unwrap_or_default();
        if !self.flights.contains_key(key) {
            connection::reply(&self.client, message, &Claimed::Done).await;
        }
    }

    fn see(&mut self, worker: &str, every: Duration) {
        self.workers.insert(worker.to_owned(), Seen { at: Instant::now(), every });
        self.count.store(self.workers.len(), Ordering::Relaxed);
    }

    /// Asks the worker of a trial to stop it early.
    async fn stop(&mut self, trial: u64) {
        let Some((key, flight)) = self.flights.iter_mut().find(|(_, flight)| flight.trial == trial) else { return };
        flight.stops = true;
        connection::tell(&self.client, self.names.subject("stop", key), &()).await;
    }

    /// Handles the status of a worker.
    async fn hear(&mut self, message: &Message) {
        let Ok(Status { worker, every, doing }) = serde_json::from_slice(&message.payload) else { return };
        self.see(&worker, every);
        match doing {
            Doing::Waiting => {}
            Doing::Evaluating { key, progress } => {
                let Some(flight) = self.flights.get_mut(&key) else { return };
                let trial = flight.trial;
                if flight.stops {
                    // The message may have been lost, or it has another worker now.
                    connection::tell(&self.client, self.names.subject("stop", &key), &()).await;
                }
                if !flight.told_started {
                    flight.told_started = true;
                    self.tell(Event::Started { trial, worker });
                }
                if let Some(progress) = progress {
                    self.tell(Event::Progress { trial, progress });
                }
            }
            Doing::GaveUp { key, message } => {
                tracing::warn!(worker, key, message, "a worker gave up on a trial");
                if let Some(flight) = self.flights.get_mut(&key) {
                    flight.told_started = false;
                }
            }
            Doing::Leaving { reason } => {
                tracing::info!(worker, reason, "a worker leaves");
                self.workers.remove(&worker);
                self.count.store(self.workers.len(), Ordering::Relaxed);
            }
        }
    }

    /// Checks for silent workers, and checks the queues of the broker when no results arrive.
    async fn look(&mut self) {
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        if connects != self.quiet.connects {
            // No worker could be heard while the broker was away.
            self.quiet.connects = connects;
            self.quiet.reset();
            self.workers.values_mut().for_each(|seen| seen.at = Instant::now());
            // Nor could a second controller that started meanwhile.
            self.guard.ask().await;
        }
        self.tell_if_alone();
        let lost = self.workers.iter().filter(|(_, seen)| seen.at.elapsed() > longest_silence(seen.every));
        for worker in lost.map(|(worker, _)| worker.clone()).collect::<Vec<_>>() {
            if let Some(seen) = self.workers.remove(&worker) {
                let message = format!("no message from it for {:.0} s", seen.at.elapsed().as_secs_f64());
                self.tell(Event::WorkerLost { worker, message });
            }
        }
        self.count.store(self.workers.len(), Ordering::Relaxed);
        if self.results.is_none() {
            self.results = self.open_results().await.inspect_err(|error| tracing::debug!(%error, "no results")).ok();
        }
        if self.flights.is_empty() || self.quiet.since.elapsed() < self.quiet.pause {
            return;
        }
        self.quiet.since = Instant::now();
        self.quiet.pause = (self.quiet.pause * 2).min(LONGEST);
        if let Err(error) = self.reconcile().await {
            tracing::warn!(error = causes(&*error), "cannot check the queues of the broker now");
            self.quiet.pause = QUIET;
        }
    }

    /// Reports that trials are waiting for workers, after a while and then repeatedly.
    fn tell_if_alone(&mut self) {
        if self.flights.is_empty() || !self.workers.is_empty() {
            self.alone = Alone { since: Instant::now(), next: self.welcome.ack_wait / 2 };
        }
        let waited = self.alone.since.elapsed();
        if waited >= self.alone.next {
            self.alone.next = waited + self.alone.next.min(LONGEST_REMINDER);
            let message = format!(
                "no worker has been heard of for {:.0} s, and {} trials wait: start workers for the search {:?} at \
                 this broker",
                waited.as_secs_f64(),
                self.flights.len(),
                self.names.name(),
            );
            self.tell(Event::Waiting { message });
        }
    }

    async fn open_results(&self) -> Result<pull::Stream, Broken> {
        let consumer: jetstream::consumer::Consumer<pull::Config> =
            self.context.get_consumer_from_stream(RESULT_CONSUMER, self.names.results()).await?;
        Ok(consumer.stream().max_messages_per_batch(1_000).heartbeat(QUIET).expires(LONGEST).messages().await?)
    }
}

impl Quiet {
    fn reset(&mut self) {
        (self.since, self.pause) = (Instant::now(), QUIET);
    }
}

/// Returns the next result, or `None` if the delivery was interrupted. Without a delivery it never returns.
async fn next_result(results: &mut Option<pull::Stream>) -> Option<jetstream::Message> {
    let Some(stream) = results else { return std::future::pending().await };
    match stream.next().await {
        Some(Ok(message)) => Some(message),
        Some(Err(error)) => {
            tracing::debug!(%error, "the delivery of results was interrupted");
            None
        }
        None => None,
    }
}
