//! `export`: a block that was found, in formats for use elsewhere.

mod hub;

use super::Outcome;
use crate::output;
use blockqnn::export::Blueprint;
use blockqnn::files;
use blockqnn::graph::ToGraph;
use blockqnn::network::device::default_device;
use blockqnn::search::{RecordOf, RunFolder, RunHistory};
use blockqnn::space::SearchSpace;
use blockqnn::space::block::BlockSpace;
use blockqnn::train::ImageClassifier;
use clap::ValueEnum;
use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write a block that a search found as JSON, DOT, PyTorch source, ONNX, trained weights, or a folder with all of them
///
/// The PyTorch source depends only on torch, and its function preprocess on Pillow. Weights are those that `verify`
/// trained; the function load of the PyTorch source reads them. An ONNX file contains the trained weights; its metadata
/// has the names of the classes and the preprocessing. A folder for a model hub has a card with the measured figures,
/// and how to load the network in PyTorch, onnxruntime and Rust. Nothing is uploaded.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Folder of a search (its --out) or of a training by blockqnn transfer, or a file of exported weights
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Which measured block to export: 1 has the highest reward
    #[arg(long, value_name = "N", default_value_t = 1)]
    rank: usize,

    /// Format to write
    #[arg(long, value_enum)]
    to: Form,

    /// For onnx: take images as bytes (batch, height, width, 3) and return probabilities, instead of normalised images
    /// and logits
    #[arg(long)]
    pixels: bool,

    /// For onnx: merge batch normalisation into the convolutions, which is faster
    #[arg(long)]
    fold: bool,

    /// File to write, or - for standard output; required for safetensors and onnx. For hub the folder to write, which
    /// must be new or empty [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Folder of the verification that trained the block [default: RUN/verification]
    #[arg(long, value_name = "DIR")]
    verification: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Block, network, fingerprint and cost as JSON
    Json,
    /// The block as a graph for Graphviz
    Dot,
    /// A Python module that depends only on torch
    Pytorch,
    /// The weights that `verify` trained
    Safetensors,
    /// The network with the weights that `verify` trained
    #[cfg(feature = "onnx")]
    Onnx,
    /// A folder as model hubs have them: a card, weights, PyTorch source, ONNX, and a picture of the block
    #[cfg(feature = "onnx")]
    Hub,
}

impl Form {
    /// Whether it has trained weights.
    fn is_trained(self) -> bool {
        !matches!(self, Self::Json | Self::Dot | Self::Pytorch)
    }
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn export RUN --rank 1 --to pytorch --out block.py
  blockqnn export RUN --rank 2 --to safetensors --out block.safetensors
  blockqnn export RUN --to onnx --pixels --out block.onnx
  blockqnn export RUN --to hub --out my-classifier";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    arguments.check()?;
    let trained = arguments.run.join("network.safetensors");
    if arguments.run.is_file() {
        return of_one(arguments, &arguments.run, "a file of weights");
    }
    if trained.exists() && !arguments.run.join("search.json").exists() {
        return of_one(arguments, &trained, "a folder of blockqnn transfer");
    }
    let history: RunHistory<BlockSpace> = RunFolder::read(&arguments.run)?;
    let (record, measured) = arguments.record(&history)?;
    let folder = arguments.verification.clone().unwrap_or_else(|| arguments.run.join("verification"));
    let weights = weights(&folder.join("networks"), &record.fingerprint.to_string())?;

    if arguments.to.is_trained() {
        let weights = weights.ok_or_else(|| {
            format!(
                "the block of rank {rank} has no trained weights in {}: train it first with `blockqnn verify {} --top \
                 {rank}`, or give the folder of its verification with --verification",
                folder.display(),
                arguments.run.display(),
                rank = arguments.rank
            )
        })?;
        let place = (arguments.rank, measured);
        return write_trained(arguments, &weights, || hub::of_run(&history, record, place, &folder));
    }
    // The network of the weights if there are any, so that source and weights fit each other.
    let network = match &weights {
        Some(weights) => ImageClassifier::load(weights, &default_device()?)?.blueprint().network().clone(),
        None => history.settings.search.network.clone().ok_or("the search of this run had no network to export")?,
    };
    let name = BlockSpace::paper().describe(&record.architecture);
    let blueprint = Blueprint::new(name, record.architecture.to_graph(), network)?;
    let objective = &history.settings.search.objective;
    let value = objective.show(record.evaluation.value().unwrap_or_default());
    // What is a percentage is known to be the accuracy.
    let name = if objective.is_accuracy() { String::new() } else { format!("{} ", objective.name) };
    write_text(arguments, &blueprint, &format!("{name}{value} in the search"))
}

impl Arguments {
    /// Refuses options that would not be used.
    fn check(&self) -> Result<(), String> {
        #[cfg(feature = "onnx")]
        if self.to == Form::Onnx {
            return Ok(());
        }
        if self.pixels || self.fold {
            return Err("--pixels and --fold are for --to onnx: omit them, or choose that form".to_owned());
        }
        Ok(())
    }

    /// The trial of the rank, and how many blocks have one.
    fn record<'a>(&self, history: &'a RunHistory<BlockSpace>) -> Result<(&'a RecordOf<BlockSpace>, usize), String> {
        let measured = history.records.iter().filter(|record| record.evaluation.final_value().is_some());
        let mut records: Vec<_> = measured.collect();
        records.sort_by(|a, b| b.standing().cmp(&a.standing()).then(a.id.cmp(&b.id)));
        // A promoted block has a trial at each of its rungs.
        let mut seen = HashSet::new();
        records.retain(|record| record.rung.is_none() || seen.insert(record.fingerprint));
        if let Some(damage) = &history.damage {
            errln!("warning: {damage}; exporting from the trials before the damage");
        }
        let run = self.run.display();
        let missing = || match records.len() {
            0 => format!(
                "the run in {run} has no measured block yet: continue the search with --resume, or choose another run"
            ),
            count => format!("--rank is {}, but the run has {count} measured blocks: choose 1 to {count}", self.rank),
        };
        let record = self.rank.checked_sub(1).and_then(|position| records.get(position).copied());
        Ok((record.ok_or_else(missing)?, records.len()))
    }

    /// The file to write, unless it is the standard output.
    fn out_file(&self) -> Option<&Path> {
        self.out.as_deref().filter(|out| *out != Path::new("-"))
    }
}

/// The only network of a file, or in a folder of `transfer`.
fn of_one(arguments: &Arguments, trained: &Path, what: &str) -> Outcome {
    let what = format!("{} is {what}", arguments.run.display());
    if arguments.rank != 1 {
        return Err(format!("{what}, which has only one network: omit --rank").into());
    }
    if arguments.verification.is_some() {
        return Err(format!("{what}, whose weights are its own: omit --verification").into());
    }
    if arguments.to.is_trained() {
        return write_trained(arguments, trained, || hub::of_transfer(&arguments.run));
    }
    let classifier = ImageClassifier::load(trained, &default_device()?)?;
    write_text(arguments, classifier.blueprint(), "as trained")
}

/// Writes a form that has the trained weights. `known` reads what was measured of them.
fn write_trained(
    arguments: &Arguments,
    weights: &Path,
    known: impl FnOnce() -> Result<hub::Known, Box<dyn Error>>,
) -> Outcome {
    let out =
        arguments.out_file().ok_or("weights cannot be written to standard output: name where to write with --out")?;
    #[cfg(feature = "onnx")]
    if arguments.to == Form::Hub {
        return hub::write(out, weights, known()?);
    }
    #[cfg(not(feature = "onnx"))]
    let _ = known;
    let (from, to) = (weights.display(), out.display());
    #[cfg(feature = "onnx")]
    if arguments.to == Form::Onnx {
        let classifier = ImageClassifier::load(weights, &default_device()?)?;
        let form = blockqnn::train::OnnxForm { pixels: arguments.pixels, fold: arguments.fold };
        let bytes = classifier.to_onnx(form)?;
        return write_bytes(out, &bytes, &format!("{} ({} bytes)", classifier.blueprint().name(), bytes.len()));
    }
    if files::is_same(weights, out) {
        errln!("{to} is where the weights are: nothing to do");
        return Ok(ExitCode::SUCCESS);
    }
    output::refuse_kept(out)?;
    files::copy(weights, out).map_err(|error| format!("cannot copy {from} to {to}: {error}"))?;
    errln!("copied {from} to {to}");
    Ok(ExitCode::SUCCESS)
}

/// Writes a form without weights.
fn write_text(arguments: &Arguments, blueprint: &Blueprint, remark: &str) -> Outcome {
    let text = match arguments.to {
        Form::Json => blueprint.to_json(),
        Form::Dot => blueprint.to_dot(),
        _ => blueprint.to_pytorch(),
    };
    if let Some(out) = arguments.out_file() {
        return write_bytes(out, text.as_bytes(), &format!("{} ({remark})", blueprint.name()));
    }
    crate::terminal::print_bytes(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Writes a file, and reports on standard error what it holds.
fn write_bytes(out: &Path, bytes: &[u8], what: &str) -> Outcome {
    output::refuse_kept(out)?;
    output::write(out, |file| file.write_all(bytes))?;
    errln!("{}: {what}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// The network that was trained for a block, if there is one: its folder's name begins with the fingerprint.
fn weights(folder: &Path, fingerprint: &str) -> Result<Option<PathBuf>, Box<dyn Error>> {
    if !folder.exists() {
        return Ok(None);
    }
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let of_block = entries.into_iter().filter(|entry| entry.file_name().to_string_lossy().starts_with(fingerprint));
    Ok(of_block.map(|entry| entry.path().join("network.safetensors")).find(|path| path.exists()))
}
