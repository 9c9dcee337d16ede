//! `worker`: trains blocks for a search on another machine.

use crate::args::{self, Access, OneDevice, TorchOptions};
use blockqnn::distributed::{Departure, NatsWorker};
use blockqnn::environment::{BoxError, BoxedEnvironment, EnvironmentExt};
use blockqnn::evaluator::ProcessConfig;
use blockqnn::experiment::Experiment;
use blockqnn::space::block::BlockCode;
use blockqnn::train::TrainingEnvironment;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Train blocks for a search that was started with --nats, on this machine
///
/// Start one worker per device. It receives from the search what to train and how, needs the same images (--data), and
/// works until it is stopped; on SIGTERM or Ctrl-C it returns its current block to the search.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Arguments {
    /// Address of the NATS broker (nats://host:4222, or tls://host:4222 with encryption)
    #[arg(long, value_name = "URL")]
    nats: String,

    #[command(flatten)]
    access: Access,

    /// Folder with the images on this machine, the same ones as the search has; not needed for the embedded data set
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    #[command(flatten)]
    device: OneDevice,

    /// Train with PyTorch, for a search with --trainer torch; --device is then cpu, cuda, cuda:N or mps
    #[arg(long, value_name = "torch", value_parser = ["torch"], hide_possible_values = true)]
    trainer: Option<String>,

    #[command(flatten)]
    torch: TorchOptions,

    /// Name of this worker in the search's progress output [default: machine, process and device]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Seconds without progress after which a training is considered hung and is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    patience: u64,

    /// Exit after this many seconds without a block to train [default: never]
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn worker --nats nats://broker:4222 --device cuda:0
  blockqnn worker --nats nats://broker:4222 --data cifar-100-binary --idle-exit 600
  blockqnn worker --nats nats://broker:4222 --trainer torch --device cuda:0";

pub(crate) fn run(arguments: &Arguments) -> super::Outcome {
    let mut worker = NatsWorker::new(arguments.access.broker(&arguments.nats))
        .with_search(arguments.access.nats_name.as_str())
        .with_patience(Duration::from_secs(arguments.patience));
    worker = match (&arguments.name, arguments.device.given()) {
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
    let worker =
        worker.with_cancellation(crate::terminal::stop_on_signals("the current block is returned to the search")?);
    errln!("worker {} of the search {:?} at {}", worker.name(), arguments.access.nats_name, arguments.nats);
    let parts = arguments.clone();
    let departure = worker.run::<BlockCode, _, BoxError>(move |briefing| parts.environment(briefing))?;
    match departure {
        Departure::Stopped => errln!("stopped"),
        _ => errln!("exiting: no block to train for {} s", arguments.idle_exit.unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// What trains, by the experiment that the search sent.
    fn environment(&self, briefing: &serde_json::Value) -> Result<BoxedEnvironment<BlockCode>, BoxError> {
        let experiment: Experiment = serde_json::from_value(briefing.clone())?;
        let (training, validation) = experiment.data.load(self.data.as_deref(), &mut |_| {})?;
        if self.trainer.is_some() {
            let torch = self.torch.training(&experiment, &training, &validation)?;
            let config = ProcessConfig::new().with_patience(Duration::from_secs(self.patience));
            let environment = torch.environment::<BlockCode>(self.device.given(), config);
            return Ok(environment.map_err(|error| args::torch::advised(&error))?.boxed());
        }
        let (network, device) = (experiment.network(), self.device.open()?);
        Ok(TrainingEnvironment::with_parts(&training, &validation, network, experiment.recipe, &device)?.boxed())
    }
}
