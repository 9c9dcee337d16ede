//! The trial that a worker is evaluating, and the worker's heartbeats.

use super::connection;
use super::protocol::{Claim, Claimed, Doing, Names, Status};
use crate::environment::Progress;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Context};
use async_nats::{Client, Message};
use futures_util::StreamExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The longest time between two heartbeats.
const LONGEST: Duration = Duration::from_secs(5);

/// The trial that a worker is evaluating.
struct Held {
    key: String,
    progress: Option<Progress>,
    /// When its training last made progress.
    advanced: Instant,
    /// Whether the training is over, and only the result is still to be stored.
    trained: bool,
    /// Whether it should stop early.
    stops: bool,
    /// All leases of it: a broker that was unreachable delivers a trial again while its worker is evaluating it.
    leases: Vec<String>,
}

/// The trial that a worker is evaluating, shared by its main loop and its heartbeats.
#[derive(Clone)]
pub(super) struct Hand {
    held: Arc<Mutex<Option<Held>>>,
    /// A training that makes no progress for this long counts as hanging.
    patience: Duration,
}

impl Hand {
    pub(super) fn new(patience: Duration) -> Self {
        Self { held: Arc::default(), patience }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_up(&self, key: &str, lease: String) {
        let (key, leases) = (key.to_owned(), vec![lease]);
        let advanced = Instant::now();
        *self.lock() = Some(Held { key, progress: None, advanced, trained: false, stops: false, leases });
    }

    pub(super) fn advance(&self, progress: Option<Progress>) {
        if let Some(held) = &mut *self.lock() {
            held.advanced = Instant::now();
            held.progress = progress.or(held.progress);
        }
    }

    /// Notes that the training is over: from now on the trial cannot hang.
    pub(super) fn trained(&self) {
        if let Some(held) = &mut *self.lock() {
            held.trained = true;
        }
    }

    /// Returns whether the training has stopped making progress.
    pub(super) fn hangs(&self) -> bool {
        self.lock().as_ref().is_some_and(|held| self.hanging(held))
    }

    fn hanging(&self, held: &Held) -> bool {
        !held.trained && held.advanced.elapsed() > self.patience
    }

    /// Notes that the trial with this key should stop early, if it is the current one.
    fn ask_to_stop(&self, key: &str) {
        if let Some(held) = self.lock().as_mut().filter(|held| held.key == key) {
            held.stops = true;
        }
    }

    /// Returns whether the trial should stop early.
    pub(super) fn should_stop(&self) -> bool {
        self.lock().as_ref().is_some_and(|held| held.stops)
    }

    /// Gives up the trial and returns its leases.
    pub(super) fn put_down(&self) -> Vec<String> {
        self.lock().take().map(|held| held.leases).unwrap_or_default()
    }

    pub(super) fn doing(&self) -> Doing {
        match &*self.lock() {
            None => Doing::Waiting,
            Some(held) => Doing::Evaluating { key: held.key.clone(), progress: held.progress },
        }
    }

    /// Returns where to send heartbeats: nowhere if the training hangs, so that the trial goes to another worker.
    fn leases(&self) -> Vec<String> {
        let held = self.lock();
        held.as_ref().filter(|held| !self.hanging(held)).map(|held| held.leases.clone()).unwrap_or_default()
    }

    /// Adds another lease of the trial, if it is the current one and still running.
    fn adopt(&self, key: &str, lease: String) -> bool {
        match &mut *self.lock() {
            Some(held) if held.key == key && !self.hanging(held) => {
                held.leases.push(lease);
                true
            }
            _ => false,
        }
    }
}

/// Tells others what a worker is doing.
#[derive(Clone)]
pub(super) struct Presence {
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) names: Names,
    pub(super) worker: String,
    pub(super) hand: Hand,
}

impl Presence {
    /// Tells the controller what the worker is doing. The message may get lost.
    pub(super) async fn tell(&self, doing: Doing, every: Duration) {
        let status = Status { worker: self.worker.clone(), every, doing };
        connection::tell(&self.client, self.names.status(), &status).await;
    }

    /// Sends heartbeats for ever: to the controller, to the broker for the current trial, and to other workers that
    /// received the same trial.
    pub(super) async fn keep(self, ack_wait: Duration) {
        let every = (ack_wait / 4).clamp(Duration::from_millis(10), LONGEST);
        let Ok(mut claims) = self.client.subscribe(self.names.subject("claim", "*")).await else {
            // Without these messages a trial may be trained twice; the second result is refused.
            return tracing::warn!("this worker cannot receive messages of other workers");
        };
        let Ok(mut stops) = self.client.subscribe(self.names.subject("stop", "*")).await else {
            // Without them every trial is finished, which is a result as well.
            return tracing::warn!("this worker cannot receive messages of the controller");
        };
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.tell(self.hand.doing(), every).await;
                    for lease in self.hand.leases() {
                        let _ = self.lease(&lease).ack_with(AckKind::Progress).await;
                    }
                }
                Some(stop) = stops.next() => {
                    self.hand.ask_to_stop(stop.subject.rsplit('.').next().unwrap_or_default());
                }
                claim = claims.next() => match claim {
                    Some(claim) => self.answer(&claim).await,
                    None => return,
                },
            }
        }
    }

    async fn answer(&self, message: &Message) {
        let Ok(claim) = serde_json::from_slice::<Claim>(&message.payload) else { return };
        let key = message.subject.rsplit('.').next().unwrap_or_default();
        if claim.worker == self.worker || !self.hand.adopt(key, claim.lease.clone()) {
            return;
        }
        let _ = self.lease(&claim.lease).ack_with(AckKind::Progress).await;
        connection::reply(&self.client, message, &Claimed::Mine).await;
    }

    /// Returns a lease, to be acknowledged or extended.
    pub(super) fn lease(&self, subject: &str) -> Acker {
        Acker::new(self.context.clone(), Some(subject.into()))
    }

    /// Asks who is evaluating a trial or has its result, for as long as a worker needs to reach a broker that was away.
    /// Extends the lease meanwhile.
    pub(super) async fn ask(&self, key: &str, lease: &str, longest: Duration) -> Option<Claimed> {
        let claim = Claim { worker: self.worker.clone(), lease: lease.to_owned() };
        let payload = serde_json::to_vec(&claim).ok()?;
        let end = Instant::now() + longest;
        while Instant::now() < end {
            let _ = self.lease(lease).ack_with(AckKind::Progress).await;
            let pause = Instant::now() + Duration::from_millis(250);
            let request =
                async_nats::Request::new().payload(payload.clone().into()).timeout(Some(Duration::from_millis(250)));
            if let Ok(answer) = self.client.send_request(self.names.subject("claim", key), request).await
                && let Ok(claimed) = serde_json::from_slice(&answer.payload)
            {
                return Some(claimed);
            }
            tokio::time::sleep_until(pause).await;
        }
        None
    }
}
