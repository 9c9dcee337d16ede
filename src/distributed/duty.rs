//! Reserves a name for one controller: a second one learns of the first and ends.
//!
//! A controller asks on a subject of its search whether there are others, and answers when others ask. Nothing is
//! stored, so a controller that was killed blocks nobody.

use super::protocol::{Duty, Names, machine};
use super::{DistributedError, connection};
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long a controller listens for others before it takes a name.
const LISTEN: Duration = Duration::from_secs(1);

/// The number of controllers that this process has started.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// The part of a controller that keeps others from using its name.
#[derive(Debug)]
pub(super) struct Guard {
    client: Client,
    subject: String,
    inbox: String,
    state: Arc<Mutex<State>>,
    /// Ends with the guard: a controller that has ended must not block others.
    _answering: JoinSet<()>,
}

/// What a controller knows of itself and of another.
#[derive(Debug)]
struct State {
    own: Duty,
    /// A controller with a better right to the name.
    other: Option<Duty>,
}

impl State {
    fn hear(&mut self, heard: Duty) {
        if self.own.yields_to(&heard) {
            self.other = Some(heard);
        }
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guard {
    /// Claims the name for this controller.
    pub(super) async fn take(client: &Client, names: &Names) -> Result<Self, DistributedError> {
        let jetless = |message: String| DistributedError::JetStream { message };
        let (subject, inbox) = (names.controller(), client.new_inbox());
        let asks = client.subscribe(subject.clone()).await.map_err(|error| jetless(error.to_string()))?;
        let answers = client.subscribe(inbox.clone()).await.map_err(|error| jetless(error.to_string()))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let process = std::process::id();
        // Ids have a fixed number of digits, so that they sort by time.
        let number = BEGUN.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}-{process}-{number}", now.as_nanos());
        let own = Duty { id, machine: machine().unwrap_or_default(), process, holds: false };
        let state = Arc::new(Mutex::new(State { own, other: None }));
        let mut answering = JoinSet::new();
        answering.spawn(answer(client.clone(), Arc::clone(&state), asks, answers));
        let guard = Self { client: client.clone(), subject, inbox, state, _answering: answering };
        // Two controllers that start at the same moment hear each other, because both listen before they ask.
        let _ = client.flush().await;
        guard.ask().await;
        let end = Instant::now() + LISTEN;
        while Instant::now() < end {
            guard.check(names)?;
            sleep(Duration::from_millis(20)).await;
        }
        locked(&guard.state).own.holds = true;
        guard.check(names)?;
        Ok(guard)
    }

    /// Asks whether there are other controllers: at the start, and after the connection was lost.
    pub(super) async fn ask(&self) {
        let own = locked(&self.state).own.clone();
        if let Ok(payload) = serde_json::to_vec(&own) {
            // Without a connection there is nobody to hear it.
            let _ = self.client.publish_with_reply(self.subject.clone(), self.inbox.clone(), payload.into()).await;
        }
    }

    /// Returns an error if another controller has a better right to the name.
    pub(super) fn check(&self, names: &Names) -> Result<(), DistributedError> {
        match &locked(&self.state).other {
            None => Ok(()),
            Some(Duty { machine, process, .. }) => {
                let machine = if machine.is_empty() { String::new() } else { format!(" on {machine}") };
                Err(DistributedError::Taken {
                    name: names.name().to_owned(),
                    holder: format!("process {process}{machine}"),
                })
            }
        }
    }
}

/// Answers other controllers for as long as the connection lasts.
async fn answer(client: Client, state: Arc<Mutex<State>>, mut asks: Subscriber, mut answers: Subscriber) {
    let read = |message: &Message| serde_json::from_slice::<Duty>(&message.payload).ok();
    loop {
        tokio::select! {
            Some(message) = asks.next() => {
                let Some(heard) = read(&message) else { continue };
                let own = {
                    let mut state = locked(&state);
                    if heard.id == state.own.id {
                        continue;
                    }
                    state.hear(heard);
                    state.own.clone()
                };
                connection::reply(&client, &message, &own).await;
            }
            Some(message) = answers.next() => {
                if let Some(heard) = read(&message) {
                    locked(&state).hear(heard);
                }
            }
            else => return,
        }
    }
}
