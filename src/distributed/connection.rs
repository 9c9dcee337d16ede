//! Connecting to a broker.

use super::DistributedError;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Longest pause between two attempts to reach a broker that went away.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Silence after which a connection is checked.
const PING: Duration = Duration::from_secs(5);

/// Longest wait for an answer of the broker.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// The threads that a connection lives on, beside those of the search.
pub(super) fn runtime() -> Result<Runtime, DistributedError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("blockqnn broker")
        .enable_all()
        .build()
        .map_err(|source| DistributedError::Runtime { source })
}

/// The streams of a connection.
pub(super) fn jetstream(client: &Client) -> Context {
    ContextBuilder::new().timeout(ANSWER).ack_timeout(ANSWER).build(client.clone())
}

/// Where a broker is, and how to be let in.
///
/// The address is that of `nats-server`: `nats://host:4222`, with `tls://` if the connection must be encrypted, and with
/// `user:password@` before the host if the broker has passwords. Several addresses of one cluster stand in one text,
/// with commas between.
///
/// ```
/// use blockqnn::distributed::Broker;
///
/// let broker = Broker::new("tls://broker.example:4222").with_nkey("worker.nk").with_ca("ca.pem");
/// assert_eq!(broker.url(), "tls://broker.example:4222");
/// ```
#[derive(Clone)]
pub struct Broker {
    url: String,
    nkey: Option<PathBuf>,
    credentials: Option<PathBuf>,
    ca: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

/// Shows the address without a password.
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
    /// The broker at `url`, without credentials.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), nkey: None, credentials: None, ca: None, certificate: None }
    }

    /// The same broker, with the nkey whose seed (a line that begins with `SU`) is in a file.
    #[must_use]
    pub fn with_nkey(mut self, seed: impl Into<PathBuf>) -> Self {
        self.nkey = Some(seed.into());
        self
    }

    /// The same broker, with a credentials file (`.creds`: a JWT and its nkey).
    #[must_use]
    pub fn with_credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }

    /// The same broker, whose certificate is signed by the authority in a PEM file. Without it those that the system
    /// trusts count.
    #[must_use]
    pub fn with_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// The same broker, which asks for a certificate; both files are PEM.
    #[must_use]
    pub fn with_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its address without a password.
    fn shown(&self) -> String {
        let hide = |address: &str| match (address.split_once("://"), address.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            (_, None) => address.to_owned(),
        };
        self.url.split(',').map(hide).collect::<Vec<_>>().join(",")
    }

    /// Connects, and keeps the connection up from then on. `name` is shown in the broker's monitoring; replies come on
    /// subjects under `inbox`, so that an account may be kept from reading those of others.
    pub(super) async fn connect(&self, name: &str, inbox: &str) -> Result<Client, DistributedError> {
        let mut options = ConnectOptions::new()
            .name(name)
            .custom_inbox_prefix(inbox)
            .ping_interval(PING)
            .connection_timeout(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| {
                // The exponent is bounded, so that the pause is.
                Duration::from_millis(10 << attempts.min(6)).min(LONGEST_PAUSE)
            })
            .event_callback(|event| async move {
                match event {
                    Event::Connected => tracing::info!("connected to the broker"),
                    Event::Disconnected => tracing::warn!("the connection to the broker is lost; reconnecting"),
                    event => tracing::warn!(%event, "the broker says"),
                }
            });
        let file = |path: &PathBuf, source| DistributedError::File { path: path.clone(), source };
        if let Some(path) = &self.nkey {
            let seed = std::fs::read_to_string(path).map_err(|source| file(path, source))?;
            let seed = seed.lines().map(str::trim).find(|line| line.starts_with('S'));
            let seed = seed.ok_or_else(|| DistributedError::Seed { path: path.clone() })?;
            options = options.nkey(seed.to_owned());
        }
        if let Some(path) = &self.credentials {
            options = options.credentials_file(path).await.map_err(|source| file(path, source))?;
        }
        if let Some(path) = &self.ca {
            // Read here, because a missing file would show as a broken connection.
            std::fs::read(path).map_err(|source| file(path, source))?;
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            for path in [certificate, key] {
                std::fs::read(path).map_err(|source| file(path, source))?;
            }
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let addresses: Vec<&str> = self.url.split(',').collect();
        options.connect(addresses).await.map_err(|source| {
            let hint = match source.kind() {
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
            let message = causes(&source);
            // Failures of TLS come as failures of input and output too.
            let hint = if source.kind() == ConnectErrorKind::Io && message.contains("certificate") {
                "the broker requires TLS with a certificate that is not trusted here: give the certificate of its \
                 authority"
            } else if source.kind() == ConnectErrorKind::Io && message.contains("corrupt message") {
                "the broker has no TLS at all: use nats:// instead of tls://, or configure a certificate in the broker"
            } else {
                hint
            };
            DistributedError::Connect { url: self.shown(), message, hint }
        })
    }
}

/// An error and what caused it, in one line.
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
