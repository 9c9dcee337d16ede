//! Connecting to a broker.

use super::DistributedError;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::subject::ToSubject;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, Message};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The longest pause between two attempts to reach a broker that went away.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The silence after which a connection is checked.
const PING: Duration = Duration::from_secs(5);

/// The longest wait for an answer from the broker.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// Starts the threads of a connection, which are separate from those of the search.
pub(super) fn runtime() -> Result<Runtime, DistributedError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("blockqnn broker")
        .enable_all()
        .build()
        .map_err(|source| DistributedError::Runtime { source })
}

/// Returns the JetStream context of a connection.
pub(super) fn jetstream(client: &Client) -> Context {
    ContextBuilder::new().timeout(ANSWER).ack_timeout(ANSWER).build(client.clone())
}

/// Publishes a message, which may get lost.
pub(super) async fn tell(client: &Client, subject: impl ToSubject, message: &impl Serialize) {
    if let Ok(payload) = serde_json::to_vec(message) {
        let _ = client.publish(subject, payload.into()).await;
    }
}

/// Answers a message. Whoever gets no answer asks again.
pub(super) async fn reply(client: &Client, message: &Message, reply: &impl Serialize) {
    if let Some(to) = &message.reply {
        tell(client, to.clone(), reply).await;
    }
}

/// Stores a message, unless its stream has one on the subject already.
pub(super) async fn store(context: &Context, subject: String, payload: Vec<u8>) -> Result<(), PublishError> {
    let message = PublishMessage::build().payload(payload.into()).expected_last_subject_sequence(0);
    match context.send_publish(subject, message).await?.await {
        Err(error) if error.kind() != PublishErrorKind::WrongLastSequence => Err(error),
        _ => Ok(()),
    }
}

/// The address of a broker, and the credentials for it.
///
/// The address is that of `nats-server`: `nats://host:4222`. It begins with `tls://` if the connection must be
/// encrypted, and has `user:password@` before the host if the broker asks for a password. Several addresses of one
/// cluster are separated by commas.
///
/// ```
/// use blockqnn::distributed::Broker;
///
/// let nkey = Some("worker.nk".into());
/// let broker = Broker { nkey, ca: Some("ca.pem".into()), ..Broker::new("tls://broker.example:4222") };
/// assert_eq!(broker.url, "tls://broker.example:4222");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    /// The address.
    pub url: String,
    /// A file with the seed of an nkey to authenticate with (a line that begins with `SU`).
    pub nkey: Option<PathBuf>,
    /// A credentials file to authenticate with (`.creds`: a JWT and its nkey).
    pub credentials: Option<PathBuf>,
    /// A PEM file with the certificate authority to trust, instead of those that the system trusts.
    pub ca: Option<PathBuf>,
    /// PEM files with a client certificate to present, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Shows the address without its password.
impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, nkey, credentials, ca, certificate } = self;
        f.debug_struct("Broker")
            .field("url", &self.shown())
            .field("nkey", nkey)
            .field("credentials", credentials)
            .field("ca", ca)
            .field("certificate", certificate)
            .finish()
    }
}

impl Broker {
    /// Creates a broker at `url`, without credentials.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), nkey: None, credentials: None, ca: None, certificate: None }
    }

    /// Returns the address without its password.
    fn shown(&self) -> String {
        let hide = |address: &str| match (address.split_once("://"), address.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            (_, None) => address.to_owned(),
        };
        self.url.split(',').map(hide).collect::<Vec<_>>().join(",")
    }

    /// Connects, and reconnects from then on whenever the connection is lost. The broker's monitoring shows `name`.
    /// Replies arrive on subjects under `inbox`, so that an account can be denied reading those of others.
    pub(super) async fn connect(&self, name: &str, inbox: &str) -> Result<Client, DistributedError> {
        let mut options = ConnectOptions::new()
            .name(name)
            .custom_inbox_prefix(inbox)
            .ping_interval(PING)
            .connection_timeout(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| {
                // The exponent is bounded, and so is the pause.
                Duration::from_millis(10 << attempts.min(6)).min(LONGEST_PAUSE)
            })
            .event_callback(|event| async move {
                match event {
                    Event::Connected => tracing::info!("connected to the broker"),
                    Event::Disconnected => tracing::warn!("the connection to the broker is lost; reconnecting"),
                    event => tracing::warn!(%event, "the broker says"),
                }
            });
        let file = |path: &PathBuf, problem: &dyn fmt::Display| DistributedError::File {
            path: path.clone(),
            problem: problem.to_string(),
        };
        if let Some(path) = &self.nkey {
            let seed = std::fs::read_to_string(path).map_err(|error| file(path, &error))?;
            let seed = seed.lines().map(str::trim).find(|line| line.starts_with('S'));
            let none = "it holds no nkey seed: it needs a line that begins with SU, as printed by `nk -gen user`";
            let seed = seed.ok_or_else(|| file(path, &none))?;
            options = options.nkey(seed.to_owned());
        }
        if let Some(path) = &self.credentials {
            options = options.credentials_file(path).await.map_err(|error| file(path, &error))?;
        }
        if let Some(path) = &self.ca {
            // Read here, because a missing file would look like a broken connection.
            std::fs::read(path).map_err(|error| file(path, &error))?;
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            for path in [certificate, key] {
                std::fs::read(path).map_err(|error| file(path, &error))?;
            }
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let addresses: Vec<&str> = self.url.split(',').collect();
        options.connect(addresses).await.map_err(|source| {
            let message = causes(&source);
            let hint = match source.kind() {
                // TLS failures are reported as I/O errors too.
                ConnectErrorKind::Io if message.contains("certificate") => {
                    "the broker requires TLS with a certificate that is not trusted here: give the certificate of its \
                     authority"
                }
                ConnectErrorKind::Io if message.contains("corrupt message") => {
                    "the broker has no TLS at all: use nats:// instead of tls://, or configure a certificate in the \
                     broker"
                }
                ConnectErrorKind::ServerParse => "the address must have the form nats://host:4222 or tls://host:4222",
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    "the broker does not accept these credentials: give the nkey, the credentials file or the \
                     user:password@ of one of its accounts"
                }
                ConnectErrorKind::Tls => {
                    "the encrypted connection failed: the broker requires TLS with a certificate that is not trusted \
                     here (give the certificate of its authority), asks for a certificate, or has no TLS at all"
                }
                _ => "is a nats-server running there (nats-server -js), and does a firewall let its port through?",
            };
            DistributedError::Connect { url: self.shown(), message, hint }
        })
    }
}

/// Returns an error and its causes in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let shown = |url: &str| Broker::new(url).shown();
        assert_eq!(shown("nats://user:secret@host:4222"), "nats://host:4222");
        assert_eq!(shown("nats://a:1,tls://u:p@b:2"), "nats://a:1,tls://b:2");
        assert_eq!(shown("user:secret@host:4222,other"), "host:4222,other");
        let debug = format!("{:?}", crate::distributed::NatsWorker::new(Broker::new("nats://user:secret@host:4222")));
        assert!(debug.contains("nats://host:4222") && !debug.contains("secret"), "{debug}");
    }
}
