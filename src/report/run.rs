//! The data about a run that a report needs.

use super::ReportError;
use super::kind::Kind;
use super::text::slug;
use crate::agent::EpsilonSchedule;
use crate::comparison::verified_accuracies;
use crate::environment::tabular::TableError;
use crate::evaluation::{Evaluation, Infeasibility, Metrics, Objective, Rung};
use crate::graph::{Cost, Fingerprint, LayerGraph};
use crate::search::{Fault, RunFolder, RunHistory, RunSettings, RungAgreement, Utilisation};
use crate::space::SearchSpace;
use crate::space::block::BlockSpace;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// The file of a run folder with the accuracies of retrained blocks.
const VERIFIED: &str = "verified.csv";
/// The file of a run folder that records how busy the workers were.
const UTILISATION: &str = "utilisation.json";

/// The schedule in an experiment's settings. Only the Q-learner has one.
fn schedule(details: &serde_json::Value) -> Option<EpsilonSchedule> {
    serde_json::from_value(details["agent"]["epsilon"].clone()).ok()
}

/// A run, read for a report.
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::report::{Report, Run};
/// use blockqnn::search::{RunFolder, Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let parent = tempfile::tempdir()?;
/// let path = parent.path().join("first");
/// let config = SearchConfig::paper().with_trials(32, 8);
/// let search = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new(), config);
/// search.with_run_folder(RunFolder::create(&path)?).run()?;
///
/// let run = Run::read(&path)?;
/// assert_eq!(run.name(), "first");
/// let page = Report::new(vec![run]).html();
/// assert!(page.contains("<!DOCTYPE html>") && page.contains("32 of 32"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Run {
    pub(super) name: String,
    /// The folder, as given.
    pub(super) path: String,
    pub(super) state: State,
    pub(super) settings: RunSettings,
    pub(super) version: String,
    pub(super) trials: Vec<Finished>,
    pub(super) faults: Vec<Fault>,
    pub(super) pending: u64,
    pub(super) torn: u64,
    pub(super) damage: Option<String>,
    pub(super) schedule: Option<EpsilonSchedule>,
    /// Graphs of the best blocks, by trial.
    pub(super) graphs: BTreeMap<u64, LayerGraph>,
    /// Accuracies in percent after training to convergence, by trial.
    pub(super) verified: BTreeMap<u64, f64>,
    /// How busy the workers were when the search last ran.
    pub(super) utilisation: Option<Utilisation>,
    /// How similar the rankings of neighbouring rungs are.
    pub(super) rungs: Vec<RungAgreement>,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Finished,
    Running,
    Stopped,
}

/// A finished trial.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) id: u64,
    pub(super) minibatch: u64,
    /// The measurement, or the reason why there is none.
    pub(super) outcome: Result<Metrics, Infeasibility>,
    pub(super) reward: f64,
    pub(super) cost: Option<Cost>,
    pub(super) cached: bool,
    /// The rung, in a search with rungs, and the earlier trial of the same architecture that was promoted to it.
    pub(super) rung: Option<Rung>,
    pub(super) promoted_from: Option<u64>,
    /// Whether the architecture was promoted, so that a later trial says more of it.
    pub(super) is_promoted: bool,
    /// Number of layers between start and terminal, if the architecture has a graph.
    pub(super) layers: Option<u64>,
    /// Number of layers of each kind.
    pub(super) kinds: [u16; Kind::ALL.len()],
    /// The architecture as the text of its space.
    pub(super) text: String,
}

impl Finished {
    /// Returns the value of the objective.
    pub(super) fn value(&self) -> Option<f64> {
        self.outcome.as_ref().ok().map(|metrics| metrics.value)
    }

    pub(super) fn measurement(&self, name: &str) -> Option<f64> {
        self.outcome.as_ref().ok()?.measurements.get(name).copied()
    }

    /// Returns the accuracy unless the evaluation was stopped early.
    pub(super) fn final_value(&self) -> Option<f64> {
        if self.is_stopped() { None } else { self.value() }
    }

    /// Returns the number of the rung that was reached, and the reward there, by which trials are ordered.
    pub(super) fn standing(&self) -> (u32, f64) {
        let rung = self.rung.filter(|_| self.final_value().is_some());
        (rung.map_or(0, |rung| rung.number), self.reward)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|metrics| metrics.stopped)
    }

    /// Returns the epochs after which the accuracy was measured, and the accuracies in percent.
    pub(super) fn curve(&self) -> &[(u32, f64)] {
        self.outcome.as_ref().map_or(&[], |metrics| &metrics.curve)
    }

    pub(super) fn epochs(&self) -> u64 {
        self.outcome.as_ref().map_or(0, |metrics| metrics.epochs.into())
    }

    /// Returns the FLOPs, if they are known and fit into 64 bits.
    pub(super) fn flops(&self) -> Option<u64> {
        self.cost.map(|cost| cost.flops).filter(|flops| *flops < u64::MAX)
    }

    /// Returns the seconds that the evaluation took, or would have taken if the result had not been cached.
    pub(super) fn seconds(&self) -> f64 {
        self.outcome.as_ref().map_or(0.0, |metrics| metrics.seconds)
    }
}

/// Returns the reason why an architecture has no value, in a few words.
pub(super) fn failure_name(reason: &Infeasibility) -> &'static str {
    match reason {
        Infeasibility::OverLimit { .. } => "over a cost limit",
        Infeasibility::Overflow { .. } => "size overflow",
        Infeasibility::Diverged { .. } => "diverged",
        Infeasibility::Rejected { .. } => "rejected",
        Infeasibility::OverMeasurementLimit { .. } => "over a limit of a measurement",
        Infeasibility::TimedOut { .. } => "timed out",
        Infeasibility::OutOfMemory { .. } => "out of memory",
        Infeasibility::Failed { .. } => "failed",
    }
}

impl Run {
    /// Reads the run folder of a block search, without disturbing a running search.
    ///
    /// If the folder contains a file `verified.csv` with the columns `trial` and `accuracy` (percent), its accuracies
    /// are shown as those after training to convergence. A file `utilisation.json` records how busy the workers were,
    /// in the serialized form of [`Utilisation`].
    ///
    /// # Errors
    /// [`ReportError`] if there is no run in the folder, or it cannot be read. A damaged journal is not an error: the
    /// report names the damage and shows the trials before it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ReportError> {
        let path = path.as_ref();
        let history: RunHistory<BlockSpace> = RunFolder::read(path)?;
        let mut run = Self::new(&BlockSpace::paper(), history);
        run.verified = read_verified(&path.join(VERIFIED))?;
        run.utilisation = read_utilisation(&path.join(UTILISATION))?;
        Ok(run)
    }

    /// Creates a run from the history of a run folder, in any space.
    #[must_use]
    pub fn new<S: SearchSpace>(space: &S, history: RunHistory<S>) -> Self {
        let folder = history.path.canonicalize().unwrap_or_else(|_| history.path.clone());
        let name = folder.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned());
        let total = history.settings.search.trials;
        let state = match history.records.len() as u64 {
            _ if history.in_use => State::Running,
            done if done >= total => State::Finished,
            _ => State::Stopped,
        };
        let mut last: HashMap<Fingerprint, u64> = HashMap::new();
        let climbing = history.records.iter().filter(|record| record.rung.is_some());
        let promoted_from: BTreeMap<u64, u64> =
            climbing.filter_map(|record| Some((record.id, last.insert(record.fingerprint, record.id)?))).collect();
        let is_promoted: BTreeSet<u64> = promoted_from.values().copied().collect();
        let trials = history.records.iter().map(|record| {
            let mut kinds = [0; Kind::ALL.len()];
            let graph = space.graph(&record.architecture);
            for node in graph.iter().flat_map(LayerGraph::nodes) {
                if let Some(kind) = Kind::of(node.operation) {
                    kinds[kind.position()] += 1;
                }
            }
            Finished {
                id: record.id,
                minibatch: record.minibatch,
                outcome: match &record.evaluation {
                    Evaluation::Measured(metrics) => Ok(metrics.clone()),
                    Evaluation::Infeasible(reason) => Err(reason.clone()),
                },
                reward: record.reward.value(),
                cost: record.cost,
                cached: record.cached,
                rung: record.rung,
                promoted_from: promoted_from.get(&record.id).copied(),
                is_promoted: is_promoted.contains(&record.id),
                layers: graph.map(|graph| (graph.node_count() as u64).saturating_sub(2)),
                kinds,
                text: space.describe(&record.architecture),
            }
        });
        let mut run = Self {
            name,
            path: history.path.display().to_string(),
            state,
            trials: trials.collect(),
            faults: history.faults,
            pending: history.pending,
            torn: history.torn,
            damage: history.damage.map(|damage| damage.to_string()),
            schedule: schedule(&history.settings.details),
            settings: history.settings,
            version: history.version,
            graphs: BTreeMap::new(),
            verified: BTreeMap::new(),
            utilisation: None,
            rungs: RungAgreement::of(&history.records),
        };
        let best: BTreeSet<u64> = run.best().into_iter().take(super::MOST_BEST).map(|trial| trial.id).collect();
        let chosen = history.records.iter().filter(|record| best.contains(&record.id));
        run.graphs = chosen.filter_map(|record| Some((record.id, space.graph(&record.architecture)?))).collect();
        run
    }

    /// Sets a name other than that of the folder.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Returns the name: that of the folder, unless another was set.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the trials that were measured to the end by reward, best first, and the earlier first among equals. With
    /// rungs each architecture is there once, and the highest rung comes first.
    pub(super) fn best(&self) -> Vec<&Finished> {
        let is_last = |trial: &&Finished| trial.final_value().is_some() && !trial.is_promoted;
        let mut measured: Vec<&Finished> = self.trials.iter().filter(is_last).collect();
        measured.sort_by(|a, b| {
            let (a_standing, b_standing) = (a.standing(), b.standing());
            let by_rung = b_standing.0.cmp(&a_standing.0);
            by_rung.then(b_standing.1.total_cmp(&a_standing.1)).then(a.id.cmp(&b.id))
        });
        measured
    }

    /// Returns whether the cost of an architecture is known.
    pub(super) fn has_costs(&self) -> bool {
        self.trials.iter().any(|trial| trial.cost.is_some())
    }

    /// Returns the rungs of the trials, lowest first; none in a search without rungs.
    pub(super) fn ladder(&self) -> Vec<Rung> {
        let rungs: BTreeMap<u32, Rung> =
            self.trials.iter().filter_map(|trial| trial.rung).map(|rung| (rung.number, rung)).collect();
        rungs.into_values().collect()
    }

    /// Returns the trials at a rung.
    pub(super) fn at(&self, rung: Rung) -> impl Iterator<Item = &Finished> + Clone {
        self.trials.iter().filter(move |trial| trial.rung == Some(rung))
    }

    /// Returns whether an architecture has layers.
    pub(super) fn has_layers(&self) -> bool {
        self.trials.iter().any(|trial| trial.layers.is_some())
    }

    /// Returns what was optimised.
    pub(super) fn objective(&self) -> &Objective {
        &self.settings.search.objective
    }

    /// Returns a value of the objective as text, or the sign of a missing number.
    pub(super) fn show(&self, value: Option<f64>) -> String {
        value.map_or_else(|| "–".to_owned(), |value| self.objective().show(value))
    }

    /// Returns the names of all measurements, in alphabetical order.
    pub(super) fn measurements(&self) -> Vec<&str> {
        let names = self.trials.iter().filter_map(|trial| trial.outcome.as_ref().ok());
        let names: BTreeSet<&str> = names.flat_map(|metrics| metrics.measurements.keys().map(String::as_str)).collect();
        names.into_iter().collect()
    }

    /// Returns a measurement's name as a part of a file name that no other measurement has.
    pub(super) fn slug_of(&self, measurement: &str) -> String {
        let names = self.measurements();
        let before = names.iter().take_while(|name| **name != measurement);
        match before.filter(|name| slug(name) == slug(measurement)).count() {
            0 => slug(measurement),
            others => format!("{}-{}", slug(measurement), others + 1),
        }
    }

    /// Returns the number of trials of the whole run.
    pub(super) fn total(&self) -> u64 {
        self.settings.search.trials
    }

    /// Returns the number of minibatches of the whole run.
    pub(super) fn minibatches(&self) -> u64 {
        self.total().div_ceil(self.settings.search.minibatch.max(1))
    }

    /// Returns the epsilon of a minibatch, if the schedule of the run is known.
    pub(super) fn epsilon(&self, minibatch: u64) -> Option<f64> {
        let size = self.settings.search.minibatch;
        self.schedule.as_ref().map(|schedule| schedule.at(minibatch.saturating_mul(size), size))
    }

    /// Returns whether the reward differs from the score for some trial.
    pub(super) fn redefines_reward(&self) -> bool {
        let differs = |trial: &Finished, value| (self.objective().score(value) - trial.reward).abs() > 1e-9;
        self.trials.iter().any(|trial| trial.value().is_some_and(|value| differs(trial, value)))
    }
}

/// Reads the record of how busy the workers were.
fn read_utilisation(path: &Path) -> Result<Option<Utilisation>, ReportError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReportError::Io { path: path.to_owned(), source }),
    };
    let malformed =
        |error: serde_json::Error| ReportError::Utilisation { path: path.to_owned(), message: error.to_string() };
    serde_json::from_str(&text).map(Some).map_err(malformed)
}

/// Reads the accuracies by trial, if the run has the file.
fn read_verified(path: &Path) -> Result<BTreeMap<u64, f64>, ReportError> {
    match verified_accuracies(path) {
        Err(TableError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        found => found.map_err(ReportError::Verified),
    }
}
