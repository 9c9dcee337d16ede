//! How the blocks of a run are trained when they are verified.

use super::Arguments;
use crate::images;
use crate::overrides::Overrides;
use blockqnn::experiment::{Dataset, Experiment, Preset};
use blockqnn::search::RunHistory;
use blockqnn::space::block::BlockSpace;
use serde_json::Value;
use std::error::Error;

/// Settings that a verification uses: whole sections, and the seed.
const USED: [&str; 4] = ["recipe", "data", "search.network", "search.seed"];

/// The settings of `--paper`: no training images are held out, and the test images are measured once, at the end of
/// each training.
pub(super) fn of_the_paper(mut experiment: Experiment) -> Experiment {
    experiment.data.validation = 0;
    // A restart would be decided by a measurement after the first epoch.
    experiment.recipe.measure_every = None;
    experiment.recipe.restarts.max = 0;
    experiment
}

impl Arguments {
    /// The data set, if it is not the run's.
    pub(super) fn dataset(&self) -> Option<Dataset> {
        self.pictures.dataset.or(self.paper.then_some(Dataset::Cifar10))
    }

    /// The run's settings with the full recipe, overridden by the file, then the options, then each --set.
    pub(super) fn experiment(&self, history: &RunHistory<BlockSpace>) -> Result<Experiment, Box<dyn Error>> {
        let unused = |setting: &&String| !USED.iter().any(|used| setting.starts_with(used));
        if let Some(setting) = self.settings.settings.iter().find(unused) {
            return Err(format!(
                "--set {setting} would not be used: a verification trains the blocks of the run, and only settings \
                 under recipe, data and search.network, and search.seed, make a difference"
            )
            .into());
        }
        let mut of_run = Overrides::new();
        of_run.set_run(&history.settings)?;
        let mut experiment = of_run.apply(Preset::Quick)?;
        experiment.recipe = self.training.change(self.recipe.clone());
        // A verification trains every block to the end.
        (experiment.search.rungs, experiment.search.median_stopping) = (None, None);
        let overrides = self.settings.around(|overrides| {
            // The number of trials is irrelevant here; set explicitly, it stays.
            overrides.set("search.trials", experiment.search.trials);
            if let Some(dataset) = self.dataset() {
                overrides.set("data.dataset", dataset.name());
                if dataset != Dataset::Folder {
                    overrides.set("data.size", Value::Null);
                }
            }
            if self.paper {
                overrides.set("data.train_limit", Value::Null);
            }
            self.pictures.put(overrides);
            self.training.put(overrides);
        })?;
        let experiment = overrides.apply_to(&experiment)?;
        images::refuse_unused(&overrides, &experiment.data)?;
        Ok(experiment)
    }
}
