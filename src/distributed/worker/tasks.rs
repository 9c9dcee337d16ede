//! How a worker handles one task, from the delivery to the stored result.

use super::super::connection::store;
use super::super::protocol::{AGAIN, Claimed, Doing, Report, Task, Welcome, short_identity, trial_of};
use super::super::trainer::{Line, Trainer};
use super::{LOOK, Presence, RENEW, REQUEST, Session};
use crate::evaluation::{Evaluation, Infeasibility};
use crate::evaluator::Verdict;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{self, AckKind};
use futures_util::{StreamExt, TryStreamExt};
use serde::de::IgnoredAny;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How much longer than asked a broker may take to end a request.
const GRACE: Duration = Duration::from_secs(1);

/// The longest wait for an answer of the worker that is already evaluating a trial: it reaches a broker that was away
/// within half a second.
const CLAIM: Duration = Duration::from_secs(3);

/// How long a worker that should stop still tries to store its last result.
const LAST_TRY: Duration = Duration::from_secs(10);

/// How a task ended for this worker.
pub(super) enum End {
    /// Its result is stored, or another worker handles it.
    Next,
    /// Its trainer is gone.
    NoTrainer,
    /// The worker should stop.
    Stop,
    /// The task is meant for workers with another environment.
    Stranger,
}

impl Session<'_> {
    /// Returns the next task, or `None` if there is none at the moment.
    pub(super) async fn next_task(
        &self,
        consumer: &Consumer<pull::Config>,
    ) -> Result<Option<jetstream::Message>, Box<dyn std::error::Error + Send + Sync>> {
        let mut batch = consumer.batch().max_messages(1).expires(REQUEST).messages().await?;
        // A broker that is there ends the request itself. Wait a little longer, so that no late task is missed.
        let end = Instant::now() + REQUEST + GRACE;
        while Instant::now() < end && !self.is_stopped() {
            match timeout(LOOK, batch.next()).await {
                Ok(Some(message)) => return Ok(Some(message?)),
                Ok(None) => return Ok(None),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Evaluates a delivered task, unless another worker is evaluating it.
    pub(super) async fn task(
        &self,
        message: &jetstream::Message,
        welcome: &Welcome,
        consumer: &Consumer<pull::Config>,
        trainer: &mut Trainer,
        environment: &str,
    ) -> End {
        let key = message.subject.rsplit('.').next().unwrap_or_default();
        let (Some(lease), Ok(info)) = (&message.reply, message.info()) else { return End::Next };
        let Ok(task) = serde_json::from_slice::<Task<IgnoredAny>>(&message.payload) else {
            tracing::warn!(key, "a task cannot be read: is there a controller of another version?");
            let _ = message.ack_with(AckKind::Nak(Some(RENEW))).await;
            return End::Stranger;
        };
        if task.environment != environment {
            self.hand_back(key, lease, Some(RENEW)).await;
            return End::Stranger;
        }
        let handed_out_before = info.delivered > 1
            || info.published < consumer.cached_info().created
            || message.headers.as_ref().is_some_and(|headers| headers.get(AGAIN).is_some());
        if handed_out_before {
            match self.presence.ask(key, lease, CLAIM).await {
                Some(Claimed::Mine) => {
                    self.note(key, lease).await;
                    return End::Next;
                }
                Some(Claimed::Done) => {
                    let _ = message.double_ack().await;
                    return End::Next;
                }
                None => {}
            }
            let begun = u64::try_from(info.delivered).unwrap_or_default().saturating_sub(1);
            if begun >= u64::from(welcome.attempts) {
                let lost = begun.saturating_sub(self.notes(key).await);
                if lost >= u64::from(welcome.attempts) {
                    return self.dead_letter(key, lease, welcome.attempts).await;
                }
            }
        }
        self.evaluate(key, lease, &message.payload, trainer).await
    }

    async fn evaluate(&self, key: &str, lease: &str, task: &[u8], trainer: &mut Trainer) -> End {
        let hand = &self.presence.hand;
        hand.take_up(key, lease.to_owned());
        trainer.send(task);
        let begun = Instant::now();
        let (mut told, mut told_to_stop) = (false, false);
        let trial = trial_of(key).unwrap_or_default();
        let (verdict, end) = loop {
            match timeout(LOOK, trainer.next()).await {
                Ok(Some(Line::Progress(progress))) => {
                    hand.advance(Some(progress));
                    // The next heartbeat may have a later one, without the accuracy.
                    told &= progress.value.is_none();
                }
                Ok(Some(Line::Done { outcome, condition, .. })) => {
                    // A trainer that cannot evaluate anything more is replaced.
                    break (outcome, if condition.broken { End::NoTrainer } else { End::Next });
                }
                Ok(None) => break (trainer.end(), End::NoTrainer),
                Ok(Some(Line::Ready { .. } | Line::Unready { .. } | Line::Unreadable { .. })) | Err(_) => {}
            }
            if self.is_stopped() {
                trainer.stop();
                for lease in hand.put_down() {
                    self.hand_back(key, &lease, None).await;
                }
                return End::Stop;
            }
            if hand.hangs() {
                trainer.stop();
                let message = format!("its training showed no progress for {:?}", self.worker.patience);
                tracing::warn!(key, message, killed = trainer.can_be_killed(), "a training makes no progress");
                self.presence.tell(Doing::GaveUp { key: key.to_owned(), message }, REQUEST).await;
                // No note is stored, because this attempt counts.
                for lease in hand.put_down() {
                    let _ = self.presence.lease(&lease).ack_with(AckKind::Nak(None)).await;
                }
                return End::NoTrainer;
            }
            if !told_to_stop && hand.should_stop() {
                told_to_stop = true;
                trainer.ask_to_stop(trial);
            }
            if !told && begun.elapsed() > LOOK {
                told = true;
                self.presence.tell(hand.doing(), REQUEST).await;
            }
        };
        self.finish(key, verdict, end).await
    }

    /// Stores the result of the trial at hand, and puts it down.
    async fn finish(&self, key: &str, verdict: Verdict, end: End) -> End {
        let hand = &self.presence.hand;
        hand.trained();
        let stored = self.store(key, verdict).await;
        let leases = hand.put_down();
        if !stored {
            return End::Stop;
        }
        self.acknowledge(leases);
        end
    }

    /// Gives up a trial over which too many workers were lost.
    async fn dead_letter(&self, key: &str, lease: &str, attempts: u32) -> End {
        let message = "every worker that began it was lost, or its training hung".to_owned();
        tracing::warn!(key, attempts, "a trial is given up");
        let failed = Evaluation::Infeasible(Infeasibility::Failed { attempts, message });
        self.presence.hand.take_up(key, lease.to_owned());
        self.finish(key, Verdict::Evaluated(failed), End::Next).await
    }

    /// Stores a result, however long the broker is away, and extends the lease meanwhile. Returns whether it, or
    /// another result of the same attempt, is stored: a worker that should stop does not wait for ever.
    async fn store(&self, key: &str, verdict: Verdict) -> bool {
        let report = Report { key: key.to_owned(), worker: self.worker.name.clone(), verdict };
        let Ok(payload) = serde_json::to_vec(&report) else { unreachable!("a result is made of numbers and texts") };
        let Presence { context, names, .. } = &self.presence;
        let mut stopped: Option<Instant> = None;
        loop {
            let Err(error) = store(context, names.subject("result", key), payload.clone()).await else { return true };
            tracing::debug!(%error, key, "a result is not stored yet");
            if self.is_stopped() && stopped.get_or_insert_with(Instant::now).elapsed() > LAST_TRY {
                return false;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Removes a task whose result is stored from the queue, while the next one is requested. Should this fail, the
    /// task is delivered again and the controller answers that it is done.
    fn acknowledge(&self, leases: Vec<String>) {
        for lease in leases {
            let presence = self.presence.clone();
            tokio::spawn(async move {
                if let Err(error) = presence.lease(&lease).double_ack().await {
                    tracing::debug!(%error, "a task is not removed from the queue yet");
                }
            });
        }
    }

    /// Returns a task that was not started, or was interrupted through no fault of its own. This does not count as an
    /// attempt.
    async fn hand_back(&self, key: &str, lease: &str, pause: Option<Duration>) {
        self.note(key, lease).await;
        let _ = self.presence.lease(lease).ack_with(AckKind::Nak(pause)).await;
    }

    /// Notes that this delivery of a task does not count as an attempt, since the broker counts them all. If the note
    /// is lost, the trial has one attempt fewer.
    async fn note(&self, key: &str, lease: &str) {
        let Presence { context, names, .. } = &self.presence;
        let delivery = short_identity(lease);
        if let Err(error) = store(context, names.subject("note", &format!("{key}.{delivery}")), Vec::new()).await {
            tracing::debug!(%error, key, "a note is not stored");
        }
    }

    /// Returns the number of deliveries of a task that do not count.
    async fn notes(&self, key: &str) -> u64 {
        let Presence { context, names, .. } = &self.presence;
        let count = async {
            let stream = context.get_stream(names.notes()).await.ok()?;
            let subjects = stream.info_with_subjects(names.subject("note", &format!("{key}.*"))).await.ok()?;
            subjects.try_fold(0, async |sum, (_, count)| Ok(sum + count as u64)).await.ok()
        };
        // If they cannot be counted, do not give up the task: the broker will deliver it once more.
        count.await.unwrap_or(u64::MAX)
    }
}
