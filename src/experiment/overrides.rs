//! Changes to a preset: from a file, from `path=value` words, from code.

use super::{Experiment, Preset, configuration};
use crate::agent::{AgentConfig, QLearningConfig, UnknownAgent};
use crate::graph::ImageShape;
use crate::search::RunSettings;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Changes to the settings of a preset, field by field.
///
/// A change is a JSON value at a dotted path, such as `agent.learning_rate=0.1`; what it does not name stays as it was.
/// Where a choice between forms is written as an object with one key, such as `recipe.optimizer`, another key replaces
/// the whole choice. So does another agent, which may be given by its name: `agent=best`.
///
/// ```
/// use blockqnn::experiment::{Overrides, Preset};
///
/// let mut overrides = Overrides::new();
/// overrides.set_text("recipe.epochs=2")?;
/// overrides.set_text("search.minibatch=32")?;
/// let experiment = overrides.apply(Preset::Paper)?;
/// assert_eq!((experiment.recipe.epochs, experiment.search.minibatch), (2, 32));
/// // Unless set, the number of trials follows the epsilon schedule.
/// assert_eq!(experiment.search.trials, 178 * 32);
///
/// overrides.set_text("recipe.epoch=2")?;
/// assert!(overrides.apply(Preset::Paper).unwrap_err().to_string().contains("unknown field `epoch`"));
/// # Ok::<(), blockqnn::experiment::OverridesError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// In the order they were made: what a change replaces can only be told from the settings it falls on.
    changes: Vec<Map<String, Value>>,
}

/// Why changes cannot be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverridesError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("the configuration {} is not a JSON object: {message}", path.display())]
    NoObject {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The file is not in UTF-8 without a byte order mark, which JSON requires.
    #[error(
        "the configuration {} is in {found}, but JSON is UTF-8 without a byte order mark: save it as that (editors offer it as \
         \"UTF-8\", PowerShell as `Set-Content -Encoding utf8NoBOM`)",
        path.display()
    )]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What it is in.
        found: &'static str,
    },
    /// A word is not of the form `path=value`.
    #[error("{text:?} is not a setting: write it as path=value, for example agent.learning_rate=0.1")]
    Syntax {
        /// The word.
        text: String,
    },
    /// The changed settings are not a valid experiment.
    #[error("{message}; --dry-run of the example cifar_search prints all settings")]
    Invalid {
        /// What is wrong, with the path of the field.
        message: String,
    },
}

impl Overrides {
    /// No change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the changes of a JSON file. Later changes win.
    ///
    /// # Errors
    /// If the file cannot be read, is not a JSON object in UTF-8, or has a field twice.
    pub fn set_file(&mut self, path: impl AsRef<Path>) -> Result<(), OverridesError> {
        self.changes.push(configuration::read_file(path.as_ref())?);
        Ok(())
    }

    /// Takes all settings of the run in a folder, to continue it. Later changes win.
    ///
    /// # Errors
    /// [`OverridesError::Invalid`] if the run was not started with an experiment's
    /// [`details`](Experiment::details).
    pub fn set_run(&mut self, settings: &RunSettings) -> Result<(), OverridesError> {
        let invalid = |message: String| OverridesError::Invalid { message };
        let Value::Object(mut sections) = settings.details.clone() else {
            return Err(invalid(
                "the run in this folder has no settings of an experiment (it was started by another program)"
                    .to_owned(),
            ));
        };
        let search = serde_json::to_value(&settings.search).map_err(|error| invalid(error.to_string()))?;
        sections.insert("search".to_owned(), search);
        self.changes.push(sections);
        Ok(())
    }

    /// Takes one change written as `path=value`. The value is JSON; anything that is not JSON is a string.
    ///
    /// # Errors
    /// [`OverridesError::Syntax`] if there is no path or no `=`.
    pub fn set_text(&mut self, text: &str) -> Result<(), OverridesError> {
        let syntax = || OverridesError::Syntax { text: text.to_owned() };
        let (path, value) = text.split_once('=').ok_or_else(syntax)?;
        if path.split('.').any(str::is_empty) {
            return Err(syntax());
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        self.set(path, value);
        Ok(())
    }

    /// Changes the field at a dotted path.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) {
        let nested = path
            .rsplit('.')
            .fold(value.into(), |value, name| Value::Object(Map::from_iter([(name.to_owned(), value)])));
        if let Value::Object(nested) = nested {
            self.changes.push(nested);
        }
    }

    /// Takes all changes of another list. Later changes win.
    pub fn append(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// Whether the field at a dotted path is changed.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        let pointer = format!("/{}", path.replace('.', "/"));
        let names = |change: &Map<String, Value>| Value::Object(change.clone()).pointer(&pointer).is_some();
        self.changes.iter().any(names)
    }

    /// The preset's experiment with the changes applied.
    ///
    /// Unless `search.trials` is changed, the search lasts as long as the epsilon schedule. Unless `search.network.image`
    /// or `search.network.classes` is changed, they are the data set's.
    ///
    /// # Errors
    /// [`OverridesError::Invalid`] with the path of the field if one is unknown or has a value that it cannot have.
    pub fn apply(&self, preset: Preset) -> Result<Experiment, OverridesError> {
        self.apply_to(&preset.experiment())
    }

    /// Any experiment with the changes applied; otherwise as [`apply`](Self::apply).
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_to(&self, base: &Experiment) -> Result<Experiment, OverridesError> {
        let invalid = |message: String| OverridesError::Invalid { message };
        let mut settings = match serde_json::to_value(base) {
            Ok(Value::Object(settings)) => settings,
            Ok(_) => return Err(invalid("an experiment is not an object".to_owned())),
            Err(error) => return Err(invalid(error.to_string())),
        };
        for change in &self.changes {
            let mut change = change.clone();
            AgentConfig::move_searcher(&mut change);
            if let Some(agent) = change.remove("agent") {
                change_agent(&mut settings, agent).map_err(invalid)?;
            }
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
            return Err(invalid(format!(
                "unknown section `{name}`: a setting must begin with space, agent, reward, search, recipe or data"
            )));
        }
        if !self.contains("search.trials") {
            // An agent without a schedule searches for as many minibatches as the one whose place it took.
            let before = Experiment { agent: base.agent.clone(), ..experiment.clone() };
            let scheduled = experiment.scheduled_trials().or_else(|| before.scheduled_trials());
            experiment.search.trials = scheduled.unwrap_or(experiment.search.trials);
        }
        // Of a folder the size is known here, and the number of classes when it is read.
        let side = experiment.data.size.and_then(|size| usize::try_from(size).ok());
        let of_folder = side.map(|side| ImageShape { channels: 3, height: side, width: side });
        let (image, classes) =
            experiment.data.dataset.shape().map_or((of_folder, None), |(image, classes)| (Some(image), Some(classes)));
        if let (Some(image), false) = (image, self.contains("search.network.image")) {
            experiment.search.network.image = image;
        }
        if let (Some(classes), false) = (classes, self.contains("search.network.classes")) {
            experiment.search.network.classes = classes;
        }
        Ok(experiment)
    }
}

/// Reads one section, so that an error names it.
fn section<T: serde::de::DeserializeOwned>(
    settings: &mut Map<String, Value>,
    name: &'static str,
) -> Result<T, OverridesError> {
    let value = settings.remove(name).unwrap_or(Value::Null);
    configuration::read_section(name, &value).map_err(|message| OverridesError::Invalid { message })
}

/// Puts a change of the agent into `settings`: single settings field by field, a whole agent in the place of the other.
fn change_agent(settings: &mut Map<String, Value>, mut change: Value) -> Result<(), String> {
    // The Q-learner's settings stand without a kind, so that single ones of them are no agent.
    let mut is_whole = serde_json::from_value::<QLearningConfig>(change.clone()).is_ok();
    if let Value::String(name) = &change {
        let agent: AgentConfig = name.parse().map_err(|error: UnknownAgent| format!("agent: {error}"))?;
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

/// The kind of agent that settings are of; none for the Q-learner.
fn agent_kind(agent: &Value) -> Option<&'static str> {
    AgentConfig::KINDS.into_iter().find(|kind| agent.as_str() == Some(*kind) || agent.get(kind).is_some())
}

/// Puts `changes` into `settings`, field by field.
fn merge(settings: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, change) in changes {
        match (settings.get_mut(&name), change) {
            (Some(Value::Object(old)), Value::Object(new)) if !is_other_choice(old, &new) => merge(old, new),
            (_, change) => {
                settings.insert(name, change);
            }
        }
    }
}

/// Whether both are choices between forms, written as an object with one key, and the keys differ. `old` comes from whole
/// settings, where nothing but a choice has one key.
fn is_other_choice(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    old.len() == 1 && new.len() == 1 && old.keys().next() != new.keys().next()
}
