//! The progress of a search: bars on a terminal, one line per minibatch in a log.

use super::pace::Pace;
use super::{done, seconds_as_text};
use blockqnn::agent::{AgentConfig, EpsilonSchedule};
use blockqnn::environment::{BoxError, Progress};
use blockqnn::evaluation::{Objective, Trial};
use blockqnn::experiment::Experiment;
use blockqnn::search::{MinibatchSummary, Observer, RecordOf, SearchReport, Start};
use blockqnn::space::block::{BlockCode, BlockSpace};
use indicatif::style::{ProgressStyle, TemplateError};
use indicatif::{MultiProgress, ProgressBar};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::Instant;

/// Steps of the bar of one training.
const FINE: u64 = 1_000;

/// Shows the progress of a search, its best block so far, and the time left.
pub(crate) struct Search {
    /// None if the agent has no epsilon schedule.
    schedule: Option<EpsilonSchedule>,
    minibatch: u64,
    trials: u64,
    objective: Objective,
    workers: usize,
    /// Every worker that has reported and is not lost.
    names: BTreeSet<String>,
    /// Which worker evaluates a trial, and since when.
    at: BTreeMap<u64, (String, Instant)>,
    started: Instant,
    bars: Option<Bars>,
    /// The highest rung that was reached, the best value there, and its block.
    best: Option<(u32, f64, String)>,
    /// Mean value of the last complete minibatch.
    last_mean: Option<f64>,
    /// Progress of each running training.
    trainings: BTreeMap<u64, Progress>,
    /// The number of trials that ended.
    ended: u64,
    pace: Pace,
    /// What to do while trials wait for workers.
    waiting: Option<String>,
}

struct Bars {
    blocks: ProgressBar,
    learning: ProgressBar,
    training: ProgressBar,
    best: ProgressBar,
    /// Keeps the bars on lines of their own.
    lines: MultiProgress,
}

impl Bars {
    fn new(trials: u64) -> Result<Self, TemplateError> {
        let lines = MultiProgress::new();
        let add = |length: u64, template| -> Result<ProgressBar, TemplateError> {
            Ok(lines.add(ProgressBar::new(length).with_style(ProgressStyle::with_template(template)?)))
        };
        let blocks = add(trials, "blocks   {bar:30} {pos}/{len}, {elapsed} elapsed, {msg} left")?;
        let learning = add(0, "learning {wide_msg}")?;
        let training = add(FINE, "training {bar:30} {wide_msg}")?;
        let best = add(0, "best     {wide_msg}")?;
        best.set_message("none yet");
        blocks.tick();
        Ok(Self { blocks, learning, training, best, lines })
    }
}

impl Search {
    /// `waiting`: the command to run while trials wait for workers.
    pub(crate) fn new(experiment: &Experiment, workers: usize, waiting: Option<String>) -> Self {
        let trials = experiment.search.trials;
        let bars = std::io::stderr().is_terminal().then(|| Bars::new(trials).ok()).flatten();
        let schedule = match &experiment.agent {
            AgentConfig::QLearning(agent) => Some(agent.epsilon.clone()),
            _ => None,
        };
        Self {
            schedule,
            minibatch: experiment.search.minibatch,
            trials,
            objective: experiment.search.objective.clone(),
            workers,
            names: BTreeSet::new(),
            at: BTreeMap::new(),
            started: Instant::now(),
            bars,
            best: None,
            last_mean: None,
            trainings: BTreeMap::new(),
            ended: 0,
            pace: Pace::default(),
            waiting,
        }
    }

    /// Estimated seconds until the search ends, if every trial takes the mean time of the last ones. A running trial
    /// counts by the share of it that is done, so that there is an estimate before the first one has ended. `None`
    /// while nothing is known.
    fn seconds_left(&self) -> Option<f64> {
        let running = self.trainings.values().map(done).sum::<f64>();
        let elapsed = self.trainings.keys().filter_map(|trial| self.at.get(trial));
        let elapsed = elapsed.map(|(_, since)| since.elapsed().as_secs_f64()).sum::<f64>();
        let left = (self.trials.saturating_sub(self.ended) as f64 - running).max(0.0);
        let workers = self.workers.max(self.names.len()).max(1) as f64;
        self.pace.mean_with(running, elapsed).map(|seconds| left * seconds / workers)
    }

    fn show_time_left(&self) {
        if let (Some(bars), Some(seconds)) = (&self.bars, self.seconds_left()) {
            bars.blocks.set_message(seconds_as_text(seconds));
        }
    }

    /// Prints a line above the bars.
    fn print(&self, line: &str) {
        match &self.bars {
            // A terminal that is gone shows nothing. (`suspend` would panic on one.)
            Some(bars) => drop(bars.lines.println(line)),
            None => errln!("{line}"),
        }
    }

    /// Counts a finished trial and keeps the best one.
    fn show(&mut self, record: &RecordOf<BlockSpace>) {
        self.trainings.remove(&record.id);
        self.at.remove(&record.id);
        self.ended += 1;
        // Nothing is trained for an evaluation that is known.
        let seconds =
            if record.cached { Some(0.0) } else { record.evaluation.metrics().map(|metrics| metrics.seconds) };
        if let Some(seconds) = seconds {
            self.pace.add(seconds);
        }
        let rung = record.standing().rung;
        let is_better = |(highest, best, _): &(u32, f64, String), value| {
            let by_value = || self.objective.direction.compare(value, *best);
            rung.cmp(highest).then_with(by_value).is_gt()
        };
        if let Some(value) = record.evaluation.final_value()
            && self.best.as_ref().is_none_or(|best| is_better(best, value))
        {
            self.best = Some((rung, value, record.architecture.to_string()));
        }
        if let Some(bars) = &self.bars {
            bars.blocks.inc(1);
            if let Some((_, value, block)) = &self.best {
                bars.best.set_message(format!("{} {block}", self.objective.show(*value)));
            }
        }
    }

    /// Epsilon of a trial as text; a dash if the agent has no schedule.
    fn epsilon(&self, trial: u64) -> String {
        let schedule = self.schedule.as_ref();
        schedule.map_or("-".to_owned(), |schedule| schedule.at(trial, self.minibatch).to_string())
    }

    /// A value of the objective as text; a dash if there is none.
    fn value(&self, value: Option<f64>) -> String {
        value.map_or("-".to_owned(), |value| self.objective.show(value))
    }

    fn minibatches(&self) -> u64 {
        self.trials.div_ceil(self.minibatch.max(1))
    }

    /// `1 worker`, `2 workers`.
    fn workers(&self) -> String {
        let workers = self.workers.max(self.names.len());
        if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") }
    }
}

/// Where a training is: `block 12 epoch 3/12 (0 on flex, 41 s)`.
fn place(trial: u64, progress: &Progress, worker: Option<&(String, Instant)>) -> String {
    let restarts = match progress.restarts {
        0 => String::new(),
        restarts => format!(" restart {restarts}"),
    };
    let epoch = progress.epoch.saturating_add(1).min(progress.epochs);
    let worker = worker.map(|(worker, since)| format!(" ({worker}, {} s)", since.elapsed().as_secs()));
    let worker = worker.unwrap_or_default();
    format!("block {trial} epoch {epoch}/{}{restarts}{worker}", progress.epochs)
}

impl Observer<BlockSpace> for Search {
    fn on_restored(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.show(record);
        Ok(())
    }

    fn on_start(&mut self, start: &Start<'_>) -> Result<(), BoxError> {
        for warning in start.warnings {
            self.print(&format!("warning: {warning}"));
        }
        Ok(())
    }

    fn on_proposed(&mut self, trial: &Trial, _block: &BlockCode) -> Result<(), BoxError> {
        self.show_time_left();
        if let Some(bars) = &self.bars {
            let (minibatch, of) = (trial.id / self.minibatch.max(1) + 1, self.minibatches());
            let (epsilon, mean) = (self.epsilon(trial.id), self.value(self.last_mean));
            bars.learning.set_message(format!(
                "minibatch {minibatch}/{of}, epsilon {epsilon}, mean {} of the last one {mean}",
                self.objective.name
            ));
        }
        Ok(())
    }

    fn on_started(&mut self, trial: u64, worker: &str) {
        self.at.insert(trial, (worker.to_owned(), Instant::now()));
        self.names.insert(worker.to_owned());
    }

    fn on_worker_lost(&mut self, worker: &str, message: &str) {
        self.names.remove(worker);
        self.print(&format!("worker {worker} is lost: {message}"));
    }

    fn on_waiting(&mut self, message: &str) {
        let command = self.waiting.as_ref().map(|command| format!(" ({command})")).unwrap_or_default();
        self.print(&format!("warning: {message}{command}"));
    }

    fn on_progress(&mut self, trial: u64, progress: &Progress) {
        self.trainings.insert(trial, *progress);
        self.show_time_left();
        if let Some(bars) = &self.bars {
            let mean = self.trainings.values().map(done).sum::<f64>() / self.trainings.len() as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the bar")]
            bars.training.set_position((mean * FINE as f64) as u64);
            let place = |(&trial, progress)| place(trial, progress, self.at.get(&trial));
            let places: Vec<String> = self.trainings.iter().map(place).collect();
            bars.training.set_message(format!("{}: {}", self.workers(), places.join(", ")));
        }
    }

    fn on_fault(&mut self, trial: u64, attempt: u32, message: &str) {
        self.print(&format!("block {trial}: attempt {attempt} failed: {message}"));
    }

    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        self.show(record);
        Ok(())
    }

    fn on_learned(&mut self, summary: &MinibatchSummary) -> Result<(), BoxError> {
        let gone = self.started.elapsed().as_secs_f64();
        let left = self.seconds_left().unwrap_or_default();
        self.last_mean = summary.mean;
        let priors = if summary.priors_hold == Some(false) { "  priors contradicted" } else { "" };
        let low = summary.rungs.iter().filter(|agreement| agreement.is_low());
        let low: Vec<String> =
            low.map(|agreement| format!("  {} epochs do not rank", agreement.lower.epochs)).collect();
        let low = low.concat();
        let line = format!(
            "minibatch {:>3}/{}  epsilon {:<4} mean {}  best {}  infeasible {}  {}  {gone:.0} s elapsed, {left:.0} s \
             left{priors}{low}",
            summary.minibatch + 1,
            self.minibatches(),
            self.epsilon(summary.minibatch * self.minibatch),
            self.value(summary.mean),
            self.value(summary.best),
            summary.infeasible,
            self.workers(),
        );
        self.print(&line);
        Ok(())
    }

    fn on_end(&mut self, _report: &SearchReport<BlockSpace>) -> Result<(), BoxError> {
        if let Some(bars) = &self.bars {
            for bar in [&bars.learning, &bars.training, &bars.best, &bars.blocks] {
                bar.finish_and_clear();
            }
        }
        Ok(())
    }
}
