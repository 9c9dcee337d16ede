//! The settings of a search, from its options.

use super::Arguments;
use crate::images;
use crate::overrides::{Overrides, image_of};
use blockqnn::agent::AgentConfig;
use blockqnn::data::Pictures;
use blockqnn::evaluation::Objective;
use blockqnn::experiment::{Dataset, Experiment};
use blockqnn::search::RunFolder;
use std::error::Error;
use std::path::Path;

impl Arguments {
    /// The folder of the run that is continued, if one is.
    pub(super) fn resumed(&self) -> Option<&Path> {
        self.out.as_deref().filter(|_| self.resume)
    }

    /// Refuses what a trainer of the user's does not use.
    pub(super) fn refuse_unused(&self) -> Result<(), String> {
        #[cfg(feature = "nats")]
        if self.controller.is_used() {
            return Err("--nats has blocks trained by workers, whose only trainer is torch: omit it".to_owned());
        }
        if self.pictures.download {
            return Err("--download would not be used: the images are those of the trainer".to_owned());
        }
        Ok(())
    }

    /// Refuses an objective that what trains here does not measure. A trainer of the user's may measure anything.
    pub(super) fn refuse_other_objective(&self, experiment: &Experiment) -> Result<(), String> {
        let (objective, accuracy) = (&experiment.search.objective, Objective::default());
        let is_accuracy = Objective { worst: None, best: accuracy.best, ..objective.clone() } == accuracy;
        if is_accuracy || self.processes.trainer().is_some() {
            return Ok(());
        }
        Err(format!(
            "search.objective is {:?}, but blocks are trained to classify images here, and measured by their accuracy: \
             omit the setting, or train with a program that measures it (--trainer)",
            objective.name
        ))
    }

    /// Whether something else than this program trains, or other machines do.
    pub(super) fn trains_elsewhere(&self) -> bool {
        #[cfg(feature = "nats")]
        if self.controller.is_used() {
            return true;
        }
        self.processes.trainer_name().is_some()
    }

    /// What the settings start from, in words.
    pub(super) fn origin(&self) -> String {
        match self.resumed() {
            Some(run) => format!("The run in {}", run.display()),
            None => format!("Preset {}", self.preset),
        }
    }

    /// The settings of the file, then the options, then each --set. `before` are those that they change.
    fn given(&self, before: &Overrides) -> Result<Overrides, Box<dyn Error>> {
        let agent = match self.agent.as_deref() {
            None => None,
            // A configuration file may name another agent.
            Some("paper") => Some(serde_json::to_value(self.preset.experiment().agent)?),
            Some(name) => {
                let search = self.preset.experiment().search;
                let agent = AgentConfig::named(name, search.trials / search.minibatch, search.minibatch)?;
                Some(serde_json::to_value(agent)?)
            }
        };
        let mut goals = Overrides::new();
        self.goals.put(&mut goals, self.processes.trainer().is_some())?;
        let mut scaled = Ok(());
        let given = self.settings.around(|overrides| {
            overrides.append(goals);
            scaled = self.scale_recipe(before, overrides);
            self.pictures.put(overrides);
            overrides.set_if("search.seed", self.seed);
            overrides.set_if("search.trials", self.trials);
            overrides.set_if("search.minibatch", self.minibatch);
            overrides.set_if("search.scheduling", self.rolling.then_some("rolling"));
            overrides.set_if("search.median_stopping.grace_epochs", self.median_stopping);
            // Without a curve nothing could be compared.
            overrides.set_if("recipe.measure_every", self.median_stopping.map(|_| 1));
            overrides.set_if("search.rungs.count", self.rungs);
            overrides.set_if("search.rungs.one_in", self.promote_one_in);
            overrides.set_if("space.max_layers", self.max_layers);
            self.recipe.put(overrides);
            self.network.put(overrides);
            overrides.set_if("agent", agent);
        })?;
        scaled?;
        Ok(given)
    }

    /// Sets the epochs, and scales the recipe so far in proportion, so that its learning rate falls by the same factor.
    fn scale_recipe(&self, before: &Overrides, overrides: &mut Overrides) -> Result<(), String> {
        let Some(epochs) = self.recipe.epochs else { return Ok(()) };
        let mut so_far = before.clone();
        so_far.append(overrides.clone());
        let recipe = so_far.apply(self.preset)?.recipe.scaled_to(epochs);
        overrides.set("recipe.epochs", epochs);
        overrides.set("recipe.schedule", serde_json::to_value(&recipe.schedule).map_err(|error| error.to_string())?);
        overrides.set("recipe.warm_up_epochs", recipe.warm_up_epochs);
        overrides.set_if("recipe.measure_every", recipe.measure_every);
        Ok(())
    }

    /// The epochs of all trials together, if they are given.
    fn budget(&self, experiment: &Experiment, data: Option<&Path>) -> Result<Option<u64>, Box<dyn Error>> {
        match self.total_images {
            Some(_) if self.processes.trainer().is_some() => {
                Err("--total-images would count images that only the trainer knows: give --total-epochs".into())
            }
            Some(passes) => Ok(Some(passes / (experiment.data.training_images(data)?.max(1) as u64))),
            None => Ok(self.total_epochs),
        }
    }

    /// The preset or the resumed run, overridden by what is given. The classes of an image folder are counted in
    /// `data`.
    pub(super) fn experiment(&self, data: Option<&Path>) -> Result<Experiment, Box<dyn Error>> {
        let mut overrides = Overrides::new();
        if let Some(path) = self.resumed() {
            overrides.set_run(&RunFolder::resume(path)?.settings()?)?;
        }
        let given = self.given(&overrides)?;
        overrides.append(given.clone());
        let mut experiment = overrides.apply(self.preset)?;
        if experiment.data.dataset == Dataset::Folder {
            let classes = measure_folder(&mut overrides, &experiment, data)?;
            refuse_other_classes(&given, &experiment, classes)?;
            experiment = overrides.apply(self.preset)?;
        }
        if let Some(epochs) = self.budget(&experiment, data)? {
            experiment.search.trials = trials_within(&experiment, epochs)?;
        }
        // A trainer has images of its own, and reads what it likes.
        if self.processes.trainer().is_some() {
            return Ok(experiment);
        }
        if let Some((_, classes)) = experiment.data.dataset.shape() {
            refuse_other_classes(&given, &experiment, classes)?;
        }
        images::refuse_unread(experiment.data.dataset, data)?;
        refuse_unused(&given, &experiment)?;
        Ok(experiment)
    }
}

/// The trials that have at most this many epochs together.
fn trials_within(experiment: &Experiment, epochs: u64) -> Result<u64, String> {
    match experiment.trials_within(epochs) {
        0 => {
            // With rungs, those of the lowest.
            let mut one = experiment.clone();
            one.search.trials = 1;
            let needed = one.epochs();
            Err(format!("the budget is too small for one trial: it has {epochs} of the {needed} epochs of a block"))
        }
        trials => Ok(trials),
    }
}

/// Refuses settings that would have no effect: whoever gives one wants it to count.
fn refuse_unused(given: &Overrides, experiment: &Experiment) -> Result<(), String> {
    let (data, set) = (&experiment.data, experiment.network().image);
    let name = data.dataset.name();
    if given.contains("search.network.image") && image_of(data).is_some_and(|image| image != set) {
        return Err(format!(
            "search.network.image is {set}, but the network takes the images of the data set {name} as they are: omit \
             the setting (--size scales the images of a folder)"
        ));
    }
    images::refuse_unused(given, data)
}

/// Sets what the folder of an experiment's images decides, unless it is given: size, validation images and classes.
/// Returns the number of classes.
fn measure_folder(
    overrides: &mut Overrides,
    experiment: &Experiment,
    data: Option<&Path>,
) -> Result<usize, Box<dyn Error>> {
    let folder = experiment.data.open_folder(data)?;
    if let [class] = folder.classes() {
        return Err(format!(
            "{} has only one class folder, {class}: a classifier needs at least two classes, so add another folder, or \
             give the folder that holds the class folders",
            folder.path().display()
        )
        .into());
    }
    let classes = folder.classes().len();
    let defaults = [("data.validation", (folder.len() / 5).clamp(1, 5_000)), ("search.network.classes", classes)];
    for (path, number) in defaults {
        if !overrides.contains(path) {
            overrides.set(path, number);
        }
    }
    overrides.set_if("data.size", experiment.data.size.is_none().then_some(images::SIZE));
    Ok(classes)
}

/// Refuses a number of classes that is not that of the images: it would be replaced.
fn refuse_other_classes(given: &Overrides, experiment: &Experiment, classes: usize) -> Result<(), String> {
    let set = experiment.network().classes;
    if given.contains("search.network.classes") && set != classes {
        return Err(format!(
            "search.network.classes is {set}, but the images have {classes} classes, and the network has one output \
             for each: omit the setting"
        ));
    }
    Ok(())
}
