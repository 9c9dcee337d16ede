//! Changes to the settings of a preset: from a file, from `path=value` texts, from options.

mod file;
#[cfg(test)]
mod tests;

use blockqnn::agent::{AgentConfig, QLearningConfig};
use blockqnn::experiment::{DataConfig, Experiment, Preset};
use blockqnn::graph::ImageShape;
use blockqnn::search::{MedianStopping, RunSettings, Rungs};
use blockqnn::setting::InvalidSetting;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Settings that list values by name, and are no choices between forms.
const LISTS: [&str; 2] = ["targets", "measurement_limits"];

/// What follows an error about a setting.
const SHOWN: &str = "; --dry-run prints all settings";

/// Changes to the settings of a preset, field by field.
///
/// A change is a JSON value at a dotted path, such as `agent.learning_rate=0.1`; what it does not name stays as it was.
/// Where a choice between forms is written as an object with one key, such as `recipe.optimizer`, another key replaces
/// the whole choice. So does another agent, which may be given by its name: `agent=best`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Overrides {
    /// In the order in which they were made: what a change replaces depends on the settings before it.
    changes: Vec<Map<String, Value>>,
}

impl Overrides {
    /// Returns an empty list of changes.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds the changes of a JSON file. Later changes win.
    pub(crate) fn set_file(&mut self, path: &Path) -> Result<(), String> {
        self.changes.push(file::read(path)?);
        Ok(())
    }

    /// Adds all settings of a run, to continue it. Later changes win.
    pub(crate) fn set_run(&mut self, settings: &RunSettings) -> Result<(), String> {
        let Value::Object(mut sections) = settings.details.clone() else {
            return Err(
                "the run in this folder has no settings of an experiment: it was started by another program".to_owned()
            );
        };
        let search = serde_json::to_value(&settings.search).map_err(|error| error.to_string())?;
        sections.insert("search".to_owned(), search);
        self.changes.push(sections);
        Ok(())
    }

    /// Adds one change written as `path=value`. The value is JSON; anything that is not JSON is a string.
    pub(crate) fn set_text(&mut self, text: &str) -> Result<(), String> {
        let syntax =
            || format!("{text:?} is not a setting: write it as path=value, for example agent.learning_rate=0.1");
        let (path, value) = text.split_once('=').ok_or_else(syntax)?;
        if path.split('.').any(str::is_empty) {
            return Err(syntax());
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        self.set(path, value);
        Ok(())
    }

    /// Changes the field at a dotted path.
    pub(crate) fn set(&mut self, path: &str, value: impl Into<Value>) {
        let nested = path
            .rsplit('.')
            .fold(value.into(), |value, name| Value::Object(Map::from_iter([(name.to_owned(), value)])));
        if let Value::Object(nested) = nested {
            self.changes.push(nested);
        }
    }

    /// Changes the field at a dotted path if there is a value for it.
    pub(crate) fn set_if(&mut self, path: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(path, value);
        }
    }

    /// Adds all changes of another list. Later changes win.
    pub(crate) fn append(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// Whether the field at a dotted path is changed.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let pointer = format!("/{}", path.replace('.', "/"));
        let names = |change: &Map<String, Value>| Value::Object(change.clone()).pointer(&pointer).is_some();
        self.changes.iter().any(names)
    }

    /// The preset's experiment with the changes applied.
    ///
    /// Unless `search.trials` is changed, the search lasts as long as the epsilon schedule. Unless
    /// `search.network.image` or `search.network.classes` is changed, they are the data set's.
    pub(crate) fn apply(&self, preset: Preset) -> Result<Experiment, String> {
        self.apply_to(&preset.experiment())
    }

    /// Any experiment with the changes applied; otherwise as [`apply`](Self::apply).
    pub(crate) fn apply_to(&self, base: &Experiment) -> Result<Experiment, String> {
        let settings = serde_json::to_value(base).map_err(|error| error.to_string())?;
        let Value::Object(mut settings) = settings else { return Err("an experiment is not an object".to_owned()) };
        for change in &self.changes {
            let mut change = change.clone();
            AgentConfig::move_searcher(&mut change);
            if let Some(agent) = change.remove("agent") {
                change_agent(&mut settings, agent)?;
            }
            turn_on(&mut settings, &change, "median_stopping", MedianStopping::default());
            turn_on(&mut settings, &change, "rungs", Rungs::default());
            merge(&mut settings, change);
        }
        let mut experiment = Experiment {
            space: section(&mut settings, "space")?,
            agent: section(&mut settings, "agent")?,
            reward: section(&mut settings, "reward")?,
            search: section(&mut settings, "search")?,
            recipe: section(&mut settings, "recipe")?,
            data: section(&mut settings, "data")?,
        };
        if let Some(name) = settings.keys().next() {
            return Err(format!(
                "unknown section `{name}`: a setting must begin with space, agent, reward, search, recipe or \
                 data{SHOWN}"
            ));
        }
        if !self.contains("search.trials") {
            // An agent without a schedule searches for as many minibatches as the one that it replaces.
            let before = Experiment { agent: base.agent.clone(), ..experiment.clone() };
            let scheduled = experiment.scheduled_trials().or_else(|| before.scheduled_trials());
            experiment.search.trials = scheduled.unwrap_or(experiment.search.trials);
        }
        // The number of classes of a folder is known only once it is read.
        let mut network = experiment.network();
        if let (Some(image), false) = (image_of(&experiment.data), self.contains("search.network.image")) {
            network.image = image;
        }
        let classes = experiment.data.dataset.shape().map(|(_, classes)| classes);
        if let (Some(classes), false) = (classes, self.contains("search.network.classes")) {
            network.classes = classes;
        }
        experiment.search.network = Some(network);
        Ok(experiment)
    }
}

/// The shape of the images, if it is known without reading them.
pub(crate) fn image_of(data: &DataConfig) -> Option<ImageShape> {
    let side = data.size.and_then(|size| usize::try_from(size).ok());
    let of_folder = side.map(|side| ImageShape { channels: 3, height: side, width: side });
    data.dataset.shape().map_or(of_folder, |(image, _)| Some(image))
}

/// Reads one section, so that an error names it.
fn section<T: serde::de::DeserializeOwned>(settings: &mut Map<String, Value>, name: &'static str) -> Result<T, String> {
    let value = settings.remove(name).unwrap_or(Value::Null);
    file::read_section(name, &value).map_err(|message| message + SHOWN)
}

/// Applies a change of the agent: single settings field by field; a whole agent replaces the other.
fn change_agent(settings: &mut Map<String, Value>, mut change: Value) -> Result<(), String> {
    // The Q-learner's settings stand without a kind, so a few of them alone are not an agent.
    let mut is_whole = serde_json::from_value::<QLearningConfig>(change.clone()).is_ok();
    if let Value::String(name) = &change {
        let agent: AgentConfig = name.parse().map_err(|error: InvalidSetting| error.to_string())?;
        change = serde_json::to_value(agent).map_err(|error| error.to_string())?;
        is_whole = true;
    }
    match (settings.get("agent").and_then(agent_kind), agent_kind(&change), &change) {
        (old, new, _) if old == new && !is_whole => {
            merge(settings, Map::from_iter([("agent".to_owned(), change)]));
        }
        (Some(old), None, Value::Object(fields)) if !is_whole => {
            let fields: Vec<String> = fields.keys().map(|field| format!("agent.{field}")).collect();
            return Err(format!(
                "{} would not be used, because the agent is {old}, whose settings are under agent.{old}",
                fields.join(", ")
            ));
        }
        _ => {
            settings.insert("agent".to_owned(), change);
        }
    }
    Ok(())
}

/// Prepares a setting of the search for a change of some of its fields: while it is off, it is no part of the settings.
fn turn_on(settings: &mut Map<String, Value>, change: &Map<String, Value>, name: &str, defaults: impl Serialize) {
    let is_changed = change.get("search").is_some_and(|search| search[name].is_object());
    let of_search = settings.get_mut("search").and_then(Value::as_object_mut);
    if let (true, Some(search), Ok(defaults)) = (is_changed, of_search, serde_json::to_value(defaults)) {
        search.entry(name).or_insert(defaults);
    }
}

/// The kind of the agent in settings; `None` for the Q-learner.
fn agent_kind(agent: &Value) -> Option<&'static str> {
    AgentConfig::KINDS.into_iter().find(|kind| agent.as_str() == Some(*kind) || agent.get(kind).is_some())
}

/// Merges `changes` into `settings`, field by field.
fn merge(settings: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, change) in changes {
        let is_list = LISTS.contains(&name.as_str());
        match (settings.get_mut(&name), change) {
            (Some(Value::Object(old)), Value::Object(new)) if is_list || !is_other_choice(old, &new) => merge(old, new),
            (_, change) => {
                settings.insert(name, change);
            }
        }
    }
}

/// Whether both are choices between forms, written as an object with one key, and the keys differ. `old` comes from
/// whole settings, where nothing but a choice has one key.
fn is_other_choice(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    old.len() == 1 && new.len() == 1 && old.keys().next() != new.keys().next()
}
