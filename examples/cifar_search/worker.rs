//! `worker`: trains blocks for a search on another machine. `--nats`: the search that hands them out.

use blockqnn::distributed::{Broker, Departure, NatsConfig, NatsEvaluator, NatsWorker};
use blockqnn::environment::{BoxError, Environment};
use blockqnn::experiment::Experiment;
use blockqnn::network::device::{default_device, parse_device};
use blockqnn::space::block::BlockCode;
use blockqnn::train::TrainingEnvironment;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How to reach a broker.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_field_names, reason = "each field is a flag, and says of what")]
pub(crate) struct Access {
    /// Name of the search on the broker; searches with different names share one
    #[arg(long, value_name = "NAME", default_value = "search")]
    nats_name: String,

    /// File with the seed of the nkey to be let in by the broker
    #[arg(long, value_name = "FILE")]
    nats_nkey: Option<PathBuf>,

    /// Credentials file (.creds) to be let in by the broker
    #[arg(long, value_name = "FILE", conflicts_with = "nats_nkey")]
    nats_creds: Option<PathBuf>,

    /// Certificate (PEM) of the authority that signed the broker's
    #[arg(long, value_name = "FILE")]
    nats_ca: Option<PathBuf>,
}

impl Access {
    fn broker(&self, url: &str) -> Broker {
        let mut broker = Broker::new(url);
        if let Some(path) = &self.nats_nkey {
            broker = broker.with_nkey(path);
        }
        if let Some(path) = &self.nats_creds {
            broker = broker.with_credentials(path);
        }
        if let Some(path) = &self.nats_ca {
            broker = broker.with_ca(path);
        }
        broker
    }
}

/// The flags of the search that hands its blocks out.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Controller {
    /// Have blocks trained by `cifar_search worker` processes, through the NATS broker at this address (nats://host:4222,
    /// or tls:// with encryption), in place of threads of this process
    #[arg(long, value_name = "URL")]
    nats: Option<String>,

    #[command(flatten)]
    access: Access,
}

impl Controller {
    /// The evaluator on the broker, if the search is to use one. Workers are told the experiment, so that they need
    /// nothing but the images.
    pub(crate) fn evaluator(
        &self,
        experiment: &Experiment,
        environment: &TrainingEnvironment,
    ) -> Result<Option<NatsEvaluator<BlockCode>>, Box<dyn Error>> {
        let Some(url) = &self.nats else { return Ok(None) };
        let config = NatsConfig::new(Environment::<BlockCode>::identity(environment))
            .with_name(self.access.nats_name.as_str())
            .with_briefing(serde_json::to_value(experiment)?);
        let evaluator = NatsEvaluator::new(&self.access.broker(url), config)?;
        eprintln!("blocks are trained by the workers of the search {:?} at {url}", self.access.nats_name);
        Ok(Some(evaluator))
    }
}

/// Train blocks for a search that was started with --nats, on this machine
///
/// One worker for each device. It hears from the search what to train and how, needs the same images (--data), and works
/// until it is stopped; SIGTERM or Ctrl-C hands the block at hand back.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Arguments {
    /// Address of the NATS broker (nats://host:4222, or tls:// with encryption)
    #[arg(long, value_name = "URL")]
    nats: String,

    #[command(flatten)]
    access: Access,

    /// Folder with the official binary files of CIFAR-10 or CIFAR-100, for a search on those
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Device to train on: flex (CPU), ndarray (CPU, slow), cuda or cuda:N, wgpu; the last three need their feature
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// Name of this worker in the progress of the search [default: machine, process and device]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Seconds without progress after which a training counts as hung, and is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience: u64,

    /// Leave after so many seconds without a block to train [default: never]
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut worker = NatsWorker::new(arguments.access.broker(&arguments.nats))
        .with_search(arguments.access.nats_name.as_str())
        .with_patience(Duration::from_secs(arguments.patience));
    worker = match (&arguments.name, &arguments.device) {
        (Some(name), _) => worker.with_name(name),
        (None, Some(device)) => {
            let name = format!("{} on {device}", worker.name());
            worker.with_name(name)
        }
        (None, None) => worker,
    };
    if let Some(seconds) = arguments.idle_exit {
        worker = worker.with_idle_exit(Duration::from_secs(seconds));
    }
    let worker = worker.with_cancellation(crate::stop_on_ctrl_c("the block at hand goes back to the search")?);
    eprintln!("worker {} of the search {:?} at {}", worker.name(), arguments.access.nats_name, arguments.nats);
    let (data, device) = (arguments.data.clone(), arguments.device.clone());
    let departure = worker.run::<BlockCode, _, BoxError>(move |briefing| {
        let experiment: Experiment = serde_json::from_value(briefing.clone())?;
        let (training, validation) = experiment.data.load(data.as_deref())?;
        let device = device.as_deref().map_or_else(default_device, parse_device)?;
        let network = experiment.search.network.clone();
        Ok(TrainingEnvironment::with_parts(&training, &validation, network, experiment.recipe, &device)?)
    })?;
    match departure {
        Departure::Stopped => eprintln!("stopped"),
        _ => eprintln!("nothing to do for {} s", arguments.idle_exit.unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}
