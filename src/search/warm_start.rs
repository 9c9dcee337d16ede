//! What a search begins with: architectures to evaluate first, and results from elsewhere.

use super::record::superseded;
use super::{RunFolder, RunFolderError, RunHistory, SearchError, Session};
use crate::agent::Agent;
use crate::evaluation::{Episode, Evaluation, Metrics, Objective};
use crate::files::csv_records;
use crate::graph::Fingerprint;
use crate::identity::short_hash;
use crate::seed;
use crate::setting::InvalidSetting;
use crate::space::{Datum, SearchSpace, SpaceError, walk};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Results from elsewhere, from which the agent of a search learns before its first proposal
/// ([`Search::with_history`](super::Search::with_history)).
///
/// It has what was measured to the end. What was infeasible or stopped early is left out, because that may be due to
/// other limits; how accurate its architectures are should be comparable with what the search will measure.
///
/// ```
/// use blockqnn::agent::{EvolutionConfig, RegularizedEvolution};
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::evaluation::Metrics;
/// use blockqnn::search::{History, Search, SearchConfig};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
///
/// let space = BlockSpace::paper();
/// let mut history = History::new();
/// for (block, accuracy) in [("conv3(0) terminal(1)", 61.0), ("conv5(0) conv3(1) terminal(2)", 67.5)] {
///     let block: BlockCode = block.parse()?;
///     history.push(&space, block.layers(), Metrics::from_accuracy(accuracy))?;
/// }
/// let agent = RegularizedEvolution::new(EvolutionConfig::small())?;
/// let search = Search::new(space, agent, Synthetic::new(), SearchConfig::paper().with_trials(32, 8));
/// let report = search.with_history(history).run()?;
/// assert_eq!(report.records.len(), 32, "the history is not part of the run");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct History<Action> {
    results: Vec<Known<Action>>,
    /// What the results are values of, as far as it is known.
    objectives: Vec<Objective>,
}

/// A result from elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known<Action> {
    actions: Vec<Action>,
    metrics: Metrics,
}

/// Why something cannot be a history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// It was measured in another search space.
    #[error("the history in {} is of another search space: {found} there, {expected} here", path.display())]
    Space {
        /// The run folder.
        path: PathBuf,
        /// The identity of its space.
        found: String,
        /// The identity of the space of the search.
        expected: String,
    },
    /// One of its architectures does not belong to the search space.
    #[error("{place}: {message}; a history must be of the search space {space}")]
    Foreign {
        /// The file and the line, or the run folder and the trial.
        place: String,
        /// What is wrong.
        message: String,
        /// The identity of the space of the search.
        space: String,
    },
    /// The run folder cannot be read.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a table of architectures and accuracies.
    #[error("{place}: {message}")]
    Table {
        /// The file, and the line where there is one.
        place: String,
        /// What is wrong.
        message: String,
    },
}

impl<Action> Default for History<Action> {
    fn default() -> Self {
        Self { results: Vec::new(), objectives: Vec::new() }
    }
}

impl<Action: Datum> History<Action> {
    /// Creates an empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of results.
    #[must_use]
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Returns whether there are no results.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Adds the results of another history after these.
    pub fn extend(&mut self, other: Self) {
        self.results.extend(other.results);
        self.objectives.extend(other.objectives);
    }

    /// Adds what was measured for the architecture at the end of a walk. Metrics that were
    /// [stopped](Metrics::stopped) early, and those whose value is not finite, are left out.
    ///
    /// # Errors
    /// [`SpaceError`] if the space rejects the walk.
    pub fn push<S: SearchSpace<Action = Action>>(
        &mut self,
        space: &S,
        actions: &[Action],
        metrics: Metrics,
    ) -> Result<(), SpaceError> {
        walk(space, actions)?;
        space.decode(actions)?;
        if !metrics.stopped && metrics.value.is_finite() {
            // Nothing is learned from the way to a value.
            let metrics = Metrics { curve: Vec::new(), ..metrics };
            self.results.push(Known { actions: actions.to_vec(), metrics });
        }
        Ok(())
    }

    /// Reads the results of the run in a folder, which may still be running. Results that the run itself took from an
    /// earlier trial count once.
    ///
    /// # Errors
    /// [`HistoryError`] if the folder holds no run or a damaged one, or its architectures do not belong to `space`.
    pub fn read_run<S: SearchSpace<Action = Action>>(space: &S, path: impl AsRef<Path>) -> Result<Self, HistoryError> {
        let path = path.as_ref();
        let expected = space.identity();
        if let Some(found) = RunFolder::space_of(path)?
            && kind(&found) != kind(&expected)
        {
            return Err(HistoryError::Space { path: path.to_owned(), found, expected });
        }
        let run = RunFolder::read::<S>(path)?;
        match run.damage {
            Some(damage) => Err(RunFolderError::from(damage).into()),
            None => Self::of_run(space, &run),
        }
    }

    /// Takes the results of a run that was read; see [`read_run`](Self::read_run).
    ///
    /// # Errors
    /// [`HistoryError::Foreign`] if its architectures do not belong to `space`.
    pub fn of_run<S: SearchSpace<Action = Action>>(space: &S, run: &RunHistory<S>) -> Result<Self, HistoryError> {
        let mut history = Self { results: Vec::new(), objectives: vec![run.settings.search.objective.clone()] };
        // Of an architecture that was promoted, the last trial says most.
        let superseded = superseded(&run.records);
        for record in run.records.iter().filter(|record| !record.cached && !superseded.contains(&record.id)) {
            let Some(metrics) = record.evaluation.metrics() else { continue };
            let foreign = |message: String| HistoryError::Foreign {
                place: format!("trial {} of {}", record.id, run.path.display()),
                message,
                space: space.identity(),
            };
            let json = |architecture| serde_json::to_string(architecture).unwrap_or_default();
            let here = space.decode(&record.actions).map_err(|error| foreign(error.to_string()))?;
            if json(&here) != json(&record.architecture) {
                return Err(foreign("its walk leads to another architecture".to_owned()));
            }
            let pushed = history.push(space, &record.actions, metrics.clone());
            pushed.map_err(|error| foreign(error.to_string()))?;
        }
        Ok(history)
    }

    /// Reads a CSV file with the columns `architecture`, as the space writes it in tables, and `accuracy` in percent,
    /// such as the table that [`SearchReport::write_csv`](super::SearchReport::write_csv) writes. Other columns are
    /// ignored, except that rows whose `stopped` is `true` are left out, like those without an accuracy.
    ///
    /// # Errors
    /// [`HistoryError`] if the file cannot be read, lacks a column, or has an architecture that does not belong to
    /// `space`.
    pub fn read_csv<S>(space: &S, path: impl AsRef<Path>) -> Result<Self, HistoryError>
    where
        S: SearchSpace<Action = Action, Architecture: FromStr<Err: Display>>,
    {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| HistoryError::Read { path: path.to_owned(), source })?;
        let in_line = |line: usize| format!("{} line {line}", path.display());
        let table = |place: String, message: String| HistoryError::Table { place, message };
        let records = csv_records(&text);
        let mut records = records.map_err(|line| table(in_line(line), "a quote is not closed".to_owned()))?.into_iter();
        let header = records.next().map(|(_, header)| header).unwrap_or_default();
        let place = |name: &str| header.iter().position(|column| column == name);
        let needed = |name: &str| {
            let lacks = || format!("it has no column {name:?}: a history needs architecture and accuracy");
            place(name).ok_or_else(|| table(path.display().to_string(), lacks()))
        };
        let (architecture, accuracy, stopped) = (needed("architecture")?, needed("accuracy")?, place("stopped"));
        let mut history = Self { results: Vec::new(), objectives: vec![Objective::default()] };
        for (line, row) in records {
            let field = |column: usize| row.get(column).unwrap_or_default();
            if field(accuracy).is_empty() || stopped.is_some_and(|column| field(column) == "true") {
                continue;
            }
            let parsed = field(accuracy).parse().ok().filter(|accuracy| (0.0..=100.0).contains(accuracy));
            let wrong = || format!("the accuracy is {:?}: it must be from 0 to 100", field(accuracy));
            let accuracy = parsed.ok_or_else(|| table(in_line(line), wrong()))?;
            let actions = actions_of(space, field(architecture));
            let pushed = actions.and_then(|actions| {
                history.push(space, &actions, Metrics::from_accuracy(accuracy)).map_err(|error| error.to_string())
            });
            pushed.map_err(|message| {
                let message = format!("{:?}: {message}", field(architecture));
                HistoryError::Foreign { place: in_line(line), message, space: space.identity() }
            })?;
        }
        Ok(history)
    }
}

/// The walk to an architecture in text form.
fn actions_of<S>(space: &S, text: &str) -> Result<Vec<S::Action>, String>
where
    S: SearchSpace<Architecture: FromStr<Err: Display>>,
{
    let architecture: S::Architecture =
        text.parse().map_err(|error: <S::Architecture as FromStr>::Err| error.to_string())?;
    let none = || "the space does not tell which walk leads to it (SearchSpace::encode)".to_owned();
    space.encode(&architecture).ok_or_else(none)
}

/// The name in an identity, without settings: a history of the same kind of space may fit.
fn kind(identity: &str) -> &str {
    identity.split_once(' ').map_or(identity, |(name, _)| name)
}

/// What a search begins with; the content of `warm-start.json` in its run folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WarmStart<Action> {
    /// The walks to evaluate first.
    pub(super) first: Vec<Vec<Action>>,
    history: Vec<Known<Action>>,
    /// What the results of a history that was given are values of.
    #[serde(skip)]
    pub(super) objectives: Vec<Objective>,
}

impl<Action> Default for WarmStart<Action> {
    fn default() -> Self {
        Self { first: Vec::new(), history: Vec::new(), objectives: Vec::new() }
    }
}

impl<Action: Serialize> WarmStart<Action> {
    pub(super) fn set_history(&mut self, history: History<Action>) {
        (self.history, self.objectives) = (history.results, history.objectives);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.history.is_empty()
    }

    /// The identities of what is evaluated first and of the history, by which a resumed search is compared.
    pub(super) fn identities(&self) -> [Option<String>; 2] {
        [identity(&self.first, "architectures"), identity(&self.history, "results")]
    }

    /// Takes from `then` what was not given again to a search that is resumed.
    pub(super) fn or(self, then: Self) -> Self {
        let Self { mut first, mut history, objectives } = self;
        if first.is_empty() {
            first = then.first;
        }
        if history.is_empty() {
            history = then.history;
        }
        Self { first, history, objectives }
    }
}

fn identity(items: &[impl Serialize], what: &str) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let json = serde_json::to_vec(items).unwrap_or_default();
    Some(format!("{} {what} sha256:{}", items.len(), short_hash(&Sha256::digest(json))))
}

impl<S: SearchSpace, G: Agent<S>> Session<'_, S, G> {
    /// Checks the architectures to evaluate first, before anything is written.
    pub(super) fn verify_first(&self) -> Result<(), SearchError> {
        let (space, first) = (&self.search.space, &self.search.warm_start.first);
        let mut known: HashMap<Fingerprint, usize> = HashMap::new();
        for (number, actions) in first.iter().enumerate() {
            let refused = |message: String| SearchError::First { number: number + 1, message };
            let decoded = walk(space, actions).and_then(|_| space.decode(actions));
            let architecture = decoded.map_err(|error| refused(error.to_string()))?;
            if let Some(other) = known.insert(space.fingerprint(&architecture), number + 1) {
                let text = space.describe(&architecture);
                return Err(refused(format!("{text} is the same architecture as number {other}: give it once")));
            }
        }
        let (trials, count) = (self.search.config.trials, first.len() as u64);
        let expected = || format!("at least {count}, as many architectures as are to be evaluated first");
        InvalidSetting::check("search.trials", trials, trials >= count, expected())?;
        Ok(())
    }

    /// Adds the history to the memory, and has the agent learn it unless it knows it already.
    pub(super) fn recall_history(&mut self, is_learned: bool) -> Result<(), SearchError> {
        let size = usize::try_from(self.search.config.minibatch).unwrap_or(usize::MAX);
        let history = std::mem::take(&mut self.search.warm_start.history);
        for (number, part) in history.chunks(size).enumerate() {
            let episodes = part.iter().map(|known| self.known(known)).collect::<Result<Vec<_>, _>>()?;
            for episode in &episodes {
                self.memory.note_known(episode.fingerprint);
                self.memory.push(episode.clone());
            }
            if !is_learned {
                let mut rng = seed::stream(self.search.config.seed, "history", number as u64);
                self.search.agent.learn(&self.search.space, &episodes, &self.memory, &mut rng)?;
            }
        }
        Ok(())
    }

    /// The episode of a result from elsewhere, with the reward that this search would give it.
    fn known(&mut self, known: &Known<S::Action>) -> Result<Episode<S::State, S::Action>, SearchError> {
        let space = &self.search.space;
        let trajectory = walk(space, &known.actions)?;
        let architecture = space.decode(&known.actions)?;
        let fingerprint = space.fingerprint(&architecture);
        let (cost, _) = super::trial::appraise(space, &architecture, &self.search.config)?;
        let evaluation = Evaluation::Measured(known.metrics.clone());
        let reward = self.worth(0, &evaluation, self.priced(&architecture, cost).as_ref())?;
        self.elsewhere.insert(fingerprint, evaluation);
        // It counts for the highest rung whose epochs it had.
        let reached = self.ladder.iter().rfind(|rung| rung.epochs <= known.metrics.epochs);
        let rung = reached.map_or(0, |rung| rung.number);
        Ok(Episode { rung, ..self.episode(trajectory, 0, reward, fingerprint)? })
    }
}
