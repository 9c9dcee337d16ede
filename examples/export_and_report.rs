//! What to do with a block: train it, save its weights, and export it as `PyTorch` source, JSON and DOT; and, with the
//! feature `report`, write a page about the search that found it.
//!
//! ```text
//! cargo run --release --features report --example export_and_report
//! ```
//!
//! The commands `blockqnn export` and `blockqnn report` do the same.

use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::data::{Split, embedded};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::export::Blueprint;
use blockqnn::files::{self, new_folder};
use blockqnn::graph::{NetworkConfig, StemConfig, ToGraph};
use blockqnn::network::Network;
use blockqnn::network::device::default_device;
use blockqnn::search::{RunFolder, Search, SearchConfig};
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::train::{ImageClassifier, Recipe, Training};
use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = new_folder("blockqnn-runs", "export_and_report")?;
    let block = search(&folder)?;
    let mut out = stdout().lock();
    writeln!(out, "{block}")?;

    // A blueprint is a block and the network around it, as data. Its forms need no training and no burn.
    let split = Split::new(embedded::train(), 500, 1)?;
    let stem = StemConfig { pools: 1, ..StemConfig::default() };
    let network = NetworkConfig { stem, stages: 2, repeats: 1, width: 8, ..NetworkConfig::cifar() };
    let network = network.with_data(split.shape(), split.classes().len());
    let blueprint = Blueprint::new(block.to_string(), block.to_graph(), network)?;
    let forms =
        [("block.py", blueprint.to_pytorch()), ("block.json", blueprint.to_json()), ("block.dot", blueprint.to_dot())];
    for (name, text) in forms {
        // Written under another name first and then renamed, so that there is never half a file.
        files::write(folder.join(name), |file| file.write_all(text.as_bytes()))?;
    }

    // One file with weights, class names and the normalisation of images; block.py and ImageClassifier::load read it.
    let weights = folder.join("block.safetensors");
    train(blueprint, &split)?.save(&weights)?;
    let classifier = ImageClassifier::load(&weights, &default_device()?)?;
    let test = embedded::test();
    let labels = test.images().labels();
    let predictions = classifier.classify(test.images())?;
    let right =
        predictions.iter().zip(labels).filter(|(prediction, label)| prediction.label == usize::from(**label)).count();
    writeln!(out, "{right} of {} test images are recognised, the first as {}", labels.len(), predictions[0].class)?;
    writeln!(out, "wrote block.py, block.json, block.dot and block.safetensors to {}", folder.display())?;

    #[cfg(feature = "report")]
    {
        let page = folder.join("report.html");
        blockqnn::report::Report::read([folder.join("search")])?.write_html(&page)?;
        writeln!(out, "wrote {}", page.display())?;
    }
    Ok(())
}

/// Finds a block in the synthetic environment, which takes no time, and keeps the run for the report.
fn search(folder: &Path) -> Result<BlockCode, Box<dyn Error>> {
    let agent = QLearning::new(QLearningConfig::paper().scaled_to(16))?;
    let config = SearchConfig::paper().with_seed(1).with_trials(256, 16);
    let search = Search::new(BlockSpace::paper().with_max_layers(6)?, agent, Synthetic::new(), config)
        .with_run_folder(RunFolder::create(folder.join("search"))?);
    Ok(search.run()?.best()[0].architecture.clone())
}

/// Trains the network of the blueprint, and makes a classifier of it.
fn train(blueprint: Blueprint, split: &Split) -> Result<ImageClassifier, Box<dyn Error>> {
    use blockqnn::data::DeviceSet;
    let (device, statistics) = (default_device()?, split.training().channel_statistics());
    let training = DeviceSet::new(split.training(), &statistics, &device)?;
    let validation = DeviceSet::new(split.validation(), &statistics, &device)?;
    let recipe = Recipe { batch_size: 32, learning_rate: 0.003, ..Recipe::early_stop().scaled_to(3) };
    let outcome = Training::new(&recipe, &training, &validation, 1)
        .fit(|rng, device| Ok(Network::new(blueprint.block(), blueprint.network(), rng, device)?))?;
    let trained = outcome.trained().ok_or("the training diverged: lower the learning rate")?;
    Ok(ImageClassifier::new(blueprint, trained.network, split.classes().to_vec(), statistics)?)
}
