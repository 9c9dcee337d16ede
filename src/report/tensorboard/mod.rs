//! Event files for `TensorBoard`.

mod frame;
mod proto;

use super::BlockDrawing;
use crate::environment::BoxError;
use crate::evaluation::{Objective, Standing};
use crate::files::OwnedFolder;
use crate::graph::NetworkConfig;
use crate::search::{MinibatchSummary, Observer, RecordOf, SearchReport, Start};
use crate::space::SearchSpace;
use frame::frame;
use prost::Message;
use proto::{Event, Value};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the names of event files begin and end with.
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".blockqnn";

/// Learning curves, each under a tag of its own, that `TensorBoard` shows without becoming slow.
const CURVES: usize = 1_000;

/// An [`Observer`] that writes a search as event files, which `TensorBoard` shows while the search is running. Nothing
/// is sent anywhere.
///
/// | tag | step | value |
/// | --- | --- | --- |
/// | `trial/accuracy`, `trial/training_loss`, `trial/epochs`, `trial/seconds` | trial | what was measured, as in the CSV of the search; the accuracy in percent. With another objective, its name stands for `accuracy` here and below |
/// | `trial/reward` | trial | its reward |
/// | `trial/parameters`, `trial/flops` | trial | its cost, if the search knows one |
/// | `measurement/NAME` | trial | what else the environment measured |
/// | `minibatch/mean_accuracy`, `minibatch/best_accuracy`, `minibatch/infeasible` | minibatch | of its measured trials; the best of the run so far; how many trials have none |
/// | `curve/trial_NUMBER` | epoch | the learning curve of a trial: of all until there are 1,000, then of those that are the best so far |
/// | `block/best` | trial | a drawing of each block that is the best so far, by reward |
///
/// Numbers have single precision, which is the format's. Trials are written in the order of proposal, because
/// `TensorBoard` drops what comes before an earlier step: a trial waits in memory for those that were proposed before it.
///
/// A search that is resumed writes all that was finished before once more, with the time of that moment, and then
/// removes the files of the earlier start: nothing is missing or there twice, however the search was stopped.
///
/// ```
/// use blockqnn::agent::RandomAgent;
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::report::TensorBoard;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let parent = tempfile::tempdir()?;
/// let (space, config) = (BlockSpace::paper(), SearchConfig::paper().with_trials(16, 8));
/// let events = TensorBoard::new(parent.path().join("events"), space.clone());
/// Search::new(space, RandomAgent, Synthetic::new(), config).with_observer(events).run()?;
/// let names = std::fs::read_dir(parent.path().join("events"))?.map(|entry| Ok(entry?.file_name()));
/// let names: Vec<_> = names.collect::<std::io::Result<_>>()?;
/// assert!(names.iter().any(|name| name.to_string_lossy().starts_with("events.out.tfevents.")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TensorBoard<S: SearchSpace> {
    folder: PathBuf,
    space: S,
    network: Option<NetworkConfig>,
    /// `None` before the search begins.
    file: Option<EventFile>,
    /// The next trial to write, and the finished ones that wait for it.
    next: u64,
    waiting: BTreeMap<u64, RecordOf<S>>,
    curves: usize,
    objective: Objective,
    /// Highest standing, and best value of the objective at its rung, of what was written and not stopped early.
    best: Option<(Standing, f64)>,
    minibatch: Minibatch,
}

/// The trials of a minibatch that are written.
#[derive(Debug, Default)]
struct Minibatch {
    number: u64,
    values: Vec<f64>,
    infeasible: u32,
}

/// An open event file.
#[derive(Debug)]
struct EventFile {
    path: PathBuf,
    out: BufWriter<File>,
    _owner: OwnedFolder,
}

impl<S: SearchSpace> TensorBoard<S> {
    /// Creates an observer of a search in `space` that writes to a folder of its own: one that is new or empty, or in
    /// which such an observer of an earlier start of the same search wrote. The search fails to start with any other
    /// folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, space: S) -> Self {
        Self {
            folder: folder.into(),
            space,
            network: None,
            file: None,
            next: 0,
            waiting: BTreeMap::new(),
            curves: 0,
            objective: Objective::default(),
            best: None,
            minibatch: Minibatch::default(),
        }
    }

    /// Takes a finished trial, and writes it and those behind it as soon as none is missing before them.
    fn take(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        self.waiting.insert(record.id, record.clone());
        while let Some(record) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.write(&record)?;
        }
        Ok(())
    }

    fn write(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        if record.minibatch != self.minibatch.number {
            self.end_minibatch(record.minibatch)?;
        }
        let reward = record.reward.value();
        let mut values = vec![Value::number("trial/reward", reward)];
        if let Some(cost) = &record.cost {
            values.push(Value::number("trial/parameters", cost.parameters as f64));
            values.push(Value::number("trial/flops", cost.flops as f64));
        }
        let Some(metrics) = record.evaluation.metrics() else {
            self.minibatch.infeasible += 1;
            return self.event(record.id, values);
        };
        self.minibatch.values.push(metrics.value);
        let is_best = !metrics.stopped && self.best.is_none_or(|(best, _)| record.standing() > best);
        if let Some(value) = record.evaluation.final_value() {
            let standing = record.standing();
            self.best = match self.best {
                Some((most, best)) if most.rung == standing.rung => {
                    Some((most.max(standing), self.objective.better(best, value)))
                }
                Some((most, best)) if most.rung > standing.rung => Some((most, best)),
                _ => Some((standing, value)),
            };
        }
        values.push(Value::number(format!("trial/{}", self.objective.name), metrics.value));
        values.extend(metrics.training_loss.map(|loss| Value::number("trial/training_loss", loss)));
        values.push(Value::number("trial/epochs", f64::from(metrics.epochs)));
        values.push(Value::number("trial/seconds", metrics.seconds));
        values.extend(
            metrics.measurements.iter().map(|(name, value)| Value::number(format!("measurement/{name}"), *value)),
        );
        values.extend(is_best.then(|| self.drawing(record)).flatten());
        self.event(record.id, values)?;
        if !metrics.curve.is_empty() && (is_best || self.curves < CURVES) {
            self.curves += 1;
            let tag = format!("curve/trial_{}", record.id);
            for (epoch, value) in &metrics.curve {
                self.event((*epoch).into(), vec![Value::number(&tag, *value)])?;
            }
        }
        Ok(())
    }

    /// The drawing of a block, if the architecture is a network of layers, and not too large to be drawn.
    fn drawing(&self, record: &RecordOf<S>) -> Option<Value> {
        let graph = self.space.graph(&record.architecture)?;
        let title = format!("Block {}", record.id);
        let drawing = BlockDrawing::new(&graph, self.network.as_ref()).with_title(title);
        let png = drawing.with_caption(format!("reward {:.3}", record.reward.value())).figure().png().ok()?;
        // Behind the signature and the name of the first part: width and height.
        let length_at = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
        let size = [length_at(20)?, length_at(16)?];
        Some(Value::picture("block/best", png, size))
    }

    /// Writes the numbers of the minibatch, if any of its trials was finished, and begins another.
    fn end_minibatch(&mut self, number: u64) -> Result<(), BoxError> {
        let ended = std::mem::replace(&mut self.minibatch, Minibatch { number, ..Minibatch::default() });
        let Minibatch { number, values: measured, infeasible } = ended;
        if measured.is_empty() && infeasible == 0 {
            return Ok(());
        }
        let mut values = vec![Value::number("minibatch/infeasible", infeasible.into())];
        let name = &self.objective.name;
        if !measured.is_empty() {
            let mean = measured.iter().sum::<f64>() / measured.len() as f64;
            values.push(Value::number(format!("minibatch/mean_{name}"), mean));
        }
        values.extend(self.best.map(|(_, best)| Value::number(format!("minibatch/best_{name}"), best)));
        self.event(number, values)
    }

    fn event(&mut self, step: u64, values: Vec<Value>) -> Result<(), BoxError> {
        let event = Event::of(i64::try_from(step).unwrap_or(i64::MAX), values);
        match &mut self.file {
            Some(file) => file.write(event),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        match &mut self.file {
            Some(EventFile { path, out, .. }) => out.flush().map_err(|error| failed(path, &error)),
            None => Ok(()),
        }
    }
}

impl EventFile {
    /// Takes a folder, and replaces the files of an earlier start in it by a new one.
    fn create(folder: &Path) -> Result<Self, BoxError> {
        let owner = OwnedFolder::create(folder, is_event_file)?;
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(|error| failed(folder, &error))?;
        let earlier: Vec<_> = entries.iter().map(fs::DirEntry::file_name).filter(|name| is_event_file(name)).collect();
        // A name behind all earlier ones: readers follow the order of names.
        let seconds = |name: &OsStr| name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<u64>().ok();
        let last = earlier.iter().filter_map(|name| seconds(name)).max();
        let number = now().as_secs().max(last.map_or(0, |last| last.saturating_add(1)));
        let path = folder.join(format!("{PREFIX}{number:010}{SUFFIX}"));
        let out = File::create_new(&path).map_err(|error| failed(&path, &error))?;
        let mut file = Self { path, out: BufWriter::new(out), _owner: owner };
        file.write(Event::version())?;
        file.write(Event::start())?;
        for name in earlier {
            let path = folder.join(name);
            fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
        }
        Ok(file)
    }

    fn write(&mut self, mut event: Event) -> Result<(), BoxError> {
        event.wall_time = now().as_secs_f64();
        self.out.write_all(&frame(&event.encode_to_vec())).map_err(|error| failed(&self.path, &error))
    }
}

fn is_event_file(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

fn failed(path: &Path, error: &io::Error) -> BoxError {
    format!("cannot write {}: {error}; resume the search once that is mended, or without this observer", path.display())
        .into()
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl<S: SearchSpace> Observer<S> for TensorBoard<S> {
    fn on_start(&mut self, start: &Start<'_>) -> Result<(), BoxError> {
        self.network.clone_from(&start.config.network);
        self.objective.clone_from(&start.config.objective);
        self.file = Some(EventFile::create(&self.folder)?);
        Ok(())
    }

    fn on_restored(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        self.take(record)
    }

    fn on_finished(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        self.take(record)?;
        self.flush()
    }

    fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
        // With a barrier all its trials are written by now. Otherwise later ones may have begun another.
        if self.waiting.is_empty() && self.minibatch.number == summary.minibatch {
            self.end_minibatch(summary.minibatch + 1)?;
        }
        self.flush()
    }

    fn on_end(&mut self, _: &SearchReport<S>) -> Result<(), BoxError> {
        // Of a search that was stopped, some trials before them may be missing.
        for record in std::mem::take(&mut self.waiting).into_values() {
            self.write(&record)?;
        }
        self.end_minibatch(self.minibatch.number)?;
        self.flush()
    }
}

#[cfg(test)]
mod tests;
