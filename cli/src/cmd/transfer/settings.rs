//! The settings and the result of a training, in its folder.

use crate::output::{self, BLOCK, TRANSFER};
use blockqnn::data::{ChannelStatistics, Cropping};
use blockqnn::export::Blueprint;
use blockqnn::train::Recipe;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;

/// The file of the accuracies, which only a finished training has.
pub(crate) const RESULT: &str = "result.json";

/// Everything that determines a training except the block, its network and the images.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) recipe: Recipe,
    pub(crate) cropping: Cropping,
    pub(crate) statistics: ChannelStatistics,
    pub(crate) classes: Vec<String>,
    /// Numbers of training and of validation images.
    pub(crate) images: [usize; 2],
    /// Identities of all training and of all validation images. Folders of earlier versions have no such entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pictures: Option<[String; 2]>,
    pub(crate) seed: u64,
}

impl Settings {
    /// Writes the settings and the block to a folder.
    pub(crate) fn write(&self, folder: &Path, blueprint: &Blueprint) -> Result<(), Box<dyn Error>> {
        write(folder, BLOCK, &blueprint.to_json())?;
        write(folder, TRANSFER, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(folder: &Path) -> Result<(Self, Blueprint), Box<dyn Error>> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let damaged = |name: &str, error: &dyn Error| {
            format!(
                "{} is damaged: {error}; restore it from a copy, or start again with another --out",
                folder.join(name).display()
            )
        };
        let settings = serde_json::from_str(&read(TRANSFER)?).map_err(|error| damaged(TRANSFER, &error))?;
        let blueprint = Blueprint::from_json(&read(BLOCK)?).map_err(|error| damaged(BLOCK, &error))?;
        Ok((settings, blueprint))
    }

    /// Checks classes and numbers of the images, which need not be read for it.
    pub(crate) fn check_images(&self, classes: &[String], training: usize, validation: usize) -> Result<(), String> {
        if self.classes != classes || self.images != [training, validation] {
            return Err(format!(
                "the training was started on {} training and {} validation images in {} classes, but --data now has \
                 {training} and {validation} images in {} classes, or classes with other names: give the same --data \
                 and --broken-images as before",
                self.images[0],
                self.images[1],
                self.classes.len(),
                classes.len()
            ));
        }
        Ok(())
    }

    /// Checks that the images are those that the training was started with.
    pub(crate) fn check_pictures(&self, found: impl FnOnce() -> PictureIdentities) -> Result<(), Box<dyn Error>> {
        let Some(pictures) = &self.pictures else { return Ok(()) };
        let parts = pictures.iter().zip(found()?).zip(["training", "validation"]);
        let changed: Vec<&str> = parts.filter(|((then, now), _)| *then != now).map(|(_, part)| part).collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the {} images are not those that the training was started on, although there are as many: give the same \
             --data as before, or start a new training with another --out",
            changed.join(" and the ")
        )
        .into())
    }
}

/// Identities of the training and of the validation images.
pub(crate) type PictureIdentities = Result<[String; 2], Box<dyn Error>>;

/// Writes `result.json`: accuracies in percent.
pub(crate) fn write_result(folder: &Path, accuracies: &[f64], seconds: f64) -> Result<(), Box<dyn Error>> {
    let result = serde_json::json!({ "top_1": accuracies[0], "top_5": accuracies[1], "seconds": seconds });
    write(folder, RESULT, &(serde_json::to_string_pretty(&result)? + "\n"))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Box<dyn Error>> {
    Ok(output::write(&folder.join(name), |out| out.write_all(text.as_bytes()))?)
}
