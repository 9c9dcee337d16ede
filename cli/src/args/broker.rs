//! `--nats`: a search that has its blocks trained on other machines.

use blockqnn::distributed::{Broker, NatsConfig, NatsEvaluator};
use blockqnn::experiment::Experiment;
use blockqnn::space::block::BlockCode;
use std::error::Error;
use std::path::PathBuf;

/// How to reach a broker.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_field_names, reason = "each field is a flag, and says of what")]
pub(crate) struct Access {
    /// Name of the search on the broker: 1 to 64 letters, digits, - and _. Searches with different names can share a
    /// broker
    #[arg(long, value_name = "NAME", default_value = "search", requires = "nats")]
    pub(crate) nats_name: String,

    /// File with the seed (SU...) of the nkey to authenticate with at the broker
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_nkey: Option<PathBuf>,

    /// Credentials file (.creds) to authenticate with at the broker
    #[arg(long, value_name = "FILE", conflicts_with = "nats_nkey", requires = "nats")]
    nats_creds: Option<PathBuf>,

    /// PEM file with the certificate of the authority that signed the broker's certificate [default: the system's
    /// authorities]
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_ca: Option<PathBuf>,
}

impl Access {
    pub(crate) fn broker(&self, url: &str) -> Broker {
        let Self { nats_nkey: nkey, nats_creds: credentials, nats_ca: ca, .. } = self.clone();
        Broker { nkey, credentials, ca, ..Broker::new(url) }
    }
}

/// The options of a search that distributes its blocks.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Controller {
    /// Have blocks trained by `blockqnn worker` processes, through the NATS broker at this address (nats://host:4222,
    /// or tls://host:4222 with encryption), instead of threads of this process. With --trainer torch, workers need that
    /// option too, and this machine the same version of PyTorch, but no card
    #[arg(long, value_name = "URL", conflicts_with_all = ["processes", "workers"])]
    nats: Option<String>,

    #[command(flatten)]
    access: Access,
}

/// An evaluator on a broker, and the command that starts a worker for it.
type Workers = (NatsEvaluator<BlockCode>, String);

impl Controller {
    /// Whether workers on a broker train.
    pub(crate) fn is_used(&self) -> bool {
        self.nats.is_some()
    }

    /// The evaluator on the broker, and the command that starts a worker for it, with these options. Workers receive
    /// the experiment, so that they need only the images.
    pub(crate) fn evaluator(
        &self,
        experiment: &Experiment,
        identity: String,
        options: &str,
    ) -> Result<Workers, Box<dyn Error>> {
        let url = self.nats.as_deref().unwrap_or_default();
        let (name, briefing) = (&self.access.nats_name, serde_json::to_value(experiment)?);
        let full_epochs = Some(experiment.recipe.epochs);
        let config = NatsConfig { name: name.clone(), briefing, full_epochs, ..NatsConfig::new(identity) };
        let evaluator = NatsEvaluator::new(&self.access.broker(url), config)?;
        errln!("blocks are trained by the workers of the search {name:?} at {url}");
        Ok((evaluator, format!("blockqnn worker --nats {url} --nats-name {name}{options}")))
    }
}
