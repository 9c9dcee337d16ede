//! What is sent over the broker: subjects, streams and messages.

use super::DistributedError;
use crate::environment::{Progress, Thresholds};
use crate::evaluation::{Rung, Trial};
use crate::evaluator::Verdict;
use crate::identity::short_hash;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The version of the messages. Worker and controller must have the same.
pub(super) const PROTOCOL: u32 = 1;

/// The most messages that may be delivered and unacknowledged at a time: more than there are workers.
const MAX_HANDED_OUT: i64 = 65_536;

/// The most workers that may wait for a task at a time; the server's own default is 512.
const MAX_WAITING: i64 = 4_096;

/// Results and notes older than this are deleted.
const MAX_AGE: Duration = Duration::from_hours(24 * 30);

/// The names of the subjects and streams of a search.
#[derive(Debug, Clone)]
pub(super) struct Names {
    name: String,
}

impl Names {
    /// The default name of a search.
    pub(super) const DEFAULT: &str = "search";

    /// Returns the names for the search `name`, which must be a word that is valid in subjects and stream names.
    pub(super) fn new(name: &str) -> Result<Self, DistributedError> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = name.to_owned();
        if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
            return Err(DistributedError::Name { name });
        }
        Ok(Self { name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tasks(&self) -> String {
        format!("BLOCKQNN_TASKS_{}", self.name)
    }

    pub(super) fn results(&self) -> String {
        format!("BLOCKQNN_RESULTS_{}", self.name)
    }

    pub(super) fn notes(&self) -> String {
        format!("BLOCKQNN_NOTES_{}", self.name)
    }

    pub(super) fn subject(&self, kind: &str, rest: &str) -> String {
        format!("blockqnn.{}.{kind}.{rest}", self.name)
    }

    pub(super) fn status(&self) -> String {
        format!("blockqnn.{}.status", self.name)
    }

    /// Returns the subject on which controllers ask for each other.
    pub(super) fn controller(&self) -> String {
        format!("blockqnn.{}.controller", self.name)
    }

    pub(super) fn hello(&self) -> String {
        format!("blockqnn.{}.hello", self.name)
    }

    /// Returns the three streams. A subject holds one message, and the first one stays: of two results of one trial the
    /// broker refuses the second, whoever sends it and however often the broker restarts.
    pub(super) fn streams(&self) -> [Config; 3] {
        let stream = |name: String, subjects: String, retention, max_age| Config {
            name,
            subjects: vec![subjects],
            retention,
            max_age,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..Config::default()
        };
        [
            stream(self.tasks(), self.subject("task", "*"), RetentionPolicy::WorkQueue, Duration::ZERO),
            stream(self.results(), self.subject("result", "*"), RetentionPolicy::Limits, MAX_AGE),
            stream(self.notes(), self.subject("note", ">"), RetentionPolicy::Limits, MAX_AGE),
        ]
    }
}

/// Returns the consumer that delivers tasks to workers. A message is redelivered until it is acknowledged. Workers
/// count the attempts, because a message that the server gives up on would stay in the stream for ever.
pub(super) fn task_consumer(name: String, ack_wait: Duration) -> pull::Config {
    pull::Config {
        durable_name: Some(name),
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_deliver: -1,
        max_waiting: MAX_WAITING,
        max_ack_pending: MAX_HANDED_OUT,
        ..pull::Config::default()
    }
}

/// Returns the consumer that delivers results to the controller.
pub(super) fn result_consumer(name: String, ack_wait: Duration) -> pull::Config {
    // A controller that writes its journal once a minibatch leaves many results unacknowledged.
    pull::Config { max_ack_pending: -1, ..task_consumer(name, ack_wait) }
}

/// The header of a task that the broker lost once, so that a worker may already be evaluating it.
pub(super) const AGAIN: &str = "Blockqnn-Again";

/// A trial to evaluate.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task<A> {
    pub(super) trial: Trial,
    pub(super) attempt: u32,
    /// The short name of the environment that it is meant for.
    pub(super) environment: String,
    pub(super) architecture: A,
    /// The values that it must reach, or it is stopped early.
    #[serde(default, skip_serializing_if = "Thresholds::is_empty")]
    pub(super) thresholds: Thresholds,
    /// For how many epochs to evaluate it, in a search with rungs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rung: Option<Rung>,
}

/// Returns the short name of an environment's identity.
pub(super) fn short_identity(identity: &str) -> String {
    short_hash(&Sha256::digest(identity))
}

/// Returns the name of an attempt at a trial. It is the same wherever it is computed, and attempts of the same name
/// have the same result, as far as a trial is not stopped early by whoever watches the search.
pub(super) fn key(
    trial: &Trial,
    attempt: u32,
    environment: &str,
    thresholds: &Thresholds,
    rung: Option<Rung>,
) -> String {
    let mut hasher = Sha256::new();
    hasher.update(environment);
    hasher.update(trial.seed.to_le_bytes());
    hasher.update(trial.fingerprint.as_bytes());
    for (epoch, value) in thresholds.iter() {
        hasher.update(epoch.to_le_bytes());
        hasher.update(value.to_le_bytes());
    }
    if let Some(rung) = rung {
        hasher.update(b"rung");
        hasher.update(rung.epochs.to_le_bytes());
    }
    format!("{}-{attempt}-{}", trial.id, short_hash(&hasher.finalize()))
}

/// Returns the trial that an attempt's name begins with.
pub(super) fn trial_of(key: &str) -> Option<u64> {
    key.split('-').next().and_then(|trial| trial.parse().ok())
}

/// How an attempt ended, and who made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) key: String,
    pub(super) worker: String,
    #[serde(rename = "outcome")]
    pub(super) verdict: Verdict,
}

/// A worker's greeting: first to learn what to create, then to say what it created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    pub(super) version: String,
    pub(super) worker: String,
    pub(super) identity: Option<String>,
}

/// The controller's answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    Welcome(Welcome),
    Refused { reason: String },
}

/// What a worker needs to know of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// What to create the environment from.
    pub(super) briefing: serde_json::Value,
    /// The identity of the environments of this search.
    pub(super) identity: String,
    /// The name of the consumer with the tasks; it changes whenever the broker lost the old one.
    pub(super) consumer: String,
    /// The time within which a worker must show a sign of life.
    pub(super) ack_wait: Duration,
    /// The number of workers that may be lost over an attempt before it is given up.
    pub(super) attempts: u32,
}

/// Returns why a worker may not take part in a search of `identity`, or `None` if it may.
pub(super) fn refusal(hello: &Hello, identity: &str, version: &str) -> Option<String> {
    if hello.protocol != PROTOCOL {
        return Some(format!(
            "it uses protocol {}, but the controller uses protocol {PROTOCOL}: build both from the same version of \
             blockqnn",
            hello.protocol
        ));
    }
    if line_of(&hello.version) != line_of(version) {
        return Some(format!(
            "it is blockqnn {}, but the controller is {version}: build both from the same version",
            hello.version
        ));
    }
    match &hello.identity {
        Some(found) if found != identity => Some(format!(
            "its environment is {found:?}, but that of the search is {identity:?}: give it the same data set, recipe \
             and network"
        )),
        _ => None,
    }
}

/// Returns the part of a version that compatible versions share: major and minor before 1.0, then the major.
fn line_of(version: &str) -> &str {
    let mut dots = version.match_indices('.').map(|(position, _)| position);
    let first = dots.next().unwrap_or(version.len());
    if &version[..first] == "0" { &version[..dots.next().unwrap_or(version.len())] } else { &version[..first] }
}

/// Asks whether another worker is evaluating a trial whose lease was delivered again, and passes the lease on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The worker that asks.
    pub(super) worker: String,
    /// The subject of the lease, where acknowledgements and heartbeats go.
    pub(super) lease: String,
}

/// The answer to a [`Claim`]; workers that are not concerned do not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Claimed {
    /// This worker is evaluating it, and took over the lease.
    Mine,
    /// The controller has its result, or no longer needs it.
    Done,
}

/// A worker's activity, reported every few seconds and whenever it changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) worker: String,
    /// The time until the next status at the latest.
    pub(super) every: Duration,
    pub(super) doing: Doing,
}

/// The activity of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Doing {
    Waiting,
    Evaluating {
        key: String,
        progress: Option<Progress>,
    },
    /// It ends, for a reason.
    Leaving {
        reason: String,
    },
    /// It gave up a trial that it had begun.
    GaveUp {
        key: String,
        message: String,
    },
}

/// A controller's message to others of its name, saying who it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Duty {
    /// The controller's own id; ids sort by the time at which controllers started.
    pub(super) id: String,
    pub(super) machine: String,
    pub(super) process: u32,
    /// Whether it has the name already, and does not only ask for it.
    pub(super) holds: bool,
}

impl Duty {
    /// Returns whether the other has the better right to the name: it has the name already, or started earlier.
    pub(super) fn yields_to(&self, other: &Self) -> bool {
        match (self.holds, other.holds) {
            (false, true) => true,
            (true, false) => false,
            _ => other.id < self.id,
        }
    }
}

/// Returns the name of this machine, if the system has one.
pub(super) fn machine() -> Option<String> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let machine = machine.or_else(|| std::env::var("HOSTNAME").ok());
    machine.map(|name| name.trim().to_owned())
}

/// Returns the time within which a worker that reports every `every` must be heard of. A message may contain any value.
pub(super) fn longest_silence(every: Duration) -> Duration {
    every.saturating_mul(3).saturating_add(Duration::from_secs(1))
}

/// Reads bytes as each kind of message and does what it can with it without a broker, for the fuzzer.
pub(super) fn read_any(bytes: &[u8]) {
    if let Ok(hello) = serde_json::from_slice::<Hello>(bytes) {
        let _ = refusal(&hello, "", env!("CARGO_PKG_VERSION"));
    }
    if let Ok(status) = serde_json::from_slice::<Status>(bytes) {
        assert!(longest_silence(status.every) >= status.every);
    }
    if let Ok(report) = serde_json::from_slice::<Report>(bytes) {
        let _ = trial_of(&report.key);
    }
    if let Ok(Reply::Welcome(welcome)) = serde_json::from_slice::<Reply>(bytes) {
        let _ = task_consumer(welcome.consumer, welcome.ack_wait);
    }
    if let Ok(task) = serde_json::from_slice::<Task<crate::space::block::BlockCode>>(bytes) {
        let _ = key(&task.trial, task.attempt, &task.environment, &task.thresholds, task.rung);
    }
    if let Ok(duty) = serde_json::from_slice::<Duty>(bytes) {
        assert!(!duty.yields_to(&duty));
    }
    let _ = serde_json::from_slice::<Claim>(bytes);
    let _ = serde_json::from_slice::<Claimed>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_controllers_exactly_one_yields() {
        let duty = |id: &str, holds| Duty { id: id.to_owned(), machine: String::new(), process: 1, holds };
        for (a, b) in [(true, true), (true, false), (false, true), (false, false)] {
            let (a, b) = (duty("1", a), duty("2", b));
            assert_ne!(a.yields_to(&b), b.yields_to(&a), "{a:?} {b:?}");
        }
        assert!(duty("1", false).yields_to(&duty("2", true)), "the one that has the name keeps it");
    }

    #[test]
    fn the_attempt_at_a_rung_has_a_name_of_its_own() {
        let fingerprint = crate::graph::Fingerprint::of_name(b"a");
        let trial = Trial { id: 3, seed: 7, fingerprint, cost: None };
        let name = |rung| key(&trial, 1, "e", &Thresholds::default(), rung);
        let at = |number, epochs| name(Some(Rung { number, epochs }));
        assert_ne!(at(0, 1), at(1, 3));
        assert_ne!(name(None), at(0, 1));
        assert_eq!(at(1, 3), at(1, 3));
    }

    fn hello(protocol: u32, version: &str, identity: Option<&str>) -> Hello {
        let identity = identity.map(str::to_owned);
        Hello { protocol, version: version.to_owned(), worker: "w".to_owned(), identity }
    }

    #[test]
    fn an_older_protocol_another_version_and_another_environment_are_refused_with_a_reason() {
        let refused = |hello: &Hello| refusal(hello, "cifar", "0.1.3");
        assert_eq!(refused(&hello(PROTOCOL, "0.1.9", Some("cifar"))), None);
        assert_eq!(refused(&hello(PROTOCOL, "0.1.0", None)), None);
        assert!(refused(&hello(0, "0.1.3", None)).unwrap().contains("protocol 0"));
        assert!(refused(&hello(PROTOCOL, "0.2.0", None)).unwrap().contains("blockqnn 0.2.0"));
        assert!(refused(&hello(PROTOCOL, "0.1.3", Some("mnist"))).unwrap().contains("\"mnist\""));
        assert_eq!(refusal(&hello(PROTOCOL, "1.2.3", None), "", "1.9.0"), None);
        assert!(refusal(&hello(PROTOCOL, "1.2.3", None), "", "2.2.3").is_some());
    }

    #[test]
    fn the_first_message_of_a_subject_stays_and_none_is_given_up_by_the_broker() {
        for stream in Names::new("search").unwrap().streams() {
            assert_eq!(stream.max_messages_per_subject, 1);
            assert_eq!(stream.discard, DiscardPolicy::New);
            assert!(stream.discard_new_per_subject);
        }
        let consumer = task_consumer("c".to_owned(), Duration::from_mins(1));
        assert_eq!((consumer.max_deliver, consumer.max_waiting), (-1, 4_096));
        assert!(consumer.max_ack_pending > 10_000);
    }

    #[test]
    fn a_name_that_would_change_a_subject_is_refused() {
        for bad in ["", "a.b", "*", ">", "a b", &"x".repeat(65)] {
            assert!(matches!(Names::new(bad), Err(DistributedError::Name { name }) if name == bad), "{bad}");
        }
    }
}
