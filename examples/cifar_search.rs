//! Searches convolutional blocks with Q-learning on real images, end to end.
//!
//! With no arguments it runs for a few minutes on two CPU cores, on images that come with the crate:
//!
//! ```sh
//! cargo run --release --example cifar_search
//! ```
//!
//! On CIFAR-100 (the official binary files) with 2,000 training images, and the paper's whole search on a GPU:
//!
//! ```sh
//! cargo run --release --example cifar_search -- --dataset cifar100 --data DIR --train-limit 2000
//! cargo run --release --features cuda --example cifar_search -- --preset paper --data DIR --device cuda
//! ```
//!
//! `--dry-run` shows what a search would do and cost, `--help` every flag.

#[path = "cifar_search/arguments.rs"]
mod arguments;
#[path = "cifar_search/output.rs"]
mod output;
#[path = "cifar_search/plan.rs"]
mod plan;
#[path = "cifar_search/progress.rs"]
mod progress;

use arguments::Arguments;
use blockqnn::environment::{Cancellation, Environment};
use blockqnn::network::device::{default_device, parse_device};
use blockqnn::search::{Search, StopReason};
use blockqnn::space::block::BlockCode;
use blockqnn::train::TrainingEnvironment;
use clap::Parser;
use output::RunFolder;
use std::error::Error;
use std::process::ExitCode;

/// Training frees and asks for large buffers all the time; the system's allocator hands each back to the kernel.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match search(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn search(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let experiment = arguments.experiment()?;
    experiment.validate()?;
    if arguments.dry_run {
        plan::print(&experiment, arguments.preset)?;
        return Ok(ExitCode::SUCCESS);
    }
    let device = arguments.device.as_deref().map_or_else(default_device, parse_device)?;
    let (training, validation) = experiment.data.load(arguments.data.as_deref())?;
    let experiment = experiment.for_data(training.shape(), training.classes().len());
    let (network, recipe) = (experiment.search.network.clone(), experiment.recipe.clone());
    let environment = TrainingEnvironment::with_parts(&training, &validation, network, recipe, &device)?;
    let identity = Environment::<BlockCode>::identity(&environment);
    let folder = RunFolder::create(arguments, &experiment, &identity)?;
    eprintln!(
        "{} trials in minibatches of {}, {} epochs each on {} images of {}; validation on {}; results in {}",
        experiment.search.trials,
        experiment.search.minibatch,
        experiment.recipe.epochs,
        training.len(),
        experiment.data.dataset.name(),
        validation.len(),
        folder.path().display(),
    );

    let report = Search::new(experiment.space.clone(), experiment.agent()?, environment, experiment.search.clone())
        .with_reward(experiment.reward)
        .with_observer(folder.records()?)
        .with_observer(progress::Display::new(&experiment))
        .with_cancellation(stop_on_ctrl_c()?)
        .run()?;

    folder.write_results(&experiment.space, &report)?;
    output::print_table(&report, arguments.top);
    match report.stop {
        StopReason::Cancelled => {
            eprintln!("stopped: the {} finished trials are in {}", report.records.len(), folder.path().display());
            return Ok(ExitCode::from(130));
        }
        StopReason::SpaceExhausted => {
            eprintln!("the space is used up: the agent found nothing new after {} trials", report.records.len());
        }
        _ => eprintln!("all {} trials are in {}", report.records.len(), folder.path().display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The first Ctrl-C stops the search and keeps what is finished, the second ends the program at once.
fn stop_on_ctrl_c() -> Result<Cancellation, ctrlc::Error> {
    let cancellation = Cancellation::new();
    let raised = cancellation.clone();
    ctrlc::set_handler(move || {
        if raised.is_cancelled() {
            std::process::exit(130);
        }
        eprintln!("\nstopping; Ctrl-C again ends at once (finished trials are on disk)");
        raised.cancel();
    })?;
    Ok(cancellation)
}
