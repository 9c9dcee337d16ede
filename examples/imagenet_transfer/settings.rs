//! What a training was started with, and what it came to, in its folder.

use blockqnn::data::{ChannelStatistics, Cropping};
use blockqnn::export::Blueprint;
use blockqnn::train::Recipe;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;

/// The file of the settings; the block and the network around it are in `block.json`.
pub(crate) const FILE: &str = "transfer.json";
const BLOCK: &str = "block.json";

/// All that decides a training besides the block, its network and the images.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) recipe: Recipe,
    pub(crate) cropping: Cropping,
    pub(crate) statistics: ChannelStatistics,
    pub(crate) classes: Vec<String>,
    /// Numbers of training and of validation images.
    pub(crate) images: [usize; 2],
    pub(crate) seed: u64,
}

impl Settings {
    /// Writes the settings and the block to a folder, which is made.
    pub(crate) fn write(&self, folder: &Path, blueprint: &Blueprint) -> Result<(), Box<dyn Error>> {
        std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        write(folder, BLOCK, &blueprint.to_json())?;
        write(folder, FILE, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(folder: &Path) -> Result<(Self, Blueprint), Box<dyn Error>> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let damaged = |name: &str, error: &dyn Error| format!("{} is damaged: {error}", folder.join(name).display());
        let settings = serde_json::from_str(&read(FILE)?).map_err(|error| damaged(FILE, &error))?;
        let blueprint = Blueprint::from_json(&read(BLOCK)?).map_err(|error| damaged(BLOCK, &error))?;
        Ok((settings, blueprint))
    }

    /// Whether the images are those that the training was started with, as far as their numbers and classes tell.
    pub(crate) fn check_images(&self, classes: &[String], training: usize, validation: usize) -> Result<(), String> {
        if self.classes != classes || self.images != [training, validation] {
            return Err(format!(
                "the training was started on {} and {} images in {} classes, but --data has {training} and {validation} in \
                 {}, or other classes: name the same --data (and --broken-images)",
                self.images[0],
                self.images[1],
                self.classes.len(),
                classes.len()
            ));
        }
        Ok(())
    }
}

/// Writes `result.json`: accuracies in percent.
pub(crate) fn write_result(folder: &Path, accuracies: &[f64], seconds: f64) -> Result<(), Box<dyn Error>> {
    let result = serde_json::json!({ "top_1": accuracies[0], "top_5": accuracies[1], "seconds": seconds });
    write(folder, "result.json", &(serde_json::to_string_pretty(&result)? + "\n"))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
